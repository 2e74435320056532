"""
What a crowd that only holds its connections costs those who send mail: C{python -m bench.crowd --rounds 7}.

The crowd logs in over TLS and then says nothing, or an octet a second, of commands or of content. The same load is
measured while it is there and while it is not, in turn, at one daemon; its memory is looked at with the crowd in it.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define

from bench.ground import Ground, add_state, laid
from bench.loads import Load, measure
from bench.processes import cpu_seconds, memory_mib
from bench.relays import DOMAIN, Lmrelay
from bench.sink import HERE, load
from tests.arguments import at_least_one, make_parser, whole

LEAST = 0.85
"""
Of the undisturbed rate, for others while the crowd is there.
"""
MOST_MIB = 600
MEASURES = ("accept_rate", "end_to_end_rate", "cpu_ms", "final_p99_ms")
SOURCES = "127.77.0.1-127.77.0.250"
"""
Where the crowd comes from: one address may only have so many connections.
"""
PATIENCE = 240.0
"""
Seconds in which the crowd is to have come; a session that says nothing for five minutes is ended.
"""


@define(eq=False)
class Crowd:
    """
    C{idle} sessions that say nothing, and C{dribbling} ones.
    """

    idle: int
    dribbling: int

    @property
    def size(self) -> int:
        """
        All of them.
        """
        return self.idle + self.dribbling

    @contextmanager
    def gathered(self, server: Lmrelay) -> Iterator[dict[str, Any]]:
        """
        Entered when all are there. The mapping holds at the end what the generator counted.

        @raise RuntimeError: they did not all come
        """
        options = ["-H", "127.0.0.1", "-s", "50", "--src", SOURCES, "--hold", str(2 * PATIENCE)]
        options += ["--idle", str(self.size), "--dribble", str(self.dribbling), "--from", f"sender@{DOMAIN}"]
        command = [str(HERE / "bin/smtpload"), *options, *server.options("starttls")]
        counted: dict[str, Any] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                # It prints one line when all have come, and ends by itself if they do not.
                if process.stdout is None or not process.stdout.readline().startswith("READY"):
                    raise RuntimeError("the crowd did not come")
                yield counted
            finally:
                process.terminate()
                said = process.communicate(timeout=60)[0]
            counted.update(json.loads(said))


def settle(pid: int, before: int) -> None:
    """
    Wait until the daemon has no more descriptors open than before, and does no more than it does at rest.
    """
    end = time.monotonic() + 120
    while time.monotonic() < end:
        used = cpu_seconds(pid)
        time.sleep(1)
        if len(list(Path(f"/proc/{pid}/fd").iterdir())) <= before + 50 and cpu_seconds(pid) - used < 0.1:
            return
    raise RuntimeError("the daemon did not come to rest")


def run(server: Lmrelay, ground: Ground, crowd: Crowd, job: Load, rounds: int) -> list[dict[str, Any]]:
    """
    So many pairs; which comes first changes.
    """
    pid = server.pid
    load([*server.options("plain"), "-s", "5", "--run", "ffffffff"], 500, 60)
    time.sleep(2)
    rows = []
    at_rest = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    for number in range(rounds):
        row: dict[str, Any] = {}
        for crowded in (False, True) if number % 2 else (True, False):
            settle(pid, at_rest)
            row["crowd" if crowded else "alone"] = (
                measure_crowded(server, ground, crowd, job) if crowded else measured(server, ground, job)
            )
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def measured(server: Lmrelay, ground: Ground, job: Load) -> dict[str, Any]:
    """
    The load on its own.
    """
    return measure(server, ground, job, job.messages)


def measure_crowded(server: Lmrelay, ground: Ground, crowd: Crowd, job: Load) -> dict[str, Any]:
    """
    The load with the crowd there, what the crowd takes of memory and of a CPU, and how many of it held to the end.
    """
    before, began = memory_mib(server.pid), time.monotonic()
    with crowd.gathered(server) as counted:
        came = time.monotonic() - began
        time.sleep(2)
        used, began = cpu_seconds(server.pid), time.monotonic()
        time.sleep(5)
        load_of_crowd = (cpu_seconds(server.pid) - used) / (time.monotonic() - began)
        row = measured(server, ground, job)
        memory = memory_mib(server.pid)
    row |= {"crowd_came_s": round(came, 1), "crowd_cpu": round(load_of_crowd, 3), "memory_mib": round(memory, 1)}
    row |= {"before_mib": round(before, 1), "held": counted["held"], "lost": counted["errors"]}
    row["kib_a_session"] = round((memory - before) * 1024 / crowd.size, 1)
    return row


def report(rows: list[dict[str, Any]]) -> int:
    """
    Medians of the ratios of the pairs; 1 if one of them or the memory is not what was promised.
    """
    ratios = {
        name: round(statistics.median(row["crowd"][name] / row["alone"][name] for row in rows), 3) for name in MEASURES
    }
    most = max(row["crowd"]["memory_mib"] for row in rows)
    sessions = [row["crowd"]["kib_a_session"] for row in rows]
    print(f"median of {len(rows)} pairs, crowd / alone: {json.dumps(ratios)}")
    print(f"memory with the crowd: {most} MiB at most ({MOST_MIB} are allowed), {sessions[0]} KiB a session at first")
    broken = sum(row[which][what] for row in rows for which in row for what in ("missing", "duplicates"))
    print(f"{broken} messages missing or doubled")
    kept = ratios["accept_rate"] >= LEAST and ratios["end_to_end_rate"] >= LEAST and most <= MOST_MIB
    return 0 if kept and not broken else 1


def main() -> int:
    """
    Exit code 1 if others are served at too low a rate, the memory is too much, or mail was lost.
    """
    parser = make_parser("python -m bench.crowd", __doc__)
    parser.add_argument("--rounds", type=at_least_one, default=7, metavar="N", help="pairs of runs (7)")
    parser.add_argument("--messages", type=at_least_one, default=10_000, metavar="N", help="in each run (10,000)")
    parser.add_argument("--idle", type=whole, default=10_000, metavar="N", help="sessions that say nothing (10,000)")
    parser.add_argument(
        "--dribbling", type=whole, default=1_000, metavar="N", help="sessions that say an octet a second (1,000)"
    )
    add_state(parser)
    chosen = parser.parse_args()
    # The daemon and the generator inherit it; each raises its own soft limit.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    crowd = Crowd(chosen.idle, chosen.dribbling)
    if hard != resource.RLIM_INFINITY and hard < crowd.size + 4000:
        print(f"{crowd.size + 4000} file descriptors are needed, {hard} may be had: ulimit -Hn", file=sys.stderr)
        return 2
    job = Load("4k", "4 KiB, 20 persistent sessions, no TLS", chosen.messages, 4096, "plain")
    with laid(chosen.state) as ground:
        limits = {"limits": {"connections": crowd.size + 100}}
        server = Lmrelay(ground.folder / "relay", ground.names, ground.port, tables=limits)
        server.start()
        try:
            rows = run(server, ground, crowd, job, chosen.rounds)
        finally:
            server.stop()
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
