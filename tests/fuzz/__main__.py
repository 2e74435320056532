"""
C{python -m tests.fuzz [TARGET...] --seconds N [--seed S]}: look for inputs that break what a target promises.

What fails is a line that names the command to play it again, and a file in the target's corpus, made short.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.arguments import existing_file, make_parser, over_zero, whole
from tests.fuzz.catalogue import NAMES, load

PATIENCE = 60.0
"""
Seconds that a hunt may take longer than it was given: one input may hang.
"""


def main() -> int:
    """
    Exit code 1 if something was found.
    """
    parser = make_parser("python -m tests.fuzz", __doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)} (all)")
    parser.add_argument("--seconds", type=over_zero, default=60.0, metavar="N", help="for each target (60)")
    parser.add_argument("--seed", type=whole, default=1, metavar="S", help="where chance begins (1)")
    parser.add_argument("--blind", action="store_true", help="draw from the grammars even where atheris is installed")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="a folder for inputs that reached something new, to go on from"
    )
    parser.add_argument(
        "--replay", type=existing_file, metavar="FILE", help="run the one target named with this input, aloud"
    )
    chosen = parser.parse_args()
    unknown = set(chosen.targets) - set(NAMES)
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if chosen.replay is not None:
        if len(chosen.targets) != 1:
            parser.error("--replay goes with one target")
        load(chosen.targets[0]).run(chosen.replay.read_bytes())
        print("nothing fails")
        return 0
    if not chosen.blind and importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (pip install atheris): nothing guides the search but the grammar", flush=True)
    with TemporaryDirectory(prefix="lmrelay-fuzz-") as folder:
        kept = chosen.keep or Path(folder)
        how = ["blind"] if chosen.blind else []
        return max([_hunt(name, chosen.seconds, chosen.seed, kept, how) for name in chosen.targets or NAMES])


def _hunt(name: str, seconds: float, seed: int, kept: Path, how: list[str]) -> int:
    folder = (kept / name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.engine", name, str(seconds), str(seed), str(folder), *how]
    began = time.monotonic()
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE)
    except subprocess.TimeoutExpired:
        print(f"{name}: an input took over {PATIENCE:.0f} s; seed {seed}", flush=True)
        return 1
    for line in ended.stdout.splitlines():
        print(line if line.startswith(name) else f"{name}: {line}", flush=True)
    if ended.returncode not in (0, 1) or "executions" not in ended.stdout:
        print(f"{name}: the hunt itself broke", ended.stderr[-2000:], sep="\n", flush=True)
        return 1
    print(f"{name}: {time.monotonic() - began:.0f} s, seed {seed}", flush=True)
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
