"""
What the peers have in common that run as one tree of processes, with files of their own in the place of the system's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define, field

from bench.held import Held
from bench.peers.place import PASSWORD, USER


@define(eq=False)
class Peer:
    """
    One of them, which listens at C{port}.
    """

    folder: Path
    installed: Path
    sink_port: int
    port: int = field(default=0, init=False)
    _held: Held | None = field(default=None, init=False)

    def _hold(self, command: Sequence[str | Path], binds: Mapping[str, Path]) -> None:
        """
        Start it; see L{Held}.
        """
        self._held = Held(command, binds, self.folder / "out")
        self._held.start("127.0.0.1", self.port)

    def options(self, security: str) -> list[str]:
        """
        See L{bench.server.Server}.
        """
        secure = ["--tls", "starttls", "--auth", f"{USER}:{PASSWORD}"] if security == "starttls" else []
        return ["-p", str(self.port), *secure]

    def _running(self) -> Held:
        if self._held is None:
            raise RuntimeError("not started")
        return self._held

    @property
    def pid(self) -> int:
        """
        See L{bench.server.Server}.
        """
        return self._running().pid

    def stop(self) -> None:
        """
        See L{bench.server.Server}.
        """
        if self._held is not None:
            self._held.stop()
