"""
The sink and the load generator: programs in C, so that they cost little beside what they measure.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from attrs import define

HERE = Path(__file__).resolve().parent


def build() -> None:
    """
    Compile both where needed; the process ends where that cannot be done.
    """
    try:
        done = subprocess.run(["make", "--silent", "-C", HERE], check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        sys.exit("the load generator and the sink cannot be compiled: apt-get install gcc make libssl-dev")


@define(eq=False)
class Sink:
    """
    Counts every message by its id, so that a lost or doubled one is seen. Use it as a context. C{chunking}: it offers
    that, as the servers of the large receivers do.
    """

    address: str
    port: int
    control: int
    chunking: bool = True
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Sink:
        listen, control = f"{self.address}:{self.port}", f"127.0.0.1:{self.control}"
        command = [str(HERE / "bin/smtpsink"), "--listen", listen, "--control", control]
        command += ["--chunking"] if self.chunking else []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        if self.process.stdout is None or self.process.stdout.readline() != b"listening\n":
            raise RuntimeError("the sink did not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)

    def ask(self, line: str) -> str:
        """
        One control command and its answer.
        """
        with socket.create_connection(("127.0.0.1", self.control), timeout=20) as control:
            control.sendall(line.encode() + b"\n")
            return control.makefile().readline().strip()

    def figures(self) -> dict[str, Any]:
        """
        What it has counted in this run.
        """
        counted: dict[str, Any] = json.loads(self.ask("stat+"))
        return counted


def load(options: list[str], messages: int, limit: float) -> dict[str, Any]:
    """
    Send that many messages; the answer is what the generator measured.
    """
    command = [
        str(HERE / "bin/smtpload"),
        "-H",
        "127.0.0.1",
        "-m",
        str(messages),
        "--time",
        str(limit),
        "--retry",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit + 30, check=False)
    if not done.stdout:
        raise RuntimeError(f"the load generator failed: {done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured
