"""
The samples that are shipped, and the page that tells of every key.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, fields

from lmrelay.cli.trial import self_signed
from lmrelay.config import values
from lmrelay.config.load import load
from lmrelay.config.project import Project, Route, Token, Webhook
from lmrelay.mail.unsubscribe import MAX_TEMPLATE, derive_key, make_token

ROOT = Path(__file__).resolve().parent.parent
SERVER, PROJECT = ROOT / "etc" / "lmrelay.toml", ROOT / "etc" / "projects.d" / "acme.toml"
PAGE = ROOT / "docs" / "configuration.md"

TABLES = {
    "server": values.Server,
    "tls": values.ServerTls,
    "auth": values.Auth,
    "limits": values.Limits,
    "timeouts": values.Timeouts,
    "submission": values.SubmissionRules,
    "queue": values.Queue,
    "delivery": values.Delivery,
    "delivery.timeouts": values.DeliveryTimeouts,
    "bounces": values.Bounces,
    "dns": values.Dns,
    "webhooks": values.Webhooks,
    "http": values.Http,
    "log": values.Log,
}
NO_DEFAULT = {("timeouts", "session"), ("delivery", "ca_file"), ("webhooks", "ca_file"), ("http", "listen")} | {
    ("http", "password_hash"),
    ("delivery", "bounce_from"),
    ("delivery", "ehlo_name"),
    ("delivery", "receivers"),
    ("dns", "servers"),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """
    The samples as they are installed, with a certificate.
    """
    folder = Path(shutil.copytree(ROOT / "etc", tmp_path / "etc"))
    certificate, key = self_signed("relay.example")
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "private-key.pem").write_bytes(key)
    (folder / "private-key.pem").chmod(0o600)
    (folder / "ca.pem").write_bytes(certificate)
    return folder


def uncommented(text: str) -> str:
    """
    The text with its commented-out settings and tables in force.
    """
    return re.sub(r"(?m)^# (?=\[|[a-z_0-9]+ = )", "", text)


def test_samples_load(home: Path) -> None:
    """
    The samples are good as they are: the defaults, and one project without a token.
    """
    config = load(home / "lmrelay.toml")
    project = config.projects["acme"]
    assert ("relay.example", values.DEFAULT_LISTENERS) == (config.server.hostname, config.listeners)
    assert (("acme.example", ".acme.example"), ()) == (project.domains, project.tokens)


def test_samples_tell_the_defaults(home: Path) -> None:
    """
    With every setting in force the server's sample loads, and says what holds without it.
    """
    plain = load(home / "lmrelay.toml")
    (home / "lmrelay.toml").write_text(uncommented(SERVER.read_text()))
    full = load(home / "lmrelay.toml")
    for table in TABLES:
        told, held = full, plain
        for name in table.split("."):
            told, held = getattr(told, name), getattr(held, name)
        names = [one.name for one in fields(type(told)) if (table, one.name) not in NO_DEFAULT]
        nested = [name for name in names if name in ("domains", "timeouts") and table == "delivery"]
        for name in set(names) - set(nested):
            assert getattr(held, name) == getattr(told, name), f"{table}.{name}"
    assert [evolve(one, bounces=one.takes_bounces or None) for one in plain.listeners] == list(full.listeners)


def test_sample_has_every_key() -> None:
    """
    The server's sample and the page name every key of every table, and no other.
    """
    sample = tomllib.loads(uncommented(SERVER.read_text()))
    page = PAGE.read_text()
    for table, cls in TABLES.items():
        told = sample
        for name in table.split("."):
            told = told[name]
        assert {one.name for one in fields(cls)} == set(told), table
        assert [] == [name for name in told if f"`{name}`" not in page and f".{name}" not in page]


def test_page_has_every_key_of_a_project() -> None:
    """
    The page names every key of a project, its tokens, routes and webhooks.
    """
    page = PAGE.read_text().partition("## A project's file")[2]
    names = {one.name for cls in (Project, Token, Route, Webhook) for one in fields(cls)}
    assert [] == sorted(name for name in names - {"slug"} if f"`{name}`" not in page and f"[{name}" not in page)


def test_project_sample_has_every_key(home: Path) -> None:
    """
    The project's sample names every key of a project, its tokens, routes and webhooks; in force they are good.
    """
    full = uncommented(PROJECT.read_text())
    told = tomllib.loads(full)
    assert {one.name for one in fields(Project)} - {"slug"} == set(told)
    assert {one.name for one in fields(Token)} == set(told["tokens"][0])
    assert {one.name for one in fields(Route)} - {"slug"} == {key for one in told["routes"].values() for key in one}
    assert {one.name for one in fields(Webhook)} == set(told["webhooks"][0])
    # Tokens and secrets are left out: those of a sample are none.
    (home / "projects.d" / "acme.toml").write_text(re.sub(r"(?ms)^\[\[.*?(?=^\[routes|\Z)", "", full))
    route = load(home / "lmrelay.toml").projects["acme"].routes["newsletter"]
    assert ("https://acme.example/unsubscribe/{token}", 100_000) == (route.unsubscribe_url, route.max_messages_per_hour)


def test_page_bounds_links() -> None:
    """
    The page says how long the template of a link can be.
    """
    assert f"an https URL of at most {MAX_TEMPLATE} printable ASCII characters" in PAGE.read_text()


def test_page_reads_tokens() -> None:
    """
    The function that the page gives to projects reads the tokens of their links, and refuses what was altered.
    """
    (example,) = re.findall(r"(?s)```python\n(.*?)```", PAGE.read_text())
    names: dict[str, Any] = {}
    exec(example, names)
    key = derive_key(bytes(range(32)), "acme", "newsletter")
    token = make_token(key, "acme", "newsletter", "01jd3k8t5v0000000000000001", "ü+tag@b.example", 1795262400.5)
    said = {"p": "acme", "r": "newsletter", "m": "01jd3k8t5v0000000000000001", "a": "ü+tag@b.example", "t": 1795262400}
    assert said == names["read_token"](token, key)
    for other, wrong in (
        (token, derive_key(bytes(32), "acme", "newsletter")),
        (token[1:], key),
        ("", key),
        ("x.y", key),
    ):
        with pytest.raises(ValueError, match=r"not signed with this key|base64"):
            names["read_token"](other, wrong)


def test_no_live_token() -> None:
    """
    No sample has a token that somebody could leave in.
    """
    assert "tokens" not in tomllib.loads(PROJECT.read_text())
