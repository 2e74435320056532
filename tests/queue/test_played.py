"""
What was played instead of being sent, on both databases: the same rows and events as of mail that was.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from lmrelay.mail.outcome import Attempt, Outcome
from lmrelay.mail.parts import Part
from lmrelay.queue.operations import open_desk
from lmrelay.queue.schema import message, suppression
from lmrelay.queue.settle import PLAYED_AGAIN
from tests.queue.filling import writing
from tests.queue.world import LATER, NEVER, OK, World, name, result_of

HOST = "testing.relay.example"


def play(world: World, part: Part, outcome: Outcome, number: int = 1) -> None:
    now = world.wall()
    result_of(world.queue.settle(name(number), {0: Attempt(now, now, outcome, HOST, part=part)}))


def types(world: World) -> list[str]:
    return [one["event"] for one in world.told()]


def story(world: World) -> dict[str, Any]:
    with open_desk(world.config, world.wall) as desk:
        return dict(desk.story(name(1)))


def test_ok(world: World) -> None:
    """
    It is delivered, by a host that tells what it is.
    """
    result_of(world.accept(1, [f"ok@{HOST}"]))
    play(world, Part.OK, OK)
    assert ["message.created", "message.sent", "message.delivered"] == types(world)
    assert (HOST, None) == (world.told()[-1]["data"]["mx"], world.told()[-1]["data"]["tls"])
    (recipient,) = story(world)["recipients"]
    assert [True] == [attempt["played"] for attempt in recipient["attempts"]]


def test_soft_bounce(world: World) -> None:
    """
    It is deferred once, for some seconds, and then given up, however long others would be tried.
    """
    result_of(world.accept(1, [f"softbounce@{HOST}"]))
    play(world, Part.SOFT_BOUNCE, LATER)
    deferred = story(world)["recipients"][0]
    assert ("deferred", world.wall() + PLAYED_AGAIN) == (deferred["state"], deferred["next_attempt"])
    world.run(11)
    assert [(name(1), 0)] * 2 == world.dispatch.handed()
    play(world, Part.SOFT_BOUNCE, LATER)
    assert ["message.created", "message.sent", "message.deferred", "message.soft_bounced"] == types(world)
    assert [(1, 0, "failed")] == world.states()
    assert 1 == len(world.notices())


def test_hard_bounce(world: World) -> None:
    """
    It is refused for good, which its sender is told, and can be refused again.
    """
    for number in (1, 2):
        result_of(world.accept(number, [f"hardbounce@{HOST}"]))
        play(world, Part.HARD_BOUNCE, NEVER, number)
    assert ["message.created", "message.sent", "message.hard_bounced"] * 2 == types(world)
    assert 2 == len(world.notices())


def test_spam_complaint(world: World) -> None:
    """
    It is delivered, and somebody complains, in the same commit; the address can be written to again.
    """
    result_of(world.accept(1, [f"spamcomplaint@{HOST}"]))
    play(world, Part.SPAM_COMPLAINT, OK)
    assert ["message.created", "message.sent", "message.delivered", "message.spam_complaint"] == types(world)
    assert "complaint" == world.told()[-1]["data"]["report"]["kind"]
    (recipient,) = story(world)["recipients"]
    assert ("delivered", ["complaint"]) == (recipient["state"], [one["kind"] for one in recipient["returned"]])
    with writing(world.config) as connection:
        assert None is connection.execute(select(suppression)).first()


def test_notification_in_the_sandbox(world: World) -> None:
    """
    What the sender of mail in the sandbox would be told stays there too.
    """
    result_of(world.accept(1, [f"hardbounce@{HOST}"], sandbox=True))
    play(world, Part.HARD_BOUNCE, NEVER)
    world.run(10)
    (notice,) = [one for one in world.dispatch.taken if one.notification]
    assert notice.sandbox
    with writing(world.config) as connection:
        assert [True, True] == list(connection.execute(select(message.c.sandbox)).scalars())


def test_fixed_when_accepted(world: World) -> None:
    """
    Mail that was accepted in the sandbox stays there: over a restart, and whatever its project is by then.
    """
    result_of(world.accept(1, sandbox=True))
    result_of(world.accept(2, ["c@b.example"]))
    world.crash()
    world.start()
    world.run(10)
    assert {name(1): True, name(2): False} == {one.message_id: one.sandbox for one in world.dispatch.taken}
    assert story(world)["sandbox"]
