"""
DKIM: what is signed, and that an independent verifier takes it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import dkim as peer
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from dkim.canonicalization import Relaxed
from hypothesis import example, given
from hypothesis import strategies as st

from lmrelay.mail.dkim import MOST, BodyHash, Signer, hash_body, make_signer, sign
from lmrelay.mail.dkim_record import make_record, record_name
from lmrelay.mail.head import Field, Head, make_field

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "dkim"
AT = 1_700_000_000.0
"""
Long ago: dkimpy takes no signature of the future.
"""

BODIES = [
    (b"", b""),
    (b"\r\n", b""),
    (b" \t\r\n\r\n \r\n", b""),
    (b"a", b"a\r\n"),
    (b"a\r\n", b"a\r\n"),
    (b"a\r\n\r\n\r\n", b"a\r\n"),
    (b"a \t \r\n", b"a\r\n"),
    (b"a\r\n \t\r\n", b"a\r\n"),
    (b"a \t b\tc\r\n", b"a b c\r\n"),
    (b" a\r\n\tb\r\n", b" a\r\n b\r\n"),
    (b"\r\n\r\na\r\n", b"\r\n\r\na\r\n"),
    (b"a\r\n \r\n\t\r\nb  \r\n", b"a\r\n\r\n\r\nb\r\n"),
    (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
    (b"\xe4\xa0 \xff\r\n", b"\xe4\xa0 \xff\r\n"),
]


def private_key(algorithm: str) -> bytes:
    """
    The key of the golden files in PKCS #8, DER.
    """
    key = load_pem_private_key((GOLDEN / f"{algorithm}.pem").read_bytes(), None)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def signer(algorithm: str = "ed25519") -> Signer:
    return make_signer("acme.example", algorithm, private_key(algorithm))


def verifies(message: bytes, signers: Sequence[Signer], index: int = 0) -> bool:
    """
    Does dkimpy take the signature of that number, by what the DNS would have?
    """
    zone = {record_name(one.domain, one.selector): make_record(one.algorithm, one.public) for one in signers}

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:
        record = zone.get(name.decode().removesuffix("."))
        return None if record is None else record.encode()

    try:
        return bool(peer.DKIM(message).verify(idx=index, dnsfunc=look_up))
    except peer.ValidationError:
        return False


def signed(head: Head, body: bytes, signers: Sequence[Signer]) -> bytes:
    return head.prepend(*sign(head, signers, hash_body(body), AT)).to_bytes() + b"\r\n" + body


def covered(field: Field) -> list[str]:
    """
    The names in its C{h=}.
    """
    match = re.search(r"\bh=([^;]*);", field.octets.decode())
    assert match is not None
    return re.sub(r"\s", "", match[1]).split(":")


@pytest.mark.parametrize(("body", "canonical"), BODIES)
def test_body_hash(body: bytes, canonical: bytes) -> None:
    """
    The hash is that of the relaxed body, wherever it is cut, and however often it is asked for.
    """
    expected = sha256(canonical).digest()
    for first in range(len(body) + 1):
        for second in range(first, len(body) + 1):
            hashing = BodyHash()
            for block in (body[:first], body[first:second], body[second:]):
                hashing.update(block)
                hashing.digest()
            assert expected == hashing.digest()


LINES = st.lists(st.text("ab \t.é").map(lambda text: text.encode() + b"\r\n"), max_size=30).map(b"".join)


@given(LINES, st.lists(st.integers(0, 400)))
@example(b" \r\n\t\r\n a\r\n", [1, 2, 3])
def test_body_hash_by_peer(body: bytes, cuts: list[int]) -> None:
    """
    Whatever the body and its blocks, dkimpy has the same octets to hash.
    """
    hashing = BodyHash()
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        hashing.update(body[start:end])
    canonical = Relaxed.canonicalize_body(body)
    assert sha256(canonical).digest() == hashing.digest()


def test_blank_megabytes() -> None:
    """
    A body of nothing but line endings is the empty one, and counts whole once something follows.
    """
    hashing = BodyHash()
    for _ in range(200):
        hashing.update(b"\r\n" * 16384)
    assert sha256(b"").digest() == hashing.digest()
    hashing.update(b"x\r\n")
    assert sha256(b"\r\n" * 16384 * 200 + b"x\r\n").digest() == hashing.digest()


HEADS = {
    "simple": (
        b"Received: from a by b; Sat, 21 Nov 2026 12:00:00 +0000\r\nFrom: Ann <ann@acme.example>\r\n"
        b"To: bob@b.example\r\nSubject: Hello\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
        b"Message-ID: <1@acme.example>\r\n"
    ),
    "folded": (
        b"FROM:\tAnn\r\n\t <ann@acme.example>  \r\nTo:bob@b.example,\r\n  \tcy@c.example\r\n"
        b"subject:  =?utf-8?q?h=C3=A9?=   two \r\n"
        b"X-Other: is not signed\r\nList-Unsubscribe: <https://acme.example/u>\r\n"
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nList-Id: <a>\r\nList-Id: <b>\r\nMIME-Version: 1.0\r\n"
    ),
    "eight-bit": "From: Ann Müller <ann@acme.example>\r\nSubject:\r\nTo: jörg@b.example\r\n".encode() + b"Cc: \xff\r\n",
    "resent": (
        b"Resent-From: ann@acme.example\r\nResent-To: x@x.example\r\nFrom: ann@acme.example\r\n"
        b"Subject: a\r\nSubject: b\r\nReply-To: c@acme.example\r\nReferences: <1@a>\r\n <2@a>\r\n"
    ),
}


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("body", [b"Hi \t there,  \r\n\r\n  Ann\r\n\r\n\r\n", b"\r\n", b"", b".\r\nno end"])
def test_verified_by_peer(algorithm: str, head: bytes, body: bytes) -> None:
    """
    dkimpy takes what is signed, by either algorithm.
    """
    one = signer(algorithm)
    assert verifies(signed(Head.parse(head), body, [one]), [one])


NAMES = st.sampled_from(["To", "SUBJECT", "cc", "Date", "List-Id", "list-unsubscribe", "Resent-From", "X-Mine", "Bcc"])
VALUES = st.lists(st.sampled_from(["a", "b@b.example", "é", " ", "\t", "  ", "\r\n ", "\r\n\t \t", ",", ":", ";=b=x"]))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12), st.integers(0, 12), LINES)
def test_any_head_by_peer(fields: list[tuple[str, list[str]]], place: int, body: bytes) -> None:
    """
    Whatever stands in a head, however it is folded and repeated, dkimpy takes its signature.
    """
    lines = [f"{name}:{''.join(value)}x\r\n" for name, value in fields]
    lines.insert(place, "From: Ann <ann@acme.example>\r\n")
    one = signer()
    assert verifies(signed(Head.parse("".join(lines).encode()), body, [one]), [one])


def test_both_signatures() -> None:
    """
    Each of several signatures holds by itself, beside one that was there before, which still stands below them.
    """
    old = make_signer("old.example", "old", private_key("ed25519"))
    first = Head.parse(HEADS["simple"])
    before = first.prepend(*sign(first, [old], hash_body(b"Hi\r\n"), AT))
    signers = [signer("rsa"), signer("ed25519")]
    message = signed(before, b"Hi\r\n", signers)
    assert [True] * 3 == [verifies(message, [*signers, old], index) for index in range(3)]
    assert message.endswith(before.to_bytes() + b"\r\nHi\r\n")


CHANGES = [
    (b"Subject: Hello", b"Subject: Hello!"),
    (b"To: bob@", b"To: rob@"),
    (b"Hi there", b"Hi  there you"),
    (b"Received:", b"From: Eve <eve@acme.example>\r\nReceived:"),
    (b"Received:", b"Subject: You won\r\nReceived:"),
    (b"\r\n\r\nHi", b"\r\nFrom: Eve <eve@acme.example>\r\n\r\nHi"),
    (b"\r\n\r\nHi", b"\r\nTo: all@b.example\r\n\r\nHi"),
    (b"t=1700000000", b"t=1700000001"),
]


@pytest.mark.parametrize(("what", "by"), CHANGES)
@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_changes_are_seen(algorithm: str, what: bytes, by: bytes) -> None:
    """
    A field that was changed, or a second one where one may be, breaks the signature; so does another body.
    """
    one = signer(algorithm)
    message = signed(Head.parse(HEADS["simple"]), b"Hi there\r\n", [one])
    assert 1 == message.count(what)
    assert not verifies(message.replace(what, by), [one])


def test_spacing_is_not_seen() -> None:
    """
    What relays do to spaces and folding breaks nothing.
    """
    one = signer()
    message = signed(Head.parse(HEADS["simple"]), b"Hi there\r\n", [one])
    changed = message.replace(b"Subject: Hello", b"SUBJECT:\r\n\tHello ").replace(b"Hi there", b"Hi \t there ")
    assert verifies(changed + b"\r\n \r\n", [one])


def test_choice_of_fields() -> None:
    """
    From is named once more than it is there, and so is what may be there once; others as often as they are.
    """
    head = Head.parse(b"From: a@a\r\nReceived: x\r\nList-Id: b\r\nX-Mine: c\r\nList-Id: d\r\nDKIM-Signature: e\r\n")
    (field,) = sign(head, [signer()], hash_body(b""), AT)
    assert ["from", "from", "list-id", "list-id"] == covered(field)
    (bare,) = sign(Head(), [signer()], hash_body(b""), AT)
    assert ["from"] == covered(bare)


def test_many_fields() -> None:
    """
    A head of thousands of one field makes no signature of thousands of names, nor one that nobody takes.
    """
    head = Head.parse(b"From: a@acme.example\r\n" + b"To: b\r\n" * 5000 + b"To: last\r\n")
    (field,) = sign(head, [signer()], hash_body(b""), AT)
    assert MOST == covered(field).count("to")
    assert verifies(signed(head, b"", [signer()]), [signer()])


@given(st.text("abcdefgh.-", min_size=1, max_size=253), st.text("abc.", min_size=1, max_size=200), st.integers(0, 9))
def test_lines_are_short(domain: str, selector: str, subjects: int) -> None:
    """
    No line of a signature is over 78 octets but for a name that is so long itself, and none is over 998.
    """
    one = make_signer(domain, selector, private_key("ed25519"))
    head = Head.of(make_field("From", "a") for _ in range(subjects))
    (field,) = sign(head, [one], hash_body(b""), AT)
    longest = max(76, len(f" d={domain};"), len(f" s={selector};"))
    assert longest >= max(map(len, field.octets.split(b"\r\n")))
    assert (field,) == Head.parse(field.octets).fields


def test_private_stays_private() -> None:
    """
    Neither key nor signer shows anything of the key where it is printed.
    """
    one = signer("rsa")
    assert "Signer(domain='acme.example', selector='rsa', algorithm='rsa')" == repr(one)


def test_other_keys() -> None:
    """
    A key of another kind is refused.
    """
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="no algorithm"):
        make_signer("a.example", "s", other)
    with pytest.raises(ValueError, match=r".+"):
        make_signer("a.example", "s", b"no key")


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.eml")), ids=lambda path: path.stem)
def test_golden(path: Path, algorithm: str) -> None:
    """
    A message is signed with the very octets that stand in the golden file, which dkimpy takes.
    """
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    one = signer(algorithm)
    (field,) = sign(Head.parse(head + b"\r\n"), [one], hash_body(body), AT)
    assert path.with_suffix(f".{algorithm}").read_bytes() == field.octets
    assert verifies(field.octets + path.read_bytes(), [one])


def test_rfc_8463() -> None:
    """
    Key and hash of RFC 8463's appendix A give the record and the hash that stand there.
    """
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    prefix = bytes.fromhex("302e020100300506032b657004220420")
    one = make_signer("football.example.com", "brisbane", prefix + seed)
    record = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    assert record == make_record(one.algorithm, one.public)
    body = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
    assert b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=" == b64encode(hash_body(body))
