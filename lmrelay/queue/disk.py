"""
How much room there is on the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

FRESH = 0.05
AMPLE = 1024 * 1024 * 1024
"""
For so many seconds so much room is believed in, which no disk takes in so short a time. Less is looked at anew.
"""


@define(eq=False)
class Disk:
    """
    The disk that has the folder. Asked for each message; it is looked at a few times a second while there is plenty.
    """

    folder: Path
    clock: IReactorTime
    _free: int = field(default=0, init=False)
    _until: float = field(default=float("-inf"), init=False)

    def free(self) -> int:
        """
        Octets that we may still write.

        @raise OSError: the folder cannot be looked at
        """
        now = self.clock.seconds()
        if now >= self._until:
            found = os.statvfs(self.folder)
            self._free = found.f_bavail * found.f_frsize
            self._until = now + FRESH if self._free >= AMPLE else now
        return self._free
