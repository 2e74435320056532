"""
C{lmrelay webhooks}, over real files and a real store.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from sqlalchemy import insert

from lmrelay.config.load import load
from lmrelay.config.project import Webhook
from lmrelay.config.values import Config
from lmrelay.interfaces import Told, Want
from lmrelay.queue import tellings
from lmrelay.queue.hook_desk import PAGE
from lmrelay.queue.leases import Lease
from lmrelay.queue.operations import open_desk
from lmrelay.queue.outbox import Outbox
from lmrelay.queue.privacy import make_folder
from lmrelay.queue.rows import event_row
from lmrelay.queue.schema import webhook_attempt
from lmrelay.queue.search import WINDOW
from lmrelay.queue.store import find_url, migrate
from tests.cli.home import ACME, NOON, acme, make_home, refused, run, said
from tests.queue.doubles import Settings
from tests.queue.filling import fill, make_rows, writing
from tests.queue.hooks import deliveries

URL = "https://acme.example/hook"
SHOP = ("acme", "shop")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path)


@pytest.fixture
def shop(home: Path) -> Config:
    """
    A project with an endpoint, and a store.
    """
    run(home, "webhooks", "add", "acme", "shop", URL)
    config = load(home / "lmrelay.toml")
    make_folder(config.server.state_dir)
    migrate(find_url(config))
    return config


def hooks(home: Path) -> tuple[Webhook, ...]:
    return load(home / "lmrelay.toml").projects["acme"].webhooks


def write_events(config: Config, *ages: float, type_: str = "message.sent") -> list[str]:
    """
    Events of that age, in seconds, with whom they are to be told; their ids.
    """
    ids = []
    for age in sorted(ages, reverse=True):
        (message,) = fill(config, make_rows(["a@b.example"], at=NOON - age))
        row = event_row(Random(age).randbytes, type_, NOON - age, ("acme", "outgoing"), (message, 0))
        with writing(config) as connection:
            Outbox(Settings(config)).write(connection, [row])
        ids.append(row["id"])
    return ids


def tell(config: Config, told: Told, due: float | None = None) -> int:
    """
    The endpoint is told all that is due, and takes it so.
    """
    with writing(config) as connection:
        found, _ = tellings.find_due(connection, {SHOP: Want(10000, 1 << 30)}, NOON + 1e6)
        taken = tellings.claim(connection, tellings.Claim(found, {}, NOON + 1e6), "w").get(SHOP, ())
        tellings.write_told(connection, [tellings.Record(SHOP, told, {one.sequence: due for one in taken})], "w")
    return len(taken)


def give_up(config: Config) -> None:
    """
    The daemon knows of no such endpoint.
    """
    with writing(config) as connection:
        tellings.give_up(connection, SHOP, tellings.is_due(SHOP), "there is no such endpoint", NOON)


def states(config: Config) -> list[str]:
    return [state for _, _, state in deliveries(config)]


def test_add(home: Path) -> None:
    """
    An endpoint has a secret that nobody has had before; comments stay, and what is not asked for is left out.
    """
    told = said(home, "webhooks", "add", "acme", "shop", URL)
    other = said(
        home, "webhooks", "add", "acme", "all", URL, "--event", "*", "--event", "message.sent", "--route", "outgoing",
        "--batch", "100",
    )  # fmt: skip
    assert (
        Webhook("shop", URL, told["secret"]),
        Webhook("all", URL, other["secret"], events=("*", "message.sent"), routes=("outgoing",), batch=100),
    ) == hooks(home)
    assert told["secret"] != other["secret"]
    assert 46 == len(told["secret"])
    text = acme(home).read_text()
    assert text.startswith(ACME)
    assert "routes = " not in text[: text.index("all")]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nobody", "shop", URL), "there is no project 'nobody'"),
        (("acme", "Bad Name", URL), "name: expected a slug"),
        (("acme", "shop", "ftp://a.example"), "url: expected a URL"),
        (("acme", "shop", URL, "--event", "a b"), 'events[0]: expected "*", an event'),
        (("acme", "shop", URL, "--route", "news"), "project acme has no route 'news'"),
        (("acme", "shop", URL, "--batch", "101"), "batch: expected a number from 1 to 100"),
    ],
)
def test_add_refuses(home: Path, arguments: tuple[str, ...], reason: str) -> None:
    """
    What cannot be an endpoint is told in one line, and no file is changed.
    """
    assert reason in refused(home, "webhooks", "add", *arguments)


def test_name_is_taken(home: Path) -> None:
    """
    A second endpoint of that name is none.
    """
    run(home, "webhooks", "add", "acme", "shop", URL)
    assert "has an endpoint 'shop' already" in refused(home, "webhooks", "add", "acme", "shop", URL)


@pytest.mark.parametrize("verb", ["attempts", "test", "disable", "enable", "rotate", "remove"])
def test_unknown(home: Path, shop: Config, verb: str) -> None:
    """
    An endpoint that there is not is told as such.
    """
    assert "has no endpoint 'other'" in refused(home, "webhooks", verb, "acme", "other")


def test_rotate(home: Path) -> None:
    """
    The old secret signs too until it is finished; comments stay, and no second rotation loses a secret.
    """
    first = said(home, "webhooks", "add", "acme", "shop", URL)["secret"]
    run(home, "webhooks", "add", "acme", "other", URL)
    text = acme(home).read_text().replace(f'"{first}"', f'"{first}"  # of Ann')
    acme(home).write_text(text + "# the end\n")
    other = hooks(home)[1]
    second = said(home, "webhooks", "rotate", "acme", "shop")["secret"]
    assert (Webhook("shop", URL, second, first), other) == hooks(home)
    assert "is being rotated already" in refused(home, "webhooks", "rotate", "acme", "shop")
    run(home, "webhooks", "rotate", "acme", "shop", "--finish")
    assert (Webhook("shop", URL, second), other) == hooks(home)
    assert "nothing to finish" in refused(home, "webhooks", "rotate", "acme", "shop", "--finish")
    assert text.replace(first, second) + "# the end\n" == acme(home).read_text()


def test_remove(home: Path, shop: Config) -> None:
    """
    What was added is gone again, the rest of the file stays, and the name is free.
    """
    run(home, "webhooks", "disable", "acme", "shop")
    result = run(home, "webhooks", "remove", "acme", "shop")
    assert (0, (), ACME) == (result.exit_code, hooks(home), acme(home).read_text())
    run(home, "webhooks", "add", "acme", "shop", URL)
    assert "on" == said(home, "webhooks", "list")[0]["state"]


def test_list(home: Path, shop: Config) -> None:
    """
    Endpoints are listed with what waits for them, and never with a secret.
    """
    write_events(shop, 7200, 60)
    (record,) = said(home, "webhooks", "list", "acme")
    assert ("acme", "shop", URL, ["message.*"], 2, "on") == tuple(
        record[key] for key in ("project", "name", "url", "events", "waiting", "state")
    )
    assert "2026-11-21T10:00:00.000Z" == record["since"]
    result = run(home, "webhooks", "list")
    assert "2h ago" in result.stdout
    assert "whsec_" not in result.stdout + str(record)


def test_list_hides_passwords(home: Path) -> None:
    """
    A password in a URL stands in the project's file alone; no secret is listed.
    """
    run(home, "webhooks", "add", "acme", "shop", "https://me:geheim@acme.example:8443/hook?a=b")
    for arguments in ((), ("--json",)):
        told = run(home, "webhooks", "list", *arguments).output
        assert "https://me:***@acme.example:8443/hook?a=b" in told
        assert "geheim" not in told
        assert hooks(home)[0].secret not in told
    assert "https://me:geheim@acme.example:8443/hook?a=b" == hooks(home)[0].url


def test_list_of_what_fails(home: Path, shop: Config) -> None:
    """
    Whoever looks why events wait sees what the endpoint says to those that were tried, and nothing where none was.
    """
    write_events(shop, 7200)
    assert [None] == [one["trouble"] for one in said(home, "webhooks", "list")]
    tell(shop, Told(NOON, NOON + 0.1, None, "the connection was refused"), NOON + 10)
    write_events(shop, 60, 10)
    assert ["the connection was refused"] == [one["trouble"] for one in said(home, "webhooks", "list")]
    assert "  on, fails: the connection was refused\n" in run(home, "webhooks", "list").stdout
    tell(shop, Told(NOON + 20, NOON + 20.1, 204))
    assert [None] == [one["trouble"] for one in said(home, "webhooks", "list")]


def test_list_without_store(home: Path) -> None:
    """
    Before the daemon ever ran, endpoints are listed all the same.
    """
    run(home, "webhooks", "add", "acme", "shop", URL)
    result = run(home, "webhooks", "list")
    assert 0 == result.exit_code
    assert "shop" in result.stdout
    assert "there is no queue yet" in result.stderr


def test_attempts(home: Path, shop: Config) -> None:
    """
    How an endpoint took what it was told is shown, the last first, with what it said.
    """
    old, new = write_events(shop, 60, 10)
    tell(shop, Told(NOON, NOON + 1.5, 503, body="busy"), NOON)
    tell(shop, Told(NOON + 2, NOON + 2.1, None, "no answer within 30 s"), NOON)
    tell(shop, Told(NOON + 3, NOON + 3.1, 204))
    found = said(home, "webhooks", "attempts", "acme", "shop")
    assert [(new, 3), (new, 2), (new, 1), (old, 3), (old, 2), (old, 1)] == [
        (one["event"], one["attempt"]) for one in found
    ]
    assert {"delivered"} == {one["state"] for one in found}
    assert 4 == len(said(home, "webhooks", "attempts", "acme", "shop", "--failed"))
    assert 3 == len(said(home, "webhooks", "attempts", "acme", "shop", "--event", old))
    assert 1 == len(said(home, "webhooks", "attempts", "acme", "shop", "--limit", "1"))
    shown = run(home, "webhooks", "attempts", "acme", "shop").stdout
    assert "503 busy" in shown
    assert "no answer within 30 s" in shown
    assert "1.5s" in shown


def test_attempts_take_their_time(home: Path, shop: Config) -> None:
    """
    However many attempts are kept, they are read in parts, the same as at once; a search whose time is over says how
    far it got.
    """
    ids = write_events(shop, *range(10, 80, 10))
    tell(shop, Told(NOON, NOON + 1.5, 503), NOON)
    tell(shop, Told(NOON + 3, NOON + 3.1, 204))
    with open_desk(shop, lambda: NOON, lambda _: None) as desk:
        hooks = desk.hooks()
        for limit, event_id, failed in product((1, 3, 100), ("", ids[0], ids[3], "none"), (False, True)):
            some, all_ = (
                hooks.attempts(SHOP, limit, 10, failed=failed, event_id=event_id, rows=rows) for rows in (3, 1000)
            )
            assert all_ == some
            assert min(limit, (7 if not event_id else event_id != "none") * (2 - failed)) == len(some.records)
        short = hooks.attempts(SHOP, 100, 0, rows=3)
        # Three attempts, and what else was tried of the last event.
        assert (4, True, NOON - 20) == (len(short.records), short.more, short.looked_back_to)
        lost = hooks.attempts(SHOP, 1, 0, event_id=ids[0], rows=2)
        assert ((), True) == (lost.records, lost.more)
        assert NOON - 20 <= (lost.looked_back_to or 0)


def test_attempts_of_much(home: Path, shop: Config) -> None:
    """
    That a search was not through is said to people and, apart from the list, to programs.
    """
    write_events(shop, 60)
    took = {"event": 1, "endpoint": "shop", "started_at": NOON, "ended_at": NOON, "status": 204, "text": "", "body": ""}
    with writing(shop) as connection:
        connection.execute(insert(webhook_attempt), [{"number": n, **took} for n in range(WINDOW)])
    result = run(home, "webhooks", "attempts", "acme", "shop", "--failed", "--seconds", "0", "--json")
    assert "[]\n" == result.stdout
    assert "After 0 s the search was back at 2026-11-21T11:59:00.000Z; --seconds looks for longer.\n" == result.stderr
    assert (
        "Nothing was found." in run(home, "webhooks", "attempts", "acme", "shop", "--failed", "--seconds", "0").stdout
    )


def test_replay(home: Path, shop: Config) -> None:
    """
    A day is told again, whatever became of it, with numbers of attempts that go on; what is older is not.
    """
    ids = write_events(shop, 100_000, 90_000, 80_000, 60)
    tell(shop, Told(NOON, NOON, 204))
    assert ["delivered"] * 4 == states(shop)
    told = said(home, "webhooks", "replay", "acme", "shop", "--since", "24h", "--dry-run")
    # With the two that say that these messages were accepted.
    assert (4, True) == (told["events"], told["dry_run"])
    assert ["delivered"] * 4 == states(shop)
    assert 4 == said(home, "webhooks", "replay", "acme", "shop", "--since", "24h")["events"]
    assert 4 == states(shop).count("waiting")
    assert 4 == tell(shop, Told(NOON, NOON, 500), NOON)
    found = said(home, "webhooks", "attempts", "acme", "shop", "--event", ids[-1])
    assert [2, 1] == [one["attempt"] for one in found]


def test_replay_of_the_dead(home: Path, shop: Config) -> None:
    """
    Only what was given up is told again, if that is asked for.
    """
    write_events(shop, 60)
    tell(shop, Told(NOON, NOON, 500))
    write_events(shop, 30)
    tell(shop, Told(NOON, NOON, 204))
    assert ["dead", "delivered"] == states(shop)
    assert 1 == said(home, "webhooks", "replay", "acme", "shop", "--since", "1h", "--dead")["events"]
    assert ["waiting", "delivered"] == states(shop)


def test_replay_of_much(home: Path, shop: Config) -> None:
    """
    However many events there are, those of a time are found, in parts; those of others are not touched.
    """
    other = evolve(shop, projects={**shop.projects, "other": evolve(shop.projects["acme"], slug="other")})
    random = Random(1)
    rows = [
        event_row(
            random.randbytes, "message.sent", NOON - 5 * PAGE + n, (("acme", "other")[n % 2], "outgoing"), (None, None)
        )
        for n in range(4 * PAGE)
    ]
    with writing(shop) as connection:
        Outbox(Settings(other)).write(connection, rows)
    since = f"{3 * PAGE}s"
    assert PAGE == said(home, "webhooks", "replay", "acme", "shop", "--since", since)["events"]


def test_replay_of_tests(home: Path, shop: Config) -> None:
    """
    The test of an endpoint is told again to that endpoint alone, whatever the others want.
    """
    run(home, "webhooks", "add", "acme", "all", URL, "--event", "*")
    write_events(shop, 60)
    for name in ("shop", "all"):
        said(home, "webhooks", "test", "acme", name, "--no-wait")
    # The event, that its message was accepted, and its own test.
    assert 3 == said(home, "webhooks", "replay", "acme", "all", "--since", "1h")["events"]
    tests = {(name, state) for type_, name, state in deliveries(shop) if type_ == "webhook.test"}
    assert {("shop", "waiting"), ("all", "waiting")} == tests
    assert 2 == sum(type_ == "webhook.test" for type_, _, _ in deliveries(shop))


def test_what_is_being_told_stays(home: Path, shop: Config) -> None:
    """
    What a worker is telling at the moment is left to it.
    """
    write_events(shop, 60)
    with writing(shop) as connection:
        found, _ = tellings.find_due(connection, {SHOP: Want(1, 1)}, NOON)
        tellings.claim(connection, tellings.Claim(found, {}, NOON), "w")
    assert 1 == said(home, "webhooks", "replay", "acme", "shop", "--since", "1h")["events"]
    with writing(shop) as connection:
        assert ["w"] == list(
            connection.exec_driver_sql("SELECT owner FROM webhook_delivery WHERE owner = 'w'").scalars()
        )


@pytest.mark.parametrize("since", ["yesterday", "", "2026-13-01"])
def test_bad_time(home: Path, shop: Config, since: str) -> None:
    """
    What is no time is wrong usage.
    """
    result = run(home, "webhooks", "replay", "acme", "shop", "--since", since)
    assert 2 == result.exit_code
    assert "expected a time span" in result.stderr


def test_time_as_time(home: Path, shop: Config) -> None:
    """
    A time may be said with its zone, or without, which is UTC.
    """
    write_events(shop, 3600)
    for since, events in (("2026-11-21T11:00:00Z", 2), ("2026-11-21T12:30:00+01:00", 0), ("2026-11-21 10:59:59", 2)):
        assert events == said(home, "webhooks", "replay", "acme", "shop", "--since", since, "--dry-run")["events"]


def test_disable_and_enable(home: Path, shop: Config) -> None:
    """
    A disabled endpoint is told nothing and says why, until it is enabled.
    """
    assert said(home, "webhooks", "disable", "acme", "shop", "--reason", "under repair")["changed"]
    assert not said(home, "webhooks", "disable", "acme", "shop")["changed"]
    write_events(shop, 60)
    assert [] == states(shop)
    assert "disabled: under repair" in run(home, "webhooks", "list").stdout
    assert "is disabled" in refused(home, "webhooks", "replay", "acme", "shop", "--since", "1h")
    assert said(home, "webhooks", "enable", "acme", "shop")["changed"]
    assert not said(home, "webhooks", "enable", "acme", "shop")["changed"]
    assert 2 == said(home, "webhooks", "replay", "acme", "shop", "--since", "1h")["events"]


def test_enable_in_the_file(home: Path, shop: Config) -> None:
    """
    One that its file switches off is switched on there.
    """
    before = acme(home).read_text()
    acme(home).write_text(before + "enabled = false\n")
    assert not hooks(home)[0].enabled
    assert said(home, "webhooks", "enable", "acme", "shop")["changed"]
    assert before == acme(home).read_text()


def test_test(home: Path, shop: Config) -> None:
    """
    webhook.test goes through the queue, whatever the endpoint is told otherwise, and its answer is shown.
    """
    told = said(home, "webhooks", "test", "acme", "shop")
    assert None is told["attempt"]
    assert [("webhook.test", "shop", "waiting")] == deliveries(shop)
    lease = Lease("w", shop.server.state_dir, lambda: NOON)
    lease.hold()
    with writing(shop) as connection:
        lease.enter(connection, [None])
    for answer, code in ((Told(NOON, NOON, 204), 0), (Told(NOON, NOON, 404, body="no"), 1)):
        result = run(home, "webhooks", "test", "acme", "shop", sleep=lambda _, a=answer: tell(shop, a))
        assert code == result.exit_code
        assert f"Answer after 0ms: {answer.status} {answer.body}".strip() in result.stdout
    told = said(home, "webhooks", "test", "acme", "shop", sleep=lambda _: tell(shop, Told(NOON, NOON, 204)))
    assert "2026-11-21T12:00:00.000Z" == told["attempt"]["started"]
    result = run(home, "webhooks", "test", "acme", "shop", sleep=lambda _: None)
    assert (1, "no attempt within 35 s") == (result.exit_code, result.stderr[9:31])
    naps: list[float] = []
    result = run(home, "webhooks", "test", "acme", "shop", sleep=lambda nap: give_up(shop) or naps.append(nap))
    lease.end()
    assert (1, 1) == (result.exit_code, len(naps))
    assert "given up, as there is no such endpoint; is the endpoint known to the daemon" in result.stderr
