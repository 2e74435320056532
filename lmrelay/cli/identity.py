"""
Who the operator's command is: run by root, it becomes the owner of the state folder.

Else a file that root made beside the daemon's (SQLite's write-ahead log, a key)
would shut the daemon out of its own store.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path


def take_identity(folder: Path) -> None:
    """
    Give up root for good, for the owner and group of C{folder}.

    Nothing happens where this is not root, or the folder is root's or missing.
    """
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = folder.stat()
    if owner.st_uid == 0:
        return
    # The groups go first: without root they could no longer be changed, and root's would stay.
    try:
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:
        os.setgroups([owner.st_gid])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """
    For a while root is the owner and group of C{folder}, and then root again.

    For what makes a file there and then writes to folders that only root may change. Others stay who they are.
    """
    owner = folder.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([owner.st_gid])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
