"""
Room on the disk that nobody else can take, given up when an outcome finds none: what a receiver
has taken must be recorded, else it is sent again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from attrs import frozen
from twisted.logger import Logger

from lmrelay.config.values import MIB

FILE = "spare"
SIZE = 8 * MIB

log = Logger()


@frozen
class Ballast:
    """
    A file that is only there to be removed.
    """

    _path: Path

    def take(self) -> None:
        """
        Take the room, if it can be had and is not taken yet.
        """
        if self._path.exists():
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, SIZE)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.warn("no room can be kept for recording outcomes", path=str(self._path), reason=str(error))
            with contextlib.suppress(OSError):
                self._path.unlink()

    def drop(self) -> bool:
        """
        Give the room up; was there any?
        """
        try:
            self._path.unlink()
        except OSError:
            return False
        log.warn("the disk is full: the room that was kept for recording outcomes is given up")
        return True
