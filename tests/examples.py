"""
The examples of a document of the manual, taken from it and run.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

PROGRAMS = {"javascript": ("node", "-e"), "php": ("php", "-r")}


@frozen
class Document:
    """
    C{name} is that of the file.
    """

    name: str

    @property
    def text(self) -> str:
        """
        All of it.
        """
        return (Path(__file__).resolve().parents[1] / "docs" / self.name).read_text(encoding="utf-8")

    def example(self, language: str) -> str:
        """
        The code of that language in it.
        """
        found = re.search(rf"```{language}\n(.*?)```", self.text, re.DOTALL)
        if found is None:
            raise AssertionError(f"{self.name} has no example in {language}")
        return found[1]

    def python(self) -> dict[str, Any]:
        """
        What the example in Python defines.
        """
        names: dict[str, Any] = {}
        exec(self.example("python"), names)
        return names

    def run(self, language: str, call: str) -> Any:
        """
        The JSON that C{call} prints after the example; the test is skipped where the language is not installed.
        """
        program = PROGRAMS[language]
        if shutil.which(program[0]) is None:
            pytest.skip(f"{program[0]} is not installed")
        code = f"{self.example(language)}\n{call}"
        done = subprocess.run([*program, code], capture_output=True, text=True, timeout=60, check=False)
        assert "" == done.stderr
        return json.loads(done.stdout)
