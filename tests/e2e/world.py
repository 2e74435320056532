"""
The internet of a test: a name server, receivers at loopback addresses of their own, and the relays between.
"""

from __future__ import annotations

import itertools
import shutil
import socket
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import define, field

from lmrelay.testing.certificates import Authority
from tests.e2e.daemon import DOMAIN, PROJECT, Relay, make_certificate, settings_for
from tests.e2e.names import NameServer
from tests.e2e.receiver import Receiver


@define(eq=False)
class World:
    """
    Receivers share one port, as MX hosts do, and differ in their addresses.
    """

    folder: Path
    names: NameServer
    port: int
    _stack: ExitStack
    _numbers: itertools.count[int] = field(factory=itertools.count)
    _minted: Relay | None = None

    def receiver(self, *, ipv6: bool = False, **options: Any) -> Receiver:
        """
        A new MX host at an address that no other has.
        """
        number = next(self._numbers)
        address = "::1" if ipv6 else f"127.77.{number // 250}.{number % 250 + 1}"
        return self._stack.enter_context(Receiver(address, self.port, **options))

    def domain(self, *receivers: Receiver) -> str:
        """
        A new recipient domain whose MX hosts are these, in order of preference.
        """
        domain = f"d{next(self._numbers)}.example"
        for preference, receiver in enumerate(receivers, 1):
            host = f"mx{preference}.{domain}"
            self.names.mx(domain, preference * 10, host)
            self.names.host(host, receiver.address)
        return domain

    def closed_address(self) -> str:
        """
        An address where nothing listens: connections are refused.
        """
        return f"127.78.0.{next(self._numbers) % 250 + 1}"

    def server_tls(self) -> ssl.SSLContext:
        """
        A receiver's TLS, with a certificate that nobody trusts.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "relay.crt", self.folder / "relay.key")
        return context

    def relay(self, **tables: Any) -> Relay:
        """
        A relay in a folder of its own, with one project and its token; not started, ended with the world.
        """
        folder = self.folder / f"relay{next(self._numbers)}"
        minted = self.minted()
        shutil.copytree(minted.folder, folder, ignore=shutil.ignore_patterns("log"))
        settings = settings_for(folder, self.names.address, self.port, **tables)
        relay = Relay(folder, settings, minted.token, minted.token_id)
        relay.write()
        self._stack.callback(relay.kill)
        return relay

    def trusting(self, authority: Authority) -> Relay:
        """
        A relay that trusts this CA and believes its name server, and tries again after hours. Not started.
        """
        ca_file = self.folder / f"ca{next(self._numbers)}.pem"
        ca_file.write_bytes(authority.pem)
        relay = self.relay(delivery={"ca_file": str(ca_file), "retry": ["2h"]})
        relay.settings["dns"]["validating"] = True
        return relay

    def minted(self) -> Relay:
        """
        A folder with certificate, key file, project and token, made once by the operator's command.
        """
        if self._minted is None:
            folder = self.folder / "minted"
            folder.mkdir()
            make_certificate(folder)
            relay = Relay(folder, settings_for(folder, self.names.address, self.port))
            relay.write()
            (folder / "projects.d").mkdir()
            relay.ask("project", "add", PROJECT, "--domain", DOMAIN)
            created: Mapping[str, Any] = relay.ask("token", "create", PROJECT, "--name", "e2e")
            relay.token, relay.token_id = created["token"], created["id"]
            self._minted = relay
        return self._minted

    def close(self) -> None:
        """
        End every relay and receiver.
        """
        self._stack.close()


def open_world(folder: Path) -> World:
    """
    A new world; close it.
    """
    stack = ExitStack()
    make_certificate(folder, "mx.test")
    names = stack.enter_context(NameServer())
    return World(folder, names, free_port(), stack)


def free_port() -> int:
    """
    A port that nothing uses on any loopback address of this machine now.
    """
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))  # every address, so that it is free on each of them; nothing is accepted
        return int(probe.getsockname()[1])
