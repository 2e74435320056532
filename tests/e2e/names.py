"""
A name server of the tests' own, in a thread: an independent peer, so nothing of lmrelay or Twisted is in it.

It answers over UDP from a table that a test may change at any time. A name it does not
know is NXDOMAIN; a name in C{failing} is SERVFAIL; one in C{silent} gets no answer. What is at or below a domain in
C{signed} is told with the AD bit, as a validating server tells it.
"""

from __future__ import annotations

import socket
import struct
import threading
from ipaddress import IPv4Address, IPv6Address

A, MX, TXT, AAAA, TLSA = 1, 15, 16, 28, 52
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
TTL = 60


class NameServer:
    """
    Use it as a context; C{address} is where it listens, C{asked} what was asked, in order.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[bytes]] = {}
        self.failing: set[str] = set()
        self.silent: set[str] = set()
        self.signed: set[str] = set()
        self.asked: list[tuple[str, int]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, name="name server", daemon=True)

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self.address)
        self._thread.join(5)
        self._socket.close()

    def host(self, name: str, *addresses: str) -> None:
        """
        C{name} has these addresses, of either family.
        """
        for text in addresses:
            address = IPv6Address(text) if ":" in text else IPv4Address(text)
            kind = AAAA if address.version == 6 else A
            self.records.setdefault((name.lower(), kind), []).append(address.packed)

    def mx(self, domain: str, preference: int, host: str) -> None:
        """
        C{domain} has this MX; the host "" is the null MX (RFC 7505).
        """
        self.records.setdefault((domain.lower(), MX), []).append(struct.pack("!H", preference) + packed_name(host))

    def txt(self, name: str, text: str) -> None:
        """
        C{name} has only this TXT record, of at most 255 octets.
        """
        self.records[name.lower(), TXT] = [bytes([len(text)]) + text.encode("ascii")]

    def tlsa(self, name: str, *records: bytes) -> None:
        """
        C{name} has only these TLSA records.
        """
        self.records[name.lower(), TLSA] = list(records)

    def _serve(self) -> None:
        while True:
            query, peer = self._socket.recvfrom(4096)
            if not query:
                return
            if (answer := self.answer(query)) is not None:
                self._socket.sendto(answer, peer)

    def answer(self, query: bytes) -> bytes | None:
        """
        The response to one query message (RFC 1035 §4.1), None for no response.
        """
        name, end = unpacked_name(query, 12)
        kind, _ = struct.unpack_from("!HH", query, end)
        self.asked.append((name, kind))
        if name in self.silent:
            return None
        records: list[bytes] = []
        code = NOERROR
        if name in self.failing:
            code = SERVFAIL
        elif any(known == name for known, _ in list(self.records)):
            records = list(self.records.get((name, kind), []))
        else:
            code = NXDOMAIN
        flags = 0x8580 | code  # a response, authoritative, recursion desired and available
        if any(f".{name}".endswith(f".{domain}") for domain in self.signed):
            flags |= 0x0020
        header = query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        return header + query[12 : end + 4] + b"".join(resource(kind, data) for data in records)


def resource(kind: int, data: bytes) -> bytes:
    """
    A resource record of the name in the question.
    """
    return struct.pack("!HHHIH", 0xC00C, kind, 1, TTL, len(data)) + data


def packed_name(name: str) -> bytes:
    """
    A domain name as labels, uncompressed.
    """
    labels = [label.encode("ascii") for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def unpacked_name(message: bytes, start: int) -> tuple[str, int]:
    """
    The name at C{start} in lower case, and where what follows it begins.
    """
    labels = []
    while length := message[start]:
        labels.append(message[start + 1 : start + 1 + length].decode("ascii").lower())
        start += 1 + length
    return ".".join(labels), start + 1
