"""
lmrelay under test, as its users run it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from bench.machine import commit
from bench.peers.place import DOMAIN, SINK
from tests.e2e.daemon import LISTENERS, Relay, lmrelay, make_certificate, settings_for

__all__ = ["DOMAIN", "SINK", "Lmrelay"]


@define(eq=False)
class Lmrelay:
    """
    lmrelay as its users run it: AUTH PLAIN in both cases, recipients by MX, SQLite on the disk. C{tables} are laid over
    its configuration.
    """

    folder: Path
    dns: tuple[str, int]
    sink_port: int
    name: str = "lmrelay"
    relay: Relay | None = None
    tables: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    share: float = 1.0
    easier: Sequence[str] = ()

    def start(self) -> None:
        """
        A fresh folder, and a daemon in it that is ready.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "projects.d").mkdir(parents=True)
        make_certificate(self.folder)
        settings = settings_for(self.folder, self.dns, self.sink_port, LISTENERS, **self.tables)
        for short in ("retry", "timeouts"):  # as the tests want them, not as they are by default
            del settings["delivery"][short]
        relay = Relay(self.folder, settings)
        relay.write()
        added = lmrelay(relay.config, "project", "add", "bench", "--domain", DOMAIN)
        if added.returncode != 0:
            raise RuntimeError(added.stderr)
        relay.token = relay.command("token", "create", "bench", "--name", "bench")["token"]
        self.relay = relay
        relay.start(afresh=True)

    def options(self, security: str) -> list[str]:
        """
        What the load generator needs to get in.
        """
        if self.relay is None:
            raise RuntimeError("not started")
        tls = ["--tls", "starttls"] if security == "starttls" else []
        return ["-p", str(self.relay.port(security)), "--auth", f"lettermint:{self.relay.token}", *tls]

    @property
    def pid(self) -> int:
        """
        The root of its process tree.
        """
        if self.relay is None:
            raise RuntimeError("not started")
        return self.relay.pid

    def flush(self) -> None:
        """
        As an operator does it after an outage.
        """
        if self.relay is None:
            raise RuntimeError("not started")
        self.relay.command("queue", "retry", "--all")

    def stop(self) -> None:
        """
        As an operator ends it.
        """
        if self.relay is not None:
            relay, self.relay = self.relay, None
            # If it has ended by itself, that has been told.
            if relay.process is not None and relay.process.poll() is None:
                relay.stop()

    def version(self) -> str:
        """
        For the report.
        """
        return f"lmrelay, commit {commit()}"
