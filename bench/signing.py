"""
How long signatures hold up a process, and what a message costs with and without keys: C{python -m bench.signing}.

All of it runs as in the relay, on one thread: a head of ten fields is signed, a body is hashed block by block, and a
message of 4 KiB goes from its content to what the queue takes. Times are of the thread's CPU: what others do on the
machine meanwhile is no part of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lmrelay.config.values import Config, DkimKey, Limits, Server
from lmrelay.config.words import Security
from lmrelay.inbound.services import Client, Services
from lmrelay.inbound.submission import make_submission, open_content
from lmrelay.inbound.transaction import begin, make_terms
from lmrelay.mail.address import Address
from lmrelay.mail.dkim import BodyHash, hash_body
from lmrelay.mail.envelope import Recipient
from lmrelay.mail.head import Head
from lmrelay.mail.signing import Signers
from lmrelay.smtp.commands import Mail
from lmrelay.smtp.data import DataReader
from tests.inbound.doubles import Relay, Submitter

BLOCK = 64 * 1024
"""
Octets that a session takes from its socket at most at a time.
"""

HEAD = b"".join(
    name + b": " + value + b"\r\n"
    for name, value in (
        (b"From", b"Acme Shop <shop@acme.example>"),
        (b"To", b"Bob <bob@b.example>"),
        (b"Subject", b"Your order 4711 is on its way"),
        (b"Date", b"Sat, 21 Nov 2026 12:00:00 +0000"),
        (b"Message-ID", b"<20261121120000.4711@acme.example>"),
        (b"Reply-To", b"help@acme.example"),
        (b"MIME-Version", b"1.0"),
        (b"Content-Type", b"text/html; charset=utf-8"),
        (b"Content-Transfer-Encoding", b"8bit"),
        (b"X-Mailer", b"shop 3.1"),
    )
)
TEXT = b"Dear Bob, your order of two  blue chairs left our house today.\r\n"
BODIES = {
    "text": TEXT * (BLOCK // len(TEXT)),
    "html": b"        <tr>\r\n            <td>chair</td>\t<td>  2</td>\r\n        </tr>\r\n" * (BLOCK // 75),
    "base 64": (b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAx\r\n") * (BLOCK // 74),
    "spaces": b" " * BLOCK,
    "line endings": b"\r\n" * (BLOCK // 2),
    "space, tab": b" \t" * (BLOCK // 2),
}
CONTENT = HEAD + b"\r\n" + TEXT * (4096 // len(TEXT)) + b".\r\n"


def main() -> None:
    """
    Print the figures.
    """
    rsa = _key("rsa", generate_private_key(65537, 2048))
    ed25519 = _key("ed25519", Ed25519PrivateKey.generate())
    head, hashed = Head.parse(HEAD), hash_body(TEXT)
    print("signing, one stroke (us)")
    for name, keys in (("RSA-2048", (rsa,)), ("Ed25519", (ed25519,)), ("both", (rsa, ed25519)), ("none", ())):
        signers = Signers(_constant({"acme.example": keys} if keys else {}))
        _tell(name, lambda signers=signers: signers.sign(head, "acme.example", hashed, 0.0), 5000)  # type: ignore[misc]
    other = _key("rsa", generate_private_key(65537, 2048))
    _tell(
        "first of a key", lambda: Signers(_constant({"a.example": (other,)})).sign(head, "a.example", hashed, 0.0), 200
    )
    print(f"hashing a block of {BLOCK // 1024} KiB (us)")
    for name, body in BODIES.items():
        hashing = BodyHash()
        _tell(name, lambda body=body, hashing=hashing: hashing.update(body), 500)  # type: ignore[misc]
    print("from content to queue, 4 KiB (us)")
    for name, keys in (("without keys", ()), ("RSA-2048", (rsa,)), ("both", (rsa, ed25519))):
        services = make_services({"acme.example": keys} if keys else {})
        _tell(name, lambda services=services: accept(services), 3000)  # type: ignore[misc]


def _key(algorithm: str, key: object) -> DkimKey:
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    return DkimKey("acme.example", algorithm, algorithm, private)


def _constant(keys: Mapping[str, tuple[DkimKey, ...]]) -> Callable[[], Mapping[str, tuple[DkimKey, ...]]]:
    return lambda: keys


def make_services(keys: Mapping[str, tuple[DkimKey, ...]]) -> Services:
    """
    A relay whose domains have these keys.
    """
    config = Config(Path("/etc/lmrelay.toml"), Server("relay.example"), limits=Limits(), dkim=keys)
    return Relay(config=config).services


def accept(services: Services) -> None:
    """
    One message, from its content to what the queue takes.
    """
    submitter = Submitter()
    terms = make_terms(submitter.project(), services.config)
    transaction = begin(Mail(Address("shop", "acme.example")), terms, services.holdings)
    transaction.add(Recipient(Address("bob", "b.example")))
    content = open_content(services, transaction, submitter, DataReader())
    content.feed(CONTENT)
    content.finish()
    client = Client("192.0.2.1", "587", Security.STARTTLS, False, "app", True, "TLSv1.3", "AES")
    prepared = content.prepared
    if prepared is None:
        raise RuntimeError(content.refusal)
    make_submission(services, client, transaction, submitter, content, prepared)


def _tell(name: str, work: Callable[[], object], times: int) -> None:
    took = []
    for _ in range(times):
        start = time.thread_time_ns()
        work()
        took.append((time.thread_time_ns() - start) / 1000)
    took.sort()
    last = took[int(times * 0.999)]
    print(f"  {name:14} median {statistics.median(took):6.0f}   99.9 % {last:6.0f}   max {took[-1]:6.0f}")


if __name__ == "__main__":
    main()
