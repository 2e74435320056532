"""
The room on the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from lmrelay.queue.disk import FRESH, Disk


def test_looked_at_now_and_then(tmp_path: Path) -> None:
    """
    What was found is believed for a moment, and looked at anew after it.
    """
    folder = tmp_path / "state"
    folder.mkdir()
    clock = Clock()
    disk = Disk(folder, clock)
    found = os.statvfs(folder)
    free = disk.free()
    assert 0 < free <= found.f_blocks * found.f_frsize
    folder.rmdir()
    clock.advance(FRESH / 2)
    assert free == disk.free()
    clock.advance(FRESH)
    with pytest.raises(FileNotFoundError):
        disk.free()
