"""
What is shipped for monitoring, and its manual, speak of metrics that exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.web.front import Front

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"\b(?:lmrelay|process|python)_[a-z_]*[a-z]\b")
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
}


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    """
    Each name that a query may use, and the name under which it is explained.
    """
    front = Front()
    front.open()
    found = {}
    for family in text_string_to_metric_families(front.ask("/metrics").body):
        whole = f"{family.name}_total" if family.type == "counter" else family.name
        for suffix in SUFFIXES.get(family.type, ("",)):
            found[f"{family.name}{suffix}"] = whole
    return found


def queries(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", ()))
        yield from queries(panel.get("panels", []))


def test_the_dashboard(known: dict[str, str]) -> None:
    """
    Each of its queries is of metrics that exist, and every panel has a place of its own.
    """
    dashboard = json.loads((ROOT / "etc/grafana-dashboard.json").read_text())
    used = [name for query in queries(dashboard["panels"]) for name in NAME.findall(query)]
    variables = [name for one in dashboard["templating"]["list"] for name in NAME.findall(str(one["query"]))]
    assert len(used) >= 20
    assert set() == {*used, *variables} - set(known)
    places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in dashboard["panels"]]
    assert len(set(places)) == len(places)
    assert len({one["id"] for one in dashboard["panels"]}) == len(places)


def test_the_alerts(known: dict[str, str]) -> None:
    """
    Each is of metrics that exist, says how bad it is, and what to do.
    """
    text = (ROOT / "etc/prometheus-alerts.yml").read_text()
    alerts = re.split(r"^ +- alert: ", text, flags=re.MULTILINE)[1:]
    assert len(alerts) >= 8
    for alert in alerts:
        assert {"expr:", "severity:", "summary:", "description:"} == {
            word for word in ("expr:", "severity:", "summary:", "description:") if word in alert
        }
    assert set() == set(NAME.findall(text)) - set(known)


def test_the_manual(known: dict[str, str]) -> None:
    """
    Every metric is explained, and none that does not exist.
    """
    text = (ROOT / "docs/monitoring.md").read_text()
    told = {name for name in NAME.findall(text) if name.startswith("lmrelay_")}
    ours = {name for name in known.values() if name.startswith("lmrelay_")}
    assert ours == told
