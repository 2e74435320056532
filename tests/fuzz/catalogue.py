"""
The targets by name, and where their corpus is.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from attrs import frozen
from hypothesis.strategies import SearchStrategy

from tests.fuzz import targets

CORPUS = Path(__file__).with_name("corpus")

NAMES = sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


@frozen
class Target:
    """
    One target; see L{tests.fuzz.targets}.
    """

    name: str
    run: Callable[[bytes], None]
    examples: SearchStrategy[bytes]
    words: Sequence[bytes]

    @property
    def folder(self) -> Path:
        """
        Its corpus: a file, an input.
        """
        return CORPUS / self.name

    def files(self) -> list[Path]:
        """
        The files of its corpus.
        """
        return sorted(self.folder.iterdir()) if self.folder.is_dir() else []


def load(name: str) -> Target:
    """
    The target of that name.
    """
    module: ModuleType = importlib.import_module(f"{targets.__name__}.{name}")
    return Target(name, module.target, module.examples, module.WORDS)
