"""
C{lmrelay route}, over real files.
"""

from __future__ import annotations

import stat
from pathlib import Path

import attrs
import pytest

from lmrelay.config.load import TOKEN_KEY, load
from lmrelay.config.project import OUTGOING, Route
from lmrelay.config.words import Kind, TlsPolicy
from lmrelay.mail.unsubscribe import derive_key
from tests.cli.home import ACME, acme, make_home, refused, run, said

LINK = "https://acme.example/unsubscribe/{token}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nobody", "news"), "there is no project 'nobody'"),
        (("../acme", "news"), "there is no project '../acme'"),
        (("acme", "Bad Slug"), "cannot be a route's slug"),
        (("acme", ""), "cannot be a route's slug"),
        (("acme", "news.letter"), "cannot be a route's slug"),
        (("acme", "news]\nx"), "cannot be a route's slug"),
        (("acme", "x" * 64), "cannot be a route's slug"),
        (("acme", "outgoing"), "has a route 'outgoing' already; set it in [routes.outgoing] of "),
        (("acme", "news", "--unsubscribe-url", LINK), '--unsubscribe-url: is for routes of kind = "broadcast" alone'),
        (("acme", "news", "--kind", "broadcast", "--unsubscribe-url", "http://a.example/{token}"),
         "--unsubscribe-url: expected a URL such as"),
        (("acme", "news", "--kind", "broadcast", "--unsubscribe-url", "https://a.example/{email}"),
         "--unsubscribe-url: expected no braces but those of one {token}"),
        (("acme", "news", "--kind", "broadcast", "--unsubscribe-url", ""), "--unsubscribe-url: expected a URL such as"),
        (("acme", "news", "--max-messages-per-hour", "0"),
         "--max-messages-per-hour: expected a number from 1 to 1000000000"),
        (("acme", "news", "--max-messages-per-day", "1000000001"),
         "--max-messages-per-day: expected a number from 1 to 1000000000"),
    ],
)  # fmt: skip
def test_add_refuses(home: Path, arguments: tuple[str, ...], reason: str) -> None:
    """
    What cannot be a route is told in one line, by its option; no file is changed, and no key made.
    """
    assert reason in refused(home, "route", "add", *arguments)
    assert not (home / "state").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("acme",),
        ("acme", "news", "--kind", "bulk"),
        ("acme", "news", "--tls", "on"),
        ("acme", "news", "--max-messages-per-hour", "many"),
        ("acme", "news", "--max-size", "1MiB"),
        ("acme", "news", "more"),
    ],
)
def test_wrong_usage(home: Path, arguments: tuple[str, ...]) -> None:
    """
    Options and words that there are not are wrong usage, and nothing is written.
    """
    result = run(home, "route", "add", *arguments)
    assert (2, "", ACME) == (result.exit_code, result.stdout, acme(home).read_text())


def test_all_that_is_wrong(home: Path) -> None:
    """
    Several wrong options are told at once, a line each.
    """
    line = ("news", "--max-messages-per-hour", "-1", "--unsubscribe-url", "x", "--max-messages-per-day", "0")
    result = run(home, "route", "add", "acme", *line)
    assert ["unsubscribe-url", "max-messages-per-hour", "max-messages-per-day"] == [
        line.partition(": --")[2].partition(":")[0] for line in result.stderr.splitlines()
    ]
    assert (1, ACME) == (result.exit_code, acme(home).read_text())


def test_added_twice(home: Path) -> None:
    """
    A route that was added is there, and is not added again.
    """
    said(home, "route", "add", "acme", "news")
    assert "has a route 'news' already" in refused(home, "route", "add", "acme", "news", "--kind", "broadcast")


def test_broken_file_is_not_overwritten(home: Path) -> None:
    """
    What was broken by hand is refused with its error and stays as it is.
    """
    acme(home).write_text("[routes.outgoing]\nkind = 'bulk'\n")
    assert "acme.toml: routes.outgoing.kind" in refused(home, "route", "add", "acme", "news")
    assert "acme.toml: routes.outgoing.kind" in refused(home, "route", "list", "acme")


def test_add(home: Path) -> None:
    """
    The least: a transactional route, with every line of the file kept, that a reload takes over.
    """
    told = run(home, "route", "add", "acme", "receipts").stdout
    assert f"Project acme has the transactional route receipts, in {acme(home)}." in told
    assert "systemctl reload lmrelay" in told
    assert f'{ACME}\n[routes.receipts]\nkind = "transactional"\n' == acme(home).read_text()
    routes = load(home / "lmrelay.toml").projects["acme"].routes
    assert {OUTGOING: Route(OUTGOING), "receipts": Route("receipts")} == routes


def test_add_with_everything(home: Path) -> None:
    """
    Every option is a key of the route, which reads as it was asked for.
    """
    options = ("--kind", "broadcast", "--tls", "enforced", "--no-dsn", "--unsubscribe-url", LINK, "--redact")
    rates = ("--max-messages-per-hour", "1000", "--max-messages-per-day", "5000")
    ways = ("--return-path", "b.acme.example", "--ehlo-name", "Out.acme.example", "--source-address", "192.0.2.1")
    made = said(home, "route", "add", "acme", "news", *options, *rates, *ways, "--source-address", "2001:DB8::1")
    addresses = ("192.0.2.1", "2001:db8::1")
    route = Route(
        "news",
        Kind.BROADCAST,
        TlsPolicy.ENFORCED,
        False,
        LINK,
        True,
        "b.acme.example",
        addresses,
        "out.acme.example",
        1000,
        5000,
    )
    assert route == load(home / "lmrelay.toml").projects["acme"].routes["news"]
    assert {
        "project": "acme",
        "slug": "news",
        "kind": "broadcast",
        "default": False,
        "tls": "enforced",
        "tls_from": "route",
        "dsn": False,
        "redact": True,
        "unsubscribe_url": LINK,
        "return_path": "b.acme.example",
        "source_address": list(addresses),
        "ehlo_name": "out.acme.example",
        "max_messages_per_hour": 1000,
        "max_messages_per_day": 5000,
        "file": str(acme(home)),
    } == made


def test_every_key_can_be_added() -> None:
    """
    There is an option for every key of a route.
    """
    from lmrelay.cli.route import add

    options = {parameter.name for parameter in add.params}
    assert {"slug"} | {one.name for one in attrs.fields(Route)} - {"dsn"} <= options
    assert "no_dsn" in options


def test_link_makes_the_key(home: Path) -> None:
    """
    With a link comes the key that signs it, where there is none, and the word how to get the route's own.
    """
    told = run(home, "route", "add", "acme", "news", "--kind", "broadcast", "--unsubscribe-url", LINK).stdout
    assert "lmrelay route key acme news" in told
    assert 0o600 == stat.S_IMODE((home / "state" / TOKEN_KEY).stat().st_mode)
    assert "unsubscribe_url" not in "".join(map(str, load(home / "lmrelay.toml").warnings))


def test_list(home: Path) -> None:
    """
    Each route with what holds for it, and where its TLS comes from; without a project, those of all.
    """
    (home / "projects.d" / "bare.toml").write_text('domains = ["bare.example"]\n')
    acme(home).write_text(
        ACME.replace("# Routes", 'tls = "enforced"\ndefault_route = "news"\n# Routes')
        + '[routes.news]\nkind = "broadcast"\ntls = "none"\nmax_messages_per_day = 10\nredact = true\n'
    )
    listed = said(home, "route", "list")
    assert [
        ("acme", "outgoing", "transactional", False, "enforced", "project", False, None),
        ("acme", "news", "broadcast", True, "none", "route", True, 10),
        ("bare", "outgoing", "transactional", True, "opportunistic", "server", False, None),
    ] == [
        tuple(one[key] for key in ("project", "slug", "kind", "default", "tls", "tls_from", "redact",
                                   "max_messages_per_day"))
        for one in listed
    ]  # fmt: skip
    assert listed[2:] == said(home, "route", "list", "bare")


def test_list_for_people(home: Path) -> None:
    """
    A line a route; a project without any in its file has the one that is always there.
    """
    acme(home).write_text('domains = ["acme.example"]\n')
    options = ("--kind", "broadcast", "--max-messages-per-hour", "5", "--max-messages-per-day", "9")
    run(home, "route", "add", "acme", "news", *options, "--unsubscribe-url", LINK)
    titles, *rows = [line.split() for line in run(home, "route", "list", "acme").stdout.splitlines()]
    assert ["PROJECT", "ROUTE", "KIND", "DEFAULT", "TLS", "DSN", "LIMITS", "REDACT", "UNSUBSCRIBE"] == titles
    assert ["acme", "outgoing", "transactional", "yes", "opportunistic", "(server)", "yes", "-", "no", "-"] == rows[0]
    assert ["acme", "news", "broadcast", "no", "opportunistic", "(server)", "yes", "5/h,", "9/d", "no", LINK] == rows[1]


def test_list_unknown(home: Path) -> None:
    """
    A project that is not there is named; with none at all the listing says how to make one.
    """
    assert "there is no project 'nobody'" in refused(home, "route", "list", "nobody")
    acme(home).unlink()
    assert "lmrelay project add" in run(home, "route", "list").stdout
    assert [] == said(home, "route", "list")


def test_key(home: Path) -> None:
    """
    The key is printed alone on its line, is the route's own, and is what the links are signed with.
    """
    run(home, "route", "add", "acme", "news", "--kind", "broadcast", "--unsubscribe-url", LINK)
    run(home, "route", "add", "acme", "offers", "--kind", "broadcast", "--unsubscribe-url", LINK)
    result = run(home, "route", "key", "acme", "news")
    expected = derive_key(load(home / "lmrelay.toml").token_key, "acme", "news")
    assert (f"{expected}\n", "") == (result.stdout, result.stderr)
    assert {"project": "acme", "slug": "news", "key": expected} == said(home, "route", "key", "acme", "news")
    assert expected != said(home, "route", "key", "acme", "offers")["key"]


def test_key_comes_before_the_link(home: Path) -> None:
    """
    Without a link the key can be had all the same, for the project's page may be made first; a line says so. The
    server's key is made if there is none, and stays.
    """
    run(home, "route", "add", "acme", "news", "--kind", "broadcast")
    result = run(home, "route", "key", "acme", "news")
    assert 0o600 == stat.S_IMODE((home / "state" / TOKEN_KEY).stat().st_mode)
    assert "has no unsubscribe_url" in result.stderr
    assert result.stdout == run(home, "route", "key", "acme", "news").stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nobody", "news"), "there is no project 'nobody'"),
        (("acme", "news"), "project acme has no route 'news'; see `lmrelay route list acme`"),
        (("acme", ""), "has no route ''"),
    ],
)
def test_key_refuses(home: Path, arguments: tuple[str, ...], reason: str) -> None:
    """
    What is not there has no key, and none is made for it.
    """
    assert reason in refused(home, "route", "key", *arguments)
    assert not (home / "state").exists()


def test_key_that_others_could_read(home: Path) -> None:
    """
    A server's key that is open to others is refused, not used.
    """
    run(home, "route", "add", "acme", "news", "--kind", "broadcast", "--unsubscribe-url", LINK)
    (home / "state" / TOKEN_KEY).chmod(0o644)
    assert "others could read it" in refused(home, "route", "key", "acme", "news")
