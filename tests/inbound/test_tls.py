"""
The server's side of TLS without I/O, against Python's own client.
"""

from __future__ import annotations

import ctypes
import gc
import ssl

import pytest
from attrs import define, field

from lmrelay.inbound.tls import RECORD, Tls
from tests.inbound.doubles import CONTEXT


def make_client_context(newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = newest
    return context


@define(eq=False)
class Pair:
    """
    A client and the server's side. C{answers} is what the server said on the wire, turn by turn.
    """

    context: ssl.SSLContext = field(factory=make_client_context)
    tls: Tls = field(factory=lambda: Tls(CONTEXT))
    answers: list[bytes] = field(factory=list)
    incoming: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    client: ssl.SSLObject = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = self.context.wrap_bio(self.incoming, self.outgoing)

    def turn(self) -> bytes:
        """
        What the client wrote goes to the server, and its answer back; what the server heard.
        """
        block = self.outgoing.read()
        heard = self.tls.feed(block) if block else b""
        self.carry(self.tls.take())
        return heard

    def carry(self, octets: bytes) -> None:
        self.answers.append(octets)
        self.incoming.write(octets)

    def shake(self) -> Pair:
        for _ in range(4):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                self.turn()
            else:
                self.turn()
                break
        return self

    def say(self, octets: bytes) -> bytes:
        self.client.write(octets)
        return self.turn()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_both_ways(newest: ssl.TLSVersion) -> None:
    """
    Both sides hear what the other says, in TLS 1.2 and 1.3.
    """
    pair = Pair(make_client_context(newest)).shake()
    assert (True, False) == (pair.tls.is_up, pair.tls.is_over)
    assert (pair.client.version(), (pair.client.cipher() or ("",))[0]) == (pair.tls.version, pair.tls.cipher)
    assert b"EHLO x\r\n" == pair.say(b"EHLO x\r\n")
    pair.carry(pair.tls.seal(b"250 OK\r\n"))
    assert b"250 OK\r\n" == pair.client.read()


def test_octet_by_octet() -> None:
    """
    It does not matter how the wire cuts what the client says.
    """
    pair = Pair()
    heard = b""
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    for words in (b"", b"", b"EHLO x\r\n"):
        if words:
            pair.client.write(words)
        for octet in pair.outgoing.read():
            heard += pair.tls.feed(bytes([octet]))
        pair.carry(pair.tls.take())
        if not words:
            pair.client.do_handshake()
    assert b"EHLO x\r\n" == heard


def test_words_behind_the_handshake() -> None:
    """
    What comes in one block with the handshake's end is heard.
    """
    pair = Pair()
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    pair.turn()
    pair.client.do_handshake()
    assert b"EHLO x\r\n" == pair.say(b"EHLO x\r\n")


def test_many_records() -> None:
    """
    What is longer than a record arrives whole, in both directions.
    """
    long = bytes(range(256)) * (RECORD // 64)
    pair = Pair().shake()
    assert long == pair.say(long)
    pair.carry(pair.tls.seal(long))
    heard = b""
    while len(heard) < len(long):
        heard += pair.client.read()
    assert long == heard


def test_no_tickets() -> None:
    """
    Nothing follows the handshake: no ticket, whose key would open recordings of many sessions.
    """
    assert b"" == Pair().shake().answers[-1]
    pair = Pair(make_client_context(ssl.TLSVersion.TLSv1_2)).shake()
    assert not (pair.client.session is not None and pair.client.session.has_ticket)


@pytest.mark.parametrize(
    ("nonsense", "answer"),
    [(b"EHLO x\r\n", b""), (b"\x16" * 600, b""), (b"\x16\x03\x01\x00\x05hello", b"\x15")],
    ids=["clear", "no record", "no greeting"],
)
def test_nonsense(nonsense: bytes, answer: bytes) -> None:
    """
    A client that speaks no TLS is over at once; one that seemed to is told why by an alert.
    """
    pair = Pair()
    assert b"" == pair.tls.feed(nonsense)
    assert (False, True) == (pair.tls.is_up, pair.tls.is_over)
    assert answer == pair.tls.take()[:1]


def test_changed_on_the_way() -> None:
    """
    A record that somebody changed is not heard, and ends it.
    """
    pair = Pair().shake()
    pair.client.write(b"MAIL FROM:<a@b.example>\r\n")
    record = bytearray(pair.outgoing.read())
    record[-1] ^= 1
    assert b"" == pair.tls.feed(bytes(record))
    assert pair.tls.is_over


def test_words_before_nonsense() -> None:
    """
    Words in one block with nonsense are heard, but nothing can be answered.
    """
    pair = Pair().shake()
    pair.client.write(b"NOOP\r\n")
    assert b"NOOP\r\n" == pair.tls.feed(pair.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert pair.tls.is_over
    answer = pair.tls.seal(b"250 2.0.0 OK\r\n")
    # An alert in a record, and no second one.
    assert 5 + int.from_bytes(answer[3:5], "big") == len(answer)
    assert b"" == pair.tls.seal(b"250 2.0.0 OK\r\n") + pair.tls.end()


def test_words_before_a_goodbye() -> None:
    """
    Words in one block with a goodbye are heard and answered.
    """
    pair = Pair().shake()
    pair.client.write(b"NOOP\r\n")
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    assert b"NOOP\r\n" == pair.tls.feed(pair.outgoing.read())
    assert pair.tls.is_over
    assert len(pair.tls.seal(b"250 2.0.0 OK\r\n")) > len(b"250 2.0.0 OK\r\n")


def test_goodbye_of_the_client() -> None:
    """
    The client's goodbye is heard behind its last words, and answered.
    """
    pair = Pair().shake()
    pair.client.write(b"QUIT\r\n")
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    assert b"QUIT\r\n" == pair.turn()
    assert pair.tls.is_over
    pair.carry(pair.tls.end())
    pair.client.unwrap()


def test_goodbye_of_the_server() -> None:
    """
    The client reads the server's goodbye as the end, and not as a cut.
    """
    pair = Pair().shake()
    pair.carry(pair.tls.end())
    assert b"" == pair.client.read()


def test_goodbye_before_the_handshake() -> None:
    """
    A goodbye in the middle of the handshake breaks nothing.
    """
    pair = Pair()
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    pair.tls.feed(pair.outgoing.read()[:50])
    assert b"" == pair.tls.end()


class Allocated(ctypes.Structure):
    """
    What C{mallinfo2} tells.
    """

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    )


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="another C library than glibc")
@pytest.mark.parametrize(("said", "most"), [(b"EHLO x\r\n", 34), (bytes(200_000), 64)], ids=["little", "much"])
def test_idle_sessions_hold_no_buffers(said: bytes, most: int) -> None:
    """
    A session that says nothing has let go of its buffers, which alone would be 34 KiB; and what it said before in large
    blocks is not paid for as long as it lives.
    """
    tell = ctypes.CDLL(None).mallinfo2
    tell.restype = Allocated

    def count() -> int:
        gc.collect()
        told = tell()
        return int(told.uordblks + told.hblkhd)

    def converse() -> Tls:
        pair = Pair().shake()
        assert said == pair.say(said)
        pair.carry(pair.tls.seal(b"250 OK\r\n"))
        return pair.tls

    converse()
    before = count()
    idle = [converse() for _ in range(20)]
    assert (count() - before) / len(idle) < most * 1024
