"""
The room on the disk.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from lmrelay.queue.disk import FRESH, Disk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """
    One that can be taken away: what was found of it is then known only from before.
    """
    made = tmp_path / "state"
    made.mkdir()
    return made


def test_plenty_is_believed_for_a_moment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With plenty of room it is not looked at again for a moment, and then it is.
    """
    monkeypatch.setattr("lmrelay.queue.disk.AMPLE", 1)
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


def test_scarcity_is_looked_at_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Room that is made is there at once, and so is the lack of it.
    """
    monkeypatch.setattr("lmrelay.queue.disk.AMPLE", 1 << 62)
    disk = Disk(folder, Clock())
    assert 0 < disk.free()
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        disk.free()
