"""
What peers see in the place of the system's files.
"""

from __future__ import annotations

from pathlib import Path

from bench.peers.place import NAMES, identity, system_files


def test_users(tmp_path: Path) -> None:
    """
    Each peer's user and group is there once, with the same id, beside root and whoever else is; the system's own
    files stay as they are.
    """
    before = Path("/etc/passwd").read_text()
    files = system_files(tmp_path / "system")
    for file in ("/etc/passwd", "/etc/group"):
        lines = [line.split(":") for line in files[file].read_text().splitlines()]
        assert [(name, str(identity(name))) for name in NAMES] == [
            (line[0], line[2]) for line in lines if line[0] in NAMES
        ]
        assert "root" in {line[0] for line in lines}
    assert before == Path("/etc/passwd").read_text()


def test_no_name_server_of_the_world(tmp_path: Path) -> None:
    """
    A peer that looks up who connects asks this machine alone.
    """
    system_files(tmp_path / "system")
    lines = (tmp_path / "system/resolv.conf").read_text().splitlines()
    assert ["nameserver 127.0.0.1"] == [line for line in lines if line.startswith("nameserver")]
