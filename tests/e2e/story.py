"""
What C{lmrelay explain} tells of a message, boiled down to what the tests ask.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tests.e2e.daemon import PATIENCE, Relay, pause


def states(relay: Relay, message: str) -> dict[str, dict[str, Any]]:
    """
    By recipient address: its C{state}, how many C{attempts} were made, and the C{last} one.
    """
    story = relay.ask("explain", message)
    found = {}
    for recipient in story["recipients"]:
        attempts = recipient["attempts"]
        last = attempts[-1] if attempts else None
        found[recipient["address"]] = {"state": recipient["state"], "attempts": len(attempts), "last": last}
    return found


def state_of(relay: Relay, message: str, address: str) -> dict[str, Any]:
    """
    The state of one recipient.
    """
    return states(relay, message)[address]


def await_states(relay: Relay, message: str, wanted: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """
    The states, once they are those.
    """
    end = time.monotonic() + PATIENCE
    while True:
        found = states(relay, message)
        if {address: one["state"] for address, one in found.items()} == dict(wanted):
            return found
        if time.monotonic() > end:
            raise AssertionError(f"wanted {dict(wanted)}, found {found}")
        pause(0.05)
