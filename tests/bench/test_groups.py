"""
The time of a server is read as the kernel writes it, in either version of its groups.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.groups import counts_time, group_of, seconds


def test_version_1(tmp_path: Path) -> None:
    """
    Nanoseconds, in a file of their own.
    """
    (tmp_path / "cpuacct.usage").write_text("2500000000\n")
    assert 2.5 == seconds(tmp_path)
    assert counts_time(tmp_path)


def test_version_2(tmp_path: Path) -> None:
    """
    Microseconds, among others.
    """
    (tmp_path / "cgroup.controllers").write_text("")
    (tmp_path / "cpu.stat").write_text("usage_usec 1250000\nuser_usec 1000000\nsystem_usec 250000\n")
    assert 1.25 == seconds(tmp_path)
    assert counts_time(tmp_path)


def test_no_groups(tmp_path: Path) -> None:
    """
    A folder that is no group counts nothing, and this process is in none of ours.
    """
    assert not counts_time(tmp_path)
    assert group_of(os.getpid()) is None
