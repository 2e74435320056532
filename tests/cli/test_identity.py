"""
Root steps down before it touches the store.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmrelay.cli.identity import take_identity

SCRIPT = (
    "import os, sys\nfrom pathlib import Path\nfrom lmrelay.cli.identity import take_identity\n"
    "take_identity(Path(sys.argv[1]))\nprint(*os.getresuid(), *os.getresgid(), os.getgroups())"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has an identity to give up")
def test_root_becomes_the_owner(tmp_path: Path) -> None:
    """
    User and group, effective, real and saved, and no group of root's is left.
    """
    os.chown(tmp_path, 54321, 54322)
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "54321 54321 54321 54322 54322 54322 [54322]"


def test_nothing_to_give_up(tmp_path: Path) -> None:
    """
    A folder of one's own, or one that is not there, changes nothing.
    """
    before = (os.getresuid(), os.getresgid())
    take_identity(tmp_path)
    take_identity(tmp_path / "missing")
    assert (os.getresuid(), os.getresgid()) == before
