"""
OpenSMTPD, with the delays between its connections taken out, as a relay to one host would have it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define

from bench.held import clear
from bench.peers.peer import Peer
from bench.peers.place import PASSWORD, SINK, USER, identity, installed_version, system_files, why_not
from tests.e2e.world import free_port

LIMITS = ("host", "connector", "route", "source", "domain", "relay")
DELAYS = (*(f"conn-delay-{name}" for name in LIMITS), "reconn-delay-route", "session-transaction-delay")

CONFIGURATION = """
pki own cert "{folder}/rsa.crt"
pki own key "{folder}/rsa.key"
table users file:{folder}/users
smtp max-message-size "50M"
smtp limit max-mails 1000000
smtp limit max-rcpt 1000
mta limit session-mail-max 1000
{limits}
listen on 127.0.0.1 port {port} hostname relay.bench.test tls pki own auth-optional <users>
action "out" relay host smtp+notls://{sink}:{sink_port}
match from any for any action "out"
"""


@define(eq=False)
class OpenSMTPD(Peer):
    """
    It never syncs its queue to the disk. Its key is RSA: what Debian 12 has fails with others.
    """

    name: str = "opensmtpd"
    share: float = 0.1
    easier: Sequence[str] = ("no sync before its 250", "a fixed next hop, no DNS")

    @property
    def program(self) -> Path:
        """
        The installed binary.
        """
        return self.installed / "root/usr/sbin/smtpd"

    @property
    def control(self) -> Path:
        """
        Its operator's command.
        """
        return self.installed / "root/usr/sbin/smtpctl"

    def why_not(self) -> str:
        """
        Why it cannot run here; empty if it can.
        """
        return why_not(self.program)

    def start(self) -> None:
        """
        See L{bench.server.Server}.
        """
        clear(self.folder)
        make_rsa(self.folder)
        hashed = subprocess.run(["openssl", "passwd", "-1", PASSWORD], capture_output=True, text=True, check=True)
        (self.folder / "users").write_text(f"{USER} {hashed.stdout.strip()}\n")
        self.port = free_port()
        limits = [f"mta limit max-conn-per-{name} 50" for name in LIMITS] + [f"mta limit {name} 0" for name in DELAYS]
        configuration = self.folder / "smtpd.conf"
        configuration.write_text(
            CONFIGURATION.format(
                folder=self.folder, port=self.port, sink=SINK, sink_port=self.sink_port, limits="\n".join(limits)
            )
        )
        binds = {**system_files(self.folder / "system"), **self._own_folders()}
        self._hold([self.program, "-d", "-f", configuration], binds)

    def _own_folders(self) -> Mapping[str, Path]:
        """
        What stands in the place of the folders that are compiled into it.
        """
        for name, mode in (("spool/smtpd", 0o711), ("spool/smtpd/offline", 0o770), ("lib/opensmtpd/empty", 0o755)):
            path = self.folder / name
            path.mkdir(parents=True)
            path.chmod(mode)
        (self.folder / "run").mkdir()
        (self.folder / "spool/smtpd/offline").chmod(0o770)
        os.chown(self.folder / "spool/smtpd/offline", 0, identity("opensmtpq"))
        return {"/var/spool": self.folder / "spool", "/var/lib": self.folder / "lib", "/run": self.folder / "run"}

    def flush(self) -> None:
        """
        See L{bench.server.Server}.
        """
        self._running().run(f"exec {self.control} schedule all")

    def version(self) -> str:
        """
        See L{bench.server.Server}.
        """
        return f"OpenSMTPD {installed_version(self.installed, self.name)}"


def make_rsa(folder: Path) -> None:
    """
    A certificate with an RSA key of 2,048 bits, self-signed.
    """
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=relay.test"]
    command += ["-keyout", str(folder / "rsa.key"), "-out", str(folder / "rsa.crt")]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "rsa.key").chmod(0o600)
