"""
What systemd is told.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lmrelay.notify import Supervisor


def test_nobody_listens() -> None:
    """
    Without a socket in the environment nothing is sent and nothing fails.
    """
    supervisor = Supervisor.from_environment({}, 1)
    supervisor.ready()
    assert supervisor.watchdog is None


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_told(tmp_path: Path, abstract: bool) -> None:
    """
    Each state is one datagram, to a path and to an abstract socket alike.
    """
    name = f"@lmrelay-{tmp_path.name}-{id(tmp_path)}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind("\0" + name[1:] if abstract else name)
        wire.settimeout(5)
        supervisor = Supervisor.from_environment({"NOTIFY_SOCKET": name}, 1)
        supervisor.ready()
        assert wire.recv(100) == b"READY=1"
        supervisor.reloading()
        assert wire.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        supervisor.alive()
        assert wire.recv(100) == b"WATCHDOG=1"
        supervisor.status("3 listeners")
        assert wire.recv(100) == b"STATUS=3 listeners"
        supervisor.stopping()
        assert wire.recv(100) == b"STOPPING=1"


def test_gone_supervisor(tmp_path: Path) -> None:
    """
    A socket that is gone is logged, never raised.
    """
    Supervisor(str(tmp_path / "gone")).ready()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog(environ: dict[str, str], expected: float | None) -> None:
    """
    The watchdog is ours only if it names our process or nobody.
    """
    assert Supervisor.from_environment(environ, 7).watchdog == expected
