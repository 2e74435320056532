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
from tests.simulation.profiles import PROFILES
from tests.simulation.story import LETTERS, STORM, play


def main() -> int:
    """
    Exit code 1 if a promise was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many stories (10)")
    parser.add_argument("--first", type=int, default=1, help="the seed of the first (1)")
    parser.add_argument("--seed", type=int, help="play this one alone, and say all that is broken")
    parser.add_argument("--letters", type=int, default=LETTERS, help=f"messages handed over in a story ({LETTERS})")
    parser.add_argument("--storm", type=float, default=STORM, help=f"seconds of trouble in a story ({STORM:.0f})")
    parser.add_argument("--profile", default="", choices=PROFILES, help="which troubles (drawn from the seed)")
    parser.add_argument("--fairness", type=int, metavar="MESSAGES", help="measure fairness behind so long a newsletter")
    chosen = parser.parse_args()
    if chosen.fairness is not None:
        return _measure(chosen.fairness)
    seeds = [chosen.seed] if chosen.seed is not None else range(chosen.first, chosen.first + chosen.seeds)
    return max(
        [_play(seed, chosen.letters, chosen.storm, chosen.profile, aloud=chosen.seed is not None) for seed in seeds],
        default=0,
    )


def _play(seed: int, letters: int, storm: float, profile: str, *, aloud: bool) -> int:
    began = time.monotonic()
    ending = play(seed, letters, storm, profile)
    took = time.monotonic() - began
    first, *more = ending.broken or ("",)
    if first:
        others = f" (and {len(more)} more)" if more else ""
        again = (
            f"python -m tests.simulation --seed {seed} --profile {ending.profile} --letters {letters} --storm {storm:g}"
        )
        print(f"seed {seed}: {first}{others}; again: {again}", flush=True)
    if aloud:
        print(*more, sep="\n")
    if aloud or not first:
        print(
            f"seed {seed} ({ending.profile}): {ending.accepted} accepted, {ending.arrived} arrived, "
            f"{ending.deaths} deaths, {ending.seconds:.0f} s in {took:.1f} s, {ending.digest}",
            flush=True,
        )
    return int(bool(first))


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
