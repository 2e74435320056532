"""
C{lmrelay quickstart} as its user has it: start, paste, see it arrive, Ctrl-C, start again.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import define, field

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-c", "from lmrelay.cli.main import main; main()", "quickstart"]
PATIENCE = 30.0
TRACEBACK = "Traceback (most recent call last)"

pytestmark = pytest.mark.live


@define(eq=False)
class Terminal:
    """
    A quickstart that runs, and what it has printed.
    """

    process: subprocess.Popen[str]
    printed: list[str] = field(factory=list)
    _lines: queue.SimpleQueue[str | None] = field(factory=queue.SimpleQueue)

    def __attrs_post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, *words: str) -> str:
        """
        The next line that has all the words.
        """
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line with {words} in:\n" + "\n".join(self.printed))
            self.printed.append(line)
            if all(word in line for word in words):
                return line

    def interrupt(self) -> int:
        """
        Ctrl-C, and the exit code.
        """
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE)
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.printed.append(line)
        return code


@contextmanager
def quickstart(folder: Path, *arguments: str) -> Iterator[Terminal]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*COMMAND, "--dir", str(folder), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Terminal(process)
        finally:
            process.kill()


def paste(command: str) -> None:
    """
    Do what the user does with a printed command.
    """
    command = command.strip().replace("python3 ", f"{sys.executable} ", 1)
    subprocess.run(command, shell=True, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)


def test_a_message_is_seen_to_arrive(tmp_path: Path) -> None:
    """
    The printed commands work as they are; the way of each message is shown to its end; Ctrl-C ends it with 0;
    the next start has the same token.
    """
    with quickstart(tmp_path / "try", "--ports", "0,0,0") as terminal:
        by_swaks = terminal.wait_for("  swaks --server")
        by_python = terminal.wait_for("  python3 -c")
        token = terminal.wait_for("password").rpartition(" ")[2]
        terminal.wait_for("Ctrl-C")
        paste(by_python)
        terminal.wait_for("accepted")
        arrived = terminal.wait_for("arrived", "you@anywhere.example")
        assert "TLSv1.3" in arrived
        assert '"Hello from lmrelay"' in arrived
        terminal.wait_for("delivered", "you@anywhere.example")
        if shutil.which("swaks"):
            paste(by_swaks)
            terminal.wait_for("arrived", "TLSv1.3")
            terminal.wait_for("delivered")
        assert terminal.interrupt() == 0
        assert TRACEBACK not in "\n".join(terminal.printed)
    assert (tmp_path / "try" / "token").read_text().strip() == token

    with quickstart(tmp_path / "try", "--ports", "0,0,0") as terminal:
        by_python = terminal.wait_for("  python3 -c")
        assert token in by_python
        terminal.wait_for("Ctrl-C")
        paste(by_python)
        terminal.wait_for("arrived")
        assert terminal.interrupt() == 0


def test_a_reload(tmp_path: Path) -> None:
    """
    After the operator's commands a SIGHUP has their changes taken over, as they say, and a configuration that is
    wrong is refused with its errors; ports and stand-in stay, and the message's way is shown as before.
    """
    folder = tmp_path / "try"
    with quickstart(folder, "--ports", "0,0,0") as terminal:
        by_python = terminal.wait_for("  python3 -c")
        by_route = by_python.replace("X-LM-Tag: quickstart", "X-Lettermint-Route: receipts")
        terminal.wait_for("Ctrl-C")
        with pytest.raises(subprocess.CalledProcessError):
            paste(by_route)
        terminal.wait_for("content refused", 'Route "receipts" does not exist')
        command = [*COMMAND[:-1], "--config", str(folder / "lmrelay.toml"), "route", "add", "demo", "receipts"]
        subprocess.run(command, check=True, timeout=PATIENCE, env={**os.environ, "PYTHONPATH": str(ROOT)})
        terminal.process.send_signal(signal.SIGHUP)
        terminal.wait_for("reloaded")
        paste(by_route)
        terminal.wait_for("message accepted", "route=receipts")
        terminal.wait_for("arrived", "you@anywhere.example")
        (folder / "projects.d" / "demo.toml").write_text("colour = 1")
        terminal.process.send_signal(signal.SIGHUP)
        terminal.wait_for("configuration refused", "demo.toml", "colour")
        paste(by_python)
        terminal.wait_for("delivered")
        assert terminal.interrupt() == 0


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """
    A line for each port that is taken, exit code 1, and nothing was made.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with quickstart(tmp_path / "try", "--ports", f"{port},0,0") as terminal:
            terminal.wait_for(f"port {port} on 127.0.0.1 is in use")
            assert terminal.process.wait(PATIENCE) == 1
    assert not (tmp_path / "try").exists()
