"""
The stub resolver: an L{IResolver} over the configured or the system's name servers.

Asks each server in turn, in rounds with growing patience; what fails or is silent is passed
over. No hosts file and no search list: mail goes by the DNS alone (RFC 5321 §5.1).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from lmrelay.config.values import NameServer
from lmrelay.dns.cache import Cache
from lmrelay.dns.exchange import DnsReactor, ask_tcp, ask_udp
from lmrelay.dns.message import (
    FORMAT_ERROR,
    MAX_ALIASES,
    Question,
    Response,
    parse_question,
    read_response,
    write_question,
)
from lmrelay.dns.servers import Servers
from lmrelay.errors import DnsError
from lmrelay.interfaces import Answer, IResolver, ISettings
from lmrelay.shares import Shares, Turns

ROUNDS = (2.0, 3.0, 5.0)
"""
Seconds that each server gets, round after round.
"""

TCP_TIMEOUT = 5.0
MAX_ASKING = 200
LEAST_ASKING = 20
"""
Questions on their way at one time, so that a queue full of domains does not take all sockets,
and those that anybody may have on their way whatever the others have.
"""

log = Logger()


@implementer(IResolver)
@define(eq=False)
class Resolver:
    """
    The relay's resolver. C{entropy(n)} gives n octets that nobody can guess.
    """

    reactor: DnsReactor
    settings: ISettings
    entropy: Callable[[int], bytes]
    resolv_conf: Path = Path("/etc/resolv.conf")
    cache: Cache = field(factory=Cache)
    _servers: Servers = field(init=False)
    _asked: tuple[NameServer, ...] = field(default=(), init=False)
    _waiting: dict[Question, list[Deferred[Answer]]] = field(factory=dict, init=False)
    _turns: Turns[Question] = field(factory=lambda: Turns(Shares(MAX_ASKING, LEAST_ASKING)), init=False)
    _unasked: dict[Question, set[Hashable]] = field(factory=dict, init=False)
    _asking: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._servers = Servers(self.settings, self.resolv_conf)

    def query(self, name: str, type: int, whose: Hashable = None) -> Deferred[Answer]:
        """
        As L{IResolver.query}. The same question in flight is asked once.
        """
        try:
            question = parse_question(name, type)
        except DnsError as error:
            return fail(error)
        self._watch_servers()
        known = self.cache.find(question, self.reactor.seconds())
        if known is not None:
            return succeed(self._believed(known)) if isinstance(known, Answer) else fail(DnsError(str(known)))
        return self._join(question, whose)

    def _watch_servers(self) -> None:
        servers = self._servers.current(self.reactor.seconds())
        if servers != self._asked:
            self._asked = servers
            self.cache.clear()

    def _believed(self, answer: Answer) -> Answer:
        if answer.authenticated and not self.settings.config.dns.validating:
            # Anyone between an untrusted server and us can set the bit (RFC 6840 §5.8).
            return evolve(answer, authenticated=False)
        return answer

    def _join(self, question: Question, whose: Hashable) -> Deferred[Answer]:
        waiting = self._waiting.get(question)
        if waiting is None:
            waiting = self._waiting[question] = []
            self._unasked[question] = set()
        mine: Deferred[Answer] = Deferred(waiting.remove)
        waiting.append(mine)
        askers = self._unasked.get(question)
        if askers is not None and whose not in askers:
            # It is asked when the first of those who want to know has a turn.
            askers.add(whose)
            self._turns.add(whose, question)
            self._ask_in_turn()
        return mine

    def _ask_in_turn(self) -> None:
        if self._asking:
            # The outer loop takes up what this call was for; recursion would have no bound.
            return
        self._asking = True
        try:
            while (turn := self._turns.next()) is not None:
                whose, question = turn
                if self._unasked.pop(question, None) is None:
                    self._turns.end(whose)
                    continue
                asking: Deferred[Answer] = Deferred.fromCoroutine(self._resolve(question))
                asking.addBoth(partial(self._tell, question, whose))
        finally:
            self._asking = False

    def _tell(self, question: Question, whose: Hashable, result: Answer | Failure) -> None:
        self._turns.end(whose)
        for waiting in self._waiting.pop(question):
            if isinstance(result, Answer):
                waiting.callback(self._believed(result))
            else:
                waiting.errback(result)
        self._ask_in_turn()

    async def _resolve(self, question: Question) -> Answer:
        try:
            answer = await self._follow(question)
        except DnsError as error:
            self.cache.keep(question, error, self.reactor.seconds())
            raise
        except Exception as error:
            log.failure("name resolution broke", name=question.name)
            raise DnsError("the resolver broke") from error
        self.cache.keep(question, answer, self.reactor.seconds())
        return answer

    async def _follow(self, question: Question) -> Answer:
        """
        Ask on where a server's answer ends at an alias.
        """
        response = await self._ask(question)
        authenticated, ttl, name = True, response.answer.ttl, ""
        for _ in range(MAX_ALIASES):
            if not response.alias:
                break
            authenticated, name = authenticated and response.answer.authenticated, response.alias
            response = await self._ask(parse_question(response.alias, question.type))
            ttl = min(ttl, response.answer.ttl) if ttl else response.answer.ttl
        else:
            raise DnsError(f"the aliases of {question.name} go in a loop")
        answer = response.answer
        return evolve(answer, authenticated=authenticated and answer.authenticated, ttl=ttl, name=answer.name or name)

    async def _ask(self, question: Question) -> Response:
        """
        Round after round, until a server says something of the name. A server that answered
        with a failure is not asked again.
        """
        servers = list(self._asked)
        reason = "no name server"
        for patience in ROUNDS:
            for server in tuple(servers):
                try:
                    response = await self._ask_server(server, question, patience)
                except DnsError as error:
                    reason = f"{error} from {server.host}"
                    continue
                if response.is_usable:
                    return response
                reason = f"{response.failure} from {server.host}"
                servers.remove(server)
        raise DnsError(f"{reason} for {question.name}")

    async def _ask_server(self, server: NameServer, question: Question, patience: float) -> Response:
        response = await self._exchange(ask_udp, server, question, patience)
        edns = response.rcode != FORMAT_ERROR
        if not edns:
            # Some old servers know no EDNS, and say so like this (RFC 6891 §7).
            response = await self._exchange(ask_udp, server, question, patience, edns=False)
        if response.truncated:
            response = await self._exchange(ask_tcp, server, question, TCP_TIMEOUT, edns=edns)
            if response.truncated:
                raise DnsError("an answer cut short over TCP")
        return response

    async def _exchange(
        self,
        ask: Callable[..., Deferred[Response]],
        server: NameServer,
        question: Question,
        timeout: float,
        *,
        edns: bool = True,
    ) -> Response:
        id = int.from_bytes(self.entropy(2), "big")
        octets = write_question(question, id, edns=edns)
        return await ask(self.reactor, server, octets, lambda said: read_response(said, question, id), timeout)
