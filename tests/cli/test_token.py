"""
C{lmrelay token}, over real files.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lmrelay.config.load import load
from lmrelay.config.seals import unseal
from lmrelay.errors import ConfigError, Problem, StoreError
from lmrelay.projects.tokens import is_mistyped, make_token
from tests.cli.home import ACME, NOON, acme, make_home, refused, run, said

FOREIGN = "foreign-token-of-another-service"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path)


def test_create_token(home: Path) -> None:
    """
    The token is told once; the file has its digest and its sealed copy, and every line that it had.
    """
    made = said(
        home, "token", "create", "acme", "--name", "website", "--expires", "2027-01-01", "--network", "192.0.2.0/24"
    )
    written = acme(home).read_text()
    assert written.startswith(ACME)
    assert made["token"] not in written
    assert not is_mistyped(made["token"], "lmr_")
    token = load(home / "lmrelay.toml").projects["acme"].tokens[0]
    assert (made["id"], "website", hashlib.sha256(made["token"].encode()).hexdigest()) == (
        token.id,
        token.name,
        token.sha256,
    )
    key = (home / "state" / "token.key").read_bytes()
    assert unseal(token.cram, key, "acme", token.id) == made["token"]
    assert ("2026-11-21", "2027-01-01", ["192.0.2.0/24"]) == (made["created"], made["expires"], made["networks"])
    assert ["192.0.2.0/24"] == [str(network) for network in token.networks]


def test_create_token_for_people(home: Path) -> None:
    """
    People get the token on a line of its own and settings to paste, and are told how it takes effect.
    """
    told = run(home, "token", "create", "acme", "--name", "website").stdout
    (token,) = re.findall(r"^ +(lmr_\w+)$", told, re.MULTILINE)
    settings = dict(re.findall(r"^ +(SMTP_\w+)=(.*)$", told, re.MULTILINE))
    assert settings == {
        "SMTP_HOST": "relay.test",
        "SMTP_PORT": "587",
        "SMTP_SECURITY": "starttls",
        "SMTP_USERNAME": "lettermint",
        "SMTP_PASSWORD": token,
    }
    assert "systemctl reload lmrelay" in told


def test_no_cram(home: Path) -> None:
    """
    Without a sealed copy no key is needed, and the listing says so.
    """
    said(home, "token", "create", "acme", "--name", "website", "--no-cram")
    assert not (home / "state").exists()
    assert "cram" not in tomllib.loads(acme(home).read_text())["tokens"][0]
    assert [False] == [one["cram"] for one in said(home, "token", "list", "acme")]


@pytest.mark.parametrize(
    "options",
    [
        ("--name", ""),
        ("--name", "a\nb"),
        ("--name", "x", "--expires", "tomorrow"),
        ("--name", "x", "--expires", "2027-01-01T12:00:00"),
        ("--name", "x", "--network", "192.0.2.1/24"),
        ("--name", "x", "--network", "example.com"),
        (),
    ],
)
def test_bad_options(home: Path, options: tuple[str, ...]) -> None:
    """
    Options that make no sense are wrong usage, and nothing is written.
    """
    result = run(home, "token", "create", "acme", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert acme(home).read_text() == ACME


@pytest.mark.parametrize("ends", ["2026-11-21", "2020-01-01", "2026-11-21T11:59:59Z"])
def test_past_expiry(home: Path, ends: str) -> None:
    """
    A token that would have ended already is not made.
    """
    assert "past" in refused(home, "token", "create", "acme", "--name", "x", "--expires", ends)


def test_names_are_unique(home: Path) -> None:
    """
    Two tokens of a project cannot have the same name.
    """
    run(home, "token", "create", "acme", "--name", "website")
    assert "already" in refused(home, "token", "create", "acme", "--name", "website")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_import(home: Path, ending: str) -> None:
    """
    A foreign token comes in by standard input and is never shown.
    """
    result = run(home, "token", "import", "acme", "--name", "old", stdin=FOREIGN + ending)
    assert (0, False) == (result.exit_code, FOREIGN in result.output)
    token = load(home / "lmrelay.toml").projects["acme"].tokens[0]
    assert hashlib.sha256(FOREIGN.encode()).hexdigest() == token.sha256
    assert unseal(token.cram, (home / "state" / "token.key").read_bytes(), "acme", token.id) == FOREIGN


SHAPES = [
    "x" * 16,
    "!" * 16,
    "~" * 4096,
    "b3f0c1d2-9a4e-4c55-8f3e-0d1c2b3a4f5e",
    "lm_live_0123456789abcdefABCDEF",
    "lttr_0123456789abcdef0123456789abcdef",
    "SG.abcdefghijklmnop.QRSTUV-wx_yz",
    "AKIA/base64+with=padding==",
    '"quoted\\and:colons@{braces}"',
    "LMR_ABCDEFGHIJKLMNOP",
]


@pytest.mark.parametrize("text", SHAPES, ids=[text[:20] for text in SHAPES])
def test_foreign_tokens_of_any_shape(home: Path, text: str) -> None:
    """
    Whatever another service made of sixteen printable characters or more is taken over as it is, and opens again.
    """
    made = said(home, "token", "import", "acme", "--name", "old", stdin=f"{text}\n")
    (token,) = load(home / "lmrelay.toml").projects["acme"].tokens
    assert (hashlib.sha256(text.encode()).hexdigest(), made["id"]) == (token.sha256, token.id)
    assert text == unseal(token.cram, (home / "state" / "token.key").read_bytes(), "acme", token.id)
    assert text not in acme(home).read_text()


def test_import_without_a_sealed_copy(home: Path) -> None:
    """
    An imported token can go without CRAM-MD5 too: then no key is made.
    """
    said(home, "token", "import", "acme", "--name", "old", "--no-cram", stdin=FOREIGN)
    assert ("", False) == (load(home / "lmrelay.toml").projects["acme"].tokens[0].cram, (home / "state").exists())


def test_another_prefix(home: Path) -> None:
    """
    New tokens begin as configured; those made before stay good, and those of the service whose prefix it is come in.
    """
    before = said(home, "token", "create", "acme", "--name", "before")
    main = home / "lmrelay.toml"
    main.write_text(main.read_text() + '[auth]\ntoken_prefix = "lttr_"\n')
    made = said(home, "token", "create", "acme", "--name", "after")
    assert (f"lttr_{made['id']}_", 58, False) == (
        made["token"][:18],
        len(made["token"]),
        is_mistyped(made["token"], "lttr_"),
    )
    assert [before["id"], made["id"]] == [one["id"] for one in said(home, "token", "list", "acme")]
    imported = said(home, "token", "import", "acme", "--name", "old", stdin="lttr_0123456789abcdef")
    assert imported["id"] == said(home, "token", "list", "acme")[-1]["id"]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2027-01-01", datetime.date(2027, 1, 1)),
        ("2026-11-22", datetime.date(2026, 11, 22)),
        ("2026-11-21T12:00:01Z", datetime.datetime(2026, 11, 21, 12, 0, 1, tzinfo=datetime.UTC)),
        ("2027-01-01T12:00:00+02:00",
         datetime.datetime(2027, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))),
    ],
)  # fmt: skip
def test_expiry(home: Path, written: str, kept: object) -> None:
    """
    The end of a token, a day or a moment, is kept and told as it was given.
    """
    made = said(home, "token", "create", "acme", "--name", "x", "--expires", written)
    assert kept == load(home / "lmrelay.toml").projects["acme"].tokens[0].expires
    assert written.replace("Z", "+00:00") == made["expires"]
    assert [(made["expires"], False)] == [
        (one["expires"], one["expired"]) for one in said(home, "token", "list", "acme")
    ]


def test_networks(home: Path) -> None:
    """
    Networks of both families, and a single address as one; what is given twice is kept once.
    """
    given = ("192.0.2.0/24", "2001:DB8::/32", "198.51.100.9", "192.0.2.0/24")
    options = [word for one in given for word in ("--network", one)]
    said(home, "token", "create", "acme", "--name", "x", *options)
    kept = ["192.0.2.0/24", "2001:db8::/32", "198.51.100.9/32"]
    assert kept == [str(one) for one in load(home / "lmrelay.toml").projects["acme"].tokens[0].networks]
    assert [kept] == [one["networks"] for one in said(home, "token", "list", "acme")]


def test_one_id_over_projects(home: Path) -> None:
    """
    An id is one token's in the whole relay, for it can be a user name: a second one of it is not imported.
    """
    first, second = (make_token("lmr_", lambda count, x=x: bytes([1 if count == 12 else x] * count))[0] for x in (2, 3))
    run(home, "project", "add", "other", "--domain", "a.example")
    said(home, "token", "import", "acme", "--name", "first", stdin=first)
    told = refused(home, "token", "import", "other", "--name", "second", stdin=second)
    assert "project acme has this token already, as 'first'" in told


EXPIRED = """
[[tokens]]
name = "past"
id = "aaaaaaaaaaaa"
sha256 = "{0}"
expires = {1}
"""


@pytest.mark.parametrize(
    ("ends", "expired"),
    [
        ("2026-11-21", True),
        ("2026-11-22", False),
        ("2026-11-21T12:00:00Z", True),
        ("2026-11-21T12:00:01Z", False),
        ("2026-11-21T13:30:00+02:00", True),
        ("2026-11-21T11:30:00-02:00", False),
    ],
)
def test_expired_tokens_are_marked(home: Path, ends: str, expired: bool) -> None:
    """
    What a login would be refused for is marked in the listing, to programs and to people.
    """
    acme(home).write_text(ACME + EXPIRED.format("a" * 64, ends))
    assert [expired] == [one["expired"] for one in said(home, "token", "list", "acme")]
    assert expired == ("(expired)" in run(home, "token", "list", "acme").stdout)


def test_import_keeps_the_id_of_our_own(home: Path) -> None:
    """
    A token that another lmrelay made keeps its id, which may be a user name.
    """
    token, token_id = make_token("lmr_", os.urandom)
    assert said(home, "token", "import", "acme", "--name", "moved", stdin=token)["id"] == token_id


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least 16"),
        ("x" * 15, "at least 16"),
        ("x" * 10 + " " + "y" * 10, "without a space"),
        (f"{FOREIGN}\n{FOREIGN}\n", "on one line"),
        ("é" * 16, "printable ASCII"),
        ("x" * 4097, "more than 4096"),
        ("x" * 100_000, "more than 4096"),
        ("lmr_" + "x" * 53, "mistyped"),
    ],
)
def test_import_refuses(home: Path, text: str, reason: str) -> None:
    """
    What cannot be a token, or is one of ours with a slip, is refused without being repeated.
    """
    told = refused(home, "token", "import", "acme", "--name", "old", stdin=text)
    assert reason in told
    assert not text or text not in told


def test_import_twice(home: Path) -> None:
    """
    One token cannot belong to two projects.
    """
    run(home, "project", "add", "other", "--domain", "a.example")
    run(home, "token", "import", "acme", "--name", "old", stdin=FOREIGN)
    told = refused(home, "token", "import", "other", "--name", "old", stdin=FOREIGN)
    assert "project acme has this token already, as 'old'" in told


def test_a_token_is_no_argument(home: Path) -> None:
    """
    Import takes no token from the command line, where every user of the machine would see it.
    """
    assert run(home, "token", "import", "acme", FOREIGN, "--name", "old").exit_code == 2


def test_list_and_revoke(home: Path) -> None:
    """
    Tokens are listed without a secret; a revoked one is gone, and the file is what it was.
    """
    made = said(home, "token", "create", "acme", "--name", "website")
    listed = said(home, "token", "list", "acme")
    assert [(made["id"], "website", True)] == [(one["id"], one["name"], one["cram"]) for one in listed]
    told = run(home, "token", "list", "acme").stdout
    assert made["id"] in told
    assert not any(secret in told + json.dumps(listed) for secret in (made["token"], made["token"][-40:]))
    assert said(home, "token", "revoke", "acme", made["id"])["revoked"] is True
    assert acme(home).read_text() == ACME
    assert "has no token" in run(home, "token", "list", "acme").stdout


def test_revoke_unknown(home: Path) -> None:
    """
    An id that is not there is refused without repeating it: it may be the token.
    """
    token = make_token("lmr_", os.urandom)[0]
    assert token not in refused(home, "token", "revoke", "acme", token)


@contextlib.contextmanager
def desk_of(uses: Mapping[str, float] | Exception) -> Iterator[Any]:
    """
    A desk that knows nothing but when tokens were used, or that fails with what it is given.
    """
    if isinstance(uses, Exception):
        raise uses
    yield SimpleNamespace(token_uses=lambda: uses)


def make_queue(home: Path) -> None:
    (home / "state").mkdir(exist_ok=True)
    (home / "state" / "queue.sqlite").touch()


def test_last_use(home: Path) -> None:
    """
    Each token with when it was last used; one that never was, and those of other projects, say nothing.
    """
    used, idle = (said(home, "token", "create", "acme", "--name", name)["id"] for name in ("used", "idle"))
    make_queue(home)
    uses = {used: NOON - 3600, "another": NOON}
    listed = said(home, "token", "list", "acme", desk=lambda *_: desk_of(uses))
    assert {used: "2026-11-21T11:00:00.000Z", idle: None} == {one["id"]: one["last_used"] for one in listed}
    titles, *rows = run(home, "token", "list", "acme", desk=lambda *_: desk_of(uses)).stdout.splitlines()
    place = titles.index("LAST USED")
    assert ["2026-11-21T11:00:00.000Z", "-"] == [row[place:].split()[0] for row in rows]


def test_no_queue_yet(home: Path) -> None:
    """
    Before the daemon's first start tokens are listed all the same, without a word, and no queue is made.
    """
    said(home, "token", "create", "acme", "--name", "website")
    result = run(home, "token", "list", "acme", "--json")
    assert ([None], "") == ([one["last_used"] for one in json.loads(result.stdout)], result.stderr)
    assert [home / "state" / "token.key"] == list((home / "state").iterdir())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreError("the database is\nlocked"), "the database is locked"),
        (PermissionError(13, "Permission denied", "/var/lib/lmrelay"), "Permission denied: '/var/lib/lmrelay'"),
        (ConfigError(Problem("a.toml", "x", "is unknown"), Problem("b.toml", "", "cannot be read")), "a.toml: x"),
    ],
)
def test_a_queue_that_cannot_be_opened(home: Path, error: Exception, words: str) -> None:
    """
    Tokens are listed without their last use, and one line on standard error says why.
    """
    said(home, "token", "create", "acme", "--name", "website")
    make_queue(home)
    result = run(home, "token", "list", "acme", "--json", desk=lambda *_: desk_of(error))
    assert (0, [None]) == (result.exit_code, [one["last_used"] for one in json.loads(result.stdout)])
    (line,) = result.stderr.splitlines()
    assert line.startswith("when tokens were last used is not known: ")
    assert words in line


def test_a_queue_that_is_none(home: Path) -> None:
    """
    A file that is no database is told so, and stays what it is.
    """
    said(home, "token", "create", "acme", "--name", "website")
    make_queue(home)
    (home / "state" / "queue.sqlite").write_bytes(b"no database" * 100)
    result = run(home, "token", "list", "acme")
    assert (0, 1) == (result.exit_code, len(result.stderr.splitlines()))
    assert "website" in result.stdout
    assert b"no database" * 100 == (home / "state" / "queue.sqlite").read_bytes()
