"""
What is remembered of sites, on both databases: what delivery learnt, the domains seen, and what an operator said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve

from lmrelay.config.values import DAY, Config
from lmrelay.errors import StoreError
from lmrelay.interfaces import SiteState
from lmrelay.queue.changes import Order, find_undone, write_order
from lmrelay.queue.operations import PATIENCE, open_desk
from lmrelay.queue.orders import Change, Selector, SiteVerb, Verb
from lmrelay.queue.schema import command, site, site_domain, worker
from lmrelay.queue.sites import KEPT, MANY, MAX_KNOWN, Learnt, find_suspended, read_states, write_learnt
from lmrelay.queue.upkeep import STEP_EXPIRED, forget_expired
from tests.queue.filling import NOW, fill, make_rows, writing
from tests.queue.world import LATER, OK, World, name, result_of

SITE = "mx1.b.example,mx2.b.example;mx3.b.example"
OTHER = "mx.d.example"
SLOW = SiteState(SITE, 3, NOW, "421 slow down")


def learn(config: Config, *states: SiteState, now: float = NOW, **domains: str) -> None:
    """
    Write it; a domain's dots are underscores.
    """
    told = {domain.replace("_", "."): hosts for domain, hosts in domains.items()}
    with writing(config) as connection:
        write_learnt(connection, [Learnt({state.hosts: state for state in states}, told, now)])


def states(config: Config) -> list[SiteState]:
    with writing(config) as connection:
        return read_states(connection)


def sites(config: Config) -> dict[str, Mapping[str, Any]]:
    """
    As the operator's command sees them, by hosts.
    """
    with open_desk(config, lambda: NOW) as desk:
        return {one["hosts"]: one for one in desk.sites()}


def test_remembered(world: World) -> None:
    """
    What is learnt is in the store some seconds later, the last of each site, and known at the next start.
    """
    world.queue.note_site(evolve(SLOW, connections=10))
    world.queue.note_site(SLOW)
    world.queue.note_site(SiteState(OTHER))
    world.queue.note_domain("b.example", SITE)
    assert {} == sites(world.config)
    world.run(5)
    assert [SLOW] == states(world.config)
    found = sites(world.config)
    assert {SITE, OTHER} == set(found)
    assert (1, 0, 3, "421 slow down") == tuple(
        found[SITE][key] for key in ("domains", "waiting", "connections", "lowered_for")
    )
    world.queue.note_site(evolve(SLOW, connections=5))
    world.stop()
    assert [evolve(SLOW, connections=5)] == states(world.config)
    world.start()
    assert [evolve(SLOW, connections=5)] == world.dispatch.recalled


def test_only_changes_are_written(world: World) -> None:
    """
    That a domain is seen again is written once a day, or when it has moved.
    """
    for _ in range(3):
        world.queue.note_domain("b.example", SITE)
        world.run(5)
    with writing(world.config) as connection:
        assert [("b.example", SITE, NOW + 5)] == list(connection.execute(site_domain.select()))
    world.queue.note_domain("b.example", OTHER)
    world.run(5)
    world.skew = DAY
    world.queue.note_domain("b.example", OTHER)
    world.run(5)
    with writing(world.config) as connection:
        assert [("b.example", OTHER, NOW + DAY + 25)] == list(connection.execute(site_domain.select()))


def test_many(world: World) -> None:
    """
    However much is learnt at once, it is written in parts, and no more is kept in memory than is bounded.
    """
    for number in range(MANY * 2 + 1):
        world.queue.note_domain(f"d{number}.example", SITE)
    world.run(5)
    assert MANY * 2 + 1 == sites(world.config)[SITE]["domains"]
    for number in range(MAX_KNOWN * 2):
        world.queue.note_domain(f"e{number}.example", SITE)
    memory = world.queue._site_memory
    assert (MAX_KNOWN, MAX_KNOWN) == (len(memory._known), len(memory._domains))
    memory._domains.clear()


def test_store_that_is_out_of_order(world: World) -> None:
    """
    What could not be written is written when it can be, and not over what was learnt since.
    """
    with writing(world.config) as connection:
        connection.exec_driver_sql("ALTER TABLE site RENAME TO away")
    world.queue.note_site(SLOW)
    world.queue.note_domain("b.example", SITE)
    world.run(5)
    world.queue.note_site(evolve(SLOW, connections=1))
    with writing(world.config) as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO site")
    world.run(5)
    assert [evolve(SLOW, connections=1)] == states(world.config)
    assert 1 == sites(world.config)[SITE]["domains"]


def test_words_that_no_database_stores(world: World) -> None:
    """
    A receiver's words may hold anything.
    """
    world.queue.note_site(evolve(SLOW, reason="a\0b\ud800"))
    world.run(5)
    (found,) = states(world.config)
    assert (3, "a", "b") == (found.connections, found.reason[0], found.reason.strip("?\N{REPLACEMENT CHARACTER}\0")[-1])


def test_sweep(config: Config) -> None:
    """
    What nothing was heard of for weeks is forgotten, in steps; a suspended site stays.
    """
    learn(config, SLOW, SiteState(OTHER, 1, NOW, ""), b_example=SITE, now=NOW)
    learn(config, SiteState("mx.new.example", 1, NOW, ""), new_example="mx.new.example", now=NOW + 10)
    with open_desk(config, lambda: NOW) as desk:
        desk.change_site(SiteVerb.SUSPEND, OTHER)
    learn(config, **{f"d{number}_example": SITE for number in range(STEP_EXPIRED)}, now=NOW)
    with writing(config) as connection:
        assert [True] == forget_expired(connection, [NOW + KEPT + 5])
        assert [False] == forget_expired(connection, [NOW + KEPT + 5])
    assert {OTHER: 0, "mx.new.example": 1} == {hosts: one["domains"] for hosts, one in sites(config).items()}


def test_listing(config: Config) -> None:
    """
    A site's mail is all that waits for any domain there, and no other.
    """
    learn(config, SLOW, b_example=SITE, c_example=SITE, d_example=OTHER)
    fill(config, make_rows(["a@b.example", "b@b.example", "c@c.example"]), make_rows(["a@d.example", "a@e.example"]))
    assert {SITE: (2, 3), OTHER: (1, 1)} == {
        hosts: (one["domains"], one["waiting"]) for hosts, one in sites(config).items()
    }
    with open_desk(config, lambda: NOW) as desk:
        domains = [(one["domain"], one["waiting"]) for one in desk.domains_of(SITE)]
    assert [("b.example", 2), ("c.example", 1)] == domains


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b.example", [SITE]),
        (SITE, [SITE]),
        ("mx1.b.example", [SITE]),
        ("mx2.b.example", ["mx2.b.example,mx9.x"]),
        ("mx3.b.example", [SITE]),
        ("mx9.x", ["mx2.b.example,mx9.x", "mx8.x;mx9.x"]),
        ("b.example;", []),
        ("%", []),
        ("x", []),
        ("", []),
    ],
)
def test_find(config: Config, text: str, expected: list[str]) -> None:
    """
    A site is named by a domain, by all its hosts, by its best host, or by any host where that is clear.
    """
    learn(config, SLOW, SiteState("mx8.x;mx9.x"), b_example=SITE, c_example="mx2.b.example,mx9.x")
    with open_desk(config, lambda: NOW) as desk:
        assert expected == desk.find_sites(text)


def test_suspended_without_a_daemon(config: Config) -> None:
    """
    It is written, with its reason, and holds from the start on; what is learnt later leaves it.
    """
    learn(config, SLOW, b_example=SITE)
    with open_desk(config, lambda: NOW) as desk:
        assert Change(1) == desk.change_site(SiteVerb.SUSPEND, SITE, "a talk with them")
    learn(config, evolve(SLOW, connections=1))
    found = sites(config)[SITE]
    assert (NOW, "a talk with them", 1) == (found["suspended_at"], found["reason"], found["connections"])
    world = World(config)
    world.start()
    assert {SITE} == world.dispatch.suspended
    world.stop()
    with open_desk(config, lambda: NOW) as desk:
        assert Change(1) == desk.change_site(SiteVerb.RESUME, SITE)
    with writing(config) as connection:
        assert [] == find_suspended(connection)
    assert 1 == sites(config)[SITE]["connections"]


def desk_of(world: World) -> Any:
    return open_desk(world.config, world.wall, world.clock.advance)


def test_suspended_while_a_daemon_runs(world: World) -> None:
    """
    The daemon takes it over within a second, and says what is under way there; so too when it goes on.
    """
    learn(world.config, b_example=SITE)
    world.dispatch.running[SITE] = 2
    before = world.clock.seconds()
    with desk_of(world) as desk:
        assert Change(1, 2, by_daemon=True) == desk.change_site(SiteVerb.SUSPEND, SITE, "x")
        assert {SITE} == world.dispatch.suspended
        assert world.clock.seconds() - before <= 1.1
        world.dispatch.running.clear()
        assert Change(1, by_daemon=True) == desk.change_site(SiteVerb.RESUME, SITE)
    assert set() == world.dispatch.suspended


def test_seen_by_every_worker(world: World) -> None:
    """
    A suspension that another carried out is seen within a second, without an order; mail that waits goes on when it
    ends, at once.
    """
    learn(world.config, b_example=SITE)
    world.dispatch.room = 0
    result_of(world.accept(1))
    with writing(world.config) as connection:
        connection.execute(
            site.insert(), {"hosts": SITE, "suspended_at": NOW, "reason": "", "changed_at": NOW, "lowered_for": ""}
        )
    world.run(1)
    assert {SITE} == world.dispatch.suspended
    world.dispatch.room = 100
    with writing(world.config) as connection:
        connection.execute(site.update().values(suspended_at=None))
    world.clock.pump([0.1] * 12)
    assert (set(), [(name(1), 0)]) == (world.dispatch.suspended, world.dispatch.handed())


def test_daemon_that_does_not_answer(world: World) -> None:
    """
    The command says so; what it wrote stays, and holds once the daemon looks.
    """
    waits = []
    with (
        pytest.raises(StoreError, match=r"has not answered for 10 s; it takes the change over"),
        open_desk(world.config, world.wall, waits.append) as desk,
    ):
        desk.change_site(SiteVerb.SUSPEND, SITE)
    assert PATIENCE == pytest.approx(sum(waits))
    world.run(1)
    assert {SITE} == world.dispatch.suspended


def test_no_order_waits_for_another(world: World) -> None:
    """
    Who carries out orders about mail, which may take long, leaves those about sites alone; and the other way round.
    """
    orders = [
        Order("0" * 26, Verb.HOLD, Selector(), NOW),
        Order("1" * 26, SiteVerb.SUSPEND, Selector(sites=(SITE,)), NOW),
    ]
    with writing(world.config) as connection:
        for order in orders:
            write_order(connection, order)
    result_of(world.queue._watch_sites())
    with writing(world.config) as connection:
        assert [Verb.HOLD] == [order.verb for order in find_undone(connection)]
        write_order(connection, evolve(orders[1], id="2" * 26))
    result_of(world.queue._obey())
    with writing(world.config) as connection:
        assert [SiteVerb.SUSPEND] == [order.verb for order in find_undone(connection)]


def test_order_that_another_has(world: World) -> None:
    """
    Of several workers one answers; all of them look.
    """
    order = Order("1" * 26, SiteVerb.SUSPEND, Selector(sites=(SITE,)), NOW)
    with writing(world.config) as connection:
        write_order(connection, order)
        connection.execute(worker.insert(), {"id": "o" * 26, "seen_at": NOW + 3600})
        connection.execute(command.update().values(worker="o" * 26))
    result_of(world.queue._watch_sites())
    with writing(world.config) as connection:
        assert [order.id] == [one.id for one in find_undone(connection)]


def test_told_of_a_message(world: World) -> None:
    """
    The story of a message that waits says that its site is suspended, since when and why; that of one that does not
    wait says nothing.
    """
    learn(world.config, b_example=SITE, d_example=OTHER)
    result_of(world.accept(1, ("a@b.example", "b@b.example", "a@d.example", "a@e.example")))
    world.settle(1, OK, [0])
    world.settle(1, LATER, [1])
    with desk_of(world) as desk:
        at = world.wall()
        desk.change_site(SiteVerb.SUSPEND, SITE, "a talk with them")
        told = [one["suspended"] for one in desk.story(name(1))["recipients"]]
    suspended = {"site": "mx1.b.example", "hosts": SITE, "since": at, "reason": "a talk with them"}
    assert [None, suspended, None, None] == told


def test_unknown_site(config: Config) -> None:
    """
    Where nothing is known nothing is told; a site that was never suspended cannot go on.
    """
    with open_desk(config, lambda: NOW) as desk:
        assert ([], [], []) == (desk.sites(), desk.domains_of(SITE), desk.find_sites("b.example"))
        assert Change(0) == desk.change_site(SiteVerb.RESUME, SITE)
        assert [] == desk.sites()
