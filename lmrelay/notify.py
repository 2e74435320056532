"""
What systemd wants to hear of a C{Type=notify} service (sd_notify(3)).

Without C{NOTIFY_SOCKET} in the environment nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from attrs import frozen
from twisted.logger import Logger

log = Logger()


@frozen
class Supervisor:
    """
    The one who started us. C{address} None: nobody who listens.

    C{watchdog} is after how many seconds of silence it gives us up, None for never.
    """

    address: str | None = None
    watchdog: float | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Supervisor:
        """
        As the environment describes it; C{pid} is ours, for the watchdog may be meant for another.
        """
        microseconds = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog = int(microseconds) / 1e6 if meant and microseconds.isdigit() else None
        return cls(environ.get("NOTIFY_SOCKET") or None, watchdog or None)

    def ready(self) -> None:
        """
        Started, or reloaded.
        """
        self._send("READY=1")

    def reloading(self) -> None:
        """
        A reload begins; L{ready} ends it.
        """
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """
        The shutdown begins.
        """
        self._send("STOPPING=1")

    def alive(self) -> None:
        """
        The watchdog's food.
        """
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """
        One line for C{systemctl status}.
        """
        self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        if self.address is None:
            return
        # An abstract socket is written with an @ in the environment.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
                wire.setblocking(False)
                wire.sendto(os.fsencode(message), os.fsencode(address))
        except OSError as error:
            log.warn("supervisor cannot be told", reason=str(error))
