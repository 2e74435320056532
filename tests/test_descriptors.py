"""
Who may have how many file descriptors.
"""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.descriptors import OWN, Room, divide, needed
from lmrelay.dns.resolver import MAX_ASKING
from lmrelay.events.schedule import MAX_REQUESTS
from lmrelay.inbound.limits import MAX_REFUSED
from lmrelay.outbound.dispatch import MAX_RUNNING


@given(st.integers(1028, 10**6))
def test_nothing_is_promised_twice(descriptors: int) -> None:
    """
    All at their widest fit: clients, also refused ones, deliveries, questions, webhooks, and the relay's own files.
    """
    room = divide(descriptors)
    assert room.connections + room.deliveries + room.requests + MAX_ASKING + MAX_REFUSED + OWN <= descriptors
    assert room.deliveries <= MAX_RUNNING


@given(st.integers(0, 10**6))
def test_needed_is_enough(connections: int) -> None:
    """
    What is said to be needed for so many connections is, and one less is not.
    """
    assert divide(needed(connections)).connections >= connections
    if connections > 1:
        assert divide(needed(connections) - 1).connections < connections


@pytest.mark.parametrize(
    ("descriptors", "expected"),
    [
        (65536, Room(62908, MAX_RUNNING, MAX_REQUESTS)),
        (12628, Room(10000, MAX_RUNNING, MAX_REQUESTS)),
        (1024, Room(398, 150, 49)),
        (400, Room(86, 33, 10)),
        (0, Room(1, 1, 1)),
        (sys.maxsize, Room(sys.maxsize - 2628, MAX_RUNNING, MAX_REQUESTS)),
    ],
)
def test_division(descriptors: int, expected: Room) -> None:
    """
    With enough, delivery is as wide as it can be; with few, clients get half of what is not the relay's own.
    """
    assert expected == divide(descriptors)
