"""
What the queue promises through its seams, on both databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

import pytest
from attrs import define, evolve
from sqlalchemy import delete, func, insert, select, update
from twisted.internet.defer import fail
from twisted.python.failure import Failure

from lmrelay.config.project import Project, Route
from lmrelay.config.values import DkimKey
from lmrelay.config.words import TlsPolicy
from lmrelay.errors import StoreError
from lmrelay.interfaces import IContent
from lmrelay.mail.envelope import Notify
from lmrelay.mail.outcome import Delayed, Failed, Fault, Outcome
from lmrelay.mail.signing import Signers
from lmrelay.queue.bodies import delete_bodies
from lmrelay.queue.leases import DOUBTED_AFTER
from lmrelay.queue.schema import attempt, chunk, event, message, recipient, upload, worker
from lmrelay.queue.service import TOUCH
from lmrelay.queue.writer import IWriter
from lmrelay.smtp.reply import reply
from tests.mail.test_dkim import private_key, verifies
from tests.queue.filling import writing
from tests.queue.world import FULL, LATER, NEVER, OK, RELAYED, World, failure_of, name, result_of, to


def test_accepted_survives(world: World) -> None:
    """
    What was accepted is leased again exactly once after a crash, with its content; what was settled is not.
    """
    for number in range(1, 5):
        result_of(world.accept(number, ["a@b.example", f"c{number}@d.example"]))
    world.settle(1, OK)
    world.settle(2, NEVER, (1,))
    world.settle(3, LATER)
    world.crash()
    world.start()
    world.run(30)
    mail = [key for key in world.dispatch.handed() if key[0] in {name(number) for number in range(1, 5)}]
    assert {(name(1), 1), (name(2), 0), (name(3), 1), (name(4), 0), (name(4), 1)} == set(mail)
    assert len(set(mail)) == len(mail)
    assert b"Subject: Hi\r\n\r\nhello\r\n" == world.read(name(4))
    world.run(60)
    assert 1 == world.dispatch.handed().count((name(3), 0))


def test_only_the_owner_delays_or_fails(world: World) -> None:
    """
    An outcome of a lease that has ended counts only if it is a delivery: that one cannot be undone.
    """
    result_of(world.accept(1, ["a@b.example", "c@b.example"]))
    result_of(world.queue.release([(name(1), 0), (name(1), 1)]))
    world.settle(1, NEVER, (0,))
    world.settle(1, OK, (1,))
    assert [(1, 0, "queued"), (1, 1, "delivered")] == world.states()
    world.settle(1, OK, (1,))
    assert 1 == world.count()["attempt"]


def test_release(world: World) -> None:
    """
    A released recipient is due at once.
    """
    result_of(world.accept())
    result_of(world.queue.release([(name(1), 0)]))
    world.run(6)
    assert [(name(1), 0)] * 2 == world.dispatch.handed()


def test_unreadable(world: World) -> None:
    """
    A row that cannot be read is held for the operator, and keeps nobody else's mail back.
    """
    world.dispatch.room = 0
    for number in range(1, 5):
        result_of(world.accept(number))
    result_of(world.accept(5, project="other"))
    with writing(world.config) as connection:
        for key, column, value in (
            (recipient.c.message == name(1), recipient.c.notify, "SOMETIMES"),
            (message.c.id == name(2), message.c.ret, "HALF"),
            (recipient.c.message == name(3), recipient.c.kind, "other"),
        ):
            connection.execute(update(column.table).where(key).values({column: value}))
    world.dispatch.room = 1000
    world.run(6)
    assert [(name(4), 0), (name(5), 0)] == sorted(world.dispatch.handed())
    assert ["held", "held", "held", "queued", "queued"] == [state for _, _, state in world.states()]
    assert 998 == world.dispatch.room


def test_postponed(world: World) -> None:
    """
    A recipient that could not be tried is due at the time that was named, without an attempt.
    """
    result_of(world.accept())
    result_of(world.queue.postpone([(name(1), 0)], 20.0))
    world.run(18)
    assert [(name(1), 0)] == world.dispatch.handed()
    world.run(10)
    assert [(name(1), 0)] * 2 == world.dispatch.handed()
    assert [0] * 2 == [one.recipients[0].attempts for one in world.dispatch.taken]


def test_doubtful_worker(world: World) -> None:
    """
    A worker that could not say for a while that it lives takes nothing, for others may have taken it for dead; it
    goes on when it could.
    """
    result_of(world.accept())
    result_of(world.queue.release([(name(1), 0)]))
    world.dispatch.taken.clear()
    world.clock.rightNow += DOUBTED_AFTER
    touch = next(loop for loop in world.queue._loops if loop.interval == TOUCH)
    touch.stop()
    world.run(10)
    assert [] == world.dispatch.handed()
    touch.start(TOUCH)
    world.run(6)
    assert [(name(1), 0)] == world.dispatch.handed()


def test_many_recipients_settle_apart(world: World) -> None:
    """
    The body stays until the last recipient is final, whoever settles first.
    """
    result_of(world.accept(1, [f"a{number}@b.example" for number in range(300)]))
    world.settle(1, OK, range(299))
    assert 1 == world.count()["chunk"]
    world.settle(1, OK, (299,))
    assert {"chunk": 0, "attempt": 300, "event": 601} == {
        key: value for key, value in world.count().items() if key in ("chunk", "attempt", "event")
    }


def test_large_body(world: World) -> None:
    """
    Three megabytes come back octet for octet, from the store and in blocks of at most 256 KiB.
    """
    body = b"\r\n" + Random(3).randbytes(3_000_001)
    result_of(world.accept(body=body))
    content, blocks = world.queue.open_content(name(1)), []
    while block := result_of(content.read()):
        blocks.append(block)
    assert b"Subject: Hi\r\n" + body == b"".join(blocks)
    assert 256 * 1024 == max(map(len, blocks))
    assert 0 == world.count()["upload"]


def test_body_that_ends_while_it_is_read(world: World) -> None:
    """
    A body that is deleted while somebody reads it is an error: what was read so far must not pass for the whole.
    """
    result_of(world.accept(body=b"\r\n" + bytes(600_000)))
    content = world.queue.open_content(name(1))
    assert b"Subject: Hi\r\n" == result_of(content.read())
    assert 256 * 1024 == len(result_of(content.read()))
    world.settle(1, OK)
    failure_of(content.read(), StoreError)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("left", [None, b"", b"short", bytes(256 * 1024 + 1)])
def test_content_that_is_not_whole(world: World, number: int, left: bytes | None) -> None:
    """
    Wherever a part of a content is missing, short or too long in the store, reading it fails; it never just ends.
    """
    result_of(world.accept(body=b"\r\n" + bytes(600_000)))
    part = (chunk.c.body != "", chunk.c.number == number)
    with writing(world.config) as connection:
        connection.execute(
            delete(chunk).where(*part) if left is None else update(chunk).where(*part).values(octets=left)
        )
    content = world.queue.open_content(name(1))
    done = content.read()
    while not isinstance(done.result, Failure):
        assert b"" != result_of(done)
        done = content.read()
    failure_of(done, StoreError)


def test_fields_around_the_head(world: World) -> None:
    """
    What is each recipient's own stands before and behind the head, fresh from memory and read back; the head alone
    is as it was accepted.
    """
    result_of(world.accept())
    for _ in range(2):
        content = world.queue.open_content(name(1), b"Behind: b\r\n", b"Above: a\r\n")
        assert b"Subject: Hi\r\n" == result_of(content.read_head())
        assert b"Above: a\r\nSubject: Hi\r\nBehind: b\r\n\r\nhello\r\n" == b"".join(_blocks(content))
        world.crash()
        world.start()
    failure_of(world.queue.open_content(name(2)).read_head(), StoreError)


def test_content_at_hand(world: World) -> None:
    """
    A fresh content is there at once, the same as block by block; not once some of it was read, nor after a restart.
    """
    result_of(world.accept())
    whole = world.queue.open_content(name(1), b"Behind: b\r\n", b"Above: a\r\n").read_now()
    assert b"Above: a\r\nSubject: Hi\r\nBehind: b\r\n\r\nhello\r\n" == whole
    begun = world.queue.open_content(name(1))
    result_of(begun.read())
    assert begun.read_now() is None
    world.crash()
    world.start()
    assert world.queue.open_content(name(1)).read_now() is None


def _blocks(content: IContent) -> Iterator[bytes]:
    while block := result_of(content.read()):
        yield block


def test_discarded_upload(world: World) -> None:
    """
    A body that was given up leaves nothing, whether it was large or small, once or twice discarded.
    """
    for size in (10, 300_000, 1_500_000):
        body = world.queue.open_body()
        body.write(bytes(size))
        body.discard()
        body.discard()
        with pytest.raises(StoreError):
            body.write(b"more")
    assert {"chunk": 0, "upload": 0} == {key: world.count()[key] for key in ("chunk", "upload")}


@define
class Deaf:
    """
    A writer that cannot delete what was uploaded.
    """

    writer: IWriter

    def submit(self, write: Any, item: Any, *, urgent: bool = False) -> Any:
        if write is delete_bodies:
            return fail(StoreError("the connection was lost"))
        return self.writer.submit(write, item, urgent=urgent)


def test_upload_that_cannot_be_deleted(world: World) -> None:
    """
    What is left of an upload because the store could not delete it goes when it can, while the worker lives.
    """
    body = world.queue.open_body()
    body.write(b"\r\n" + b"x" * 600_000)
    body._writer = Deaf(body._writer)
    body.discard()
    assert (2, 1) == (world.count()["chunk"], world.count()["upload"])
    world.run(TOUCH + 1)
    assert (0, 0) == (world.count()["chunk"], world.count()["upload"])


def test_upload_of_the_dead(world: World) -> None:
    """
    What a dead worker had uploaded is swept; what a living one uploads is not.
    """
    body = world.queue.open_body()
    body.write(bytes(600_000))
    world.run(40)
    assert (2, 1) == (world.count()["chunk"], world.count()["upload"])
    world.crash()
    world.start()
    assert (0, 0) == (world.count()["chunk"], world.count()["upload"])


@pytest.mark.parametrize("lost", ["chunk", "upload"])
def test_missing_part(world: World, lost: str) -> None:
    """
    A message whose body is not whole in the store is refused, and nothing of it is kept.
    """
    body = world.queue.open_body()
    body.write(bytes(600_000))
    with writing(world.config) as connection:
        connection.execute(delete(chunk).where(chunk.c.number == 0) if lost == "chunk" else delete(upload))
    failure_of(world.accept(into=body, body=b""), StoreError)
    assert {"message": 0, "recipient": 0, "chunk": 0, "upload": 0, "event": 0, "attempt": 0} == world.count()
    assert [] == world.dispatch.taken
    assert 1000 == world.dispatch.room


def test_fairness(world: World) -> None:
    """
    A lane with a huge backlog and no room keeps no other lane waiting.
    """
    world.dispatch.room = 0
    result_of(world.accept(1, [f"a{number}@dead.example" for number in range(1000)]))
    result_of(world.accept(2, ["a@live.example"]))
    result_of(world.accept(3, ["a@zzz.example"], project="other"))
    world.dispatch.room, world.dispatch.per_lane = 1000, 10
    world.run(6)
    assert {(name(2), 0), (name(3), 0)} == set(world.dispatch.handed())
    world.dispatch.per_lane = 1000
    world.run(15)
    assert 902 == len(world.dispatch.handed()) == len(set(world.dispatch.handed()))


@pytest.mark.parametrize(
    ("outcome", "expired", "told"),
    [
        (LATER, True, "message.soft_bounced"),
        (Delayed("4.4.3", "no answer", Fault.DNS), True, "message.soft_bounced"),
        (Delayed("4.3.5", "no such file", Fault.OURS), True, "message.failed"),
        (LATER, False, "message.deferred"),
        (NEVER, False, "message.hard_bounced"),
        (Failed("5.1.2", "no such domain", Fault.DNS), False, "message.hard_bounced"),
        (OK, False, "message.delivered"),
    ],
)
def test_events(world: World, outcome: Outcome, expired: bool, told: str) -> None:
    """
    Each outcome is told in the words of its event, after the fact that there was an attempt.
    """
    result_of(world.accept(tags=("x", "ä"), metadata={"order": '"1"'}))
    if expired:
        world.clock.advance(48 * 3600.0)
    world.settle(1, outcome)
    events = world.events()
    assert ["message.created", "message.sent", told] == [type_ for type_, _ in events]
    about = {"message_id": name(1), "subject": "Hi", "tag": "x", "tags": ["x", "ä"], "metadata": {"order": '"1"'}}
    assert [about, {**about, "recipient": "a@b.example"}] == [document for _, document in events[:2]]


def test_events_are_small(world: World) -> None:
    """
    Metadata is stored once a message, whoever of its recipients has an event: one message cannot fill the disk.
    """
    metadata = {f"key{number}": "x" * 1024 for number in range(50)}
    result_of(world.accept(1, [f"u{number}@b.example" for number in range(20)], metadata=metadata))
    world.settle(1, OK, range(20))
    with writing(world.config) as connection:
        sizes = connection.execute(select(func.length(event.c.document))).scalars().all()
    assert 41 == len(sizes)
    assert max(sizes) < 1000
    assert [metadata] * 41 == [document["metadata"] for _, document in world.events()]


def test_event_of_a_delay(world: World) -> None:
    """
    A delay says what the receiver said, and when it goes on, as all times are given.
    """
    result_of(world.accept())
    world.settle(1, LATER)
    said = world.events()[-1][1]
    assert said.pop("next_attempt").startswith("2023-11-14T22:14:")
    assert {
        "message_id": name(1),
        "subject": "Hi",
        "tag": None,
        "tags": [],
        "metadata": {},
        "recipient": "a@b.example",
        "response": {"status_code": 451, "enhanced_status_code": "4.2.0", "content": "greylisted"},
        "mx": "mx.b.example",
        "tls": None,
        "attempt": 1,
    } == said
    with writing(world.config) as connection:
        ids = connection.execute(select(event.c.id)).scalars().all()
    assert [4] * 3 == [UUID(one).version for one in ids]
    assert list(ids) == [str(UUID(one)) for one in ids]


@pytest.mark.parametrize(
    ("project", "route", "promised"),
    [
        (None, None, None),
        (TlsPolicy.ENFORCED, None, TlsPolicy.ENFORCED),
        (TlsPolicy.ENFORCED, TlsPolicy.NONE, TlsPolicy.NONE),
        (None, TlsPolicy.ENFORCED, TlsPolicy.ENFORCED),
    ],
)
def test_promise_of_tls(
    world: World, project: TlsPolicy | None, route: TlsPolicy | None, promised: TlsPolicy | None
) -> None:
    """
    What project and route promised at the acceptance goes with the message to delivery, at once and after both
    are gone, and with its notification too.
    """
    tenant = Project("acme", tls=project, routes={"outgoing": Route("outgoing", tls=route)})
    world.queue._settings.config = evolve(world.config, projects={"acme": tenant})  # type: ignore[misc]
    result_of(world.accept())
    world.queue._settings.config = world.config  # type: ignore[misc]
    result_of(world.queue.release([(name(1), 0)]))
    world.run(6)
    world.settle(1, NEVER)
    world.run(6)
    assert [promised] * 3 == [one.tls for one in world.dispatch.taken]


@pytest.mark.parametrize("words", ["nul \0 nul", "half \ud800 half", "\ud800\0"])
def test_text_that_no_database_stores(world: World, words: str) -> None:
    """
    Words that cannot be stored keep neither a message out nor its outcome from being recorded.
    """
    result_of(world.accept(1, subject=words, tags=(words,), metadata={words: words}))
    world.settle(1, Failed("5.1.1", words, Fault.RECIPIENT, reply(550, "5.1.1", words)))
    assert [(1, 0, "failed")] == world.states()
    with writing(world.config) as connection:
        told = connection.execute(select(attempt.c.reply)).scalar_one()
    assert "\ud800" not in told
    assert told.startswith("550 5.1.1 ")


def test_shared_notification(world: World) -> None:
    """
    Recipients that fail together share one notification, in which nobody else is named.
    """
    result_of(world.accept(1, ["a@b.example", "c@b.example", "d@b.example"]))
    world.settle(1, NEVER, (0, 1))
    ((receiver, _, content),) = world.notices()
    assert "s@acme.example" == receiver
    assert (True, True, False) == tuple(one in content for one in (b"a@b.example", b"c@b.example", b"d@b.example"))
    assert b"hello" not in content


def test_signed_notification(world: World) -> None:
    """
    A notification is signed where the domain of its From field has a key, and its octets are those delivered.
    """
    key = DkimKey("relay.example", "s1", "ed25519", private_key("ed25519"))
    result_of(world.accept(1))
    result_of(world.accept(2))
    world.settle(1, NEVER)
    signed = evolve(world.config, dkim={"relay.example": (key,)})
    world.queue._settings.config = signed  # type: ignore[misc]
    world.settle(2, NEVER)
    (_, _, plain), (_, _, content) = world.notices()
    assert b"DKIM-Signature" not in plain
    assert content.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256;")
    assert verifies(content, Signers(lambda: signed.dkim).find("relay.example"))


def test_failed_with_body(world: World) -> None:
    """
    RET=FULL returns the message whole where it is small, and its head where it is not (RFC 3461 §4.3).
    """
    result_of(world.accept(1, ret=FULL, sender="small@acme.example"))
    result_of(world.accept(2, ret=FULL, sender="large@acme.example", body=b"\r\nhello\r\n" + b"x" * 256 * 1024))
    for number in (1, 2):
        world.settle(number, NEVER)
    expected = {"small@acme.example": True, "large@acme.example": False}
    assert expected == {to: b"\r\nhello\r\n" in content for to, _, content in world.notices()}


def test_failed_under_require_tls(world: World) -> None:
    """
    What was to go by TLS alone comes back by TLS alone, and never more of it than its head (RFC 8689 §5).
    """
    result_of(world.accept(1, ret=FULL, require_tls=True))
    assert [True] == [one.require_tls for one in world.dispatch.taken]
    world.settle(1, NEVER)
    ((_, _, content),) = world.notices()
    assert b"Subject: Hi" in content
    assert b"\r\nhello\r\n" not in content
    world.run(6)
    assert [True] == [one.require_tls for one in world.dispatch.taken if one.notification]


@pytest.mark.parametrize("notify", [(Notify.NEVER,), (Notify.SUCCESS,), (Notify.DELAY,)])
def test_unwanted_notification(world: World, notify: tuple[Notify, ...]) -> None:
    """
    Nobody is told of a failure who said so with NOTIFY.
    """
    result_of(world.accept(1, [to("a@b.example", *notify)]))
    world.settle(1, NEVER)
    assert [] == world.notices()


def test_null_reverse_path(world: World) -> None:
    """
    A bounce is never bounced.
    """
    result_of(world.accept(1, sender=""))
    world.settle(1, NEVER)
    assert [] == world.notices()


def test_route_without_notifications(world: World) -> None:
    """
    A route says dsn = false: its senders are not told.
    """
    project = Project("acme", routes={"outgoing": Route("outgoing", dsn=False)})
    world.queue._settings.config = evolve(world.config, projects={"acme": project})  # type: ignore[misc]
    result_of(world.accept())
    world.settle(1, NEVER)
    assert [] == world.notices()


def test_double_bounce(world: World) -> None:
    """
    A notification that cannot be delivered is the end; it makes no events either.
    """
    result_of(world.accept())
    world.settle(1, NEVER)
    world.run(6)
    (notice,) = [one for one in world.dispatch.taken if one.notification]
    assert None is notice.reverse_path
    before = world.count()["event"]
    world.settle(notice.message_id, NEVER)
    assert (before, 2) == (world.count()["event"], world.count()["message"])


def test_relayed(world: World) -> None:
    """
    A success notice is due where it was asked for and the next hop cannot send it.
    """
    result_of(world.accept(1, [to("a@b.example", Notify.SUCCESS), to("c@b.example")]))
    world.settle(1, RELAYED, (0, 1))
    ((_, subject, content),) = world.notices()
    assert ("relayed", True, False) == (subject, b"a@b.example" in content, b"c@b.example" in content)


def test_delay_is_told_once(world: World) -> None:
    """
    After four hours the sender is told once that it takes longer.
    """
    result_of(world.accept())
    counts = []
    for hours in (3.9, 0.2, 1.0):
        world.clock.advance(hours * 3600.0)
        world.run(6)
        world.settle(1, LATER)
        counts.append([subject for _, subject, _ in world.notices()])
    assert [[], ["delayed"], ["delayed"]] == counts


def test_dead_neighbour(world: World) -> None:
    """
    The leases of a worker that is gone are free within seconds; those of this one stay.
    """
    result_of(world.accept(1))
    result_of(world.accept(2))
    with writing(world.config) as connection:
        connection.execute(insert(worker), [{"id": "gone", "seen_at": world.wall() - 100}])
        connection.execute(recipient.update().where(recipient.c.message == name(2)).values(owner="gone"))
    world.dispatch.taken.clear()
    world.run(25)
    assert [(name(2), 0)] == world.dispatch.handed()
