"""
Which name servers to ask: those of the settings, else those of the system.

C{resolv.conf} is looked at again when it changed, at most every few seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from attrs import define, field

from lmrelay.config.values import NameServer
from lmrelay.interfaces import ISettings

LOOK_AGAIN = 5.0
"""
Seconds.
"""

DEFAULT = (NameServer("127.0.0.1"),)
"""
What C{resolv.conf(5)} says of a file without a name server.
"""


def parse_resolv_conf(text: str) -> tuple[NameServer, ...]:
    """
    The C{nameserver} lines, the first three as the system's resolver has it.
    """
    return tuple(_servers(text))[:3]


def _servers(text: str) -> Iterator[NameServer]:
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            ip_address(words[1])
        except ValueError:
            continue
        yield NameServer(words[1])


@define(eq=False)
class Servers:
    """
    The servers to ask now, in order.
    """

    settings: ISettings
    path: Path = Path("/etc/resolv.conf")
    _known: tuple[NameServer, ...] = field(default=DEFAULT, init=False)
    _changed: int = field(default=-1, init=False)
    _looked: float | None = field(default=None, init=False)

    def current(self, now: float) -> tuple[NameServer, ...]:
        """
        @param now: seconds of a monotonic clock
        """
        configured = self.settings.config.dns.servers
        if configured:
            return configured
        if self._looked is None or now - self._looked >= LOOK_AGAIN:
            self._looked = now
            self._look()
        return self._known

    def _look(self) -> None:
        try:
            changed = self.path.stat().st_mtime_ns
            if changed != self._changed:
                self._known = parse_resolv_conf(self.path.read_text("utf-8", "replace")) or DEFAULT
                self._changed = changed
        except OSError:
            # Without the file, or while it is being replaced, what was known goes on.
            return
