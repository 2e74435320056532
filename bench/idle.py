"""
What sessions cost that are open and say nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

from attrs import define, field

from bench.held import Unable
from bench.peers.place import LOADERS
from bench.processes import memory_mib
from bench.server import Server
from bench.sink import HERE

SESSIONS = 1000

OPENING = 30.0
"""
Seconds that opening them may take.
"""

AT_ONCE = 10
"""
How many are being opened at a time: a server with a short listen queue would lose some else.
"""


@define(eq=False)
class Open:
    """
    Sessions that are open while this is entered; C{up} is how many could be opened.
    """

    options: list[str]
    sessions: int
    up: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Open:
        began = time.monotonic()
        command = [str(HERE / "bin/smtpload"), "-H", "127.0.0.1", *self.options, "--idle", str(self.sessions)]
        command += ["--hold", str(OPENING * 2), "-s", str(AT_ONCE), "--src", "-".join(LOADERS), "--max-errors", "200"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        said = b""
        if self._process.stdout is None:
            raise RuntimeError("no pipe")
        os.set_blocking(self._process.stdout.fileno(), False)
        while b"READY" not in said and self._process.poll() is None and time.monotonic() < began + OPENING:
            said += self._process.stdout.read() or b""
            time.sleep(0.05)
        self.up = int(said.split()[1]) if b"READY" in said else 0
        self.seconds = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), True)
            self.up = self.up or json.loads(self._process.stdout.read().splitlines()[-1])["idle_up"]
        self._process.wait()


def measure_idle(server: Server, sessions: int) -> dict[str, Any]:
    """
    Memory without sessions, with so many in clear, and with as many logged in over TLS (where it can).
    """
    row: dict[str, Any] = {"sessions": sessions, "none_mib": round(memory_mib(server.pid), 1)}
    for kind in ("plain", "starttls"):
        try:
            options = server.options(kind)
        except Unable:
            continue
        with Open(options, sessions) as opened:
            time.sleep(2)
            held = memory_mib(server.pid)
        row[f"{kind}_up"] = opened.up
        if opened.up == sessions:
            row[f"{kind}_mib"] = round(held, 1)
            row[f"{kind}_each_kib"] = round((held - row["none_mib"]) * 1024 / sessions, 1)
        time.sleep(3)
    return row
