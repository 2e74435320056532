"""
What all tests share: what their child processes load is compiled once, also where Python is told to keep no byte code.
"""

from __future__ import annotations

import os
import tempfile

import pytest

FORBIDDEN = "PYTHONDONTWRITEBYTECODE"
FOLDER = "PYTHONPYCACHEPREFIX"


def pytest_configure(config: pytest.Config) -> None:
    """
    Else each of them would compile it all anew. It is kept in a folder of this process alone, and goes with it.
    """
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        # Those that run the tests for this one come later, and must not begin with an empty folder.
        return
    if os.environ.pop(FORBIDDEN, "") and FOLDER not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="lmrelay-bytecode-")
        os.environ[FOLDER] = folder.name
        config.add_cleanup(folder.cleanup)
