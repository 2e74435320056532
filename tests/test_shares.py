from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.shares import Shares, Turns


def greedy(shares: Shares, party: str, *, fresh: bool = False) -> int:
    """
    How many a party gets that takes what it can.
    """
    taken = 0
    while shares.has_room(party, fresh=fresh):
        shares.take(party)
        taken += 1
    return taken


@pytest.mark.parametrize(
    ("taken", "fresh", "got"),
    [
        ({}, False, 500),
        ({}, True, 750),
        ({"b": 500}, False, 250),
        ({"b": 500, "c": 250}, False, 125),
        ({"b": 1000}, False, 10),
        ({"a": 500}, False, 0),
        ({"a": 500}, True, 250),
        ({"a": 9, "b": 991}, False, 1),
    ],
)
def test_what_one_gets(taken: dict[str, int], fresh: bool, got: int) -> None:
    """
    As much as is left over for the others, more for what is new, and a little in any case.
    """
    shares = Shares(1000, 10)
    for party, number in taken.items():
        shares.take(party, number)
    assert got == greedy(shares, "a", fresh=fresh)


def test_more_at_once_than_there_is() -> None:
    """
    What cannot be parted passes when its party has nothing else, or it never would.
    """
    shares = Shares(5, 0)
    assert shares.has_room("a", 9)
    shares.take("a", 9)
    assert (0, False, True) == (shares.free, shares.has_room("a"), shares.has_room("b", 9))


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 5), st.booleans(), st.booleans())))
def test_bounded_and_never_refused_all(steps: list[tuple[str, int, bool, bool]]) -> None:
    """
    Whoever has little is never refused; all together have no more than the supply and a
    little each; what is given back is there again.
    """
    shares = Shares(20, 3)
    held: dict[str, int] = {}
    for party, number, fresh, back in steps:
        if back and held.get(party, 0) >= number:
            shares.give_back(party, number)
            held[party] -= number
        elif shares.has_room(party, number, fresh=fresh):
            shares.take(party, number)
            held[party] = held.get(party, 0) + number
        else:
            assert held.get(party, 0) >= 3
        assert shares.used == sum(held.values()) <= 20 + len(held) * (3 + 5)
    for party, number in held.items():
        shares.give_back(party, number)
    assert (0, 20, {}) == (shares.used, shares.free, shares._of)


def test_turns() -> None:
    """
    The parties take turns, within their shares; one whose share is out waits for no other.
    """
    turns: Turns[int] = Turns(Shares(4, 1))
    for number in range(5):
        turns.add("a", number)
    turns.add("b", 9)
    assert [("a", 0), ("b", 9), ("a", 1), None] == [turns.next() for _ in range(4)]
    turns.end("b")
    assert turns.next() is None
    turns.add("c", 7)
    assert ("c", 7) == turns.next()
    for party in "aac":
        turns.end(party)
    assert [("a", 2), ("a", 3), None] == [turns.next() for _ in range(3)]
