"""
Connections that send at the end of a turn: a real reactor of the test's own, and real sockets on loopback.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet import tcp
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientFactory, Factory, Protocol

from lmrelay.writes import GatheredWrites

BIG = b"x" * 8_000_000


class Peer(Protocol):
    """
    Remembers what came, and how it ended.
    """

    def __init__(self) -> None:
        self.received = b""
        self.ended: list[type] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any) -> None:
        self.ended.append(reason.type)


@pytest.fixture
def reactor() -> Iterator[GatheredWrites]:
    real = EPollReactor()
    yield GatheredWrites(real)
    for left in real.removeAll():
        if isinstance(left, tcp.Connection):
            left.socket.close()
    real._poller.close()


def turn_until(reactor: Any, condition: Callable[[], object], turns: int = 2000) -> None:
    """
    Turn the reactor until that holds.
    """
    while not condition():
        turns -= 1
        assert turns > 0
        reactor.iterate(0.01)


def serve(reactor: GatheredWrites) -> tuple[Peer, socket.socket]:
    """
    A connection that came in, and the socket at its other end.
    """
    peer = Peer()
    port = reactor.listenTCP(0, Factory.forProtocol(lambda: peer), interface="127.0.0.1")
    client = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=10)
    turn_until(reactor, lambda: peer.transport)
    port.stopListening()
    return peer, client


def test_sent_at_the_end_of_the_turn(reactor: GatheredWrites) -> None:
    """
    What is written in pieces goes out as one at the turn's end, and the kernel is asked for nothing.
    """
    peer, client = serve(reactor)
    peer.transport.write(b"250 ")
    peer.transport.write(b"ok\r\n")
    assert [] == reactor.getWriters()
    before = reactor.sent
    reactor.iterate(0)
    assert b"250 ok\r\n" == client.recv(100)
    assert [] == reactor.getWriters()
    reactor.iterate(0)
    assert before + 1 == reactor.sent
    client.close()


def test_more_than_the_kernel_takes(reactor: GatheredWrites) -> None:
    """
    What the other side does not read yet waits for it, and comes whole.
    """
    peer, client = serve(reactor)
    peer.transport.write(BIG)
    reactor.iterate(0)
    assert [peer.transport] == reactor.getWriters()
    got = bytearray()
    client.settimeout(0.01)

    def read() -> bool:
        with suppress(TimeoutError):
            got.extend(client.recv(1 << 20))
        return len(got) == len(BIG)

    turn_until(reactor, read)
    assert BIG == bytes(got)
    assert [] == reactor.getWriters()
    client.close()


def test_last_words(reactor: GatheredWrites) -> None:
    """
    A connection that is closed in the turn of its last words says them first.
    """
    peer, client = serve(reactor)
    peer.transport.write(b"221 bye\r\n")
    peer.transport.loseConnection()
    turn_until(reactor, lambda: peer.ended)
    assert (b"221 bye\r\n", b"") == (client.recv(100), client.recv(100))
    assert [ConnectionDone] == peer.ended
    client.close()


def test_written_and_aborted(reactor: GatheredWrites) -> None:
    """
    What was dropped in the same turn is not written to.
    """
    peer, client = serve(reactor)
    peer.transport.write(b"x")
    peer.transport.abortConnection()
    reactor.iterate(0)
    assert 1 == len(peer.ended)
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    client.close()


def test_gone_while_it_is_written_to(reactor: GatheredWrites) -> None:
    """
    A connection that broke is told of it, once.
    """
    peer, client = serve(reactor)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    peer.transport.write(b"x")
    turn_until(reactor, lambda: peer.ended)
    reactor.iterate(0)
    assert 1 == len(peer.ended)


def test_connecting(reactor: GatheredWrites) -> None:
    """
    A connection that goes out is made as ever, and what is written first is sent.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = Peer()
        factory = ClientFactory.forProtocol(lambda: peer)
        reactor.connectTCP("127.0.0.1", server.getsockname()[1], factory, bindAddress=("127.0.0.5", 0))
        turn_until(reactor, lambda: peer.transport)
        accepted, address = server.accept()
        peer.transport.write(b"EHLO x\r\n")
        reactor.iterate(0)
        assert (b"EHLO x\r\n", "127.0.0.5") == (accepted.recv(100), address[0])
        accepted.sendall(b"250 ok\r\n")
        turn_until(reactor, lambda: peer.received)
        assert b"250 ok\r\n" == peer.received
        accepted.close()


def test_producer(reactor: GatheredWrites) -> None:
    """
    Who writes more whenever there is room is asked for more, block by block.
    """
    peer, client = serve(reactor)
    blocks = [b"a" * 1000, b"b" * 1000, b"c" * 1000]

    class Producer:
        def resumeProducing(self) -> None:
            if blocks:
                peer.transport.write(blocks.pop(0))
            else:
                peer.transport.unregisterProducer()
                peer.transport.loseConnection()

        def stopProducing(self) -> None:
            blocks.clear()

    peer.transport.registerProducer(Producer(), False)
    turn_until(reactor, lambda: peer.ended)
    got = b""
    while data := client.recv(10000):
        got += data
    assert b"a" * 1000 + b"b" * 1000 + b"c" * 1000 == got
    client.close()


def test_producer_that_breaks(reactor: GatheredWrites) -> None:
    """
    An error of ours while writing costs its connection alone, and is logged.
    """
    peer, client = serve(reactor)
    other, second = serve(reactor)

    class Producer:
        def resumeProducing(self) -> None:
            raise ZeroDivisionError

        def pauseProducing(self) -> None:
            pass

        def stopProducing(self) -> None:
            pass

    peer.transport.registerProducer(Producer(), True)
    peer.transport.producerPaused = True
    peer.transport.write(b"x")
    other.transport.write(b"y")
    reactor.iterate(0)
    assert b"y" == second.recv(10)
    turn_until(reactor, lambda: peer.ended)
    assert [] == other.ended
    client.close()
    second.close()
