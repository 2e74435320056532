"""
Counts by label are right, and bounded.
"""

from __future__ import annotations

from lmrelay.web.tallies import MOST, MOST_SPREAD, OTHER, Spread, Tally


def test_a_tally_counts_by_label() -> None:
    """
    Each combination of labels has a count of its own.
    """
    tally = Tally("x", "", ("project", "route"))
    tally.add(("acme", "outgoing"))
    tally.add(("acme", "outgoing"), 4)
    tally.add(("acme", "news"))
    assert {("acme", "outgoing"): 5, ("acme", "news"): 1} == tally.copy()


def test_a_tally_without_labels_begins_at_zero() -> None:
    """
    What never happened is told as 0, so that the first time is a rise.
    """
    assert {(): 0} == Tally("x", "").copy()


def test_projects_are_bounded() -> None:
    """
    Projects beyond the bound share one series, nothing is lost, and other labels stay apart.
    """
    tally = Tally("x", "", ("project", "outcome"))
    for number in range(MOST + 50):
        tally.add((f"p{number}", "delivered"))
    tally.add(("late", "failed"))
    tally.add(("p0", "delivered"))
    counts = tally.copy()
    assert (50, 1, 2) == tuple(counts[key] for key in ((OTHER, "delivered"), (OTHER, "failed"), ("p0", "delivered")))
    assert MOST + 52 == sum(counts.values())
    assert len(counts) == MOST + 2


def test_a_copy_stays_as_it_is() -> None:
    """
    What was read out does not change with what is counted later.
    """
    tally, spread = Tally("x", ""), Spread("y", "", (1.0,))
    before, spread_before = tally.copy(), spread.copy()
    tally.add(())
    spread.add((), 0.5)
    assert ({(): 0}, {(): ([0, 0], 0)}) == (before, spread_before)


def test_a_spread_is_by_bounds() -> None:
    """
    A value on a bound belongs to it; one above all has a place of its own.
    """
    spread = Spread("x", "", (1.0, 5.0))
    for value in (0.5, 1.0, 1.1, 5.0, 90.0):
        spread.add((), value)
    assert {(): ([2, 2, 1], 97.6)} == {key: (counts, round(total, 3)) for key, (counts, total) in spread.copy().items()}


def test_spreads_are_bounded() -> None:
    """
    Projects beyond the bound share one.
    """
    spread = Spread("x", "", (1.0,), ("project",))
    for number in range(MOST_SPREAD + 50):
        spread.add((f"p{number}",), 2.0)
    assert MOST_SPREAD + 1 == len(spread.copy())
    assert ([0, 50], 100.0) == spread.copy()[(OTHER,)]
