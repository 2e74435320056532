"""
What a receiver says: replies, the extensions in them, and what they are taken to mean.
"""

from __future__ import annotations

import re

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.classify import Reason, classify
from lmrelay.mail.outcome import Delayed, Delivered, Failed
from lmrelay.outbound.steps import Step
from lmrelay.outbound.verdicts import judge
from lmrelay.smtp.extensions import parse_extensions, size_limit
from lmrelay.smtp.reply import Reply
from lmrelay.smtp.reply_reader import LINE_LIMIT, LINES_LIMIT, ReplyReader
from tests.fuzz.shared import cuts, sentences

WORDS = (
    b"250 ",
    b"250-",
    b"\r\n",
    b"\n",
    b"\r",
    b"2.0.0 ",
    b"5.1.1 ",
    b"550 5.1.1 no such user\r\n",
    b"421 4.3.2 bye\r\n",
    b"354\r\n",
    b"250",
    b"SIZE 1",
    b"PIPELINING",
    b"8BITMIME",
    b"AUTH=LOGIN PLAIN",
    b"STARTTLS",
    b"CHUNKING",
    b"\t",
    b"\xff",
    b"\0",
    b"\xe2\x80\xae",
    b"\xc2\x85",
    b"999 ",
    b"199 ",
    b"452-4.5.3 ",
    b"552 ",
    b"greylisted",
    b"4.7.1  x",
    b"5.999.999 ",
    b"250 2.1.0\r\n",
    b"250\t",
    b"rate limit",
    b"SIZE=99999999999999999999",
    b"\x1b[2J",
    b"\xc2\xa0",
)

examples = sentences(WORDS, 20)

_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]")


def target(data: bytes) -> None:
    """
    Read in all cuts; each reply judged at every step.
    """
    said, error = _read([data])
    for pieces in cuts(data):
        # What is too long may be told at an earlier cut; nothing else may be read from what is the same.
        again, other = _read(pieces)
        assert said == again[: len(said)]
        assert (bool(error), len(said)) == (bool(other), len(again))
    for reply in said:
        _check(reply)


def _read(pieces: list[bytes]) -> tuple[list[Reply], str]:
    reader, found = ReplyReader(), []
    try:
        for piece in pieces:
            found.extend(_each(reader, piece, found))
    except SyntaxRefused as error:
        return found, str(error)
    return found, ""


def _each(reader: ReplyReader, piece: bytes, found: list[Reply]) -> list[Reply]:
    # One by one: those before the nonsense count.
    for reply in reader.feed(piece):
        found.append(reply)
    return []


def _check(reply: Reply) -> None:
    assert 200 <= reply.code < 600
    assert 1 <= len(reply.lines) <= LINES_LIMIT
    assert all(len(line) <= LINE_LIMIT and not _CONTROL.search(line) for line in reply.lines)
    assert reply.enhanced is None or (_STATUS.fullmatch(reply.enhanced) and reply.enhanced[0] == str(reply.code)[0])
    [again] = ReplyReader().feed(reply.to_wire())
    assert (reply.code, len(reply.lines)) == (again.code, len(again.lines))
    extensions = parse_extensions(reply)
    assert all(re.fullmatch("[A-Z0-9][A-Z0-9-]*", name) for name in extensions)
    limit = size_limit(extensions)
    assert limit is None or limit > 0
    assert isinstance(classify(reply.enhanced or "", reply.text), Reason)
    for step in Step:
        _check_verdict(step, reply)


def _check_verdict(step: Step, reply: Reply) -> None:
    for failure in ("", "the certificate has expired"):
        outcome = judge(step, reply, tls_failure=failure, words=("busy",)).outcome
        if isinstance(outcome, Delivered):
            assert 200 <= reply.code < 300
        elif isinstance(outcome, Failed):
            assert reply.is_permanent()
            assert re.fullmatch(r"5\.[0-9]{1,3}\.[0-9]{1,3}", outcome.status)
        else:
            assert isinstance(outcome, Delayed)
            assert re.fullmatch(r"4\.[0-9]{1,3}\.[0-9]{1,3}", outcome.status)
