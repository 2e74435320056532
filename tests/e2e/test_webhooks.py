"""
Webhooks, live: every state change reaches its endpoint, whatever dies.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.daemon import Relay
from tests.e2e.endpoint import TAKE, Endpoint, Post, usually, verify
from tests.e2e.kill import Sender
from tests.e2e.mail import hand_over, login
from tests.e2e.story import query
from tests.e2e.world import World, free_port
from tests.events.schema import complaints

HOOKS = {"retry": [0.2, 0.5, *[1] * 60], "timeout": 1, "allow_networks": ["127.0.0.0/8"]}
PATIENCE = 60.0


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.close()


def open_relay(world: World, **tables: Any) -> Relay:
    listeners = [{"port": free_port(), "interface": "127.0.0.1", "security": "plain"}]
    return world.relay(listeners=listeners, webhooks=HOOKS, **tables)


def wait_until(relay: Relay, waiting: int = 0) -> None:
    """
    Until so few events wait for endpoints, and all mail is through.
    """
    end = time.monotonic() + PATIENCE
    open_ = "SELECT count(*) FROM recipient WHERE state IN ('queued', 'deferred')"
    told = "SELECT count(*) FROM webhook_delivery WHERE state = 'waiting'"
    while query(relay, open_)[0][0] or query(relay, told)[0][0] > waiting:
        assert time.monotonic() < end, "events still wait"
        time.sleep(0.2)


def taken(posts: list[Post]) -> list[dict[str, Any]]:
    return [event for post in posts if post.deed == TAKE for event in post.events]


@pytest.mark.parametrize("batch", [1, 20])
def test_killed_under_load(world: World, endpoint: Endpoint, batch: int) -> None:
    """
    kill -9 under load, with an endpoint that fails, stalls and drops: every state change of every message reaches it
    at least once, none with two ids, all with a valid signature. LMRELAY_KILLS sets the number of kills.
    """
    rounds = int(os.environ.get("LMRELAY_KILLS", "2"))
    seed = int(os.environ.get("LMRELAY_SEED", random.randrange(10**6)))
    print(f"seed {seed}")
    source = random.Random(seed)
    domains = [world.domain(world.receiver()) for _ in range(2)]
    relay = open_relay(world)
    added = relay.ask("webhooks", "add", "acme", "count", endpoint.url, "--event", "*", "--batch", str(batch))
    endpoint.choose = usually(seed)
    relay.start()
    stop = threading.Event()
    senders = [Sender(relay, domains, number, seed, stop, keyed=True) for number in range(3)]
    for sender in senders:
        sender.start()
    for _ in range(rounds):
        time.sleep(source.uniform(0.5, 2.0))
        relay.kill()
        relay.start()
    time.sleep(1)
    stop.set()
    for sender in senders:
        sender.join(60)
    endpoint.choose = lambda: TAKE
    wait_until(relay)
    posts = list(endpoint.got)
    assert all(verify(post, added["secret"]) for post in posts)
    assert {"batch"} == {post.headers["x-lettermint-event"] for post in posts} or batch == 1
    happened = dict(query(relay, "SELECT id, sequence FROM event"))
    told = taken(posts)
    assert happened == {event["id"]: event["sequence"] for event in told}
    assert [] == [words for event in told for words in complaints(event)]
    check_changes(relay, posts)
    assert {"delivered"} == {state for (state,) in query(relay, "SELECT DISTINCT state FROM webhook_delivery")}
    assert len({post.deed for post in posts}) == 4
    assert relay.stop() == 0


def check_changes(relay: Relay, posts: list[Post]) -> None:
    """
    Each message's and recipient's changes are told, each with one id however often.
    """
    ids = defaultdict(set)
    for post in posts:
        for event in post.events:
            data = event["data"]
            change = (data["message_id"], data.get("recipient"), event["event"], data.get("attempt"))
            ids[change].add(event["id"])
    assert {1} == {len(found) for found in ids.values()}
    changes = {change[:3] for change in ids}
    recipients = query(relay, "SELECT message, address, state FROM recipient")
    assert {"delivered"} == {state for _, _, state in recipients}
    for message, address, _ in recipients:
        for kind, whom in (("created", None), ("sent", address), ("delivered", address)):
            assert (message, whom, f"message.{kind}") in changes


def test_told_again(world: World, endpoint: Endpoint) -> None:
    """
    A replay brings back what was taken, with the ids that it had; a test reaches the endpoint, and a secret is
    replaced without a request that either cannot verify.
    """
    relay = open_relay(world)
    first = relay.ask("webhooks", "add", "acme", "shop", endpoint.url)["secret"]
    relay.start()
    domain = world.domain(world.receiver())
    with login(relay) as client:
        for number in range(5):
            hand_over(client, [f"r{number}@{domain}"], b"From: a@acme.example\r\nTo: b@b.example\r\n\r\nhi\r\n")
    wait_until(relay)
    before = [event["id"] for event in taken(endpoint.got)]
    assert 15 == len(before) == len(set(before))
    answer = relay.ask("webhooks", "test", "acme", "shop")
    assert ("delivered", 200) == (answer["attempt"]["state"], answer["attempt"]["status"])
    assert "webhook.test" == endpoint.got[-1].headers["x-lettermint-event"]
    second = relay.ask("webhooks", "rotate", "acme", "shop")["secret"]
    assert relay.reload()
    endpoint.got.clear()
    assert 15 == relay.ask("webhooks", "replay", "acme", "shop", "--since", "24h")["events"]
    wait_until(relay)
    assert sorted(before) == sorted(event["id"] for event in taken(endpoint.got))
    assert all(verify(post, first) and verify(post, second) for post in endpoint.got)
    assert {"2"} == {post.headers["x-lettermint-attempt"] for post in endpoint.got}
    assert relay.stop() == 0


def test_refused_inside(world: World, endpoint: Endpoint) -> None:
    """
    Without leave nothing on this machine is told.
    """
    relay = world.relay(webhooks={"timeout": 1, "retry": [3600]})
    relay.ask("webhooks", "add", "acme", "shop", endpoint.url)
    relay.start()
    event = relay.ask("webhooks", "test", "acme", "shop", "--no-wait")["event"]
    end = time.monotonic() + PATIENCE
    while not (found := relay.ask("webhooks", "attempts", "acme", "shop", "--event", event)):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert "that may be connected to" in found[0]["text"]
    assert [] == endpoint.got
    assert relay.stop() == 0
