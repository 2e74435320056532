"""
DANE: TLSA records, what they match, and the chains and names that a trust anchor allows, as tables.
"""

from __future__ import annotations

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.outbound.dane import DaneRule, TlsaRecord, choose_strongest, find_key, make_rule, parse_tlsa
from lmrelay.outbound.tls import Level, Shown
from lmrelay.testing.certificates import NOT_AFTER, NOT_BEFORE, Authority, Certificate

HOST = "mx.b.example"
DOMAINS = frozenset({"b.example"})
AUTHORITY = Authority.make()
OTHER = Authority.make("another CA")
SAME_NAME = Authority.make()
GOOD = AUTHORITY.issue(HOST)
SHA256, SHA512 = (lambda octets: hashlib.sha256(octets).digest()), (lambda octets: hashlib.sha512(octets).digest())


def der(certificate: Certificate) -> bytes:
    return certificate.certificate.public_bytes(Encoding.DER)


def key(certificate: Certificate) -> bytes:
    return certificate.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def tlsa(usage: int, selector: int, matching: int, certificate: Certificate) -> bytes:
    """
    The RDATA of a record for that certificate.
    """
    selected = key(certificate) if selector else der(certificate)
    digest = {0: bytes, 1: SHA256, 2: SHA512}[matching]
    return bytes([usage, selector, matching]) + digest(selected)


def shown(*chain: Certificate) -> Shown:
    return Shown("TLSv1.3", "AES", "the certificate's issuer is not known", tuple(map(der, chain)))


def doubt(records: list[bytes], *chain: Certificate, name: str = HOST, domains: frozenset[str] = DOMAINS) -> str:
    return make_rule(name, records).doubt(shown(*chain), domains)


COMBINATIONS = [(selector, matching) for selector in (0, 1) for matching in (0, 1, 2)]


@pytest.mark.parametrize(("selector", "matching"), COMBINATIONS)
def test_end_entity(selector: int, matching: int) -> None:
    """
    DANE-EE pins the host's own certificate or key; neither its names nor its dates nor its issuer count.
    """
    records = [tlsa(3, selector, matching, GOOD)]
    assert "" == doubt(records, GOOD)
    assert "" == doubt(records, GOOD, AUTHORITY.root, name="else.example", domains=frozenset())
    assert "the certificate matches no TLSA record" == doubt(records, AUTHORITY.issue(HOST), GOOD)
    old = OTHER.issue("x.example", not_after=datetime.datetime(2021, 1, 1))
    assert "" == doubt([tlsa(3, selector, matching, old)], old)


@pytest.mark.parametrize(("selector", "matching"), COMBINATIONS)
def test_trust_anchor(selector: int, matching: int) -> None:
    """
    DANE-TA pins an issuer in the chain that the host shows: its certificate has to come from there.
    """
    records = [tlsa(2, selector, matching, AUTHORITY.root)]
    assert "" == doubt(records, GOOD, AUTHORITY.root)
    assert "" == doubt(records, GOOD, OTHER.root, AUTHORITY.root)
    for chain in ((OTHER.issue(HOST), OTHER.root), (OTHER.issue(HOST), AUTHORITY.root), (SAME_NAME.issue(HOST),)):
        assert "" != doubt(records, *chain)


@pytest.mark.parametrize(("selector", "matching"), COMBINATIONS)
def test_trust_anchor_that_is_not_shown(selector: int, matching: int) -> None:
    """
    An anchor that the chain lacks is only known where the record holds all of it.
    """
    expected = (selector, matching) == (0, 0)
    assert expected == (doubt([tlsa(2, selector, matching, AUTHORITY.root)], GOOD) == "")


def test_forged_issuer() -> None:
    """
    To show the anchor beside a certificate of another issuer with the same name proves nothing.
    """
    forged = SAME_NAME.issue(HOST)
    for chain in ((forged, AUTHORITY.root), (forged, SAME_NAME.root, AUTHORITY.root)):
        assert "does not come from" in doubt([tlsa(2, 0, 1, AUTHORITY.root)], *chain)


def test_trust_anchor_is_no_end_entity() -> None:
    """
    The host's own certificate is none of its issuers, nor an issuer the host's.
    """
    root = OTHER.root
    assert "matches no TLSA record" in doubt([tlsa(2, 0, 1, GOOD)], GOOD)
    assert "matches no TLSA record" in doubt([tlsa(2, 0, 1, root)], root)
    assert "matches no TLSA record" in doubt([tlsa(3, 0, 1, AUTHORITY.root)], GOOD, AUTHORITY.root)


def test_dates_of_an_anchors_certificates() -> None:
    """
    Under DANE-TA dates count.
    """
    old = AUTHORITY.issue(HOST, not_after=datetime.datetime(2021, 1, 1))
    assert "expired" in doubt([tlsa(2, 1, 1, AUTHORITY.root)], old, AUTHORITY.root)


@pytest.mark.parametrize(
    ("names", "base", "domains", "good"),
    [
        ((HOST,), HOST, {"b.example"}, True),
        (("*.b.example",), HOST, {"b.example"}, True),
        (("*.b.example",), "a.mx.b.example", set(), False),
        (("b.example",), HOST, {"b.example"}, True),
        (("b.example",), HOST, {"b.example", "c.example"}, False),
        (("b.example", "c.example"), HOST, {"b.example", "c.example"}, True),
        ((HOST,), HOST, {"b.example", "c.example"}, True),
        (("c.example",), HOST, {"b.example"}, False),
        ((HOST,), "real.example", {"b.example"}, False),
        (("real.example",), "real.example", {"b.example"}, True),
        ((HOST,), HOST, set(), True),
        (("c.example",), HOST, set(), False),
    ],
)
def test_names(names: tuple[str, ...], base: str, domains: set[str], good: bool) -> None:
    """
    Under DANE-TA the certificate is for the name of the records, or for all the recipients' domains.
    """
    said = doubt(
        [tlsa(2, 0, 1, AUTHORITY.root)], AUTHORITY.issue(*names), AUTHORITY.root, name=base, domains=frozenset(domains)
    )
    assert (good, not good) == (said == "", "the certificate is for" in said)


def test_several_records() -> None:
    """
    One of them is enough: so keys are rolled over.
    """
    old, new = AUTHORITY.issue(HOST), AUTHORITY.issue("else.example")
    records = [tlsa(3, 1, 1, old), tlsa(3, 1, 1, new), tlsa(2, 0, 1, OTHER.root)]
    assert ["", "", ""] == [doubt(records, *chain) for chain in ((old,), (new,), (OTHER.issue(HOST), OTHER.root))]
    assert "" != doubt(records, AUTHORITY.issue(HOST))


@pytest.mark.parametrize("chain", [(), (b"",), (b"0\x00",), (der(GOOD)[:-1],), (der(GOOD), b"x")])
def test_chain_that_cannot_be_read(chain: tuple[bytes, ...]) -> None:
    """
    No certificate, or one that is broken, proves nothing.
    """
    rule = make_rule(HOST, [tlsa(3, 0, 1, GOOD)])
    assert "can be read" in rule.doubt(Shown("TLSv1.3", "AES", "", chain), DOMAINS)


@pytest.mark.parametrize(
    "rdata",
    [
        None,
        "3 1 1",
        b"",
        b"\x03\x01\x01",
        b"\x00\x01\x01" + bytes(32),
        b"\x01\x01\x01" + bytes(32),
        b"\x04\x01\x01" + bytes(32),
        b"\xff\x01\x01" + bytes(32),
        b"\x03\x02\x01" + bytes(32),
        b"\x03\xff\x01" + bytes(32),
        b"\x03\x01\x03" + bytes(32),
        b"\x03\x01\xff" + bytes(32),
        b"\x03\x01\x01" + bytes(31),
        b"\x03\x01\x01" + bytes(33),
        b"\x03\x01\x02" + bytes(32),
        b"\x03\x00\x00" + b"no certificate",
    ],
)
def test_unusable(rdata: object) -> None:
    """
    What cannot be used is no record: another usage, selector or matching type, or octets that cannot be.
    """
    assert None is parse_tlsa(rdata)


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_any_octets(records: list[bytes]) -> None:
    """
    Whatever stands in the DNS, a rule comes of it, and it doubts what it does not pin.
    """
    rule = make_rule(HOST, records)
    assert (rule.doubt(shown(GOOD), DOMAINS) == "") == (rule.required is Level.ENCRYPTED)


def test_levels() -> None:
    """
    Records that can be used ask for proof, those that cannot for TLS, those that cannot be known for another host.
    """
    usable = make_rule(HOST, [b"\x00\x00\x01" + bytes(32), tlsa(3, 1, 1, GOOD)])
    unusable = make_rule(HOST, [b"\x01\x00\x01" + bytes(32)])
    unknown = DaneRule(HOST, barred=Delayed("4.4.3", "no answer", Fault.DNS))
    assert [Level.AUTHENTICATED, Level.ENCRYPTED, Level.AUTHENTICATED] == [
        rule.required for rule in (usable, unusable, unknown)
    ]
    assert "" == unusable.doubt(shown(GOOD), DOMAINS)
    assert {("dane", HOST)} == {(rule.policy, rule.server_name) for rule in (usable, unusable, unknown)}


def test_digests() -> None:
    """
    What stands beside a better digest does not count (RFC 7671 §9), for each usage and selector on its own.
    """
    weak, strong, exact, other = (
        TlsaRecord(3, 1, 1, bytes(32)),
        TlsaRecord(3, 1, 2, bytes(64)),
        TlsaRecord(3, 1, 0, b"x"),
        TlsaRecord(3, 0, 1, bytes(32)),
    )
    assert {strong, exact, other} == set(choose_strongest([weak, strong, exact, other, weak]))
    assert (weak,) == choose_strongest([weak, weak])
    records = [tlsa(3, 1, 1, GOOD), tlsa(3, 1, 2, AUTHORITY.root)]
    assert "" != doubt(records, GOOD)
    assert make_rule(HOST, [*records]) == make_rule(HOST, [*reversed(records)])


def make_certificate(private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)])
    builder = x509.CertificateBuilder(name, name, private.public_key(), 2**150, NOT_BEFORE, NOT_AFTER)
    return builder.sign(private, None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256())


@pytest.mark.parametrize(
    "certificate",
    [
        GOOD.certificate,
        make_certificate(rsa.generate_private_key(65537, 2048)),
        make_certificate(rsa.generate_private_key(65537, 4096)),
        make_certificate(ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_key(certificate: x509.Certificate) -> None:
    """
    A certificate's key is cut out as it stands there, of any kind and size.
    """
    expected = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert expected == find_key(certificate)
