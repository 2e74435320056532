"""
DKIM signatures (RFC 6376, 8301, 8463): the relaxed hash of a body that streams by, and the fields that sign it.

Pure. Headers and body are canonicalized C{relaxed/relaxed}, the algorithms are RSA and Ed25519, both over SHA-256.
Octets come with their line endings as CRLF. What a signature covers is chosen here and nowhere else.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from lmrelay.mail.head import Field, Head

if TYPE_CHECKING:
    from hashlib import _Hash

RSA, ED25519 = "rsa", "ed25519"
"""
The values of C{k=} in a key record.
"""

SINGLE = (
    "From",
    "Sender",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "To",
    "Cc",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)
"""
Fields of which a message has one at most (RFC 5322 §3.6, RFC 2045 §3).
"""

SEVERAL = (
    "Content-Description",
    "Content-Disposition",
    "Content-Language",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Date",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Feedback-ID",
    "Auto-Submitted",
)
"""
Others that a signature covers, each as often as it is there (RFC 6376 §5.4.1, RFC 8058 §4).
"""

MOST = 10
"""
Fields of one name that are covered: each is named in the signature, which must not grow with what anybody writes.
"""

_LINE = 76
_BLANK = b" \t\r\n"


@define(eq=False)
class BodyHash:
    """
    The SHA-256 of a body in its relaxed form (RFC 6376 §3.4.4), taken while it streams in.

    The body begins behind the empty line that ends the head. Blocks may be cut anywhere. Neither memory nor the time
    for a block grows with what came before it, whatever that was.
    """

    # Empty lines count if anything follows them. They are in the one hash as they come and in the other only then,
    # so that a body of nothing else is neither kept nor hashed at one stroke.
    _seen: _Hash = field(factory=sha256, init=False)
    _kept: _Hash | None = field(default=None, init=False)
    _space: bool = field(default=False, init=False)
    _return: bool = field(default=False, init=False)

    def update(self, block: bytes) -> None:
        """
        Take the next octets.
        """
        if self._return:
            block = b"\r" + block
        self._return = block.endswith(b"\r")
        if self._return:
            block = block[:-1]
        text = block.rstrip(_BLANK)
        end = block[len(text) :]
        if text:
            self._seen.update(relax(b" " + text if self._space else text))
            self._kept = self._seen.copy()
            self._space = False
        if end:
            self._seen.update(b"\r\n" * end.count(b"\n"))
            self._space = not end.endswith(b"\n")

    def digest(self) -> bytes:
        """
        The hash of the body so far, 32 octets.
        """
        if self._kept is None:
            return sha256().digest()
        whole = self._kept.copy()
        whole.update(b"\r\n")
        return whole.digest()


def hash_body(body: bytes) -> bytes:
    """
    The relaxed hash of a body that is there whole, without the empty line before it.
    """
    hashing = BodyHash()
    hashing.update(body)
    return hashing.digest()


def relax(text: bytes) -> bytes:
    """
    Runs of spaces and tabs as one space, and none before a line ending.
    """
    text = text.replace(b"\t", b" ")
    # Of base64 that is all: no space is found many octets at a time.
    if b" " not in text:
        return text
    # Not by a regular expression: it would stop at every single space, of which a text has one in six octets. And
    # looked for from behind, which goes twice as fast where there is nothing to be found.
    while text.rfind(b"  ") >= 0:
        text = text.replace(b"  ", b" ")
    return text.replace(b" \r\n", b"\r\n") if text.rfind(b" \r\n") >= 0 else text


@frozen
class Signer:
    """
    Signs for a domain (C{d=}, in A-labels) under a selector. C{public} is what the key record's C{p=} has, base 64
    undone; C{seal} gives the signature of octets.
    """

    domain: str
    selector: str
    algorithm: str
    public: bytes = field(repr=False)
    seal: Callable[[bytes], bytes] = field(repr=False)


def make_signer(domain: str, selector: str, private: bytes) -> Signer:
    """
    @param private: a key of RSA or Ed25519 in PKCS #8, DER, known to be sound
    @raise ValueError: it is none of these
    """
    # To look for flaws in an RSA key takes as long as a hundred signatures; that is for whoever reads it from a file.
    key = load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True)
    if isinstance(key, Ed25519PrivateKey):
        ed25519 = key
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        # RFC 8463 §3: what is signed is the hash.
        return Signer(domain, selector, ED25519, raw, lambda octets: ed25519.sign(sha256(octets).digest()))
    if isinstance(key, RSAPrivateKey):
        rsa, scheme, hashing = key, padding.PKCS1v15(), hashes.SHA256()
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Signer(domain, selector, RSA, public, lambda octets: rsa.sign(octets, scheme, hashing))
    raise ValueError("a key that DKIM has no algorithm for")


def sign(head: Head, signers: Sequence[Signer], body_hash: bytes, at: float) -> tuple[Field, ...]:
    """
    The DKIM-Signature fields, to be put before all others of C{head} (RFC 6376 §5.6), one a signer.

    The same every time for the same arguments.

    @param body_hash: see L{BodyHash}
    @param at: when it is signed, in seconds since the epoch
    """
    names, covered = _cover(head)
    hashed = b64encode(body_hash)
    return tuple(_sign(one, names, covered, hashed, at) for one in signers)


def _cover(head: Head) -> tuple[Sequence[bytes], bytes]:
    """
    What C{h=} names, and those fields in relaxed form.
    """
    found: dict[str, list[Field]] = {name.lower(): [] for name in (*SINGLE, *SEVERAL)}
    for one in head.fields:
        of_name = found.get(one.name.lower())
        if of_name is not None:
            of_name.append(one)
    names: list[bytes] = []
    covered: list[bytes] = []
    for number, (name, fields) in enumerate(found.items()):
        # Of several a verifier takes the last first (RFC 6376 §5.4.2).
        chosen = fields[: -MOST - 1 : -1]
        covered += [_relax_field(one.octets) for one in chosen]
        # Named once more than it is there, none can be added: readers differ in which of two they show.
        more = number == 0 or (0 < len(fields) == len(chosen) and number < len(SINGLE))
        names += [name.encode("ascii")] * (len(chosen) + more)
    return names, b"".join(covered)


def _relax_field(octets: bytes) -> bytes:
    """
    RFC 6376 §3.4.2, with the line ending.
    """
    name, _, value = octets.partition(b":")
    return name.rstrip(b" \t").lower() + b":" + relax(value.replace(b"\r\n", b"")).strip(b" ") + b"\r\n"


def _sign(signer: Signer, names: Sequence[bytes], covered: bytes, body_hash: bytes, at: float) -> Field:
    tags = (
        "v=1",
        f"a={signer.algorithm}-sha256",
        "c=relaxed/relaxed",
        f"d={signer.domain}",
        f"s={signer.selector}",
        f"t={int(at)}",
    )
    words = [f" {tag};".encode("ascii") for tag in tags]
    *others, last = [b" h=" + names[0], *(b":" + name for name in names[1:])]
    words += [*others, last + b";", b" bh=" + body_hash + b";"]
    unsigned = _fold(b"DKIM-Signature:", words) + b"\r\n b="
    # The field itself is signed too, without the signature and without its line ending (RFC 6376 §3.7).
    signature = b64encode(signer.seal(covered + _relax_field(unsigned)[:-2]))
    width = _LINE - len(b" b=")
    lines = [signature[start : start + width] for start in range(0, len(signature), width)]
    return Field("DKIM-Signature", unsigned + b"\r\n ".join(lines) + b"\r\n")


def _fold(line: bytes, words: Iterable[bytes]) -> bytes:
    """
    Before any of the words there may be a line ending and a space.
    """
    lines = []
    for word in words:
        if len(line) + len(word) > _LINE:
            lines.append(line)
            line = b" " + word.lstrip(b" ")
        else:
            line += word
    return b"\r\n".join([*lines, line])
