"""
The state folder and its files are for the daemon's user alone: they hold people's mail.

Files get their mode as they are made, whatever the umask, which other threads share; SQLite
gives its log and index the mode of the database.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.logger import Logger

OTHERS = stat.S_IRWXO

log = Logger()


def make_folder(path: Path) -> None:
    """
    Make a folder that nobody else can look into; take others' rights from one that is there.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    _close(path, 0o700)


def make_file(path: Path) -> None:
    """
    Make an empty file that nobody else can read; take others' rights from one that is there.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        close(path)


def close(path: Path) -> None:
    """
    Take others' rights to a file, if it is there.
    """
    _close(path, 0o600)


def _close(path: Path, mode: int) -> None:
    """
    A group that was let in stays: only an operator does that, the umask alone lets in everybody.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if found.st_uid == os.geteuid() and found.st_mode & OTHERS:
        path.chmod(mode)
        log.warn("others could read the state of the relay", path=str(path), mode=f"{stat.S_IMODE(found.st_mode):04o}")
