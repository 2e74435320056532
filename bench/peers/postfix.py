"""
Postfix, tuned as a relay. AUTH is by Cyrus SASL with a database in its folder, where the tool that fills it is there.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

from bench.held import START, Unable, clear
from bench.peers.place import PASSWORD, SINK, USER
from tests.e2e.postfix import Master, greets, why_no_postfix
from tests.e2e.world import free_port

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

AUTH = """
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = bench.test
smtpd_tls_auth_only = yes
"""

SASL = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {folder}/etc/sasl/db
mech_list: PLAIN
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
    Connections to the next hop are kept, and it may use as many as lmrelay and more.
    """

    folder: Path
    installed: Path
    sink_port: int
    name: str = "postfix"
    share: float = 1.0
    port: int = field(default=0)
    _master: Master | None = None

    def why_not(self) -> str:
        """
        Why it cannot run here; empty if it can.
        """
        return why_no_postfix()

    @property
    def easier(self) -> Sequence[str]:
        """
        See L{bench.server.Server}.
        """
        never = () if self._saslpasswd() else ("no AUTH with TLS either, saslpasswd2 is not installed",)
        return ("a fixed next hop, no DNS", *never)

    def _saslpasswd(self) -> str | None:
        own = self.installed / "root/usr/sbin/saslpasswd2"
        return str(own) if own.exists() else shutil.which("saslpasswd2")

    def start(self) -> None:
        """
        See L{bench.server.Server}.
        """
        clear(self.folder)
        self.port = free_port()
        main = RELAY.format(folder=self.folder, sink=SINK, sink_port=self.sink_port)
        self._master = Master(self.folder)
        self._master.start(main + (AUTH if self._saslpasswd() else ""), SERVICES.format(port=self.port))
        self._add_user()  # before the first connection: no smtpd has looked yet
        end = time.monotonic() + START
        while not greets("127.0.0.1", self.port):
            if time.monotonic() > end:
                said = self._master.said()
                self.stop()
                raise Unable(f"it did not start: {said}")
            time.sleep(0.1)

    def _add_user(self) -> None:
        """
        The place is Debian's: C{sasl} beside C{main.cf}.
        """
        program = self._saslpasswd()
        if program is None:
            return
        (self.folder / "etc/sasl").mkdir()
        (self.folder / "etc/sasl/smtpd.conf").write_text(SASL.format(folder=self.folder))
        database = self.folder / "etc/sasl/db"
        command: list[str | Path] = [program, "-p", "-c", "-f", database, "-u", "bench.test", USER]
        done = subprocess.run(command, input=PASSWORD, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unable(f"saslpasswd2: {done.stderr.strip()}")
        shutil.chown(database, "postfix")

    def options(self, security: str) -> list[str]:
        """
        See L{bench.server.Server}.
        """
        if security == "plain":
            return ["-p", str(self.port)]
        auth = ["--auth", f"{USER}:{PASSWORD}"] if self._saslpasswd() else []
        return ["-p", str(self.port), "--tls", "starttls", *auth]

    @property
    def pid(self) -> int:
        """
        The script whose child the master is.
        """
        if self._master is None or self._master.process is None:
            raise RuntimeError("not started")
        return self._master.process.pid

    def flush(self) -> None:
        """
        See L{bench.server.Server}.
        """
        subprocess.run(["/usr/sbin/postqueue", "-c", self.folder / "etc", "-f"], check=True)

    def stop(self) -> None:
        """
        See L{Master.stop}.
        """
        if self._master is not None:
            self._master.stop()

    def version(self) -> str:
        """
        See L{bench.server.Server}.
        """
        asked = subprocess.run(["postconf", "-d", "-h", "mail_version"], capture_output=True, text=True, check=False)
        return f"Postfix {asked.stdout.strip()}"
