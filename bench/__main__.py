"""
C{python -m bench}: measure lmrelay, and each installed peer in turn with it.

Run it as root from the source tree, on the disk to be measured (C{--state}, never a tmpfs), with nothing else going on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from bench.backlog import MESSAGES, measure_backlog
from bench.ground import Ground, add_state, laid
from bench.groups import grouped
from bench.held import Unable
from bench.idle import SESSIONS, measure_idle
from bench.loads import LOADS, Load, measure, warm_up
from bench.machine import describe
from bench.peers.exim import Exim
from bench.peers.haraka import Haraka
from bench.peers.opensmtpd import OpenSMTPD
from bench.peers.place import INSTALLED
from bench.peers.postfix import Postfix
from bench.processes import tree
from bench.relays import Lmrelay
from bench.report import OURS, render
from bench.server import Server
from tests.arguments import at_least_one, make_parser, new_file, over_zero

PEERS = {"postfix": Postfix, "exim": Exim, "opensmtpd": OpenSMTPD, "haraka": Haraka}

WORDS = {
    **{job.name: job.words for job in LOADS},
    "idle": f"memory with {SESSIONS:,} idle sessions",
    "backlog": f"{MESSAGES:,} messages of 4 KiB taken while the next hop refuses every RCPT with 451; then it recovers "
    "and the queue is flushed",
}

LIVES = (tuple(job.name for job in LOADS), ("idle",), ("backlog",))
"""
What is measured between one start of a server and its end. (Idle sessions and a backlog would leave their traces on
what came after them: processes that linger, a larger file.)
"""

SLOW = 1 / 3
"""
The part of its share that a slow peer gets of the backlog: it would hold the others up for a quarter of an hour.
"""

FAILURES = (Unable, OSError, RuntimeError, AssertionError, subprocess.SubprocessError)
"""
What one server's trouble looks like; the others are measured all the same.
"""


@define(eq=False)
class Suite:
    """
    Where it measures, and what it has measured so far.
    """

    ground: Ground
    scale: float
    whole: bool
    runs: list[dict[str, Any]] = field(factory=list)
    left_out: list[dict[str, str]] = field(factory=list)

    def leave_out(self, server: str, load: str, reason: str) -> None:
        """
        Say so, once, here and in the report.
        """
        left = {"server": server, "load": load, "reason": reason}
        if left not in self.left_out:
            self.left_out.append(left)
            print(f"without {server}, {load}: {reason}", file=sys.stderr, flush=True)

    def messages(self, server: Server, whole: int, part: float = 1.0) -> int:
        """
        How many of so many a server gets; C{part}: of its share, if that is not all.
        """
        share = 1.0 if self.whole or server.share == 1.0 else server.share * part
        return max(1, int(whole * self.scale * share))

    def live(self, server: Server, number: int, loads: Sequence[str]) -> None:
        """
        Start the server, warm it up, put each load on it, stop it.
        """
        try:
            server.start()
            with grouped(server.pid, tree(server.pid)), contextlib.ExitStack() as stack:
                stack.callback(server.stop)  # before its group goes
                warm_up(server)
                for load in loads:
                    self._one(server, number, load)
        except FAILURES as error:
            self.leave_out(server.name, ", ".join(loads), str(error))
        finally:
            server.stop()

    def _one(self, server: Server, number: int, load: str) -> None:
        try:
            row = self._work(server, load)()
        except FAILURES as error:
            self.leave_out(server.name, load, str(error))
            return
        self.runs.append({"server": server.name, "load": load, "round": number, **row})
        print(f"{number} {server.name:9} {load:8} {json.dumps(row)}", file=sys.stderr, flush=True)

    def _work(self, server: Server, load: str) -> Callable[[], dict[str, Any]]:
        if load == "idle":
            return lambda: measure_idle(server, max(1, int(SESSIONS * min(1.0, self.scale))))
        if load == "backlog":
            messages = self.messages(server, MESSAGES, SLOW)
            return lambda: measure_backlog(server, self.ground, messages)
        job: Load = next(job for job in LOADS if job.name == load)
        return lambda: measure(server, self.ground, job, self.messages(server, job.messages))


def easier(server: Server, load: str) -> list[str]:
    """
    What is easier for a server than for lmrelay in this row.
    """
    auth = {job.name for job in LOADS if job.security == "starttls"}
    return [*server.easier, *(["no AUTH in clear"] if server.name != OURS and load not in auth else [])]


def turns(servers: Sequence[Server], rounds: int) -> Iterator[tuple[int, Sequence[Server]]]:
    """
    Each round begins with another server, so that none is always the first after another.
    """
    for number in range(rounds):
        first = number % max(1, len(servers))
        yield number, [*servers[first:], *servers[:first]]


def arguments() -> argparse.Namespace:
    """
    What was asked for.
    """
    parser = make_parser("python -m bench", __doc__)
    parser.add_argument(
        "--rounds", type=at_least_one, metavar="N", default=3, help="how often each server is measured, in turns (3)"
    )
    parser.add_argument(
        "--backlog-rounds", type=at_least_one, metavar="N", default=1, help="the same for the backlog (1)"
    )
    parser.add_argument("--scale", type=over_zero, default=1.0, metavar="X", help="times the number of messages (1.0)")
    parser.add_argument("--whole", action="store_true", help="as many messages for the slow peers as for the others")
    parser.add_argument("--loads", default=",".join(WORDS), metavar="A,B", help=f"of {', '.join(WORDS)} (all)")
    parser.add_argument(
        "--servers", default=",".join([OURS, *PEERS]), metavar="A,B", help=f"of {', '.join([OURS, *PEERS])} (all)"
    )
    parser.add_argument(
        "--peers", type=Path, default=INSTALLED, metavar="FOLDER", help=f"where they are installed ({INSTALLED})"
    )
    parser.add_argument("--no-chunking", action="store_true", help="let the sink not offer it")
    add_state(parser)
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write every run to this file")
    parser.add_argument(
        "--report", type=new_file, metavar="FILE", help="write the report to this file, not to the standard output"
    )
    chosen = parser.parse_args()
    for asked, known in ((chosen.loads, WORDS), (chosen.servers, [OURS, *PEERS])):
        if unknown := set(asked.split(",")) - set(known):
            parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return chosen


def find_servers(chosen: argparse.Namespace, suite: Suite) -> list[Server]:
    """
    Those that were asked for and can run here.
    """
    asked, ground = chosen.servers.split(","), suite.ground
    servers: list[Server] = [Lmrelay(ground.folder / OURS, ground.names, ground.port)] if OURS in asked else []
    for name, make in PEERS.items():
        peer = make(ground.folder / name, chosen.peers.resolve(), ground.port)
        if name in asked and (why := peer.why_not()):
            suite.leave_out(name, "all", why)
        elif name in asked:
            servers.append(peer)
    return servers


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """
    All of it; the figures.
    """
    began, loads = time.monotonic(), chosen.loads.split(",")
    with laid(chosen.state, chunking=not chosen.no_chunking) as ground:
        suite = Suite(ground, chosen.scale, chosen.whole)
        servers = find_servers(chosen, suite)
        for life in LIVES:
            wanted = [load for load in life if load in loads]
            for number, order in turns(servers, chosen.backlog_rounds if life == ("backlog",) else chosen.rounds):
                for server in order if wanted else ():
                    suite.live(server, number, wanted)
        machine = describe(ground.folder)
    return {
        "machine": machine,
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.monotonic() - began),
        "commands": [shlex.join(["python", "-m", "bench", *public(sys.argv[1:])])],
        "versions": {server.name: server.version() for server in servers},
        "easier": {load: {server.name: easier(server, load) for server in servers} for load in loads},
        "loads": {load: words for load, words in WORDS.items() if load in loads},
        "left_out": suite.left_out,
        "runs": suite.runs,
    }


def public(words: Sequence[str]) -> list[str]:
    """
    The command's words without the folders of this machine.
    """
    return [re.sub(r"(^|=)/.*/(?=[^/])", r"\1", word) for word in words]


def main() -> int:
    """
    Measure and print; exit code 1 if lmrelay lost or doubled a message, or could not be measured.
    """
    chosen = arguments()
    result = run(chosen)
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    report = render(result)
    if chosen.report:
        chosen.report.write_text(report)
    else:
        print(report, end="")
    ours = [row for row in result["runs"] if row["server"] == OURS]
    failed = any(left["server"] == OURS for left in result["left_out"])
    return 1 if failed or any(row.get("missing") or row.get("duplicates") for row in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
