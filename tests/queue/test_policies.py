"""
Published TLS policies, on both databases: the latest of a domain is kept until it expires.
"""

from __future__ import annotations

from attrs import evolve
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from lmrelay.errors import StoreError
from lmrelay.interfaces import IPolicyStore, StsRecord
from tests.queue.filling import NOW, writing
from tests.queue.world import World, result_of

POLICY = StsRecord("b.example", "1", "enforce", ("mx.b.example", "*.mail.example"), NOW, NOW + 120)


def found(world: World, domain: str = "b.example") -> StsRecord | None:
    return result_of(world.queue.policies.find_policy(domain))


def test_kept(world: World) -> None:
    """
    What was kept is found, of its domain alone, after a restart too.
    """
    verifyObject(IPolicyStore, world.queue.policies)
    assert None is found(world)
    result_of(world.queue.policies.keep_policy(POLICY))
    assert POLICY == found(world)
    assert None is found(world, "c.example")
    world.stop()
    world.start()
    assert POLICY == found(world)


def test_latest_stays(world: World) -> None:
    """
    A later one takes its place, and an earlier one that comes late does not.
    """
    later = evolve(POLICY, id="2", mode="none", mx=(), fetched_at=NOW + 1, expires_at=NOW + 500)
    for one in (POLICY, later, POLICY):
        result_of(world.queue.policies.keep_policy(one))
    assert later == found(world)


def test_many_at_once(world: World) -> None:
    """
    Policies of many domains, and two of one, in one write.
    """
    many = [evolve(POLICY, domain=f"d{number}.example") for number in range(300)]
    waiting = [world.queue.policies.keep_policy(one) for one in (*many, evolve(POLICY, fetched_at=NOW + 1), POLICY)]
    for one in waiting:
        result_of(one)
    assert many[::99] == [found(world, one.domain) for one in many[::99]]
    assert evolve(POLICY, fetched_at=NOW + 1) == found(world)


def test_forgotten(world: World) -> None:
    """
    What has expired goes with the upkeep; what has not stays.
    """
    lasting = evolve(POLICY, domain="c.example", expires_at=NOW + 100_000)
    for one in (POLICY, lasting):
        result_of(world.queue.policies.keep_policy(one))
    world.run(60)
    assert POLICY == found(world)
    world.run(120)
    assert (None, lasting) == (found(world), found(world, "c.example"))


def test_store_that_is_out_of_order(world: World) -> None:
    """
    Both fail with what callers know.
    """
    rename(world, "sts_policy", "away")
    attempts = (world.queue.policies.find_policy("b.example"), world.queue.policies.keep_policy(POLICY))
    rename(world, "away", "sts_policy")
    failures: list[Failure] = []
    for attempt in attempts:
        attempt.addErrback(failures.append)
    assert [StoreError, StoreError] == [failure.check(StoreError) for failure in failures]


def rename(world: World, old: str, new: str) -> None:
    with writing(world.config) as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")
