"""
The operator's command on a real store, with no daemon.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner, Result

from lmrelay.cli.main import Invocation, cli
from lmrelay.config.project import Project, Token
from lmrelay.config.values import Config, Server
from lmrelay.queue.schema import token_use
from lmrelay.queue.store import find_url, make_engine, migrate
from tests.queue.filling import NOW, fill, make_rows


@pytest.fixture
def config(tmp_path: Path) -> Config:
    tokens = tuple(Token(id, id, "") for id in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"))
    projects = {"acme": Project("acme", tokens=tokens)}
    return Config(tmp_path / "lmrelay.toml", Server("relay.example", tmp_path), projects=projects)


@pytest.fixture
def run(config: Config) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        invocation = Invocation(wall=lambda: NOW, read=lambda path: evolve(config, path=path))
        return CliRunner().invoke(cli, arguments, obj=invocation, catch_exceptions=False)

    return run


@pytest.fixture
def ids(config: Config) -> list[str]:
    migrate(find_url(config))
    return fill(
        config,
        make_rows(["a@a.example", "b@b.example"], at=NOW - 7200, tags=["x"]),
        make_rows(["c@c.example"], at=NOW - 60),
    )


def test_hold_and_release(run: Callable[..., Result], ids: list[str]) -> None:
    """
    What is held is listed as held, says in its story how it goes on, and goes on.
    """
    assert "2 recipients held (in the store; no daemon runs).\n" == run("queue", "hold", "--tag", "x").stdout
    assert ["a@a.example", "b@b.example"] == [
        one["recipient"] for one in json.loads(run("queue", "list", "--state", "held", "--json").stdout)
    ]
    assert f"lmrelay queue release {ids[0]}" in run("explain", ids[0][:14]).stdout
    assert 2 == json.loads(run("queue", "release", ids[0], "--json").stdout)["changed"]
    assert [] == json.loads(run("queue", "list", "--state", "held", "--json").stdout)


def test_delete(run: Callable[..., Result], ids: list[str]) -> None:
    """
    What is deleted is no longer listed, and its story tells when that was.
    """
    dry = run("queue", "delete", "--older-than", "1h", "--dry-run")
    assert "2 recipients would be deleted. (Nothing was changed.)\n" == dry.stdout
    assert 2 == json.loads(run("queue", "delete", "--older-than", "1h", "--json").stdout)["changed"]
    assert ["c@c.example"] == [one["recipient"] for one in json.loads(run("queue", "list", "--json").stdout)]
    told = "Recipient a@a.example: deleted by the operator at 2023-11-14T22:13:20.000Z, 0 attempts"
    assert told in run("explain", ids[0]).stdout.splitlines()


def test_show_and_stats(run: Callable[..., Result], ids: list[str]) -> None:
    """
    A message with its header, and what waits by project and domain.
    """
    assert "Subject: x" == run("queue", "show", ids[1]).stdout.splitlines()[-1]
    rows = [line.split() for line in run("queue", "stats").stdout.splitlines()]
    assert ["acme", "a.example", "1"] == rows[1][:3]
    assert ["all", "-", "3"] == rows[-1][:3]


@pytest.mark.parametrize("command", [["queue", "list"], ["queue", "retry", "--all"], ["explain", "01"]])
def test_no_store_yet(run: Callable[..., Result], config: Config, command: list[str]) -> None:
    """
    Before the daemon's first start there is no store, none is made, and one line says so.
    """
    result = run(*command)
    assert 1 == result.exit_code
    (line,) = result.stderr.splitlines()
    assert "there is no queue yet" in line
    assert [] == list(config.server.state_dir.iterdir())


def test_last_use_of_tokens(run: Callable[..., Result], config: Config, ids: list[str]) -> None:
    """
    What the daemon noted of a token is listed with it.
    """
    engine = make_engine(find_url(config))
    with engine.begin() as connection:
        connection.execute(token_use.insert().values(token="aaaaaaaaaaaa", used_at=NOW - 60))
    engine.dispose()
    result = run("token", "list", "acme", "--json")
    assert [("aaaaaaaaaaaa", "2023-11-14T22:12:20.000Z"), ("bbbbbbbbbbbb", None)] == [
        (one["id"], one["last_used"]) for one in json.loads(result.stdout)
    ]
    assert "" == result.stderr
