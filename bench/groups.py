"""
A control group of the kernel for each server under test, which knows the time that all its processes ever used.

/proc does not: a process that ignores the end of its children, as Exim's do, never has their time added to its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "lmrelay-bench-"

ROOTS = (Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup"))
"""
Where groups that count time may be: the first two of version 1, the last of version 2.
"""


def group_of(pid: int) -> Path | None:
    """
    The group of ours that it is in.
    """
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        name = line.rpartition("/")[2]
        if name.startswith(PREFIX):
            return next((root / name for root in ROOTS if (root / name).is_dir()), None)
    return None


def seconds(group: Path) -> float:
    """
    User and system time of all that is and was in it.
    """
    counted = group / "cpuacct.usage"
    if counted.exists():
        return int(counted.read_text()) / 1e9
    words = (group / "cpu.stat").read_text().split()
    return int(words[words.index("usage_usec") + 1]) / 1e6


def counts_time(root: Path) -> bool:
    """
    Would a group made there count it?
    """
    return (root / "cpuacct.usage").exists() or (root / "cgroup.controllers").exists()


@contextlib.contextmanager
def grouped(root: int, processes: Iterator[int]) -> Iterator[None]:
    """
    While this is entered, these processes, whose root is the first, and all that they start are a group; where the
    system does not let us, nothing is changed.
    """
    place = next((place for place in ROOTS if counts_time(place)), None)
    if place is None or not os.access(place, os.W_OK):
        yield
        return
    group = place / f"{PREFIX}{root}"
    group.mkdir(exist_ok=True)
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            (group / "cgroup.procs").write_text(str(pid))
    try:
        yield
    finally:
        remove(group)


def remove(group: Path) -> None:
    """
    Once it is empty; what is left of it after a while is not worth an error.
    """
    for _ in range(100):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
