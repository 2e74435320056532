"""
Haraka with a process for each core, which takes mail and delivers it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define

from bench.held import clear
from bench.peers.peer import Peer
from bench.peers.place import PASSWORD, SINK, USER, installed_version, system_files, why_not
from tests.e2e.world import free_port

FILES: Mapping[str, str] = {
    "smtp.ini": "listen=127.0.0.1:{port}\nnodes={cores}\ndaemonize=false\n",
    "plugins": "tls\nauth/flat_file\nrelay\nnext_hop\n",
    "relay.ini": "[relay]\nacl=true\n",
    "relay_acl_allow": "127.0.0.0/8\n",
    "me": "relay.bench.test\n",
    "log.ini": "[main]\nformat=default\nlevel=NOTICE\ntimestamps=true\n",
    "tls.ini": "key={folder}/relay.key\ncert={folder}/relay.crt\n",
    "auth_flat_file.ini": "[core]\nmethods=PLAIN\nconstrain_sender=false\n[users]\n{user}={password}\n",
    "outbound.ini": "concurrency_max=100\nenable_tls=false\nlocal_mx_ok=true\ninet_prefer=v4\n",
}

NEXT_HOP = """
exports.hook_get_mx = function (next, hmail, domain) {{
  next(OK, [{{ priority: 0, exchange: '{sink}', port: {sink_port} }}])
}}
"""

KEEP_PID = 'echo $$ > "$0" && exec "$@"'


@define(eq=False)
class Haraka(Peer):
    """
    Its retries, like lmrelay's, begin after a minute.
    """

    name: str = "haraka"
    share: float = 0.4
    easier: Sequence[str] = ("a fixed next hop, no DNS",)

    @property
    def application(self) -> Path:
        """
        Its installed package.
        """
        return self.installed / "haraka/node_modules/Haraka"

    def why_not(self) -> str:
        """
        Why it cannot run here; empty if it can.
        """
        if shutil.which("node") is None:
            return "node is not installed"
        return why_not(self.application)

    def start(self) -> None:
        """
        See L{bench.server.Server}.
        """
        clear(self.folder)
        for name in ("config", "plugins", "queue"):
            (self.folder / name).mkdir()
        self.port = free_port()
        values = {
            "port": self.port,
            "cores": os.cpu_count(),
            "folder": self.folder,
            "user": USER,
            "password": PASSWORD,
            "sink": SINK,
            "sink_port": self.sink_port,
        }
        for name, text in FILES.items():
            (self.folder / "config" / name).write_text(text.format(**values))
        connection = (self.application / "config/connection.ini").read_text()
        (self.folder / "config/connection.ini").write_text(connection.replace("bytes=26214400", "bytes=52428800"))
        (self.folder / "plugins/next_hop.js").write_text(NEXT_HOP.format(**values))
        command: list[str | Path] = ["node", self.application / "bin/haraka", "-c", self.folder]
        self._hold(["sh", "-c", KEEP_PID, self.folder / "pid", *command], system_files(self.folder / "system"))

    def flush(self) -> None:
        """
        See L{bench.server.Server}.
        """
        self._running().run(f"kill -HUP $(cat {self.folder}/pid)")

    def version(self) -> str:
        """
        See L{bench.server.Server}.
        """
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
        return f"Haraka {installed_version(self.installed, self.name)}, node {node}"
