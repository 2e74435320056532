"""
C{python -m tests.fuzz.growth [READER...]}: does reading take time that grows faster than what is read?

Each reader is given words of its grammar over and over, up to the most that a stranger can have it read. The slowest is
told, with how much longer it took than a quarter of it: 4 is as it should be, 16 is the square.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from attrs import frozen

from lmrelay.cli.suppression_csv import read as read_suppressions
from lmrelay.config.urls import check_url
from lmrelay.config.words import Dialect
from lmrelay.dns.message import Question, read_response
from lmrelay.errors import LmrelayError
from lmrelay.inbound.controls import read_controls
from lmrelay.mail import tlsrpt
from lmrelay.mail.classify import classify
from lmrelay.mail.dkim_record import parse_tags
from lmrelay.mail.encoded_words import decode_exactly
from lmrelay.mail.head import Head, HeadReader
from lmrelay.mail.mailboxes import parse_mailboxes
from lmrelay.mail.prepare import prepare
from lmrelay.mail.redact import redact
from lmrelay.mail.reports import understand
from lmrelay.outbound.sts import parse_policy, parse_record
from tests.arguments import make_parser, whole
from tests.fuzz.catalogue import load
from tests.fuzz.targets.suppressions import OTHERWISE

SLOW = 0.5
"""
Seconds of work.
"""

PAIRS = 60
"""
Of words, beside each word alone.
"""

COMMON = (
    b" ",
    b"\t",
    b"a",
    b"\r\n",
    b"\n",
    b"\0",
    b"\xff",
    b"(",
    b'"',
    b"<",
    b"[",
    b"{",
    b"\\",
    b"=?",
    b"?=",
    b"&",
    b"--",
    b";",
    b",",
    b".",
    b"-",
)


@frozen
class Reader:
    """
    C{read} gets at most C{size} octets. C{beginnings} lead to where it reads on; C{grammar} is the target with its
    words.
    """

    read: Callable[[bytes], object]
    size: int
    grammar: str
    beginnings: Sequence[bytes] = (b"",)


def _read_head(octets: bytes) -> None:
    reader = HeadReader()
    reader.feed(octets)
    if reader.head is None:
        reader.finish()
    _, head = read_controls(Head.parse(reader.head or b""), tuple(Dialect))
    prepare(head, id="m1", hostname="mx.example.org", now=1_800_000_000.0)


def _in_strings(octets: bytes) -> bytes:
    return b"".join(bytes([len(octets[at : at + 255])]) + octets[at : at + 255] for at in range(0, len(octets), 255))


def _answer(octets: bytes) -> bytes:
    return b"\x12\x34\x81\x80\0\1\xff\xff\0\0\0\0\x01b\x07example\0\0\x0f\0\1" + octets


_FROM = b"From: a@b.example\r\n"
_NAMES = (
    b"X-Mailgun-Variables: ",
    b"X-MailPace-Tags: ",
    b"X-List-Unsubscribe: ",
    b"X-SES-MESSAGE-TAGS: ",
    b"Subject: ",
)
_KINDS = (b"message/delivery-status", b"message/feedback-report", b"text/html")
_BOUNCE = b"From: MAILER-DAEMON@b.example\r\nSubject: failure notice\r\n"

READERS = {
    "head": Reader(_read_head, 250_000, "head", (b"", _FROM, b"From: ", *(_FROM + name for name in _NAMES))),
    "report": Reader(
        understand, 500_000, "reports", (b"", *(_BOUNCE + b"Content-Type: %b\r\n\r\n" % kind for kind in _KINDS))
    ),
    "tree": Reader(
        understand,
        500_000,
        "reports",
        (b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n', b"Content-Type: multipart/mixed; "),
    ),
    "authors": Reader(
        lambda octets: parse_mailboxes(octets.decode("utf-8", "replace")), 32_000, "authors", (b"", b"a:")
    ),
    "encoded words": Reader(
        lambda octets: decode_exactly(octets.decode("utf-8", "replace")), 32_000, "head", (b"", b"=?")
    ),
    "policy": Reader(parse_policy, 64_000, "records", (b"", b"version: STSv1\n")),
    "policy record": Reader(lambda octets: parse_record([_in_strings(octets)]), 64_000, "records", (b"", b"v=STSv1;")),
    "destinations": Reader(
        lambda octets: tlsrpt.find_destinations([octets]), 64_000, "records", (b"", b"v=TLSRPTv1; rua=")
    ),
    "tags": Reader(lambda octets: parse_tags(octets.decode("latin-1")), 64_000, "records"),
    "answer": Reader(
        lambda octets: read_response(_answer(octets), Question("b.example", 15), 0x1234), 64_000, "dns_answer"
    ),
    "reply": Reader(lambda octets: classify("5.0.0", octets.decode("latin-1")), 64_000, "replies"),
    "redacted": Reader(lambda octets: redact(octets.decode("latin-1")), 64_000, "replies"),
    "url": Reader(
        lambda octets: check_url(octets.decode("latin-1")), 64_000, "places", (b"http://", b"http://a.example/")
    ),
    "suppressions": Reader(
        lambda octets: list(
            read_suppressions(octets.decode("latin-1").splitlines(True), OTHERWISE, lambda project, route: "")
        ),
        64_000,
        "suppressions",
    ),
}


def main() -> int:
    """
    Exit code 1 if something is slow.
    """
    parser = make_parser("python -m tests.fuzz.growth", __doc__)
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)} (all)")
    parser.add_argument("--seed", type=whole, default=1, metavar="S", help="which pairs of words (1)")
    chosen = parser.parse_args()
    if unknown := set(chosen.readers) - set(READERS):
        parser.error(f"there is no reader {', '.join(sorted(unknown))}; there are {', '.join(READERS)}")
    found = False
    for name in chosen.readers or READERS:
        reader = READERS[name]
        slowest, said = max(_measure(reader, random.Random(chosen.seed)))
        found = found or slowest > SLOW
        print(f"{name}: {'SLOW, ' if slowest > SLOW else ''}{said}", flush=True)
    return int(found)


def _measure(reader: Reader, chance: random.Random) -> Iterator[tuple[float, str]]:
    words = [*COMMON, *load(reader.grammar).words]
    pairs = [chance.choice(words) + chance.choice(words) for _ in range(PAIRS)]
    for beginning, word in itertools.product(reader.beginnings, [*words, *pairs]):
        if word:
            octets = (beginning + word * (reader.size // len(word) + 1))[: reader.size]
            quarter = max(_work(reader, octets[: reader.size // 4]), 1e-6)
            whole = _work(reader, octets)
            yield (
                whole,
                f"{whole:.3f} s of {beginning[-40:]!r} and {word!r} on and on, {whole / quarter:.0f} times its quarter",
            )


def _work(reader: Reader, octets: bytes) -> float:
    began = time.process_time()
    with suppress(LmrelayError, ValueError):
        reader.read(octets)
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
