"""
What a server and all its children used, read from /proc.
"""

from __future__ import annotations

import os
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from bench import groups

LIBRARY = Path(__file__).resolve().parent / "bin/syncs.so"

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """
    The fields of /proc/PID/stat from the third on (the second may have spaces in it).
    """
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> Iterator[int]:
    """
    The process and all its living descendants.
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except OSError:
                continue  # it has just ended
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])


def cpu_seconds(root: int) -> float:
    """
    User and system time of the tree: all that it ever used if it is a L{group <bench.groups>}, else what /proc
    knows of the living and of those whom a living one has reaped.
    """
    if group := groups.group_of(root):
        return groups.seconds(group)
    total = 0
    for pid in tree(root):
        try:
            total += sum(map(int, _stat(pid)[11:15]))
        except OSError:
            continue
    return total / TICKS


def memory_mib(root: int) -> float:
    """
    Proportional set size of the tree: shared pages counted once.
    """
    total = 0
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


@define(eq=False)
class Syncs:
    """
    How often all that is started while this is entered asked the system to have something on the disk.
    """

    _file: Path = field(init=False)

    def __enter__(self) -> Syncs:
        descriptor, name = tempfile.mkstemp(prefix="bench-syncs-")
        self._file = Path(name)
        os.write(descriptor, bytes(8))
        os.fchmod(descriptor, 0o666)  # Postfix's processes do not run as root
        os.close(descriptor)
        os.environ.update(LD_PRELOAD=str(LIBRARY), BENCH_SYNCS=name)
        return self

    def __exit__(self, *_: object) -> None:
        del os.environ["LD_PRELOAD"], os.environ["BENCH_SYNCS"]
        self._file.unlink()

    def count(self) -> int:
        """
        So many by now.
        """
        return int(struct.unpack("=Q", self._file.read_bytes())[0])


@define(eq=False)
class Height:
    """
    The most memory that the tree had while this is entered, in MiB, looked up every second.
    """

    root: int
    mib: float = field(default=0.0, init=False)
    _over: threading.Event = field(factory=threading.Event, init=False)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Height:
        self._thread = threading.Thread(target=self._watch, name="height of memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            self.mib = max(self.mib, memory_mib(self.root))
