"""
Mail in delivery's memory when its recipient is suppressed: taken back within a second or so, on both databases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from attrs import define
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import OperationalError
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs

from lmrelay.config.values import Config
from lmrelay.errors import StoreError
from lmrelay.interfaces import RecipientKey
from lmrelay.mail.address import parse_address
from lmrelay.mail.suppression import Suppression, Why, key_of
from lmrelay.queue.leases import STRAY_NEWS, Lease
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.schema import suppression_news, worker
from lmrelay.queue.suppression_list import open_list
from lmrelay.queue.suppression_watch import SLICE, SuppressionWatch, _read_key, note_seen, pass_by
from lmrelay.queue.suppressions import Suppressions
from lmrelay.queue.writer import IWriter
from tests.queue.doubles import Dispatch
from tests.queue.filling import writing
from tests.queue.world import LATER, NEVER, NOW, OK, World, name, result_of

SUSPECT = "a@b.example"


def one(address: str = SUSPECT, **more: Any) -> Suppression:
    return Suppression(**{"project": "acme", "address": address, "why": Why.MANUAL, "added_at": NOW, **more})


def add(config: Config, *items: Suppression) -> None:
    with writing(config) as connection:
        Suppressions(Random(3).randbytes, write_untold).add(connection, items, NOW)


def count_news(config: Config) -> int:
    with writing(config) as connection:
        return connection.execute(select(func.count()).select_from(suppression_news)).scalar_one()


def test_taken_back(world: World) -> None:
    """
    What delivery has in memory when its recipient is suppressed is not sent: it ends as what waits in the queue does.
    """
    result_of(world.accept(1, [SUSPECT, "c@b.example"]))
    add(world.config, one())
    world.run(2)
    assert [(name(1), 0)] == world.dispatch.withdrawn
    assert [(1, 0, "suppressed"), (1, 1, "queued")] == world.states()
    assert "message.suppressed" == world.events()[-1][0]
    assert 2 == len(world.dispatch.handed())
    assert b"Subject: Hi\r\n\r\nhello\r\n" == world.read(name(1))
    assert 0 == count_news(world.config)


def test_body_goes(world: World) -> None:
    """
    With the last of its recipients a message's body goes.
    """
    result_of(world.accept(1))
    add(world.config, one())
    world.run(2)
    assert 0 == world.count()["chunk"]


def test_many(world: World) -> None:
    """
    All of them at once, of many messages and of one, and on each route as it is meant.
    """
    for number in range(1, 71):
        route = "news" if number % 2 else "outgoing"
        result_of(world.accept(number, [SUSPECT, f"{number}@b.example", "c@b.example"], route=route))
    add(world.config, one(), one("c@b.example", route="news"), *(one(f"{number}@b.example") for number in range(60)))
    world.run(10)
    left = {(number, which) for number, which, state in world.states() if state == "queued"}
    assert {(number, 2) for number in range(2, 71, 2)} | {(number, 1) for number in range(60, 71)} == left


def test_by_the_command(world: World) -> None:
    """
    It is the same whoever suppresses: here the operator's command, with a long list.
    """
    result_of(world.accept(1))
    with open_list(world.config, world.wall, lambda _: None) as opened:
        opened.add([*(one(f"{number}@b.example") for number in range(SLICE)), one()])
    world.run(2)
    assert [(1, 0, "suppressed")] == world.states()
    assert 0 == count_news(world.config)


def test_by_a_refusal(world: World) -> None:
    """
    Here it is a receiver, who refused another message.
    """
    for number in (1, 2):
        result_of(world.accept(number))
    world.settle(1, NEVER)
    world.run(2)
    assert [(1, 0, "failed"), (2, 0, "suppressed")] == world.states()


@pytest.mark.parametrize(
    ("suppressed", "address", "taken_back"),
    [
        (one(), "A@B.EXAMPLE", True),
        (one(), '"a"@b.example', True),
        (one("ü@xn--bcher-kva.example"), "Ü@bücher.example", True),
        (one(route="outgoing"), SUSPECT, True),
        (one(route="news"), SUSPECT, False),
        (one(project="beta"), SUSPECT, False),
        (one("c@b.example"), SUSPECT, False),
        (one("a@c.example"), SUSPECT, False),
        (one(), "a+x@b.example", False),
    ],
)
def test_scope(world: World, suppressed: Suppression, address: str, taken_back: bool) -> None:
    """
    Only what is suppressed is taken back, in whatever spelling.
    """
    result_of(world.accept(1, [address]))
    add(world.config, suppressed)
    world.run(2)
    assert taken_back == bool(world.dispatch.withdrawn)
    assert [(1, 0, "suppressed" if taken_back else "queued")] == world.states()


@pytest.mark.parametrize(
    "address",
    ["a@b.example", "A.b+C@B.Example", '"A"@b.example', '"a b"@b.example', "Ü@bücher.example", "a@[192.0.2.1]"],
)
def test_same_key(address: str) -> None:
    """
    A mailbox in a row is the one that the list has.
    """
    read = parse_address(address)
    assert key_of(read) == _read_key(str(read), read.ascii_domain)


def test_own_notifications(world: World) -> None:
    """
    The relay's own notifications are never withheld, so nobody takes them back.
    """
    result_of(world.accept(1))
    world.settle(1, NEVER)
    world.run(10)
    add(world.config, one("s@acme.example"))
    world.run(2)
    assert 2 == len(world.dispatch.handed())
    assert [] == world.dispatch.withdrawn


def test_under_way(world: World) -> None:
    """
    An attempt that is under way goes on; if its recipient then waits in memory again, it is taken back from there.
    """
    result_of(world.accept(1))
    world.dispatch.under_way = {(name(1), 0)}
    add(world.config, one())
    world.run(5)
    assert [(1, 0, "queued")] == world.states()
    world.dispatch.under_way.clear()
    world.run(2)
    assert [(1, 0, "suppressed")] == world.states()


@pytest.mark.parametrize(("outcome", "state"), [(OK, "delivered"), (LATER, "suppressed")])
def test_attempt_ends(world: World, outcome: Any, state: str) -> None:
    """
    One that ends while it is looked for is told as it went, and what is to be tried again is not.
    """
    result_of(world.accept(1))
    world.dispatch.under_way = {(name(1), 0)}
    add(world.config, one())
    world.run(3)
    world.settle(1, outcome)
    world.run(90)
    assert [(1, 0, state)] == world.states()
    assert [] == world.dispatch.withdrawn
    assert set() == world.queue._suppression_watch._late


def test_removed_meanwhile(world: World) -> None:
    """
    What is on the list no more when it is taken back is tried after all.
    """
    result_of(world.accept(1))
    add(world.config, one())
    with writing(world.config) as connection:
        Suppressions(Random(3).randbytes, write_untold).remove(connection, [one().key], NOW)
    world.run(2)
    assert [(name(1), 0)] * 2 == world.dispatch.handed()


def test_two_workers(world: World) -> None:
    """
    Each worker hears of it, and takes back what is its own.
    """
    other = World(world.config, random=Random(5))
    other.start()
    result_of(world.accept(1))
    result_of(other.accept(2))
    add(world.config, one())
    other.run(2)
    assert ([], [(name(2), 0)]) == (world.dispatch.withdrawn, other.dispatch.withdrawn)
    world.run(2)
    assert [(name(1), 0)] == world.dispatch.withdrawn
    assert [(1, 0, "suppressed"), (2, 0, "suppressed")] == world.states()
    other.stop()


def test_crash(world: World) -> None:
    """
    A worker that dies before it looked leaves nothing behind: its leases end, and the next one sees the list itself.
    """
    result_of(world.accept(1))
    add(world.config, one())
    world.crash()
    world.start()
    world.run(20)
    assert [] == world.dispatch.handed()
    assert [(1, 0, "suppressed")] == world.states()
    assert 0 == count_news(world.config)


def test_nobody_to_hear(config: Config) -> None:
    """
    Without a worker nobody has anything in memory, and there is no news.
    """
    add(config, one())
    assert 0 == count_news(config)


def test_news_for_the_dead(world: World) -> None:
    """
    However many they are, they are deleted a part at a time, and those for the living stay.
    """
    rows = [
        {"worker": who, "project": "acme", "route": "", "address": f"{number}@b.example"}
        for who in ("x" * 26, world.queue.worker)
        for number in range(STRAY_NEWS + 1)
    ]
    with writing(world.config) as connection:
        connection.execute(insert(suppression_news), rows)
    # As if it had looked at nothing since.
    world.queue._suppression_watch.stop()
    world.run(20)
    with writing(world.config) as connection:
        left = connection.execute(select(suppression_news.c.worker)).scalars().all()
    assert [world.queue.worker] * (STRAY_NEWS + 1) == left


def test_start_while_suppressing(config: Config) -> None:
    """
    A worker does not begin in the midst of a change of the list that was made without knowing of it: what it took then
    would be sent, and nobody would tell it.
    """
    if config.queue.url == "sqlite":
        pytest.skip("SQLite has one that writes at a time")
    lease = Lease("w" * 26, config.server.state_dir, lambda: NOW)
    with writing(config) as changing:
        Suppressions(Random(3).randbytes, write_untold).add(changing, [one()], NOW)
        with writing(config) as connection:
            connection.execute(text("SET LOCAL lock_timeout = '10ms'"))
            with pytest.raises(OperationalError, match="lock timeout"):
                lease.enter(connection, [None])
    with writing(config) as connection:
        lease.enter(connection, [None])
        assert ["w" * 26] == connection.execute(select(worker.c.id)).scalars().all()


def test_log(world: World) -> None:
    """
    A line says how many; it has no address.
    """
    result_of(world.accept(1, redact=True))
    add(world.config, one(redact=True))
    with capturedLogs() as logged:
        world.run(2)
    (line,) = [line for line in logged if "taken back" in line["log_format"]]
    assert 1 == line["recipients"]
    assert SUSPECT not in repr(logged)


@define(eq=False)
class Stubborn:
    """
    A writer that does not do some things.
    """

    writer: IWriter
    refused: tuple[Callable[..., Any], ...] = ()

    def start(self) -> None:
        pass

    def submit(
        self, write: Callable[[Connection, Sequence[Any]], Sequence[Any]], item: Any, *, urgent: bool = False
    ) -> Deferred[Any]:
        if write in self.refused:
            return fail(StoreError("no"))
        return self.writer.submit(write, item, urgent=urgent)

    def stop(self) -> Deferred[None]:
        return self.writer.stop()


def test_store_out_of_order(world: World) -> None:
    """
    What was looked at and cannot be ticked off is looked at again, and nothing is lost or done twice by it.
    """
    result_of(world.accept(1))
    writer = Stubborn(world.queue._writer, (note_seen,))
    world.queue._suppression_watch._writer = writer
    add(world.config, one())
    world.run(5)
    assert 1 == count_news(world.config)
    assert [(name(1), 0)] == world.dispatch.withdrawn
    assert [(1, 0, "suppressed")] == world.states()
    writer.refused = ()
    world.run(2)
    assert 0 == count_news(world.config)


def test_nothing_can_be_written(world: World) -> None:
    """
    What delivery has is asked back while the store takes nothing, too: a disk may be full for hours.
    """
    result_of(world.accept(1))
    world.queue._suppression_watch._writer = writer = Stubborn(world.queue._writer, (pass_by, note_seen))
    add(world.config, one())
    world.run(2)
    assert [(name(1), 0)] == world.dispatch.withdrawn
    writer.refused = ()
    world.run(2)
    assert [(1, 0, "suppressed")] == world.states()
    assert 0 == count_news(world.config)


def test_given_up_while_it_waits(world: World) -> None:
    """
    A look that is dropped while it waits for a commit, as with its process, begins nothing more.
    """

    @define(eq=False)
    class Silent:
        """
        A store that gives the news, and no answer to anything else.
        """

        asked: list[str]

        def start(self) -> None:
            pass

        def submit(self, write: Callable[..., Any], item: Any, *, urgent: bool = False) -> Deferred[Any]:
            self.asked.append("write")
            return Deferred()

        def run(self, read: Callable[..., Any]) -> Deferred[Any]:
            self.asked.append("read")
            return world.queue._reader.run(read) if self.asked == ["read"] else Deferred()

        def stop(self) -> Any:
            pass

    async def release(keys: tuple[RecipientKey, ...]) -> None:
        raise AssertionError(keys)

    add(world.config, one())
    store = Silent([])
    looking = SuppressionWatch(store, store, Dispatch(), world.queue.worker, release).look()
    looking.send(None)
    looking.close()
    assert ["read", "write"] == store.asked


def test_leased_and_not_yet_handed_over(world: World) -> None:
    """
    What was leased before the list changed may reach delivery after it: nobody is asked for it before that.
    """
    steps: list[str] = []
    waiting: list[Callable[[], None]] = []

    @define(eq=False)
    class Slow:
        """
        A writer that has not come to it yet.
        """

        def start(self) -> None:
            pass

        def submit(self, write: Callable[..., Any], item: Any, *, urgent: bool = False) -> Deferred[Any]:
            steps.append(write.__name__)
            answer: Deferred[Any] = Deferred()
            waiting.append(lambda: answer.callback(None))
            return answer

        def stop(self) -> Deferred[None]:
            return Deferred()

    async def release(keys: tuple[RecipientKey, ...]) -> None:
        steps.append("release")

    result_of(world.accept(1))
    add(world.config, one())
    dispatch = Dispatch()
    watch = SuppressionWatch(Slow(), world.queue._reader, dispatch, world.queue.worker, release)
    looking = Deferred.fromCoroutine(watch.look())
    assert (["pass_by"], []) == (steps, dispatch.withdrawn)
    waiting.pop()()
    assert ["pass_by", "release", "note_seen"] == steps
    assert [(name(1), 0)] == dispatch.withdrawn
    waiting.pop()()
    result_of(looking)


def test_stop(world: World) -> None:
    """
    A relay that stops does not work off a long list first.
    """
    result_of(world.accept(1, ["0@b.example"]))
    add(world.config, *(one(f"{number}@b.example") for number in range(2 * SLICE)))
    watch = world.queue._suppression_watch

    async def release_at_the_end(keys: tuple[RecipientKey, ...]) -> None:
        watch.stop()

    watch._release = release_at_the_end
    world.run(3)
    assert SLICE == count_news(world.config)
