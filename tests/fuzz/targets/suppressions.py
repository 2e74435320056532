"""
A file of suppressions, of this relay or of any service: each line is one, or is told of; and what we write we read.
"""

from __future__ import annotations

from attrs import evolve

from lmrelay.cli.suppression_csv import MAX_TEXT, Bad, read, write, write_head
from lmrelay.mail.address import parse_address
from lmrelay.mail.suppression import Suppression, Why, key_of
from tests.fuzz.shared import sentences

WORDS = (
    b"email,reason,created\r\n",
    b"project,route,address,reason,added,expires,message,text,redact\n",
    b"a@b.example",
    b",",
    b";",
    b"\n",
    b"\r\n",
    b'"',
    b'""',
    b"hard_bounce",
    b"complaint",
    b"2026-01-01",
    b"9999-12-31T23:59:59-14:00",
    b"0001-01-01T00:00:00+14:00",
    b"\0",
    b"acme",
    b"outgoing",
    b"yes",
    b"=cmd()",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\x1b[2J",
    b"2026-01-01T12:00:00Z",
    b"1e9",
    b" ",
    b"\t",
    b"nan",
    b"Address;Reason\n",
    b'"a b"@c.example',
    b"\xc3\xbc@b.example",
    b"A@B.EXAMPLE",
    b"\r",
    b"\x85",
    b"\xe2\x80\xa8",
    b"2026-W01-1",
    b"0000",
)

examples = sentences(WORDS, 16, sentences(WORDS[:2], 1))

OTHERWISE = Suppression("acme", "", Why.MANUAL, 1_800_000_000.0)


def target(data: bytes) -> None:
    """
    Read line by line, and each that could be read, written and read again.
    """
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    numbers = []
    for number, one in enumerate(read(lines, OTHERWISE, lambda project, route: "")):
        if isinstance(one, Bad):
            assert 1 <= one.line <= len(lines)
            assert one.reason
            numbers.append(one.line)
            continue
        assert number < len(lines)
        _check(one)
    assert sorted(set(numbers)) == numbers
    for one in read(lines, OTHERWISE, lambda project, route: "no such project"):
        assert isinstance(one, Bad)


def _check(one: Suppression) -> None:
    assert len(one.text) <= MAX_TEXT
    assert one.address == key_of(parse_address(one.address))
    # A time that a database and every reader of the list can hold.
    line = write(one)
    assert line.isprintable()
    [again] = read([write_head() + "\n", line + "\n"], OTHERWISE, lambda project, route: "")
    assert isinstance(again, Suppression)
    expected = evolve(one, text=again.text, added_at=again.added_at, expires_at=again.expires_at)
    assert expected == again
    assert abs(one.added_at - again.added_at) < 1
    assert (one.expires_at is None) == (again.expires_at is None)
