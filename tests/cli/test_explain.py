"""
C{lmrelay explain}: what the configuration adds to a message's story.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmrelay.cli.explain import with_settings
from lmrelay.cli.queue import with_iso_times
from lmrelay.config.project import Project, Token
from lmrelay.config.values import Config, Delivery, Receiver, Server

NOON = 1795262400.0


def recipient(**fields: Any) -> dict[str, Any]:
    return {"address": "b@b.example", "state": "deferred", "extended": 60.0, "site": None, **fields}


@pytest.fixture
def config() -> Config:
    token = Token("website", "abcDEF012345", "0" * 64)
    return Config(
        Path("lmrelay.toml"),
        Server("relay.example"),
        delivery=Delivery(expire=3600.0),
        projects={"acme": Project("acme", tokens=(token,))},
        receivers=(Receiver("big", ("*.big.example",), connections=3, rate=5.0),),
    )


def story(*recipients: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"project": "acme", "token": "abcDEF012345", "received": NOON, "recipients": list(recipients), **fields}


@pytest.mark.parametrize(
    ("fields", "name"),
    [({}, "website"), ({"token": "zzzzzzzzzzzz"}, None), ({"token": ""}, None), ({"project": "gone"}, None)],
)
def test_token_name(config: Config, fields: dict[str, str], name: str | None) -> None:
    """
    The token by its name, as long as the project has it.
    """
    assert name == with_settings(story(**fields), config)["token_name"]


def test_end(config: Config) -> None:
    """
    What is open is given up when it is too old, later by how long it was held; what is final is not.
    """
    told = with_settings(story(recipient(), recipient(state="held"), recipient(state="delivered")), config)
    assert [NOON + 3660, NOON + 3660, None] == [one["expires"] for one in told["recipients"]]


def test_limits_of_the_site(config: Config) -> None:
    """
    A site that is known is told with what is configured for it.
    """
    sites = [{"site": "mx.big.example", "hosts": "mx.big.example"}, {"site": "mx.b.example", "hosts": "mx.b.example"}]
    told = with_settings(story(*(recipient(site=site) for site in sites), recipient()), config)["recipients"]
    assert [(3, 5.0), (20, None)] == [(one["site"]["ceiling"], one["site"]["rate"]) for one in told[:2]]
    assert told[2]["site"] is None


def test_metadata_is_no_time() -> None:
    """
    An application may name its metadata as it likes: a key that is a time elsewhere stays the text that it is.
    """
    metadata = {"since": "2020", "at": "home", "received": "yes", "expires": ""}
    assert {"metadata": metadata, "received": "1970-01-01T00:00:00.000Z"} == with_iso_times(
        {"metadata": metadata, "received": 0.0}
    )
