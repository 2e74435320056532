"""
The server's side of TLS without I/O: what comes off the wire goes in, what the client said comes out, and back.

It is C{ssl} over memory, and no layer between transport and protocol: that of Twisted, over pyOpenSSL, makes some six
hundred calls for a connection that brings one message, these are some fifty.
"""

from __future__ import annotations

from contextlib import suppress
from ssl import MemoryBIO, SSLContext, SSLError, SSLObject, SSLWantReadError, SSLZeroReturnError

from attrs import define, field

RECORD = 16384
"""
Octets that a record can hold (RFC 8446 §5.1).
"""

SLICE = 16384
"""
Octets that are given to OpenSSL at a time: what its memory has grown to for the largest it keeps as long as the
connection lives, and thousands are idle.
"""


@define(eq=False)
class Tls:
    """
    One connection's. C{is_up}: the handshake is done. C{is_over}: the client has said goodbye, or
    nonsense, and says no more. C{fault}: why the handshake failed, in OpenSSL's words, which are those of the client's
    alert if it sent one; empty for a goodbye.
    """

    _context: SSLContext
    is_up: bool = field(default=False, init=False)
    is_over: bool = field(default=False, init=False)
    fault: str = field(default="", init=False)
    _incoming: MemoryBIO = field(factory=MemoryBIO, init=False)
    _outgoing: MemoryBIO = field(factory=MemoryBIO, init=False)
    _channel: SSLObject = field(init=False)

    @_channel.default
    def _make_channel(self) -> SSLObject:
        return self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def version(self) -> str:
        """
        Such as C{TLSv1.3}, when it is up.
        """
        return self._channel.version() or ""

    @property
    def cipher(self) -> str:
        """
        The name of the cipher suite, when it is up.
        """
        cipher = self._channel.cipher()
        return cipher[0] if cipher else ""

    def feed(self, block: bytes) -> bytes:
        """
        What the client said, of what has arrived. There may be something to L{take} then: an answer, or an alert
        where it does not keep to TLS.
        """
        said: list[bytes] = []
        if len(block) <= SLICE:
            self._feed(block, said)
        else:
            whole = memoryview(block)
            for at in range(0, len(block), SLICE):
                self._feed(whole[at : at + SLICE], said)
        return said[0] if len(said) == 1 else b"".join(said)

    def _feed(self, block: bytes | memoryview, said: list[bytes]) -> None:
        if self.is_over:
            return
        try:
            self._incoming.write(block)
            if not self.is_up:
                self._channel.do_handshake()
                self.is_up = True
            # Each read takes a record, and of the last all that there is.
            while self._incoming.pending:
                octets = self._channel.read(RECORD)
                if not octets:
                    self.is_over = True
                    break
                said.append(octets)
        except SSLWantReadError:
            pass
        except SSLZeroReturnError:
            self.is_over = True
        except SSLError as error:
            self.is_over = True
            if not self.is_up:
                # The reason is one of OpenSSL's own names, or none: nothing in it is the client's.
                self.fault = (error.reason or "unknown error").replace("_", " ").lower()

    def seal(self, octets: bytes) -> bytes:
        """
        What goes on the wire to say that, and all else that is due. To a client that did not keep to TLS nothing can be
        said any more.
        """
        at = 0
        try:
            while at < len(octets):
                # One call takes no more than a record's worth.
                at += self._channel.write(octets[at:] if at else octets)
        except SSLError:
            self.is_over = True
        return self._outgoing.read()

    def take(self) -> bytes:
        """
        What is due on the wire: the handshake's answers, or an alert.
        """
        return self._outgoing.read() if self._outgoing.pending else b""

    def end(self) -> bytes:
        """
        What goes on the wire to say goodbye (RFC 8446 §6.1).
        """
        # The client's is not there yet, or the handshake was not done.
        with suppress(SSLError):
            self._channel.unwrap()
        return self._outgoing.read()
