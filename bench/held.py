"""
A server that is run as one tree of processes (C{src/hold.c}), with files of its own in the place of the system's.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define, field

from bench.sink import HERE
from tests.e2e.daemon import make_certificate
from tests.e2e.postfix import greets

START = 30.0
"""
Seconds that a server may take until it greets.
"""

PATIENCE = 20.0
"""
Seconds until all its processes have ended; what is left after ten is killed.
"""


class Unable(Exception):
    """
    A server cannot do this here; the message says why.
    """


@define(eq=False)
class Held:
    """
    C{binds}: what its processes, and nobody else's, see at a path of the system (path: file or folder).
    """

    command: Sequence[str | Path]
    binds: Mapping[str, Path]
    out: Path
    process: subprocess.Popen[str] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """
        The root of its process tree.
        """
        if self.process is None:
            raise RuntimeError("not started")
        return self.process.pid

    def start(self, address: str, port: int) -> None:
        """
        Start, and wait until it greets there.
        """
        binds = [word for place, own in self.binds.items() for word in ("--bind", str(own), place)]
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [HERE / "bin/hold", *binds, "--", *self.command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                text=True,
            )
        end = time.monotonic() + START
        while not greets(address, port):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise Unable(f"it did not start: {self.out.read_text(errors='replace')[-300:].strip()}")
            time.sleep(0.1)

    def run(self, line: str) -> None:
        """
        One more command for the shell beside it, whose processes are counted as the server's.
        """
        if self.process is None or self.process.stdin is None:
            raise RuntimeError("not started")
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """
        End it and all that it started.
        """
        if self.process is not None:
            process, self.process = self.process, None
            with contextlib.suppress(BrokenPipeError):
                process.communicate(timeout=PATIENCE)


def clear(folder: Path) -> None:
    """
    Make the folder anew, with a certificate in it that the servers' users may read, and its key.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    make_certificate(folder)
