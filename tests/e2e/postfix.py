"""
Postfix as a receiver: in a folder of its own, at one loopback address; it takes all mail and throws it away.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from attrs import define, field

from lmrelay.testing.certificates import Certificate
from tests.e2e.story import until

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/maillog
maillog_file_prefixes = {folder}
myhostname = {host}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
default_transport = discard:
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
local_recipient_maps =
alias_maps =
smtpd_tls_security_level = encrypt
smtpd_tls_mandatory_protocols = >={protocol}, <={protocol}
smtpd_tls_chain_files = {folder}/chain.pem
"""

MASTER = """
{address}:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def why_no_postfix() -> str:
    """
    Why it cannot run here; empty if it can.
    """
    if not Path("/usr/sbin/postfix").exists():
        return "Postfix is not installed"
    return "" if os.geteuid() == 0 else "Postfix starts only as root"


@define(eq=False)
class Postfix:
    """
    Use it as a context. It takes mail over TLS of that C{protocol} alone (C{TLSv1.2}), and shows C{chain}.
    """

    address: str
    port: int
    host: str
    protocol: str
    chain: tuple[Certificate, ...]
    folder: Path = field(init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Postfix:
        # Not below pytest's own, into which nobody else may look: Postfix runs under other users.
        self.folder = Path(tempfile.mkdtemp(prefix="lmrelay-postfix-"))
        self.folder.chmod(0o755)
        for name in ("etc", "spool", "data", "log"):
            (self.folder / name).mkdir(parents=True)
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        settings = {name: getattr(self, name) for name in ("folder", "address", "port", "host", "protocol")}
        (self.folder / "etc/main.cf").write_text(MAIN.format(**settings))
        (self.folder / "etc/master.cf").write_text(MASTER.format(**settings))
        pem = self.chain[0].key_pem + b"".join(one.certificate_pem for one in self.chain)
        (self.folder / "chain.pem").write_bytes(pem)
        with (self.folder / "out").open("wb") as out:
            self.process = subprocess.Popen(
                ["/usr/sbin/postfix", "-c", self.folder / "etc", "start-fg"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            until(self._greets, "greeting of Postfix")
        except AssertionError as error:
            told = [
                (self.folder / name).read_text() for name in ("out", "log/maillog") if (self.folder / name).exists()
            ]
            self.stop()
            raise AssertionError(f"{error}: {' '.join(told)}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), timeout=2) as client:
                return client.recv(3) == b"220"
        except OSError:
            return False

    def stop(self) -> None:
        """
        End the master, which ends its children (C{start-fg} is a script, the master its child); remove the folder.
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
        shutil.rmtree(self.folder)
