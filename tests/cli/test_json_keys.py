"""
What C{--json} gives, as the guide tells it to those who write programs.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lmrelay.config.load import load
from lmrelay.interfaces import Told
from lmrelay.queue.privacy import make_folder
from lmrelay.queue.sites import Learnt, write_learnt
from lmrelay.queue.store import find_url, migrate
from tests.cli.home import NOON, make_home, run, said
from tests.cli.test_webhooks import URL, tell, write_events
from tests.queue.filling import writing

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
ARGUMENTS = {
    "check": ["--configuration-only"],
    "token list": ["acme"],
    "queue retry": ["--all"],
    "webhooks attempts": ["acme", "shop"],
    "webhooks replay": ["acme", "shop", "--since", "1h", "--dry-run"],
    "sites list": ["--all"],
}


def told() -> dict[str, set[str]]:
    """
    The keys that the guide's table has for each command; what is within one stands in parentheses.
    """
    section = GUIDE.read_text(encoding="utf-8").partition("## What `--json` gives")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| `([a-z ]+)` \| (.*) \|$", section)
    keys = {name: re.sub(r"\([^)]*\)|as .*?:", "", text) for name, text in rows if "](#" not in text}
    return {name: set(re.findall(r"`([a-z_]+)`", text)) for name, text in keys.items()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """
    Something of everything.
    """
    home = make_home(tmp_path)
    run(home, "token", "create", "acme", "--name", "website")
    run(home, "webhooks", "add", "acme", "shop", URL)
    config = load(home / "lmrelay.toml")
    make_folder(config.server.state_dir)
    migrate(find_url(config))
    write_events(config, 60)
    tell(config, Told(NOON, NOON + 1, 503), NOON)
    with writing(config) as connection:
        write_learnt(connection, [Learnt({}, {"b.example": "mx.b.example"}, NOON)])
    run(home, "suppressions", "add", "a@b.example", "--project", "acme")
    return home


@pytest.mark.parametrize("name", list(told()))
def test_keys(home: Path, name: str) -> None:
    """
    Each command gives the keys that the guide names, all of them and no other.
    """
    result = said(home, *name.split(), *ARGUMENTS.get(name, []))
    found = result[0] if isinstance(result, list) else result
    assert told()[name] == set(found)
