"""
What is tested end to end is the code of this tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.e2e import daemon
from tests.e2e.daemon import environment, find_odd


def make(folder: Path, modules: Mapping[str, str]) -> Path:
    for name, text in modules.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def anew() -> Iterator[None]:
    """
    What was found out before, and is here, does not count.
    """
    environment.cache_clear()
    yield
    environment.cache_clear()


def test_find_odd(tmp_path: Path) -> None:
    """
    A module that was changed, is missing or is there no more makes two packages differ, in whatever folder; nothing
    else does.
    """
    tree = make(tmp_path / "tree", {"a.py": "1", "b.py": "2", "queue/c.py": "3"})
    (tree / "notes.txt").write_text("x")
    same = make(tmp_path / "same", {"a.py": "1", "b.py": "2", "queue/c.py": "3"})
    other = make(tmp_path / "other", {"a.py": "1", "d.py": "5", "queue/c.py": "4"})
    assert [] == find_odd(same, tree)
    assert ["b.py", "d.py", "queue/c.py"] == find_odd(other, tree)


@pytest.mark.usefixtures("anew")
def test_other_code_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    Where what is installed is not what the tree has, that is said, and how to mend it.
    """
    make(tmp_path, {"lmrelay/a.py": "1", "installed/lmrelay/a.py": "2"})
    said = CompletedProcess([], 0, str(tmp_path / "installed/lmrelay"))
    monkeypatch.setattr(daemon, "ROOT", tmp_path)
    monkeypatch.setattr(daemon.subprocess, "run", lambda *_, **__: said)
    with pytest.raises(RuntimeError, match=r"is not the one in .* \(a\.py differs\): install that one"):
        environment()
    (tmp_path / "lmrelay/a.py").write_text("2")
    assert "PYTHONPATH" not in environment()
