"""
The examples of docs/unsubscribe.md, taken from the document and run.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lmrelay.mail.unsubscribe import derive_key, make_token

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "unsubscribe.md"
KEY = derive_key(b"k" * 32, "acme", "news")
TOKEN = make_token(KEY, "acme", "news", "m1", "zoë@b.example", 1_700_000_000.5)
SAID = {"p": "acme", "r": "news", "m": "m1", "a": "zoë@b.example", "t": 1_700_000_000}
FORGED = ("A" + TOKEN[1:], TOKEN[:-2], TOKEN.partition(".")[0], "", TOKEN + "A")


def example(language: str) -> str:
    """
    The code of that language in the document.
    """
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise AssertionError(f"the document has no example in {language}")
    return found[1]


def test_python() -> None:
    """
    The example in Python reads a token, and takes none that was tampered with.
    """
    names: dict[str, Any] = {}
    exec(example("python"), names)
    assert SAID == names["check"](KEY, TOKEN)
    assert [None] * len(FORGED) == [names["check"](KEY, token) for token in FORGED]


@pytest.mark.parametrize(
    ("language", "program", "call"),
    [
        ("javascript", ("node", "-e"), "console.log(JSON.stringify(%s.map((t) => check(%s, t))))"),
        ("php", ("php", "-r"), "echo json_encode(array_map(fn($t) => check(%2$s, $t), %1$s));"),
    ],
)
def test_others(language: str, program: tuple[str, str], call: str) -> None:
    """
    So do those in Node and PHP.
    """
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    tokens, key = json.dumps([TOKEN, *FORGED]), json.dumps(KEY)
    call = call.replace("%1$s", tokens).replace("%2$s", key) if language == "php" else call % (tokens, key)
    code = f"{example(language)}\n{call}"
    ran = subprocess.run([*program, code], capture_output=True, text=True, timeout=60, check=True)
    assert [SAID, *[None] * len(FORGED)] == json.loads(ran.stdout)
