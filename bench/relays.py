"""
The servers under test: each is set up in a folder of its own, started, and stopped by its process id.

Each listens on loopback in clear and with STARTTLS, and delivers everything to one sink.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from attrs import define, field

from tests.e2e.daemon import LISTENERS, Relay, lmrelay, make_certificate, settings_for

SINK = "127.0.0.2"
DOMAIN = "bench.test"


@define(eq=False)
class Lmrelay:
    """
    lmrelay as its users run it: AUTH PLAIN in both cases, recipients by MX, SQLite on the disk.
    """

    folder: Path
    dns: tuple[str, int]
    sink_port: int
    name: str = "lmrelay"
    relay: Relay | None = None

    def start(self) -> None:
        """
        A fresh folder, and a daemon in it that is ready.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "projects.d").mkdir(parents=True)
        make_certificate(self.folder)
        relay = Relay(self.folder, settings_for(self.folder, self.dns, self.sink_port, LISTENERS))
        relay.write()
        added = lmrelay(relay.config, "project", "add", "bench", "--domain", DOMAIN)
        if added.returncode != 0:
            raise RuntimeError(added.stderr)
        relay.token = relay.command("token", "create", "bench", "--name", "bench")["token"]
        self.relay = relay.start()

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


MAIN = """
compatibility_level = 3.6
import_environment = MAIL_CONFIG LD_PRELOAD BENCH_SYNCS
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}
myhostname = relay.bench.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
relayhost = [{sink}]:{sink_port}
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
local_recipient_maps =
alias_maps =
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

MASTER = """
127.0.0.1:{port} inet n - n - 1200 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
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
    process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def why_not() -> str:
        """
        Why it cannot run here; empty if it can.
        """
        if not Path("/usr/sbin/postfix").exists():
            return "Postfix is not installed"
        return "" if os.geteuid() == 0 else "Postfix starts only as root"

    def start(self) -> None:
        """
        A fresh configuration and queue in its folder, and a master that answers.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("etc", "spool", "data", "log"):
            (self.folder / name).mkdir(parents=True)
        make_certificate(self.folder)
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (self.folder / "etc/main.cf").write_text(MAIN.format(folder=self.folder, sink=SINK, sink_port=self.sink_port))
        (self.folder / "etc/master.cf").write_text(MASTER.format(port=self.port))
        with (self.folder / "out").open("wb") as out:
            self.process = subprocess.Popen(
                ["/usr/sbin/postfix", "-c", self.folder / "etc", "start-fg"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        end = time.monotonic() + 30
        while not greets(self.port):
            if time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"Postfix did not start: {(self.folder / 'out').read_text()}")
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
        if self.process is None:
            raise RuntimeError("not started")
        return self.process.pid

    def stop(self) -> None:
        """
        End the master, which ends its children. C{start-fg} is a script whose child the master is: a signal
        to the script alone would leave it running.
        """
        if self.process is None:
            return
        process, self.process = self.process, None
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.folder / "spool/pid/master.pid").read_text()), signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def version(self) -> str:
        """
        For the report.
        """
        asked = subprocess.run(["postconf", "-d", "-h", "mail_version"], capture_output=True, text=True, check=False)
        return f"Postfix {asked.stdout.strip()}"


def greets(port: int) -> bool:
    """
    Does a server send its banner there?
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            return client.recv(3) == b"220"
    except OSError:
        return False
