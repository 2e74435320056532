"""
A zone told by a real name server on loopback, to commands that ask with plain sockets.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lmrelay.testing.name_server import NameServer, Said, Zone

TXT = 16


def texts(zone: Zone, name: str, *values: str) -> Zone:
    """
    TXT records, each in strings of at most 255 octets.
    """
    return zone.say(name, TXT, Said(tuple(map(rdata, values))))


def rdata(text: str) -> bytes:
    octets = text.encode()
    strings = [octets[at : at + 255] for at in range(0, len(octets), 255)] or [b""]
    return b"".join(bytes([len(one)]) + one for one in strings)


@contextmanager
def serving(zone: Zone) -> Iterator[NameServer]:
    """
    The zone over UDP and TCP, without a reactor: every answer is made at once.
    """
    server = NameServer(reactor=None, zone=zone)  # type: ignore[arg-type]
    datagrams, streams = _listen()
    server.port = datagrams.getsockname()[1]
    with datagrams, streams:
        threads = [
            threading.Thread(target=_serve_datagrams, args=(server, datagrams), daemon=True),
            threading.Thread(target=_serve_streams, args=(server, streams), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", datagrams.getsockname())
            streams.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


def _listen() -> tuple[socket.socket, socket.socket]:
    """
    Both transports on one number.
    """
    for _ in range(20):
        datagrams, streams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        datagrams.bind(("127.0.0.1", 0))
        with suppress(OSError):
            streams.bind(datagrams.getsockname())
            streams.listen()
            return datagrams, streams
        datagrams.close()
        streams.close()
    raise OSError("no number is free for both transports")


def _serve_datagrams(server: NameServer, own: socket.socket) -> None:
    while True:
        octets, client = own.recvfrom(65535)
        if not octets:
            return
        server.answer(octets, "udp", lambda reply, client=client: own.sendto(reply, client))


def _serve_streams(server: NameServer, own: socket.socket) -> None:
    while True:
        try:
            client, _ = own.accept()
        except OSError:
            return
        with client, client.makefile("rb") as stream:
            octets = stream.read(int.from_bytes(stream.read(2), "big"))
            server.answer(
                octets, "tcp", lambda reply, client=client: client.sendall(len(reply).to_bytes(2, "big") + reply)
            )


def configure(home: Path, port: int, extra: str = "") -> None:
    """
    Let the commands ask the server on that port.
    """
    path = home / "lmrelay.toml"
    text = path.read_text().partition("[dns]")[0]
    path.write_text(f'{text}[dns]\nservers = ["127.0.0.1:{port}"]\n{extra}')
