"""
What drives a hunt in a process of its own: atheris where it is installed, else hypothesis and the mutator in turns.

C{python -m tests.fuzz.engine TARGET SECONDS SEED FOLDER [blind]}: what fails is saved in the target's corpus and told
on standard output, and at the end how many inputs there were. C{FOLDER} keeps the inputs that reached something new.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

BLIND_BATCH = 200
"""
Inputs of a kind at a time.
"""

NEVER = 86400
"""
Seconds.
"""

INSTRUMENTED = ["lmrelay"]


def main() -> None:
    """
    Hunt until the time is up.
    """
    name, seconds, seed, folder = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    if "blind" not in sys.argv[5:] and importlib.util.find_spec("atheris") is not None:
        _guided(name, seconds, seed, folder)
    else:
        _blind(name, seconds, seed)


def _say(text: str) -> None:
    print(text, flush=True)


def _hunt(name: str) -> tuple[Any, Any]:
    from tests.fuzz.catalogue import load
    from tests.fuzz.hunt import Hunt

    target = load(name)
    return target, Hunt(name, target.run, target.folder, _say)


def _guided(name: str, seconds: float, seed: int, folder: Path) -> None:
    atheris: Any = importlib.import_module("atheris")
    # Before anything of it is imported, else it is not seen what of it an input reaches.
    with atheris.instrument_imports(include=INSTRUMENTED):
        target, hunt = _hunt(name)
    words = folder.with_suffix(".words")
    words.write_text("".join(f"{_quote(word)}\n" for word in target.words if word))
    end = time.monotonic() + seconds

    def attempt(data: bytes) -> None:
        hunt.attempt(data)
        if time.monotonic() > end:
            _finish(hunt.executions, hunt.crashers)

    # What ends the process, for its memory or its time, is found there too; what is merely slow is the hunt's to judge.
    target.folder.mkdir(exist_ok=True)
    ends = [f"-artifact_prefix={target.folder}/", "-rss_limit_mb=2000", f"-report_slow_units={NEVER}"]
    folders = [str(folder), str(target.folder)]
    arguments = [f"-seed={seed}", f"-dict={words}", "-max_len=4096", "-verbosity=0", *ends]
    atheris.Setup([sys.argv[0], *arguments, *folders], attempt)
    atheris.Fuzz()


def _quote(word: bytes) -> str:
    """
    As a dictionary of libFuzzer has it.
    """
    return (
        '"'
        + "".join(chr(octet) if 32 <= octet < 127 and octet not in b'"\\' else f"\\x{octet:02x}" for octet in word)
        + '"'
    )


def _blind(name: str, seconds: float, seed: int) -> None:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import seed as seeded

    from tests.fuzz.mutator import Mutator

    target, hunt = _hunt(name)
    end = time.monotonic() + seconds
    mutator = Mutator([path.read_bytes() for path in target.files()], target.words, Random(seed))
    batch = settings(
        max_examples=BLIND_BATCH,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )

    def attempt(data: bytes) -> None:
        if time.monotonic() < end:
            hunt.attempt(data)

    for number in range(sys.maxsize):
        if time.monotonic() >= end:
            break
        batch(seeded(seed + number)(given(target.examples)(attempt)))()
        _repeat(BLIND_BATCH, lambda: attempt(mutator.make()))
    _finish(hunt.executions, hunt.crashers)


def _repeat(times: int, step: Callable[[], None]) -> None:
    for _ in range(times):
        step()


def _finish(executions: int, crashers: dict[str, Path]) -> None:
    _say(f"{executions} executions, {len(crashers)} crashers")
    # libFuzzer gives no other way back out of what it calls.
    os._exit(1 if crashers else 0)


if __name__ == "__main__":
    main()
