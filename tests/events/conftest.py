"""
The store of the tests.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lmrelay.config.values import Config
from lmrelay.queue.store import FILE, find_url, migrate
from tests.queue.conftest import make_config


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A database file with the tables, and nothing in them.
    """
    folder = tmp_path_factory.mktemp("events")
    migrate(find_url(make_config(folder)))
    return folder / FILE


@pytest.fixture
def config(tables: Path, tmp_path: Path) -> Config:
    """
    A configuration whose store is empty.
    """
    shutil.copy(tables, tmp_path)
    return make_config(tmp_path)
