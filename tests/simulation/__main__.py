"""
C{python -m tests.simulation --seeds N}: play N stories; C{--seed S}: play one again.

A story in which a promise was broken is a line that names the command to play it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.simulation.fairness import play as play_fairness
from tests.simulation.story import play


def main() -> int:
    """
    Exit code 1 if a promise was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many stories (10)")
    parser.add_argument("--first", type=int, default=1, help="the seed of the first (1)")
    parser.add_argument("--seed", type=int, help="play this one alone, and say all that is broken")
    parser.add_argument("--letters", type=int, default=60, help="messages handed over in a story (60)")
    parser.add_argument("--fairness", type=int, metavar="MESSAGES", help="measure fairness behind so long a newsletter")
    chosen = parser.parse_args()
    if chosen.fairness is not None:
        return _measure(chosen.fairness)
    if chosen.seed is not None:
        return _play([chosen.seed], chosen.letters, aloud=True)
    return _play(range(chosen.first, chosen.first + chosen.seeds), chosen.letters)


def _play(seeds: range | list[int], letters: int, *, aloud: bool = False) -> int:
    failed = 0
    for seed in seeds:
        began = time.monotonic()
        ending = play(seed, letters)
        took = time.monotonic() - began
        if ending.broken:
            failed += 1
            more = f" (and {len(ending.broken) - 1} more)" if len(ending.broken) > 1 else ""
            again = f"python -m tests.simulation --seed {seed} --letters {letters}"
            print(f"seed {seed}: {ending.broken[0]}{more}; again: {again}")
        if aloud:
            print(*ending.broken[1:], sep="\n")
        if aloud or not ending.broken:
            print(
                f"seed {seed}: {ending.accepted} accepted, {ending.arrived} arrived, {ending.deaths} deaths, "
                f"{ending.seconds:.0f} s in {took:.1f} s, {ending.digest}",
                flush=True,
            )
    return 1 if failed else 0


def _measure(messages: int) -> int:
    with TemporaryDirectory() as folder:
        figures = play_fairness(Path(folder) / "relay", messages, resets=20)
    print(
        f"behind {messages} messages to a site that takes 50 a second: resets took {max(figures.waits):.2f} s at most,"
    )
    print(f"the newsletter got {figures.rates['acme']:.1f} a second meanwhile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
