"""
One hunt: inputs are tried, and what fails is kept, once for each place where it fails, and as short as it gets.
"""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

SLOW = 2.0
"""
Seconds of work for one input that are worth a look.
"""

MOST_TRIES = 600
"""
Of an input that is made shorter.
"""

PLACES = ("lmrelay", "fuzz")


@define(eq=False)
class Hunt:
    """
    C{run} is the target; what fails goes into C{folder}, and C{tell} is told of it. C{executions} counts inputs.
    """

    name: str
    run: Callable[[bytes], None]
    folder: Path
    tell: Callable[[str], object]
    clock: Callable[[], float] = time.process_time
    executions: int = 0
    crashers: dict[str, Path] = field(factory=dict)

    def attempt(self, data: bytes) -> None:
        """
        Try an input.
        """
        self.executions += 1
        began = self.clock()
        sign = self._sign_of(data)
        if not sign and self.clock() - began > SLOW:
            sign = "slow"
        if sign and sign not in self.crashers:
            self._keep(sign, data)

    def _sign_of(self, data: bytes) -> str:
        """
        Where and how an input fails, the same for all that fail there; empty: it does not.
        """
        try:
            self.run(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            frames = [one for one in traceback.extract_tb(error.__traceback__) if _is_ours(one.filename)]
            place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
            return f"{type(error).__name__} at {place}"
        return ""

    def _keep(self, sign: str, data: bytes) -> None:
        # Before it is made shorter: that too may fail there.
        self.crashers[sign] = self.folder
        shortest = data if sign == "slow" else shorten(data, lambda one: self._sign_of(one) == sign)
        path = self.folder / f"crash-{hashlib.sha256(shortest).hexdigest()[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shortest)
        self.crashers[sign] = path
        self.tell(
            f"{self.name}: {sign} ({len(shortest)} octets); again: python -m tests.fuzz {self.name} --replay {path}"
        )


def _is_ours(filename: str) -> bool:
    parts = Path(filename).parts
    return any(place in parts for place in PLACES)


def shorten(data: bytes, still_fails: Callable[[bytes], bool]) -> bytes:
    """
    A shorter input that fails as this one does: pieces are left out, ever smaller ones.
    """
    tries, size = 0, max(len(data) // 2, 1)
    while size and tries < MOST_TRIES:
        at, shorter = 0, False
        while at < len(data) and tries < MOST_TRIES:
            candidate = data[:at] + data[at + size :]
            tries += 1
            if still_fails(candidate):
                data, shorter = candidate, True
            else:
                at += size
        if not shorter or size > 1:
            size //= 2
    return data
