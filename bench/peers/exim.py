"""
Exim with its default of delivering each message at once by a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import define

from bench.held import clear
from bench.peers.peer import Peer
from bench.peers.place import PASSWORD, SINK, USER, give, installed_version, system_files, why_not
from tests.e2e.world import free_port

CONFIGURATION = """
primary_hostname = relay.bench.test
exim_path = {program}
exim_user = Debian-exim
exim_group = Debian-exim
never_users = root
deliver_drop_privilege = true
keep_environment = LD_PRELOAD : BENCH_SYNCS
spool_directory = {folder}/spool
split_spool_directory = true
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/spool/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
smtp_accept_max = 1200
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
smtp_connect_backlog = 512
queue_run_max = {runners}
host_lookup =
message_size_limit = 50M
tls_advertise_hosts = *
tls_certificate = {folder}/relay.crt
tls_privatekey = {folder}/relay.key
acl_smtp_rcpt = check_rcpt
acl_smtp_data = accept
begin acl
check_rcpt:
  accept authenticated = *
  accept hosts = 127.0.0.0/8
  deny
begin routers
relay:
  driver = manualroute
  domains = *
  transport = remote
  route_list = * {sink}
  self = send
begin transports
remote:
  driver = smtp
  port = {sink_port}
  allow_localhost = true
  hosts_avoid_tls = *
  hosts_try_dane =
  hosts_try_prdr =
begin retry
* * F,2h,15m; G,16h,1h,1.5; F,4d,6h
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
  server_advertise_condition = ${{if def:tls_in_cipher}}
"""

RUNNERS = 4
"""
Queue runners at once in a flush.
"""


@define(eq=False)
class Exim(Peer):
    """
    Its queue is split into folders, and no session is put off to a queue run.
    """

    name: str = "exim"
    share: float = 0.3
    easier: Sequence[str] = ("a fixed next hop, no DNS",)

    @property
    def program(self) -> Path:
        """
        The installed binary.
        """
        return self.installed / "root/usr/sbin/exim4"

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
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            give(self.folder / name, "Debian-exim")
        give(self.folder / "relay.key", "Debian-exim")
        self.port = free_port()
        configuration = self.folder / "exim.conf"
        configuration.write_text(
            CONFIGURATION.format(
                program=self.program,
                folder=self.folder,
                port=self.port,
                sink=SINK,
                sink_port=self.sink_port,
                runners=RUNNERS,
                user=USER,
                password=PASSWORD,
            )
        )
        configuration.chmod(0o644)  # Exim refuses one that others may write
        command: list[str | Path] = [self.program, "-C", configuration, "-bdf", "-q30m"]
        self._hold(command, system_files(self.folder / "system"))

    def flush(self) -> None:
        """
        Each runner delivers one message after the other; those that another has, it passes over.
        """
        for _ in range(RUNNERS):
            self._running().run(f"exec {self.program} -C {self.folder}/exim.conf -qff")

    def version(self) -> str:
        """
        See L{bench.server.Server}.
        """
        return f"Exim {installed_version(self.installed, self.name)}"
