"""
C{lmrelay token}, over real files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from pathlib import Path

import pytest

from lmrelay.config.load import load
from lmrelay.config.seals import unseal
from lmrelay.projects.tokens import is_mistyped, make_token
from tests.cli.home import ACME, acme, make_home, refused, run, said

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
