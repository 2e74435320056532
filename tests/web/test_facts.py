"""
What is logged is counted: by the lines that the relay writes, not by lines made up here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger, LogLevel, LogPublisher

import lmrelay
from lmrelay.web.endpoints import MOST
from lmrelay.web.facts import Facts

PACKAGE = Path(lmrelay.__file__).parent


def counts(facts: Facts, name: str) -> dict[tuple[str, ...], float]:
    """
    A tally's.
    """
    return next(one for one in facts.tallies if one.name == name).copy()


@cache
def logged() -> Sequence[tuple[str, set[str]]]:
    """
    Each fact that the program can log, and its fields.
    """
    return list(find_logged())


def find_logged() -> Iterator[tuple[str, set[str]]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                (fact, *_) = node.args
                if node.func.attr in ("info", "warn", "error", "failure") and isinstance(fact, ast.Constant):
                    yield fact.value, {keyword.arg or "" for keyword in node.keywords}


@pytest.fixture
def facts() -> Facts:
    return Facts()


@pytest.fixture
def log(facts: Facts) -> Logger:
    """
    A log that the counts listen to.
    """
    return Logger("lmrelay.test", observer=LogPublisher(facts))


def test_every_fact_is_one_that_is_logged(facts: Facts) -> None:
    """
    A line that is reworded does not stop being counted unnoticed.
    """
    assert set() == set(facts._counts) - {fact for fact, _ in logged()}


NEEDED = {
    "message accepted": {"project", "route", "recipients", "size"},
    "message is a duplicate": {"project"},
    "content refused": {"project", "reply"},
    "command refused": {"project", "reply"},
    "login refused": {"reply"},
    "login failed": {"reply"},
    "what came back is refused": {"reply"},
    "login": {"project"},
    "came back": {"project", "report"},
    "webhooks given up": {"project", "events"},
    "attempt ended": {"project", "route", "outcome", "fault", "seconds", "age"},
}


@pytest.mark.parametrize(("fact", "needed"), NEEDED.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_lines_have_what_is_counted_of_them(fact: str, needed: set[str]) -> None:
    """
    Each field that a count needs is one of its line.
    """
    lines = [fields for text, fields in logged() if text == fact]
    assert lines
    assert [set()] * len(lines) == [needed - fields for fields in lines]


def test_an_accepted_message(facts: Facts, log: Logger) -> None:
    """
    It counts with its recipients and its octets.
    """
    for _ in range(2):
        log.info("message accepted", project="acme", route="news", recipients=3, size=1000)
    key = ("acme", "news")
    names = ("lmrelay_messages_accepted", "lmrelay_recipients_accepted", "lmrelay_accepted_bytes")
    assert [{key: 2}, {key: 6}, {key: 2000}] == [counts(facts, name) for name in names]


@pytest.mark.parametrize(
    ("fact", "fields", "expected"),
    [
        ("content refused", {"project": "acme", "reply": "554 5.6.0 no"}, ("acme", "content", "554")),
        ("command refused", {"project": "acme", "reply": "550 5.7.1 no"}, ("acme", "command", "550")),
        ("login failed", {"reply": "535 5.7.8 no"}, ("", "login", "535")),
        ("login refused", {"reply": "421 4.7.0 no"}, ("", "login", "421")),
        ("connection refused", {"reason": "too many connections"}, ("", "connection", "421")),
        ("what came back is refused", {"reply": "554 5.6.0 no"}, ("", "return", "554")),
    ],
)
def test_refusals(facts: Facts, log: Logger, fact: str, fields: dict[str, Any], expected: tuple[str, ...]) -> None:
    """
    They count by stage and code.
    """
    log.info(fact, **fields)
    assert {expected: 1} == counts(facts, "lmrelay_refusals")


def test_attempts(facts: Facts, log: Logger) -> None:
    """
    They count by outcome and fault; only a delivery tells how long a message took.
    """
    line = {"project": "acme", "route": "outgoing", "seconds": 0.3, "age": 0.9}
    log.info("attempt ended", outcome="delivered", fault="", **line)
    log.info("attempt ended", outcome="delayed", fault="network", **line)
    assert {("acme", "outgoing", "delivered", ""): 1, ("acme", "outgoing", "delayed", "network"): 1} == counts(
        facts, "lmrelay_attempts"
    )
    waits, takes = (
        next(one for one in facts.spreads if one.name == name).copy()
        for name in ("lmrelay_delivery_seconds", "lmrelay_attempt_duration_seconds")
    )
    assert {("acme", "outgoing"): 0.9} == {key: total for key, (_, total) in waits.items()}
    assert {("delivered",), ("delayed",)} == set(takes)


@pytest.mark.parametrize("level", [LogLevel.warn, LogLevel.error, LogLevel.critical])
def test_loud_lines(facts: Facts, log: Logger, level: Any) -> None:
    """
    Warnings and worse count, whoever said them; what is usual does not.
    """
    log.emit(level, "whatever")
    log.info("whatever")
    assert {(level.name,): 1} == counts(facts, "lmrelay_log_lines")


def test_webhooks(facts: Facts, log: Logger) -> None:
    """
    Requests and the events in them count by project, and how it went last is known of each endpoint.
    """
    about = {"project": "acme", "endpoint": "shop"}
    log.info("webhook failed", events=3, given_up=0, reason="timeout", **about)
    log.info("webhook failed", events=3, given_up=2, reason="500", **about)
    assert "500" == facts.endpoints.find("acme", "shop").reason
    log.info("webhook delivered", events=4, **about)
    log.info("webhooks given up", events=5, reason="switched off", **about)
    assert {("acme", "delivered"): 1, ("acme", "failed"): 2} == counts(facts, "lmrelay_webhook_attempts")
    assert {("acme", "delivered"): 4, ("acme", "given_up"): 7} == counts(facts, "lmrelay_webhook_events")
    told = facts.endpoints.find("acme", "shop")
    assert (1, 2, "") == (told.delivered, told.failed, told.reason)


def test_endpoints_are_bounded(facts: Facts, log: Logger) -> None:
    """
    Those heard of longest ago are forgotten.
    """
    for number in range(MOST + 1):
        log.info("webhook failed", project="acme", endpoint=f"e{number}", reason="x")
    assert (0, 1) == tuple(facts.endpoints.find("acme", f"e{number}").failed for number in (0, MOST))


def test_reloads(facts: Facts, log: Logger) -> None:
    """
    The last reload is remembered; before the first there is none.
    """
    seen = [facts.reload_succeeded]
    for fact in ("reloaded", "reload refused, the old configuration stays", "reloaded"):
        log.info(fact)
        seen.append(facts.reload_succeeded)
    assert [None, True, False, True] == seen


def test_commits(facts: Facts) -> None:
    """
    Writes and seconds of each commit.
    """
    facts.note_commit(7, 0.004)
    totals = {one.name: one.copy()[()][1] for one in facts.spreads if one.name.startswith("lmrelay_commit")}
    assert {"lmrelay_commit_writes": 7, "lmrelay_commit_duration_seconds": 0.004} == totals
