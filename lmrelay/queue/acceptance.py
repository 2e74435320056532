"""
The queue's door: message, recipients and event in one commit, and from there straight to delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import define, field
from sqlalchemy import Connection
from twisted.logger import Logger
from zope.interface import implementer

from lmrelay.config.values import MIB, Config
from lmrelay.config.words import TlsPolicy
from lmrelay.errors import Refused, StoreError, StoreFull
from lmrelay.ids import make_id
from lmrelay.interfaces import IAcceptance, IBody, IDispatch, ISettings, Lane, RecipientKey, Submission
from lmrelay.queue.bodies import Body, Budget, delete_bodies
from lmrelay.queue.contents import Cache
from lmrelay.queue.fresh import Fresh
from lmrelay.queue.keys import Key, Use
from lmrelay.queue.quotas import KnownOver, Over, find_limits
from lmrelay.queue.rows import Entropy, event_row, make_leased, message_row, recipient_rows
from lmrelay.queue.schema import CHUNK
from lmrelay.queue.storing import Accept, Storing, Verdict, find_stored, store
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.writer import IWriter
from lmrelay.smtp import replies

RESERVE = 64 * MIB
"""
Octets of disk that stay free for recording deliveries.
"""

log = Logger()


def find_promise(config: Config, project: str, route: str) -> TlsPolicy | None:
    """
    What project and route promise of TLS; None: nothing of their own.
    """
    tenant = config.projects.get(project)
    return None if tenant is None else tenant.route(route).tls or tenant.tls


@implementer(IAcceptance)
@define(eq=False)
class Acceptance:
    """
    See L{IAcceptance}. C{free} gives the free octets of the disk; C{left_over} is told of mail that delivery had no
    room for, C{doubt} of what is this worker's if a commit did not fail as it said, C{fresh} what is known of the rest.
    """

    _writer: IWriter
    _settings: ISettings
    _dispatch: IDispatch
    _worker: str
    _wall: Callable[[], float]
    _entropy: Entropy
    _free: Callable[[], int]
    _cache: Cache
    _left_over: Callable[[], None]
    _release: Callable[[list[RecipientKey]], object]
    _doubt: Callable[[list[RecipientKey]], None]
    _suppressions: Suppressions
    _fresh: Fresh = field(factory=Fresh)
    _budget: Budget = field(factory=Budget)
    _storing: set[Key] = field(factory=set, init=False)
    _known_over: KnownOver = field(init=False)

    @_known_over.default
    def _make_known_over(self) -> KnownOver:
        return KnownOver(self._settings, self._wall)

    def check_quota(self, project: str) -> None:
        """
        See L{IAcceptance}.
        """
        self._known_over.check(project)

    def check_room(self, declared: int | None) -> None:
        """
        See L{IAcceptance}.
        """
        if not self._has_room(declared or 0):
            raise StoreFull("less than the reserve is free on the disk")

    def _has_room(self, octets: int = 0) -> bool:
        """
        Is there room for C{octets} and all that was received and is not on the disk yet, with the reserve left?
        """
        return self._free() >= RESERVE + self._budget.used + octets

    def open_body(self) -> IBody:
        """
        See L{IAcceptance}.
        """
        return Body(
            self._writer, self._budget, self._worker, lambda: make_id(self._wall(), self._entropy), self._has_room
        )

    async def delete_abandoned(self) -> None:
        """
        Delete the uploads that were given up when the store could not do it.

        @raise StoreError: it still cannot
        """
        for one in tuple(self._budget.abandoned):
            await self._writer.submit(delete_bodies, one)
            self._budget.abandoned.discard(one)

    async def accept(self, submission: Submission, body: IBody) -> str:
        """
        See L{IAcceptance}.
        """
        if not isinstance(body, Body):
            raise TypeError("the body is not one of this queue's")
        if not submission.key:
            return await self._store(submission, body)
        key = (submission.project, submission.key)
        if key in self._storing:
            body.discard()
            raise Refused(replies.KEY_IN_USE)
        self._storing.add(key)
        try:
            return await self._store(submission, body)
        finally:
            self._storing.discard(key)

    async def _store(self, submission: Submission, body: Body) -> str:
        reserved: dict[Lane, int] = {}
        try:
            rest = await body.close()
            # MAIL asked for what was declared, which may be nothing, and others have written since.
            self.check_room(None)
            reserved = self._reserve(submission)
            tls = find_promise(self._settings.config, submission.project, submission.route)
            rows = self._rows(submission, body, rest, reserved, tls)
            verdict = await self._commit(rows)
            if isinstance(verdict, Over):
                self._known_over.learn(verdict)
                raise verdict.refusal()
            if isinstance(verdict, Use) and verdict.fingerprint != submission.fingerprint:
                raise Refused(replies.key_reused(verdict.message))
        except BaseException:
            self._turn_away(submission, body, reserved)
            raise
        if isinstance(verdict, Use):
            self._turn_away(submission, body, reserved)
            return verdict.message
        withheld = frozenset() if verdict is None else verdict.withheld
        # Committed: the message is the relay's, and the client is to hear so, whatever breaks from here on.
        try:
            self._hand_over(submission, body, rest, rows, reserved, withheld)
        except Exception:  # noqa: BLE001 - a fault of ours must not strand the mail
            log.failure("fresh mail could not be handed to delivery", message=submission.id)
            keys = [(submission.id, number) for number in range(len(submission.envelope.recipients))]
            # What it knows already it would not take again.
            self._dispatch.withdraw(keys)
            self._release(keys)
        return submission.id

    async def _commit(self, rows: Accept) -> Verdict:
        """
        Write it. What is in the store though its commit was said to have failed is stored: told otherwise, the client
        would send it again.
        """
        storing = Storing(rows)
        try:
            return await self._writer.submit(self._write, storing, urgent=True)
        except StoreError:
            stored = await self._find(storing) if storing.tried else None
            if stored is None:
                raise
            return stored

    async def _find(self, storing: Storing) -> Verdict:
        try:
            return await self._writer.submit(find_stored, storing.rows.message, urgent=True)
        except StoreError:
            # If it is there it goes out, though the client is told to send it again (RFC 5321 §6.1: what was accepted
            # must not be lost). It could not be undone: lanes that delivery had no room for are anybody's, its event
            # may have been told, and a client that comes again with its key hears that it has been accepted.
            self._doubt(storing.leased)
            return None

    def _write(self, connection: Connection, items: Sequence[Storing]) -> list[Verdict]:
        suppressions = self._suppressions
        return store(connection, items, self._wall(), suppressions.write_events, suppressions)

    def _turn_away(self, submission: Submission, body: Body, reserved: Mapping[Lane, int]) -> None:
        for lane, number in reserved.items():
            self._dispatch.cancel(lane, number)
        body.reject(submission.id)

    def _hand_over(
        self,
        submission: Submission,
        body: Body,
        rest: bytes,
        rows: Accept,
        reserved: dict[Lane, int],
        withheld: frozenset[int],
    ) -> None:
        size, to = len(submission.head) + body.size, submission.envelope.recipients
        if not body.name and len(withheld) < len(to):
            self._cache.put(submission.id, submission.head, rest)
        body.forget()
        for number in withheld:
            lane = Lane(submission.project, submission.kind, to[number].address.ascii_domain)
            if lane in reserved:
                self._dispatch.cancel(lane, 1)
        if reserved:
            if len(to) == 1 and not withheld:
                self._fresh.put(rows.message, rows.recipients[0])
            self._dispatch.take(make_leased(submission, size, reserved, rows.tls, withheld))
        if sum(reserved.values()) < len(to):
            self._left_over()

    def _reserve(self, submission: Submission) -> dict[Lane, int]:
        numbers: dict[str, int] = {}
        for one in submission.envelope.recipients:
            domain = one.address.ascii_domain
            numbers[domain] = numbers.get(domain, 0) + 1
        project, kind, reserve = submission.project, submission.kind, self._dispatch.reserve
        lanes = [(Lane(project, kind, domain), number) for domain, number in numbers.items()]
        return {lane: number for lane, number in lanes if reserve(lane, number)}

    def _rows(
        self, submission: Submission, body: Body, rest: bytes, reserved: dict[Lane, int], tls: TlsPolicy | None
    ) -> Accept:
        name = body.name or submission.id
        # Nearly all bodies are one block.
        blocks = [rest[start : start + CHUNK] for start in range(0, len(rest), CHUNK)] if len(rest) > CHUNK else [rest]
        chunks = [
            {"body": name, "number": number, "size": len(block), "octets": block}
            for number, block in enumerate(blocks, body.chunks)
            if block
        ]
        context = (submission.project, submission.route)
        return Accept(
            message_row(submission, len(submission.head) + body.size, name, tls=tls),
            recipient_rows(submission, {lane.domain: self._worker for lane in reserved}),
            event_row(self._entropy, "message.created", submission.received_at, context, (submission.id, None)),
            chunks,
            (body.chunks, body.size - len(rest)) if body.name else None,
            Use((submission.project, submission.key), submission.id, submission.fingerprint)
            if submission.key
            else None,
            find_limits(self._settings.config, submission.project, submission.route),
            tls=tls,
        )
