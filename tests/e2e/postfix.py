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
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
local_recipient_maps =
alias_maps =
"""

MASTER = """
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
"""
What any Postfix here needs; the place of its own C{smtpd} comes besides.
"""

RECEIVER = """
myhostname = {host}
default_transport = discard:
smtpd_tls_security_level = encrypt
smtpd_tls_mandatory_protocols = >={protocol}, <={protocol}
smtpd_tls_chain_files = {folder}/chain.pem
"""


def why_no_postfix() -> str:
    """
    Why it cannot run here; empty if it can.
    """
    if not Path("/usr/sbin/postfix").exists():
        return "Postfix is not installed"
    return "" if os.geteuid() == 0 else "Postfix starts only as root"


@define(eq=False)
class Master:
    """
    A Postfix in a folder of its own, which must not be there yet.
    """

    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, main: str, master: str) -> None:
        """
        With these lines in its C{main.cf} and C{master.cf}, besides L{MAIN} and L{MASTER}.
        """
        for name in ("etc", "spool", "data", "log"):
            (self.folder / name).mkdir(parents=True)
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        (self.folder / "etc/main.cf").write_text(MAIN.format(folder=self.folder) + main)
        (self.folder / "etc/master.cf").write_text(MASTER + master)
        with (self.folder / "out").open("wb") as out:
            self.process = subprocess.Popen(
                ["/usr/sbin/postfix", "-c", self.folder / "etc", "start-fg"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def said(self) -> str:
        """
        All that it printed and logged.
        """
        files = [self.folder / name for name in ("out", "log/maillog")]
        return " ".join(file.read_text() for file in files if file.exists())

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


def greets(address: str, port: int) -> bool:
    """
    Does a server send its banner there?
    """
    try:
        with socket.create_connection((address, port), timeout=2) as client:
            return client.recv(3) == b"220"
    except OSError:
        return False


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
    _master: Master = field(init=False)

    def __enter__(self) -> Postfix:
        # Not below pytest's own, into which nobody else may look: Postfix runs under other users.
        folder = Path(tempfile.mkdtemp(prefix="lmrelay-postfix-"))
        folder.chmod(0o755)
        pem = self.chain[0].key_pem + b"".join(one.certificate_pem for one in self.chain)
        (folder / "chain.pem").write_bytes(pem)
        self._master = Master(folder)
        main = RECEIVER.format(folder=folder, host=self.host, protocol=self.protocol)
        self._master.start(main, f"{self.address}:{self.port} inet n - n - - smtpd\n")
        try:
            until(lambda: greets(self.address, self.port), "greeting of Postfix")
        except AssertionError as error:
            said = self._master.said()
            self.stop()
            raise AssertionError(f"{error}: {said}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """
        End it, and remove its folder.
        """
        self._master.stop()
        shutil.rmtree(self._master.folder, ignore_errors=True)
