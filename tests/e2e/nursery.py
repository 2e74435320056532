"""
Starts daemons by fork from a process that has loaded what a daemon loads: that is most of what a start costs.

Run as a program it reads a line of JSON for each daemon to start (L{Birth}) and prints C{pid -} for it, and later
C{pid code} when it ends, as C{subprocess} counts codes. What it starts is C{twistd} as it is run from a shell: nothing
but modules is there before. It ends with the one who started it.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from attrs import define, field

LOADED = (
    "alembic.command",
    "lmrelay.archive",
    "lmrelay.config.load",
    "lmrelay.dns.resolver",
    "lmrelay.events.teller",
    "lmrelay.logs",
    "lmrelay.outbound.courier",
    "lmrelay.outbound.dispatch",
    "lmrelay.outbound.sts_fetch",
    "lmrelay.outbound.tls_reports",
    "lmrelay.projects.tokens",
    "lmrelay.queue.service",
    "lmrelay.smtp.commands",
    "lmrelay.web.service",
    "twisted.internet.epollreactor",
    "twisted.scripts.twistd",
)
"""
All that a daemon needs but what imports the reactor, which must be each daemon's own.
"""


class Birth(NamedTuple):
    """
    Arguments of twistd, where it runs, and the file that it prints to.
    """

    arguments: Sequence[str]
    folder: str
    log: str


@define(eq=False)
class Child:
    """
    A daemon, with what is needed of C{subprocess.Popen}.
    """

    _nursery: Nursery
    pid: int

    def poll(self) -> int | None:
        """
        Its exit code, or None while it runs.
        """
        return self._nursery.ended(self.pid, 0)

    def wait(self, timeout: float) -> int:
        """
        Its exit code.

        @raise subprocess.TimeoutExpired: it still runs
        """
        code = self._nursery.ended(self.pid, timeout)
        if code is None:
            raise subprocess.TimeoutExpired("twistd", timeout)
        return code

    def kill(self) -> None:
        """
        kill -9.
        """
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


@define(eq=False)
class Nursery:
    """
    That process, begun when it is first needed.
    """

    _environment: Mapping[str, str]
    _process: subprocess.Popen[bytes] | None = None
    _codes: dict[int, int] = field(factory=dict)
    _partial: bytes = b""
    _lock: threading.Lock = field(factory=threading.Lock)

    def start(self, birth: Birth) -> Child:
        """
        A new daemon.
        """
        with self._lock:
            if self._process is None:
                # -P: what lies beside this file is not to be found by short names.
                command = [sys.executable, "-P", "-u", __file__]
                self._process = subprocess.Popen(
                    command, cwd="/", env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
                )
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(birth).encode() + b"\n")
            born: list[int] = []
            while not born:
                born += [pid for pid, code in self._read(None) if code is None]
            return Child(self, born[0])

    def ended(self, pid: int, timeout: float) -> int | None:
        """
        Its exit code, if it ends in time.
        """
        end = time.monotonic() + timeout
        while True:
            with self._lock:
                left = end - time.monotonic()
                self._read(max(0.0, min(left, 0.05)))
                if pid in self._codes or left <= 0:
                    return self._codes.get(pid)

    def _read(self, timeout: float | None) -> list[tuple[int, int | None]]:
        """
        What it says, after so long at most.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            return []
        octets = os.read(self._process.stdout.fileno(), 65536)
        if not octets:
            raise AssertionError("the nursery of daemons has ended")
        *lines, self._partial = (self._partial + octets).split(b"\n")
        said = [(int(pid), None if code == b"-" else int(code)) for pid, code in map(bytes.split, lines)]
        for pid, code in said:
            if code is None:
                # The system gives numbers again: one that ended long ago may have had this one.
                self._codes.pop(pid, None)
            else:
                self._codes[pid] = code
        return said

    def close(self) -> None:
        """
        End it, and with it those of its daemons that still run.
        """
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None


def serve() -> None:
    """
    Start daemons until nobody is there to ask for one. In a daemon this is its whole life.
    """
    for name in LOADED:
        importlib.import_module(name)
    if "twisted.internet.reactor" in sys.modules:
        raise RuntimeError("daemons would share one reactor")
    waking, awake = os.pipe()
    os.set_blocking(awake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(awake)
    running: set[int] = set()
    while True:
        ready = select.select([0, waking], [], [])[0]
        if waking in ready:
            os.read(waking, 4096)
            _tell_ends(running)
        if 0 in ready:
            line = _read_line()
            if not line:
                break
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(waking)
                os.close(awake)
                return _live(Birth(*json.loads(line)))
            running.add(pid)
            print(pid, "-")
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    return None


def _read_line() -> bytes:
    # By octets: what a buffer holds nobody would wake us for.
    line = b""
    while (octet := os.read(0, 1)) not in (b"", b"\n"):
        line += octet
    return line


def _tell_ends(running: set[int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        running.discard(pid)
        print(pid, os.waitstatus_to_exitcode(status))


def _live(birth: Birth) -> None:
    """
    Be that daemon.
    """
    for path, flags, number in ((os.devnull, os.O_RDONLY, 0), (birth.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 1)):
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)
    os.chdir(birth.folder)
    sys.argv = ["-c", *birth.arguments]
    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    serve()
