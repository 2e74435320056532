from __future__ import annotations

from itertools import islice

import pytest

from lmrelay.config.words import Kind, TlsPolicy
from lmrelay.interfaces import Lane
from lmrelay.outbound.dispatch import Dispatch, Windows
from lmrelay.outbound.route import Site
from lmrelay.outbound.rules import Limits
from lmrelay.outbound.sites import LONGEST_REST, REST, Budget, Work
from lmrelay.outbound.terms import Terms
from lmrelay.shares import Shares
from tests.outbound.doubles import leased

SITE = Site((("mx.b.example",),))
OTHER = Site((("mx.d.example",),))
BROADCAST = Kind.BROADCAST
ANY = Terms(TlsPolicy.OPPORTUNISTIC)


def add(dispatch: Dispatch, message, site=SITE, terms=ANY, connections: int = 1, limits: Limits | None = None) -> None:
    assert dispatch.windows.reserve(message.lane, len(message.recipients))
    for held in dispatch.admit([message]):
        dispatch.place(held, dispatch.find_queue(site, limits or Limits(connections)), site, terms)


def served(dispatch: Dispatch, count: int) -> list[Work]:
    """
    The transactions in the order in which a site with one connection makes them.
    """

    def each():
        while (due := dispatch.begin(0.0)) is not None:
            queue, work = due
            yield work
            dispatch.leave(work.held.values())
            dispatch.end(queue, work)

    return list(islice(each(), count))


def big() -> Dispatch:
    return Dispatch(Windows(1000, Shares(10000, 0)))


def test_nine_to_one() -> None:
    """
    Where both kinds wait, one transaction in ten is broadcast.
    """
    dispatch = big()
    for number in range(100):
        add(dispatch, leased(f"b{number}", kind=BROADCAST))
        add(dispatch, leased(f"t{number}"))
    kinds = "".join(work.leased.message_id[0] for work in served(dispatch, 30))
    assert "tttttttttb" * 3 == kinds


@pytest.mark.parametrize("kind", list(Kind))
def test_unused_share(kind: Kind) -> None:
    """
    What one kind does not use the other gets.
    """
    dispatch = big()
    for number in range(30):
        add(dispatch, leased(f"m{number}", kind=kind))
    assert [f"m{number}" for number in range(30)] == [work.leased.message_id for work in served(dispatch, 30)]


def test_projects_in_turn() -> None:
    """
    A project's backlog is not before another's first message.
    """
    dispatch = big()
    for number in range(50):
        add(dispatch, leased(f"a{number}", project="acme"))
    for number in range(2):
        add(dispatch, leased(f"o{number}", project="other"))
    assert ["a0", "o0", "a1", "o1", "a2"] == [work.leased.message_id for work in served(dispatch, 5)]


def test_sites_in_turn() -> None:
    """
    Where all connections are scarce, sites take turns.
    """
    dispatch = Dispatch(Windows(1000, Shares(10000, 0)), Shares(1, 0))
    for number in range(5):
        add(dispatch, leased(f"b{number}"), SITE, connections=5)
    add(dispatch, leased("d0", domain="d.example"), OTHER, connections=5)
    assert ["b0", "d0", "b1"] == [work.leased.message_id for work in served(dispatch, 3)]


def test_recipients_share_up_to_a_hundred() -> None:
    """
    Recipients of a message share a transaction, at most a hundred, and only with the same terms.
    """
    dispatch = big()
    add(dispatch, leased("m", *range(250)))
    add(dispatch, leased("m", 300), terms=Terms(TlsPolicy.ENFORCED))
    assert [100, 100, 50, 1] == [len(work.held) for work in served(dispatch, 9)]


def test_budget_of_connections() -> None:
    """
    No more transactions at a time than the site's and the process's budgets allow.
    """
    dispatch = Dispatch(Windows(100, Shares(100, 0)), Shares(3, 3))
    for number in range(5):
        add(dispatch, leased(f"b{number}"), SITE, connections=2)
        add(dispatch, leased(f"d{number}", domain="d.example"), OTHER, connections=2)
    begun = [dispatch.begin(0.0) for _ in range(5)]
    assert [True, True, True, False, False] == [due is not None for due in begun]
    assert 2 >= max(queue.running for queue, _ in filter(None, begun))


def test_budget_halves_and_grows() -> None:
    """
    "Slow down" halves at once, to no less than one; a full window of successes adds one.
    """
    budget = Budget(20)
    allowed = []
    for round in range(5):
        assert budget.slow_down(round)
        allowed.append(budget.allowed)
    assert [10, 5, 2, 1, 1] == allowed
    grown = []
    for _ in range(6):
        budget.succeed()
        grown.append(budget.allowed)
    assert [2, 2, 3, 3, 3, 4] == grown


def test_back_off_is_told() -> None:
    """
    Since when there are fewer, and in whose words, until there are as many as before; then there is nothing to tell.
    """
    budget = Budget(4)
    assert (None, None, "") == (budget.lowered, budget.since, budget.reason)
    budget.slow_down(0, 5.0, "too many")
    budget.slow_down(1, 7.0, "far too many")
    assert (1, 5.0, "far too many") == (budget.lowered, budget.since, budget.reason)
    changes = [budget.succeed() for _ in range(7)]
    assert [True, False, True, False, False, True, False] == changes
    assert (None, None, "", 4) == (budget.lowered, budget.since, budget.reason, budget.allowed)


def test_raised_ceiling() -> None:
    """
    A reload that allows more counts at once, unless the site asked for less.
    """
    budget, backed_off = Budget(4), Budget(4)
    backed_off.slow_down(0)
    budget.most = backed_off.most = 10
    assert (10, 2) == (budget.allowed, backed_off.allowed)


def test_burst_of_refusals_halves_once() -> None:
    """
    What began before the halving says nothing of the load after it.
    """
    budget = Budget(20)
    assert [True] + [False] * 16 == [budget.slow_down(0) for _ in range(17)]
    assert 10 == budget.allowed
    assert budget.slow_down(budget.round)
    assert 5 == budget.allowed


def test_own_host_is_not_an_exchanger() -> None:
    """
    A domain that is its own host is told of in other words than one with that host as its MX.
    """
    dispatch = big()
    add(dispatch, leased("m1", domain="mx.b.example"), Site((("mx.b.example",),), implicit=True))
    add(dispatch, leased("m2"), SITE)
    assert [True, False] == [work.site.implicit for work in served(dispatch, 2)]


@pytest.mark.parametrize("twin", [Site(SITE.groups, authenticated=True), Site(SITE.groups, implicit=True)])
def test_domains_with_the_same_hosts_share_a_site(twin: Site) -> None:
    """
    They share its connections however the DNS told of them, and each transaction keeps what the DNS said of its own.
    """
    dispatch = big()
    add(dispatch, leased("m1", domain="c.example"), SITE)
    add(dispatch, leased("m1", 1, domain="d.example"), twin)
    queue, work = dispatch.begin(0.0)
    assert SITE == work.site
    assert dispatch.begin(0.0) is None
    dispatch.end(queue, work)
    assert (queue, twin) == ((due := dispatch.begin(0.0))[0], due[1].site)


def test_a_site_that_bears_less_than_one_rests() -> None:
    """
    Asked for less than one connection, the site rests; twice as long each time, within bounds, until something goes
    well.
    """
    budget = Budget(2)
    assert budget.slow_down(0, clock=5.0)
    assert 0.0 == budget.pace.ready_at
    rests = []
    for round in range(1, 12):
        assert budget.slow_down(round, clock=100.0)
        rests.append(budget.pace.ready_at - 100.0)
    assert [REST * 2**number for number in range(8)] + [LONGEST_REST] * 3 == rests
    budget.succeed()
    budget.slow_down(budget.round, clock=200.0)
    assert budget.slow_down(budget.round, clock=200.0)
    assert REST == budget.pace.ready_at - 200.0


def test_a_resting_site_holds_up_no_other() -> None:
    """
    Nothing begins at a site that rests, whatever waits there; then it goes on, transactional mail first.
    """
    dispatch = big()
    for number in range(3):
        add(dispatch, leased(f"b{number}", kind=BROADCAST))
    queue, work = dispatch.begin(0.0)
    assert queue.budget.slow_down(work.round, clock=0.0)
    dispatch.leave(work.held.values())
    dispatch.end(queue, work)
    add(dispatch, leased("o1", domain="d.example"), OTHER)
    add(dispatch, leased("t1"))
    assert "o1" == dispatch.begin(0.1)[1].leased.message_id
    assert dispatch.begin(0.1) is None
    assert REST == dispatch.wakes_at
    assert "t1" == dispatch.begin(REST)[1].leased.message_id


def test_budget_follows_the_settings() -> None:
    """
    A reload that lowers the number counts at once, and successes never exceed it.
    """
    budget = Budget(20)
    budget.most = 5
    assert 5 == budget.allowed
    for _ in range(100):
        budget.succeed()
    assert 5 == budget.allowed


def test_windows() -> None:
    """
    A full lane refuses, another has room until all of it is taken, and what is freed is room.
    """
    windows = Windows(lane=3, shares=Shares(5, 0))
    first, second = Lane("a", Kind.TRANSACTIONAL, "b.x"), Lane("a", Kind.BROADCAST, "b.x")
    assert [True, False, True, False] == [
        windows.reserve(first, 3),
        windows.reserve(first, 1),
        windows.reserve(second, 2),
        windows.reserve(second, 1),
    ]
    windows.free(first, 3)
    windows.free(second, 2)
    assert 0 == windows.used
    assert {} == windows._lanes


@pytest.mark.parametrize(("dead", "own"), [(40, True), (1000, False)])
def test_full_windows_of_one_project(dead: int, own: bool) -> None:
    """
    A project with mail for dead domains leaves room to others whatever it has, and to its
    own other mail unless the dead domains are beyond number.
    """
    windows = Windows()
    for number in range(dead):
        while windows.reserve(Lane("a", Kind.TRANSACTIONAL, f"dead{number}.x"), 100):
            pass
    others = [
        Lane("a", Kind.TRANSACTIONAL, "fine.x"),
        Lane("a", Kind.BROADCAST, "fine.x"),
        Lane("b", Kind.TRANSACTIONAL, "dead1.x"),
    ]
    assert windows.used <= 15_000
    assert [own, True, True] == [windows.reserve(lane, 100) for lane in others]


def test_tarpits_of_one_project() -> None:
    """
    The sites that one project's transactions hang at leave room for a site of its own where
    nothing hangs, and for all others; what ends is room again.
    """
    dispatch = Dispatch(Windows(1000, Shares(10000, 0)), Shares(12, 2))
    for number in range(9):
        for message in "xyz":
            add(dispatch, leased(f"{message}{number}"), Site(((f"tar{number}.x",),)), connections=3)
    hanging = []
    while (due := dispatch.begin(0.0)) is not None:
        hanging.append(due)
    assert [9, 9] == [len(hanging), len({queue for queue, _ in hanging})]
    add(dispatch, leased("o1", project="other"), Site((("tar1.x",),)), connections=3)
    add(dispatch, leased("n1", kind=BROADCAST), Site((("tar1.x",),)), connections=3)
    begun = [dispatch.begin(0.0) for _ in range(3)]
    assert ["o1", "n1"] == [due[1].leased.message_id for due in begun if due is not None]
    for due in [*hanging, *filter(None, begun)]:
        dispatch.end(*due)
    left = served(dispatch, 99)
    assert 18 == len(left)
    assert (0, {}) == (dispatch.running.used, dispatch._barred)


def test_site_behind_tarpits_of_its_own_project() -> None:
    """
    When one of the hanging transactions of a project ends, its site where nothing hangs has its turn, before more is
    sent after what hangs.
    """
    dispatch = Dispatch(Windows(1000, Shares(10000, 0)), Shares(12, 2))
    for number in range(9):
        for message in "xyz":
            add(dispatch, leased(f"{message}{number}"), Site(((f"tar{number}.x",),)), connections=3)
    hanging = []
    while (due := dispatch.begin(0.0)) is not None:
        hanging.append(due)
    add(dispatch, leased("healthy"), OTHER)
    assert dispatch.begin(0.0) is None
    dispatch.end(*hanging.pop(0))
    assert "healthy" == dispatch.begin(0.0)[1].leased.message_id
    assert dispatch.begin(0.0) is None


def test_message_larger_than_a_window() -> None:
    """
    A message of more recipients than fit passes when it is alone, else it never would.
    """
    windows = Windows(lane=3, shares=Shares(5, 0))
    lane = Lane("a", Kind.TRANSACTIONAL, "b.x")
    assert [True, False] == [windows.reserve(lane, 9), windows.reserve(lane, 1)]


def test_taken_twice() -> None:
    """
    A recipient that is already held is not tried twice, and takes room once.
    """
    dispatch = big()
    add(dispatch, leased("m"))
    add(dispatch, leased("m"))
    assert 1 == len(served(dispatch, 9))
    assert 0 == dispatch.windows.used


def test_withdrawn_work_leaves_no_trace() -> None:
    """
    A site whose work was withdrawn begins nothing and can be forgotten.
    """
    dispatch = big()
    add(dispatch, leased("m", 0, 1))
    assert {("m", 0), ("m", 1)} == dispatch.withdraw([("m", 0), ("m", 1), ("m", 2)])
    assert dispatch.begin(0.0) is None
    assert [True] == [queue.is_quiet for queue in dispatch._sites.values()]
    assert (0, {}) == (dispatch.windows.used, dispatch._held)


def test_sites_are_bounded() -> None:
    """
    Quiet sites are forgotten, the oldest first; busy ones stay.
    """
    dispatch = Dispatch(Windows(1000, Shares(10000, 0)), max_sites=3)
    for number in range(10):
        add(dispatch, leased(f"m{number}", domain=f"d{number}.x"), Site(((f"mx{number}.x",),)))
        if number:
            dispatch.withdraw([(f"m{number}", 0)])
    assert len(dispatch._sites) <= 4
    assert (("mx0.x",),) in dispatch._sites
