"""
Published TLS policies, live: DANE against Postfix, MTA-STS with a policy host that is a real web server.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from lmrelay.testing.certificates import Authority, Certificate
from tests.e2e.daemon import Relay
from tests.e2e.mail import send
from tests.e2e.postfix import Postfix, why_no_postfix
from tests.e2e.story import await_states, query
from tests.e2e.world import World

AUTHORITY = Authority.make()
FOREIGN = Authority.make("nobody's CA")
HTTPS = 443


@pytest.fixture(scope="module")
def strict(world: World) -> Iterator[Relay]:
    """
    A relay that trusts the tests' CA, and believes its name server.
    """
    relay = world.trusting(AUTHORITY).start()
    yield relay
    assert relay.stop() == 0


def context_of(certificate: Certificate, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.write(folder))
    return context


def anchor(certificate: Certificate) -> bytes:
    """
    DANE-TA, the whole certificate, SHA-256.
    """
    return b"\x02\x00\x01" + hashlib.sha256(certificate.certificate.public_bytes(Encoding.DER)).digest()


def outcome(relay: Relay, to: str, state: str) -> dict[str, Any]:
    last: dict[str, Any] = await_states(relay, send(relay, to), {to: state})[to]["last"]
    return last


@pytest.mark.skipif(bool(why_no_postfix()), reason=why_no_postfix())
@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
def test_postfix(world: World, strict: Relay, protocol: str) -> None:
    """
    Postfix, whose issuer a TLSA record names, gets mail by it over either version of TLS; under another record none.
    """
    domain = f"{protocol.replace('.', '').lower()}.example"
    host, address = f"mx.{domain}", "127.79.0.1"
    world.names.mx(domain, 10, host)
    world.names.host(host, address)
    world.names.signed.add(domain)
    world.names.tlsa(f"_{world.port}._tcp.{host}", anchor(FOREIGN.root))
    chain = (FOREIGN.issue(host), FOREIGN.root)
    with Postfix(address, world.port, host, protocol, chain):
        attempt = outcome(strict, f"someone@{domain}", "delivered")
        assert (protocol, True, "dane") == tuple(attempt["tls"][key] for key in ("version", "verified", "policy"))
        other = f"other.{domain}"
        world.names.mx(other, 10, f"mx.{other}")
        world.names.host(f"mx.{other}", address)
        world.names.tlsa(f"_{world.port}._tcp.mx.{other}", anchor(AUTHORITY.root))
        refused = outcome(strict, f"someone@{other}", "deferred")
        assert "TLS is required (dane)" in refused["text"]


class PolicyHost(BaseHTTPRequestHandler):
    """
    Every domain's policy names its mx1 alone.
    """

    def do_GET(self) -> None:
        domain = str(self.headers["Host"]).removeprefix("mta-sts.")
        body = f"version: STSv1\r\nmode: enforce\r\nmx: mx1.{domain}\r\nmax_age: 86400\r\n".encode()
        found = self.path == "/.well-known/mta-sts.txt"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """
        Not on the terminal.
        """


@pytest.fixture
def policy_host(tmp_path: Path) -> Iterator[tuple[str, ThreadingHTTPServer]]:
    """
    Its address; where the port of HTTPS cannot be had there is none.
    """
    address = "127.79.0.2"
    try:
        server = ThreadingHTTPServer((address, HTTPS), PolicyHost)
    except OSError as error:
        pytest.skip(f"port {HTTPS} at {address}: {error}")
    context = context_of(AUTHORITY.issue("mta-sts.sts.example"), tmp_path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    serving = threading.Thread(target=server.serve_forever, name="policy host", daemon=True)
    serving.start()
    yield address, server
    server.shutdown()
    serving.join(5)
    server.server_close()


def test_mta_sts(world: World, strict: Relay, policy_host: tuple[str, ThreadingHTTPServer], tmp_path: Path) -> None:
    """
    The policy is fetched and kept; it holds while its host is gone, and over kill -9 of the relay.
    """
    domain = "sts.example"
    (tmp_path / "mx").mkdir()
    (tmp_path / "other").mkdir()
    good = world.receiver(tls=context_of(AUTHORITY.issue(f"mx1.{domain}"), tmp_path / "mx"))
    other = world.receiver(tls=context_of(AUTHORITY.issue(f"mx0.{domain}"), tmp_path / "other"))
    for preference, receiver in ((0, other), (1, good)):
        world.names.mx(domain, preference, f"mx{preference}.{domain}")
        world.names.host(f"mx{preference}.{domain}", receiver.address)
    world.names.txt(f"_mta-sts.{domain}", "v=STSv1; id=1;")
    world.names.host(f"mta-sts.{domain}", policy_host[0])
    attempt = outcome(strict, f"someone@{domain}", "delivered")
    assert (f"mx1.{domain}", True, "mta-sts") == (attempt["host"], attempt["tls"]["verified"], attempt["tls"]["policy"])
    assert [("1", "enforce")] == query(strict, "SELECT id, mode FROM sts_policy WHERE domain = ?", domain)
    policy_host[1].shutdown()
    world.names.records.pop((f"_mta-sts.{domain}", 16))
    good.tls = context_of(FOREIGN.issue(f"mx1.{domain}"), tmp_path / "mx")
    strict.kill()
    strict.start()
    refused = outcome(strict, f"someone@{domain}", "deferred")
    assert "TLS is required (mta-sts), but the certificate's issuer is not known" in refused["text"]
    assert other.connections == 0
