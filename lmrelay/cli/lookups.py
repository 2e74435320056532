"""
Questions to the DNS from a command: one at a time, over plain sockets, to the servers that the daemon asks.

A server that stays silent is asked no more, so that a DNS that is away costs seconds and not minutes.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator

from attrs import define, field

from lmrelay.config.values import Config, NameServer
from lmrelay.dns.message import MAX_ALIASES, Question, Response, parse_question, read_response, write_question
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer

MX, TXT, A, AAAA, PTR = 15, 16, 1, 28, 12
ROUNDS = (2.0, 3.0)
"""
Seconds that each server gets, round after round.
"""

MAX_NONSENSE = 20

Ask = Callable[[str, int], Answer]
"""
A name in A-labels and a record type to what the DNS has of them, or L{DnsError}.
"""


@define(eq=False)
class Lookups:
    """
    C{servers} are those left that have not been silent.
    """

    servers: list[NameServer]
    _known: dict[Question, Answer | DnsError] = field(factory=dict, init=False)

    def ask(self, name: str, type: int) -> Answer:
        """
        As L{lmrelay.interfaces.IResolver.query}, at once; the same question is asked once.

        @raise DnsError: there is no usable answer
        """
        question = parse_question(name, type)
        if question not in self._known:
            try:
                self._known[question] = self._follow(question)
            except DnsError as error:
                self._known[question] = error
        known = self._known[question]
        if isinstance(known, DnsError):
            raise known
        return known

    def _follow(self, question: Question) -> Answer:
        response = self._ask(question)
        for _ in range(MAX_ALIASES):
            if not response.alias:
                return response.answer
            response = self._ask(parse_question(response.alias, question.type))
        raise DnsError(f"the aliases of {question.name} go in a loop")

    def _ask(self, question: Question) -> Response:
        reason = "no name server answers"
        silent = list(self.servers)
        for patience in ROUNDS:
            for server in list(self.servers):
                try:
                    response = _ask_server(server, question, patience)
                except (OSError, DnsError):
                    continue
                if server in silent:
                    silent.remove(server)
                if response.is_usable:
                    return response
                reason = f"{response.failure} from {server.host}"
        self.servers = [server for server in self.servers if server not in silent]
        raise DnsError(f"{reason} for {question.name}")


def open_lookups(config: Config) -> Lookups:
    """
    With the configured or the system's servers.
    """
    from lmrelay.cli.probes import system_servers

    return Lookups(list(config.dns.servers or system_servers()))


def texts_of(answer: Answer) -> list[str]:
    """
    The texts of TXT records, the strings of each joined (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
    """
    return [_join(record) for record in answer.records if isinstance(record, bytes)]


def names_of(answer: Answer) -> list[str]:
    """
    The names that PTR records lead to.
    """
    return [".".join(_labels(record)) for record in answer.records if isinstance(record, bytes)]


def _labels(rdata: bytes) -> list[str]:
    return [label.decode("latin-1").lower() for label in _strings(rdata) if label]


def _join(rdata: bytes) -> str:
    return b"".join(_strings(rdata)).decode("utf-8", "replace")


def _strings(rdata: bytes) -> Iterator[bytes]:
    """
    Each behind an octet with its length, as both strings and labels are (RFC 1035 §3.1, §3.3).
    """
    at = 0
    while at < len(rdata):
        end = at + 1 + rdata[at]
        yield rdata[at + 1 : end]
        at = end


def _ask_server(server: NameServer, question: Question, patience: float) -> Response:
    """
    @raise DnsError: what came is no answer
    @raise OSError: nothing came
    """
    id = int.from_bytes(os.urandom(2), "big")
    octets = write_question(question, id)
    response = _ask_udp(server, octets, question, id, patience)
    return _ask_tcp(server, octets, question, id, patience) if response.truncated else response


def _family(server: NameServer) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server.host else socket.AF_INET


def _ask_udp(server: NameServer, octets: bytes, question: Question, id: int, patience: float) -> Response:
    with socket.socket(_family(server), socket.SOCK_DGRAM) as asking:
        asking.settimeout(patience)
        asking.connect((server.host, server.port))
        asking.send(octets)
        for _ in range(MAX_NONSENSE):
            response = read_response(asking.recv(65535), question, id)
            if response is not None:
                return response
    raise DnsError("answers to other questions")


def _ask_tcp(server: NameServer, octets: bytes, question: Question, id: int, patience: float) -> Response:
    with socket.create_connection((server.host, server.port), patience) as asking:
        asking.sendall(struct.pack("!H", len(octets)) + octets)
        with asking.makefile("rb") as stream:
            beginning = stream.read(2)
            said = stream.read(int.from_bytes(beginning, "big")) if len(beginning) == 2 else b""
    response = read_response(said, question, id) if said else None
    if response is None:
        raise DnsError("an answer to another question")
    return response
