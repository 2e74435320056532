"""
The bench of signatures goes the relay's own way, and goes with it when that changes.
"""

from __future__ import annotations

from bench.signing import accept, make_services


def test_a_message_is_accepted() -> None:
    """
    What is timed is a message that the relay would take.
    """
    accept(make_services({}))
