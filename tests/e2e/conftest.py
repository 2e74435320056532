"""
What the live tests share: one world, and one relay that runs through all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Relay
from tests.e2e.world import World, open_world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker("live")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """
    A name server and receivers.
    """
    made = open_world(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def running(world: World) -> Iterator[Relay]:
    """
    The relay that most tests share; it ends as an operator ends it, and cleanly.
    """
    relay = world.relay().start(afresh=True)
    yield relay
    assert relay.stop() == 0


@pytest.fixture
def relay(running: Relay) -> Iterator[Relay]:
    """
    The shared relay; pytest shows what it logged during a test that fails.
    """
    start = len(running.log())
    yield running
    print(running.log()[start:])  # captured, and shown only on failure


@pytest.fixture(scope="session")
def nodemailer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    What C{NODE_PATH} must be for node to find nodemailer: in $LMRELAY_NODEMAILER, or a folder it is installed into now.
    """
    given = os.environ.get("LMRELAY_NODEMAILER")
    folder = Path(given) if given else tmp_path_factory.mktemp("node")
    modules = folder / "node_modules"
    if shutil.which("node") is None:
        pytest.skip("node is not installed (Debian: nodejs)")
    if not (modules / "nodemailer").is_dir():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("nodemailer is not installed, and neither is npm (Debian: npm)")
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "nodemailer"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("nodemailer is not installed, and npm did not answer in a minute")
        if done.returncode != 0:
            pytest.skip(f"nodemailer is not installed, and npm cannot install it: {done.stderr.strip()[-300:]}")
    return modules
