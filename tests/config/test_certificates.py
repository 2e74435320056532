"""
The server's certificate and key, as an operator gets them wrong.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448, rsa

from lmrelay.config.certificates import check_certificate, find_doubtful, find_expired
from lmrelay.config.values import ServerTls
from lmrelay.testing.certificates import Authority

AUTHORITY = Authority.make()
NOW = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)


def day(year: int, month: int, day: int) -> datetime.datetime:
    return datetime.datetime(year, month, day)


def tls(folder: Path, *names: str, **dates: datetime.datetime) -> ServerTls:
    return ServerTls(*AUTHORITY.issue(*(names or ("relay.example",)), **dates).write(folder))


def complaints(tls: ServerTls) -> list[tuple[str, str]]:
    return [(problem.key, problem.reason) for problem in check_certificate(tls, "f")]


def test_good(tmp_path: Path) -> None:
    """
    Nothing is wrong with a certificate and its key, nor with none at all.
    """
    good = tls(tmp_path)
    assert ([], [], [], []) == (
        complaints(good),
        complaints(ServerTls()),
        find_expired(good, "f", NOW),
        find_doubtful(good, "f", "relay.example", NOW),
    )


def test_chain(tmp_path: Path) -> None:
    """
    The first certificate of the file is the server's; others may follow, and expire on their own.
    """
    pair = tls(tmp_path)
    assert pair.certificate is not None
    pair.certificate.write_bytes(pair.certificate.read_bytes() + AUTHORITY.pem)
    assert [] == complaints(pair)
    old = AUTHORITY.issue("old CA", not_after=day(2021, 1, 1))
    pair.certificate.write_bytes(pair.certificate.read_bytes() + old.certificate_pem)
    assert ["f: tls.certificate: " + f"{pair.certificate}: CN=old CA expired on 2021-01-01"] == [
        str(problem) for problem in find_expired(pair, "f", NOW)
    ]


def test_another_key(tmp_path: Path) -> None:
    """
    A key of another certificate is named as that.
    """
    first = tls(tmp_path)
    _, key = AUTHORITY.issue("relay.example").write(tmp_path, "other")
    found = complaints(ServerTls(first.certificate, key))
    assert [("tls.private_key", f"{key} does not match the first certificate in {first.certificate}")] == found


@pytest.mark.parametrize(
    "octets", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_nonsense(tmp_path: Path, octets: bytes) -> None:
    """
    A file that is neither is named for each of its uses.
    """
    path = tmp_path / "x.pem"
    path.write_bytes(octets)
    assert [
        ("tls.certificate", f"{path} is not a PEM file of certificates"),
        ("tls.private_key", f"{path} is not a PEM file of a private key"),
    ] == complaints(ServerTls(path, path))


def test_gone(tmp_path: Path) -> None:
    """
    A file that is not there is named with the system's words.
    """
    path = tmp_path / "gone"
    assert ["No such file or directory"] * 2 == [
        reason.partition("cannot be read: ")[2] for _, reason in complaints(ServerTls(path, path))
    ]


def test_unusable_keys(tmp_path: Path) -> None:
    """
    A passphrase that nobody could give, and a kind of key that clients do not take.
    """
    path = tmp_path / "key.pem"
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.PKCS8
    locked = serialization.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    assert f"{path} is protected by a passphrase" in complaints(ServerTls(None, path))[0][1]
    odd = ed448.Ed448PrivateKey.generate()
    path.write_bytes(odd.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    assert f"{path} is no RSA, elliptic curve or Ed25519 key" == complaints(ServerTls(None, path))[0][1]


def test_dates(tmp_path: Path) -> None:
    """
    Expired and not yet valid are refusals of clients; what ends within two weeks deserves a look.
    """
    soon = tls(tmp_path, not_after=day(2026, 12, 3))
    assert [] == find_expired(soon, "f", NOW)
    assert "expires on 2026-12-03" in find_doubtful(soon, "f", "relay.example", NOW)[0].reason
    expired = tls(tmp_path, not_after=day(2026, 11, 19))
    assert "expired on 2026-11-19" in find_expired(expired, "f", NOW)[0].reason
    early = tls(tmp_path, not_before=day(2026, 11, 21))
    assert "is not valid before 2026-11-21" in find_expired(early, "f", NOW)[0].reason


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        (["relay.example"], True),
        (["other.example", "RELAY.example"], True),
        (["*.example"], True),
        (["example"], False),
        (["a.relay.example"], False),
        (["*.relay.example"], False),
        (["192.0.2.1"], False),
    ],
)
def test_names(tmp_path: Path, names: list[str], fits: bool) -> None:
    """
    The certificate is for the server's name, or that deserves a look.
    """
    pair = tls(tmp_path, *names)
    found = [problem.reason for problem in find_doubtful(pair, "f", "relay.example", NOW)]
    assert ([] if fits else [f"{pair.certificate} is not for the name relay.example"]) == found


def test_key_for_everybody(tmp_path: Path) -> None:
    """
    A key that every user of the machine can read deserves a look.
    """
    pair = tls(tmp_path)
    assert pair.private_key is not None
    pair.private_key.chmod(0o644)
    assert [f"{pair.private_key} is open to every user of this machine"] == [
        problem.reason for problem in find_doubtful(pair, "f", "relay.example", NOW)
    ]
