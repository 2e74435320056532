"""
The files of projects, changed safely: whole or not at all, and one editor at a time.

In comes the operator's wish; out goes a file with the mode and owner it had. What people
broke by hand is refused with its error and never overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from lmrelay.cli.main import Invocation
from lmrelay.config.project import Project
from lmrelay.config.values import Config
from lmrelay.errors import ConfigError, Problem

NEW_FILE, NEW_FOLDER = 0o640, 0o750


def path_of(config: Config, slug: str) -> Path:
    """
    The file of the project of that slug.
    """
    return config.server.read_projects / f"{slug}.toml"


def known(config: Config, slug: str) -> Project:
    """
    The project of that slug.

    @raise click.ClickException: there is none
    """
    project = config.projects.get(slug)
    if project is None:
        raise click.ClickException(f"there is no project {slug!r}; `lmrelay project list` shows them")
    return project


@contextlib.contextmanager
def editing(invocation: Invocation) -> Iterator[Config]:
    """
    The configuration as it stands while no other command edits a project.

    @raise ConfigError: it cannot be used as it is, so nothing is to be changed by a command
    """
    folder = invocation.load().server.read_projects
    if not folder.exists():
        _make_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Read again: another editor may have been at work until now.
        yield invocation.load()
    finally:
        os.close(descriptor)


def create(config: Config, slug: str, text: str) -> Path:
    """
    Write the file of a new project; to be called while L{editing}.

    It is readable for the group that owns the state folder, which is the daemon's.
    """
    path = path_of(config, slug)
    owner = group = -1
    if os.geteuid() == 0:
        state = config.server.state_dir
        folder = path.parent.stat()
        owner, group = folder.st_uid, state.stat().st_gid if state.exists() else folder.st_gid
    if os.path.lexists(path):
        raise click.ClickException(f"{path} is there already")
    _write(path, text, NEW_FILE, owner, group)
    return path


def change(config: Config, slug: str, edit: Callable[[str], str]) -> Path:
    """
    Change a project's file, keeping its mode and owner; to be called while L{editing}.

    @raise ConfigError: what is in it cannot be read, or not changed this way; it stays as it is
    """
    path = path_of(config, slug)
    # A link stays one: what it leads to is replaced.
    target = path.resolve(strict=True)
    try:
        old = target.read_bytes().decode("utf-8")
        new = edit(old)
    except ValueError as error:
        raise ConfigError(Problem(str(path), "", str(error))) from error
    if new != old:
        status = target.stat()
        _write(target, new, status.st_mode & 0o7777, status.st_uid, status.st_gid)
    return path


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=NEW_FOLDER)
    if os.geteuid() == 0:
        parent = folder.parent.stat()
        os.chown(folder, parent.st_uid, parent.st_gid)
        folder.chmod(parent.st_mode & 0o777)


def _write(path: Path, text: str, mode: int, owner: int, group: int) -> None:
    """
    Replace the file at one stroke, and have it on disk.
    """
    # Not *.toml, so that a draft that a power cut left behind is nobody's project.
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    # For nobody else until it has its owner: it may hold digests and webhook secrets.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            now = os.fstat(file.fileno())
            if (owner, group) not in {(-1, -1), (now.st_uid, now.st_gid)}:
                os.fchown(file.fileno(), owner, group)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


EFFECT = "It takes effect with the next reload: systemctl reload lmrelay (or kill -HUP of the daemon)."
