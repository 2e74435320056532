"""
The servers under test: each is set up in a folder of its own, started, and stopped by its process id.

Each listens on loopback in clear and with STARTTLS, and delivers everything to one sink.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.e2e.daemon import LISTENERS, Relay, lmrelay, make_certificate, settings_for
from tests.e2e.postfix import Master, greets, why_no_postfix
from tests.e2e.world import free_port

SINK = "127.0.0.2"
DOMAIN = "bench.test"


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

    def start(self) -> None:
        """
        A fresh folder, and a daemon in it that is ready.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "projects.d").mkdir(parents=True)
        make_certificate(self.folder)
        relay = Relay(self.folder, settings_for(self.folder, self.dns, self.sink_port, LISTENERS, **self.tables))
        relay.write()
        added = lmrelay(relay.config, "project", "add", "bench", "--domain", DOMAIN)
        if added.returncode != 0:
            raise RuntimeError(added.stderr)
        relay.token = relay.command("token", "create", "bench", "--name", "bench")["token"]
        self.relay = relay.start(afresh=True)

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

    def stop(self) -> None:
        """
        As an operator ends it.
        """
        if self.relay is not None:
            relay, self.relay = self.relay, None
            relay.stop()

    def version(self) -> str:
        """
        For the report.
        """
        import lmrelay as package

        return f"lmrelay {getattr(package, '__version__', '')}".strip()


RELAY = """
import_environment = MAIL_CONFIG LD_PRELOAD BENCH_SYNCS
myhostname = relay.bench.test
relayhost = [{sink}]:{sink_port}
smtp_dns_support_level = disabled
message_size_limit = 52428800
in_flow_delay = 0
default_process_limit = 200
initial_destination_concurrency = 20
default_destination_concurrency_limit = 50
qmgr_message_active_limit = 50000
qmgr_message_recipient_limit = 100000
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtp_connection_cache_destinations = {sink}
smtpd_tls_security_level = may
smtpd_tls_cert_file = {folder}/relay.crt
smtpd_tls_key_file = {folder}/relay.key
"""

SERVICES = """
127.0.0.1:{port} inet n - n - 1200 smtpd
pickup unix n - n 60 1 pickup
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
scache unix - - n - 1 scache
"""


@define(eq=False)
class Postfix:
    """
    Postfix tuned as a relay: no AUTH (easier than what lmrelay does), a fixed next hop, connections kept.
    """

    folder: Path
    sink_port: int
    name: str = "postfix"
    port: int = field(default=0)
    _master: Master | None = None

    @staticmethod
    def why_not() -> str:
        """
        Why it cannot run here; empty if it can.
        """
        return why_no_postfix()

    def start(self) -> None:
        """
        A fresh configuration and queue in its folder, and a master that answers.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        make_certificate(self.folder)
        self.port = free_port()
        self._master = Master(self.folder)
        main = RELAY.format(folder=self.folder, sink=SINK, sink_port=self.sink_port)
        self._master.start(main, SERVICES.format(port=self.port))
        end = time.monotonic() + 30
        while not greets("127.0.0.1", self.port):
            if time.monotonic() > end:
                said = self._master.said()
                self.stop()
                raise RuntimeError(f"Postfix did not start: {said}")
            time.sleep(0.1)

    def options(self, security: str) -> list[str]:
        """
        What the load generator needs to get in.
        """
        return ["-p", str(self.port), *(["--tls", "starttls"] if security == "starttls" else [])]

    @property
    def pid(self) -> int:
        """
        The master process.
        """
        if self._master is None or self._master.process is None:
            raise RuntimeError("not started")
        return self._master.process.pid

    def stop(self) -> None:
        """
        See L{Master.stop}.
        """
        if self._master is not None:
            self._master.stop()

    def version(self) -> str:
        """
        For the report.
        """
        asked = subprocess.run(["postconf", "-d", "-h", "mail_version"], capture_output=True, text=True, check=False)
        return f"Postfix {asked.stdout.strip()}"
