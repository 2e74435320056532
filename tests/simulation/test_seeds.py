"""
Stories drawn from seeds: crashes, lost connections, receivers in every mood; and every promise kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, select, update

from lmrelay.queue.schema import DELIVERED, FAILED, QUEUED, attempt, chunk, event, message, recipient
from tests.simulation.applications import Letter, To
from tests.simulation.profiles import PROFILES
from tests.simulation.story import Story, play
from tests.simulation.troubles.hooks import Hooks
from tests.simulation.troubles.names import Names
from tests.simulation.troubles.security import Security
from tests.simulation.world import World

LETTERS, STORM = 20, 100.0


@pytest.mark.parametrize("profile", PROFILES)
def test_promises(profile: str) -> None:
    """
    Whatever happens, what was accepted is delivered or its failure told, nothing comes twice without a reason, and
    every change has its event.
    """
    ending = play(1, LETTERS, STORM, profile)
    assert () == ending.broken, (
        f"python -m tests.simulation --seed 1 --profile {profile} --letters {LETTERS} --storm {STORM}"
    )
    assert LETTERS - 5 <= ending.accepted <= LETTERS


def test_replay() -> None:
    """
    A seed plays the same to the last octet and microsecond, another one does not.
    """
    first, again, other = play(9, 8, 60, "everything"), play(9, 8, 60, "everything"), play(10, 8, 60, "everything")
    assert first == again
    assert first.digest != other.digest


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """
    A story that ended well.
    """
    story = Story(1, tmp_path_factory.mktemp("told") / "relay", 30, 150.0, "everything")
    # What they do to mail leaves too little of what is harmed here.
    story.troubles = tuple(one for one in story.troubles if not isinstance(one, (Hooks, Names, Security)))
    story.tell()
    # With the process gone nobody has the database open, so that it is one file.
    story.world.halt()
    assert () == story.judge().broken
    return story


def lose_message(connection: Connection) -> None:
    connection.execute(delete(message).where(message.c.id.in_(first(connection, ~message.c.notification))))


def lose_event(connection: Connection) -> None:
    connection.execute(delete(event).where(event.c.type == "message.delivered"))


def lose_suppressions(connection: Connection) -> None:
    connection.execute(delete(event).where(event.c.type == "suppression.added"))


def lose_attempt(connection: Connection) -> None:
    connection.execute(delete(attempt).where(attempt.c.number == 1))


def leave_body(connection: Connection) -> None:
    connection.execute(chunk.insert(), [{"body": "0" * 26, "number": 0, "size": 1, "octets": b"x"}])


def forget_delivery(connection: Connection) -> None:
    connection.execute(update(recipient).where(recipient.c.state == DELIVERED).values(state=FAILED))


def dream_delivery(connection: Connection) -> None:
    connection.execute(update(recipient).where(recipient.c.state == FAILED).values(state=DELIVERED))


def strand(connection: Connection) -> None:
    connection.execute(update(recipient).values(state=QUEUED, due=None, owner=None))


def first(connection: Connection, condition: object) -> list[str]:
    return list(connection.execute(message.select().where(condition).limit(1)).scalars())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lose_message, "is stored 0 times"),
        (lose_event, "events ["),
        (lose_suppressions, "message.suppressed, with 0 suppressions of it"),
        (lose_suppressions, "refused for good and is not suppressed"),
        (lose_attempt, "attempts, recorded are"),
        (leave_body, "1 bodies are left behind"),
        (forget_delivery, "arrived 1 times, explained are 0"),
        (dream_delivery, "is recorded as delivered and never arrived"),
        (strand, "waits for nobody"),
    ],
)
def test_broken_promises_are_found(told: Story, harm: Callable[[Connection], None], words: str) -> None:
    """
    What goes wrong in the store does not go unnoticed.
    """
    with told.world.harmed(harm):
        assert [line for line in told.judge().broken if words in line]


def test_broken_arrivals_are_found(told: Story) -> None:
    """
    Nor does what a receiver gets twice, or never should have got.
    """
    receiver = told.world.receivers[1]
    receiver.arrivals += receiver.arrivals
    try:
        assert [line for line in told.judge().broken if "arrived 2 times, explained are 1" in line]
    finally:
        del receiver.arrivals[len(receiver.arrivals) // 2 :]
    assert () == told.judge().broken


@pytest.mark.parametrize(
    ("write", "is_after", "arrives"),
    [
        ("Acceptance._write", False, 1),
        ("Acceptance._write", True, 1),
        ("Settler.write", False, 2),
        ("Settler.write", True, 1),
    ],
)
def test_death_in_a_commit(tmp_path: Path, write: str, is_after: bool, arrives: int) -> None:
    """
    A process that dies in a commit leaves all of it or nothing; the next one goes on from there, and so does the
    client, whose key makes one of its two tries. Twice comes only what was taken and not recorded.
    """
    world = World(tmp_path / "relay")
    receiver, application = world.receiver("b.example"), world.application("acme")
    world.start()
    world.fate = lambda names: is_after if write in names and world.lives == 1 else None
    letter = Letter("once", (To("a@b.example"),), key="once")
    application.send(letter)
    assert world.network.run_until(lambda: world.relay is None, 5)
    world.start()
    world.network.run(60)
    assert arrives == len(receiver.arrivals)
    assert [letter] == application.accepted
    rows = world.read(lambda connection: connection.execute(select(recipient.c.state)).scalars().all())
    assert [DELIVERED] == rows
    world.end()
