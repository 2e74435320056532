"""
C{python -m tests.simulation --seeds N}: play N stories; C{--seed S}: play one again, and tell what happened in it.

A story in which a promise was broken is a line with the command that plays it again. The last line counts them all.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from typing import Any

from twisted.logger import globalLogBeginner

from tests.arguments import at_least_one, make_parser, over_zero, whole
from tests.simulation.fairness import play as play_fairness
from tests.simulation.profiles import PROFILES
from tests.simulation.story import LETTERS, STORM, Ending, play
from tests.simulation.trace import play_aloud


def main() -> int:
    """
    Exit code 1 if a promise was broken.
    """
    parser = make_parser("python -m tests.simulation", __doc__)
    parser.add_argument("--seeds", type=at_least_one, default=10, metavar="N", help="how many stories (10)")
    parser.add_argument("--first", type=whole, default=1, metavar="S", help="the seed of the first (1)")
    parser.add_argument(
        "--seed", type=whole, metavar="S", help="play this one alone, and tell how what is broken came about"
    )
    parser.add_argument(
        "--profile",
        default="",
        metavar="NAME",
        choices=PROFILES,
        help=f"of {', '.join(PROFILES)} (drawn from the seed)",
    )
    parser.add_argument(
        "--jobs", type=at_least_one, default=os.cpu_count(), metavar="N", help="stories at a time (one for each core)"
    )
    parser.add_argument(
        "--letters",
        type=at_least_one,
        default=LETTERS,
        metavar="N",
        help=f"messages handed over in a story ({LETTERS})",
    )
    parser.add_argument(
        "--storm", type=over_zero, default=STORM, metavar="SECONDS", help=f"seconds of trouble in a story ({STORM:.0f})"
    )
    parser.add_argument(
        "--fairness", type=at_least_one, metavar="MESSAGES", help="measure fairness behind so long a newsletter"
    )
    chosen = parser.parse_args()
    if chosen.fairness is not None:
        return _measure(chosen.fairness)
    if chosen.seed is not None:
        return _tell(play_aloud(chosen.seed, chosen.letters, chosen.storm, chosen.profile))
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    playing = partial(_play, letters=chosen.letters, storm=chosen.storm, profile=chosen.profile)
    began = time.monotonic()
    ended = []
    with ProcessPoolExecutor(chosen.jobs, initializer=_mute) as pool:
        for ending in pool.map(playing, seeds):
            ended.append(ending)
            if ending.broken:
                print(_describe(ending, chosen.letters, chosen.storm), flush=True)
    return _sum_up(ended, time.monotonic() - began)


def _mute() -> None:
    """
    What a relay logs its story hears. What Python closes of relays that were killed complains too, and to nobody.
    """
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


def _play(seed: int, **more: Any) -> Ending:
    # What stays in this process is not to be looked through in each story for what has gone.
    gc.collect()
    gc.freeze()
    return play(seed, **more)


def _sum_up(ended: Sequence[Ending], seconds: float) -> int:
    broken = sum(bool(one.broken) for one in ended)
    print(
        f"{len(ended)} stories, {broken} broken, {sum(one.deaths for one in ended)} deaths, "
        f"{sum(one.accepted for one in ended)} accepted, {sum(one.arrived for one in ended)} arrived, "
        f"{sum(one.seconds for one in ended) / 3600:.1f} hours in {seconds:.0f} s "
        f"({_measure_effort() / max(1, len(ended)):.2f} s CPU each)",
        flush=True,
    )
    return int(broken > 0)


def _measure_effort() -> float:
    """
    Seconds of all processors so far.
    """
    used = [getrusage(whose) for whose in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _describe(ending: Ending, letters: int, storm: float) -> str:
    first, *more = ending.broken
    others = f" (and {len(more)} more)" if more else ""
    sizes = "" if (letters, storm) == (LETTERS, STORM) else f" --letters {letters} --storm {storm:g}"
    again = f"python -m tests.simulation --seed {ending.seed} --profile {ending.profile}{sizes}"
    return f"seed {ending.seed}: {first}{others}; again: {again}"


def _tell(told: tuple[Ending, Iterator[str]]) -> int:
    ending, trace = told
    for line in (*ending.broken, *trace):
        print(line)
    print(
        f"seed {ending.seed} ({ending.profile}): {len(ending.broken)} broken, {ending.accepted} accepted, "
        f"{ending.arrived} arrived, {ending.deaths} deaths, {ending.seconds:.0f} s, {ending.digest}"
    )
    return int(bool(ending.broken))


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
