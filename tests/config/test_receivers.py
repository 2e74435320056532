"""
Rules for receivers: read from two files, checked like all else, and never above what the operator allows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from lmrelay.config.receivers import SHIPPED, read_receivers
from lmrelay.config.values import Receiver
from tests.config.folder import complaints, complete, read


def write(folder: Path, *rules: dict[str, Any]) -> None:
    (folder / "own.toml").write_text(tomlkit.dumps({"receivers": list(rules)}))


def rule(**keys: Any) -> dict[str, Any]:
    return {"name": "b", "hosts": ["*.b.example"], **keys}


def test_own_rules_come_first(tmp_path: Path) -> None:
    """
    A rule of the operator's own is read with all its keys, and stands before those that are shipped.
    """
    write(tmp_path, rule(connections=50, messages_per_connection=7, rate=0.5, slow_down=["Slow DOWN!"]), rule(name="c"))
    config = read(tmp_path, complete(tmp_path, delivery={"receivers": "own.toml"}))
    own = Receiver("b", ("*.b.example",), 50, 7, 0.5, ("slow down!",))
    assert (own, Receiver("c", ("*.b.example",))) == config.receivers[:2]
    assert [one.name for one in read_receivers(SHIPPED)] == [one.name for one in config.receivers[2:]]


def test_shipped_rules_never_raise(tmp_path: Path) -> None:
    """
    Who allows fewer connections to any site, or messages a connection, allows them to the large ones too.
    """
    config = read(tmp_path, complete(tmp_path, delivery={"connections_per_site": 3, "messages_per_connection": 30}))
    assert {2, 3} == {one.connections for one in config.receivers}
    assert {20, 30} == {one.messages_per_connection for one in config.receivers}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"name": "A b"}, "receivers[0].name: expected a word such as"),
        ({"hosts": []}, "receivers[0].hosts: expected at least one"),
        ({"hosts": ["mx*.b.example"]}, 'receivers[0].hosts[0]: expected an MX host such as "mx.example.com", or "*.ex'),
        ({"hosts": "*.b.example"}, "receivers[0].hosts: expected a list, not a string"),
        ({"connections": 0}, "receivers[0].connections: expected a number from 1 to 1000000"),
        ({"messages_per_connection": "x"}, "receivers[0].messages_per_connection: expected a whole number, not a str"),
        ({"rate": 0}, "receivers[0].rate: expected a number of messages a second from 0.001 to 1000000"),
        ({"rate": True}, "receivers[0].rate: expected a number of messages a second"),
        ({"rate": "5/s"}, "receivers[0].rate: expected a number of messages a second"),
        ({"rate": float("nan")}, "receivers[0].rate: expected a number of messages a second"),
        ({"slow_down": ["x"]}, "receivers[0].slow_down[0]: expected words of a reply, at least 3 characters"),
        ({"slowdown": ["x"]}, "receivers[0].slowdown: unknown key; did you mean 'slow_down'?"),
    ],
)
def test_wrong_rule(tmp_path: Path, wrong: dict[str, Any], expected: str) -> None:
    """
    What is wrong with a rule is told by file, key and reason, together with what is wrong elsewhere.
    """
    write(tmp_path, rule(**wrong))
    server = {"hostname": "relay.example", "state_dir": str(tmp_path)}
    (tmp_path / "token.key").write_bytes(b"short")
    (tmp_path / "token.key").chmod(0o600)
    told = complaints(tmp_path, complete(tmp_path, server=server, delivery={"receivers": "own.toml"}))
    assert ["token.key", "own.toml"] == [line.partition(":")[0] for line in told]
    assert told[1].startswith(f"own.toml: {expected}")


def test_twins(tmp_path: Path) -> None:
    """
    Two rules of one name are refused.
    """
    write(tmp_path, rule(), rule())
    told = complaints(tmp_path, complete(tmp_path, delivery={"receivers": "own.toml"}))
    assert ["own.toml: receivers[1].name: is that of receivers[0] too"] == told


@pytest.mark.parametrize(("text", "expected"), [(None, "cannot be read: No such file"), ("[[", "is not TOML")])
def test_file_that_is_none(tmp_path: Path, text: str | None, expected: str) -> None:
    """
    A file that is not there, or is no TOML, is told.
    """
    if text is not None:
        (tmp_path / "own.toml").write_text(text)
    (told,) = complaints(tmp_path, complete(tmp_path, delivery={"receivers": "own.toml"}))
    assert told.startswith(f"own.toml: {expected}")


def test_shipped_rules() -> None:
    """
    Each names its source, is careful, and has no word that greylisting, or a reply about something else, has too.
    """
    rules = read_receivers(SHIPPED)
    sources = re.findall(r"\[\[receivers\]\]\n(# .*\n)+?(?=name)", SHIPPED.read_text())
    assert len(rules) == len(sources) >= 15
    assert {2, 5, 10} == {one.connections for one in rules}
    innocent = ("450 4.2.0 greylisted, try again later", "452 4.5.3 too many recipients", "451 4.3.0 temporary failure")
    words = [word for one in rules for word in one.slow_down or ()]
    assert [] == [word for word in words if any(word in text for text in innocent)]
