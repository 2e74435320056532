"""
As many sessions of a project as it may have: who is let in, who is not, and that the count is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.project import Project
from lmrelay.errors import Refused
from tests.projects.tenants import Room, Settings, configure, cram, mint, plain

TEXT, TOKEN = mint("acme", "web")
SECOND_TEXT, SECOND = mint("acme", "second")
OTHER_TEXT, OTHER = mint("other", "web")

FULL = "421 4.7.0 Too many connections for project acme, try again later"
INVALID = "535 5.7.8 Authentication credentials invalid"

Logout = Callable[[], None]


def make_room(most: int | None = 2) -> Room:
    acme = Project("acme", tokens=(TOKEN, SECOND), max_connections=most)
    return Room(Settings(configure(acme, Project("other", tokens=(OTHER,)))))


def enter(room: Room, credentials: Any) -> Logout | str:
    """
    How to leave, or the reply.
    """
    outcome: list[Any] = []
    login: Deferred[Any] = room.login(credentials)
    login.addBoth(outcome.append)
    while room.clock.getDelayedCalls():
        room.clock.advance(0)
    [found] = outcome
    if isinstance(found, tuple):
        logout: Logout = found[2]
        return logout
    found.trap(Refused)
    return str(found.value.reply).strip()


class TestPlaces(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = make_room()

    def let_in(self, credentials: Any) -> Logout:
        entered = enter(self.room, credentials)
        if isinstance(entered, str):
            raise self.failureException(entered)
        return entered

    def test_one_too_many(self) -> None:
        """
        All tokens and mechanisms of a project share its places; other projects have their own.
        """
        leave = self.let_in(plain("lettermint", TEXT))
        self.let_in(cram("acme", SECOND_TEXT))
        self.assertEqual([FULL] * 2, [enter(self.room, plain("acme", TEXT)), enter(self.room, cram("acme", TEXT))])
        self.let_in(plain("other", OTHER_TEXT))
        leave()
        self.let_in(cram("lettermint", TEXT))
        self.assertEqual(FULL, enter(self.room, plain("acme", SECOND_TEXT)))

    def test_wrong_ones_take_no_place(self) -> None:
        """
        Guesses, tokens of others and tokens of a project that is off leave room for right ones.
        """
        for credentials in (plain("acme", "wrong"), cram("acme", "wrong"), plain("acme", OTHER_TEXT)):
            self.assertEqual([INVALID] * 5, [enter(self.room, credentials) for _ in range(5)])
        self.let_in(plain("acme", TEXT))
        self.let_in(plain("acme", TEXT))

    def test_a_full_project_is_told_to_its_own_only(self) -> None:
        """
        Who guesses does not learn that a project is full.
        """
        self.let_in(plain("acme", TEXT))
        self.let_in(plain("acme", TEXT))
        self.assertEqual(INVALID, enter(self.room, plain("acme", "wrong")))

    def test_lowered(self) -> None:
        """
        A limit that is lowered ends nobody, and lets nobody in until enough have left; one that goes lets all in.
        """
        leaving = [self.let_in(plain("acme", TEXT)) for _ in range(2)]
        self.room.change_project("acme", max_connections=1)
        self.assertEqual(FULL, enter(self.room, plain("acme", TEXT)))
        leaving[0]()
        self.assertEqual(FULL, enter(self.room, plain("acme", TEXT)))
        leaving[1]()
        self.let_in(plain("acme", TEXT))
        self.room.change_project("acme", max_connections=None)
        self.let_in(plain("acme", TEXT))

    def test_counted_before_there_was_a_limit(self) -> None:
        """
        A limit that a reload brings counts those who are there.
        """
        self.room.change_project("acme", max_connections=None)
        for _ in range(3):
            self.let_in(plain("acme", TEXT))
        self.room.change_project("acme", max_connections=3)
        self.assertEqual(FULL, enter(self.room, plain("acme", TEXT)))

    def test_removed_and_back(self) -> None:
        """
        A project that goes and comes back still has the sessions that stayed open.
        """
        leaving = [self.let_in(plain("acme", TEXT)) for _ in range(2)]
        projects = self.room.settings.config.projects
        self.room.replace(projects={})
        leaving.pop()()
        self.room.replace(projects=projects)
        self.let_in(plain("acme", TEXT))
        self.assertEqual(FULL, enter(self.room, plain("acme", TEXT)))


@given(st.lists(st.tuples(st.sampled_from(["in", "out", "again", "wrong", "limit"]), st.integers(0, 4))))
def test_the_count_is_exact(steps: list[tuple[str, int]]) -> None:
    """
    Whatever the order of logins, logouts, logouts said twice, guesses and reloads: in are as many as were let in and
    have not left, and one more is let in exactly while that is below the limit.
    """
    room = make_room(most := 2)
    inside: list[Logout] = []
    gone: list[Logout] = []
    for step, number in steps:
        if step == "in":
            entered = enter(room, plain("acme", TEXT))
            assert isinstance(entered, str) is (len(inside) >= most)
            if not isinstance(entered, str):
                inside.append(entered)
        elif step == "out" and inside:
            leave = inside.pop(number % len(inside))
            leave()
            gone.append(leave)
        elif step == "again" and gone:
            gone[number % len(gone)]()
        elif step == "wrong":
            assert enter(room, plain("acme", "wrong")) == INVALID
        elif step == "limit":
            most = number
            projects = room.settings.config.projects
            room.replace(projects={**projects, "acme": evolve(projects["acme"], max_connections=most)})
        assert room.realm.sessions("acme") == len(inside)
