"""
The order of the suite, and what of its command a report may tell.
"""

from __future__ import annotations

from bench.__main__ import public, turns


def test_turns() -> None:
    """
    Every server is measured once a round, and the next one begins the next round.
    """
    servers = ["a", "b", "c"]
    assert [(0, ["a", "b", "c"]), (1, ["b", "c", "a"]), (2, ["c", "a", "b"]), (3, ["a", "b", "c"])] == list(
        turns(servers, 4)  # type: ignore[arg-type]
    )


def test_no_server() -> None:
    """
    Where none can run there is nothing to do.
    """
    assert [] == [order for _, order in turns([], 2) if order]


def test_no_folder_in_a_report() -> None:
    """
    The command stands in the report without the folders of the machine.
    """
    assert ["--json", "a.json", "--peers=peers", "--scale", "0.1"] == public(
        ["--json", "/srv/x/a.json", "--peers=/srv/x/peers", "--scale", "0.1"]
    )
