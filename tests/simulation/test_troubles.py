"""
The simulation's own pieces: troubles that are what they say, promises that can be broken, and a trace that tells how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import Connection, insert, select, update
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from lmrelay.config.values import MIB
from lmrelay.queue.schema import recipient, suppression_news, upload, usage, worker
from tests.simulation.applications import Letter, To
from tests.simulation.disk import SPARE
from tests.simulation.leftovers import find_left, find_strays, find_undone
from tests.simulation.lines import GIVEN_UP, Line
from tests.simulation.network import Network
from tests.simulation.profiles import PROFILES, draw_profile
from tests.simulation.receivers import Mood
from tests.simulation.story import Story
from tests.simulation.trace import MOST, trace
from tests.simulation.troubles.reloads import BANNING, Ban, Reloads
from tests.simulation.world import World


class Ear(Protocol):
    """
    Keeps what it hears.
    """

    heard = b""
    is_lost = False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: object = None) -> None:  # type: ignore[override]
        self.is_lost = True


def make_line() -> tuple[Network, Line, Ear, Ear]:
    """
    Two that are connected.
    """
    network, ears = Network(), (Ear(), Ear())
    factory = Factory()
    factory.buildProtocol = lambda _: ears[1]  # type: ignore[method-assign]
    network.servers["192.0.2.1", 25] = factory
    line = network.connect(25, "192.0.2.1", ears[0], "192.0.2.2")
    assert line is not None
    return network, line, *ears


def test_reset_after_an_octet() -> None:
    """
    A connection is reset just after the octet that was drawn: no other one arrives, and both ends learn of it.
    """
    network, line, near, far = make_line()
    line.tap(line.client, 3, line.break_off)
    line.client.write(b"hello")
    network.run(1)
    assert (b"hel", True, True) == (far.heard, near.is_lost, far.is_lost)


def test_silence_after_an_octet() -> None:
    """
    One way goes silent, the other does not; and what waited arrives when the tap is removed.
    """
    network, line, near, far = make_line()
    line.tap(line.client, 3, lambda: None)
    line.client.write(b"hello")
    line.server.write(b"hello")
    network.run(1)
    assert (b"hel", b"hello") == (far.heard, near.heard)
    line.taps.clear()
    network.run(1)
    assert b"hello" == far.heard


def test_cut_off() -> None:
    """
    Of a connection that is cut off nothing arrives, no end neither, until the kernel gives it up.
    """
    network, line, near, far = make_line()
    line.cut_off()
    line.client.write(b"hello")
    line.client.abortConnection()
    network.run(GIVEN_UP - 1)
    assert (b"", True, False) == (far.heard, near.is_lost, far.is_lost)
    network.run(2)
    assert far.is_lost


def test_profiles() -> None:
    """
    Every profile is drawn by some seed, and each family of troubles is in one.
    """
    assert set(PROFILES) == {draw_profile(seed) for seed in range(1, 200)}
    assert {family for profile in PROFILES.values() for family in profile}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """
    A relay, and a receiver for C{b.example}.
    """
    world = World(tmp_path / "relay")
    world.receiver("b.example")
    world.start()
    yield world
    world.end()


def hand_over(world: World, name: str = "L1", **more: Any) -> Letter:
    """
    A letter that its application tries to send.
    """
    letter = Letter(name, (To("a@b.example"),), **more)
    application = world.application("acme")
    application.bears = ("535",)
    application.send(letter)
    return letter


@pytest.mark.parametrize("size", [100, 400_000])
def test_full_disk(world: World, size: int) -> None:
    """
    While the disk is full nothing is accepted and nothing of it is left, and mail is accepted as soon as there is room.
    """
    world.disk.fill()
    letter = hand_over(world, size=size)
    world.network.run(20)
    assert ("", []) == (letter.id, list(world.read(lambda connection: connection.execute(select(recipient)).all())))
    world.disk.is_full = False
    world.network.run(30)
    assert letter.id
    assert [] == world.read(lambda connection: list(find_undone(connection)))


def test_room_that_was_kept(tmp_path: Path) -> None:
    """
    The room that the relay keeps for a full disk is enough to record what a receiver has taken.
    """
    world = World(tmp_path / "relay")
    world.disk.free = 100 * MIB
    receiver = world.receiver("b.example", pause=5.0)
    world.start()
    letter = hand_over(world)
    assert world.network.run_until(lambda: bool(letter.id), 5)
    world.disk.fill(SPARE)
    world.network.run(20)
    assert (1, ["delivered"]) == (len(receiver.arrivals), world.read(read_states))
    world.end()


def read_states(connection: Connection) -> list[str]:
    return list(connection.execute(select(recipient.c.state)).scalars())


def test_change_of_configuration(world: World) -> None:
    """
    A change takes force by the relay's own reload, a second one adds to it, and what is taken back is as it was.
    """
    before = world.config

    def empty(config: Any) -> Any:
        return evolve(config, projects={})

    def rename(config: Any) -> Any:
        return evolve(config, server=evolve(config.server, hostname="other.example"))

    taken: list[bool] = []
    for what, change in (("empty", empty), ("rename", rename), ("empty", None)):
        world.change(what, change).addCallback(taken.append)
        world.network.run(1)
    assert [True] * 3 == taken
    assert world.relay is not None
    assert "other.example" == world.relay.settings.config.server.hostname
    assert set(before.projects) == set(world.relay.settings.config.projects)
    world.change("rename", None)
    world.network.run(1)
    assert before == world.relay.settings.config


@pytest.mark.parametrize("what", [what for what, (_, most) in BANNING.items() if most == 0])
def test_ban(world: World, what: str) -> None:
    """
    Nothing is handed over while a token is revoked or SMTP is off, and it goes on when that is over.
    """
    change, _ = BANNING[what]
    world.change(what, lambda config: evolve(config, projects={"acme": change(config.projects["acme"])}))
    world.network.run(1)
    letter = hand_over(world)
    world.network.run(60)
    assert not letter.id
    world.change(what, None)
    assert world.network.run_until(lambda: bool(letter.id), 60)


@pytest.mark.parametrize(
    ("begun_at", "accepted_at", "counts"), [(1.0, 2.0, False), (3.0, 4.0, True), (3.0, 9.0, False), (8.0, 9.0, False)]
)
def test_ban_counts(begun_at: float, accepted_at: float, counts: bool) -> None:
    """
    What was sent before a change took force, or accepted after it was taken back, says nothing of it.
    """
    letter = Letter("L1", (To("a@b.example"),))
    letter.begun_at, letter.accepted_at = begun_at, accepted_at
    assert counts is Ban("SMTP off", "acme", 0, 2.0, 8.0).counts(letter)
    assert not Ban("SMTP off", "acme", 0).counts(letter)


@pytest.mark.parametrize(("doubted_at", "counts"), [(1.0, False), (2.5, True)])
def test_what_was_taken_before_a_limit(doubted_at: float, counts: bool) -> None:
    """
    What is answered once more was counted when it was taken, but nobody answers it who must not hand over at all.
    """
    letter = Letter("L1", (To("a@b.example"),))
    letter.begun_at, letter.accepted_at, letter.doubted_at = 3.0, 4.0, doubted_at
    assert counts is Ban("limit", "acme", 3, 2.0, 8.0).counts(letter)
    assert Ban("token revoked", "acme", 0, 2.0, 8.0).counts(letter)


def test_broken_ban_is_found(tmp_path: Path) -> None:
    """
    A message that a revoked token handed over does not go unnoticed.
    """
    story = Story(1, tmp_path / "relay", 5, 30.0, "operator")
    story.tell()
    [reloads] = (trouble for trouble in story.troubles if isinstance(trouble, Reloads))
    assert [] == list(reloads.find_broken())
    letter = next(letter for one in story.promises.applications for letter in one.accepted)
    project = "beta" if letter in story.promises.applications[1].accepted else "acme"
    reloads._bans.append(Ban("token revoked", project, 0, letter.begun_at - 1))
    [line] = reloads.find_broken()
    assert letter.name in line
    story.world.end()


def test_what_is_left_in_memory(world: World) -> None:
    """
    Mail that waits in memory is seen there, and is gone when it is delivered.
    """
    assert world.relay is not None
    receiver = world.receivers[0]
    receiver.feel(Mood.SILENT)
    letter = hand_over(world)
    assert world.network.run_until(lambda: bool(letter.id), 5)
    world.network.run(1)
    found = " ".join(find_left(world.relay))
    for name in ("1 places in windows", "1 recipients", "1 running transactions"):
        assert name in found
    receiver.feel(Mood.WELL)
    world.network.run(200)
    assert (1, []) == (len(receiver.arrivals), list(find_left(world.relay)))


def lose_recipient(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    connection.execute(update(recipient).values(message="0" * 26))


def skip_number(connection: Connection) -> None:
    rows = [{"project": "acme", "route": "", "number": number, "at": 0.0} for number in (1, 3)]
    connection.execute(insert(usage), rows)


def leave_upload(connection: Connection) -> None:
    connection.execute(insert(upload), [{"body": "0" * 26, "worker": "w"}])


def leave_worker(connection: Connection) -> None:
    connection.execute(insert(worker), [{"id": "w", "seen_at": 0.0}])


def leave_news(connection: Connection) -> None:
    rows = [{"worker": "w", "project": "acme", "route": "", "address": "a@b.example"}]
    connection.execute(insert(suppression_news), rows)


@pytest.mark.parametrize(
    ("harm", "find", "words"),
    [
        (lose_recipient, find_strays, "1 recipients of no message"),
        (skip_number, find_strays, "of the numbers 1 to 3 for its limit there are 2"),
        (leave_upload, find_undone, "1 uploads are left"),
        (leave_worker, find_undone, "2 workers beyond the one that lives"),
        (leave_news, find_undone, "1 news of suppressions"),
    ],
)
def test_what_is_left_in_the_store(
    world: World, harm: Callable[[Connection], None], find: Callable[[Connection], Iterator[str]], words: str
) -> None:
    """
    Rows that belong to nothing, or to nothing that goes on, do not go unnoticed.
    """
    letter = hand_over(world)
    assert world.network.run_until(lambda: bool(letter.id), 5)
    assert [] == world.read(lambda connection: list(find(connection)))
    world.crash()
    world.write(harm)
    assert words in " ".join(world.read(lambda connection: list(find(connection))))


def test_logged_failure(tmp_path: Path) -> None:
    """
    What the relay logs as a failure breaks the story in which it does.
    """

    def fail() -> None:
        try:
            raise ValueError("a defect")
        except ValueError:
            Logger("lmrelay").failure("this should not be")

    story = Story(1, tmp_path / "relay", 2, 10.0, "calm")
    story.at(5, fail)
    story.tell()
    assert ["logged: this should not be: ValueError('a defect')"] == [
        line for line in story.judge().broken if line.startswith("logged")
    ]
    story.world.end()


def test_trace(tmp_path: Path) -> None:
    """
    A trace tells what was said of the mail that is broken first, both ways, and what befell the relay; and it ends.
    """
    story = Story(1, tmp_path / "relay", 5, 60.0, "crashes", is_told=True)
    story.at(20, story.world.crash)
    story.tell()
    first = next(letter for one in story.promises.applications for letter in one.accepted)
    told = list(trace(story, [f"{first.name} was accepted and is stored 0 times", "L99 as well"]))
    assert f"--- {first.name}: {first.name}, {first.id}, {first.recipients[0].address}" == told[0]
    assert len(told) <= MOST + 2
    text = "\n".join(told)
    for words in (f"< 192.0.2.1:587  250 2.0.0 OK id={first.id}", "relay         died", "message accepted"):
        assert words in text
    assert [] == list(trace(story, ()))
    story.world.end()


def test_death_at_an_octet(world: World) -> None:
    """
    A process that dies with an octet of a content on its way is not told of the rest, and nothing of it is stored.
    """
    world.network.opened.append(lambda line: line.tap(line.client, 700, world.crash))
    letter = hand_over(world, size=2000, key="L1")
    assert world.network.run_until(lambda: world.relay is None, 5)
    assert ("", []) == (letter.id, world.read(read_states))
    world.network.opened.clear()
    world.start()
    world.network.run(30)
    assert ["L1"] == [one.field("Subject") for one in world.receivers[0].arrivals]
    assert ["delivered"] == world.read(read_states)
