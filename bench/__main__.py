"""
C{python -m bench}: measure lmrelay, and Postfix in turn with it where it can run.

Run it from the source tree, on the disk to be measured (C{--state}, never a tmpfs), with nothing else going on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from bench.processes import Syncs, cpu_seconds, memory_mib
from bench.relays import DOMAIN, SINK, Lmrelay, Postfix
from bench.sink import Sink, build, load
from tests.e2e.names import NameServer
from tests.e2e.world import free_port

Server = Lmrelay | Postfix

LIMIT = 180.0
"""
Seconds that one load may take, and its deliveries after it.
"""


@frozen
class Load:
    """
    So many messages of so many octets, over persistent sessions or one connection each.
    """

    name: str
    words: str
    messages: int
    size: int
    security: str
    each: bool = False


LOADS = (
    Load("4k", "4 KiB, 20 persistent sessions, no TLS", 5000, 4096, "plain"),
    Load("4k-tls", "4 KiB, 20 persistent sessions, STARTTLS", 5000, 4096, "starttls"),
    Load("100k", "100 KiB, 20 persistent sessions, no TLS", 1000, 102400, "plain"),
    Load("connect", "4 KiB, a STARTTLS connection each, 20 at once", 1500, 4096, "starttls", each=True),
)


def measure(server: Server, sink: Sink, syncs: Syncs, job: Load, messages: int) -> dict[str, Any]:
    """
    One run: load, then wait until the sink has what was accepted.
    """
    run = f"{random.getrandbits(31) + 1:08x}"
    sink.ask(f"reset {run} {messages} 1")
    before, synced = cpu_seconds(server.pid), syncs.count()
    options = [*server.options(job.security), "-s", "20", "-S", str(job.size), "--run", run]
    sent = load([*options, *(["-c", "1"] if job.each else [])], messages, LIMIT)
    end = time.monotonic() + LIMIT
    while time.monotonic() < end and sink.figures()["distinct"] < sent["accepted"]:
        time.sleep(0.02)
    time.sleep(0.5)  # its clearing up after the last delivery is its work too
    used, synced = cpu_seconds(server.pid) - before, syncs.count() - synced
    got = sink.figures()
    seconds = (got["last_ns"] - sent["t_start_ns"]) / 1e9
    delivered = got["distinct"]
    return {
        "accepted": sent["accepted"],
        "delivered": delivered,
        "missing": sent["accepted"] - delivered,
        "duplicates": got["duplicates"],
        "errors": sent["errors"],
        "accept_rate": sent["rate"],
        "end_to_end_rate": round(delivered / seconds, 1) if delivered else 0.0,
        "cpu_ms": round(used * 1000 / max(1, delivered), 3),
        "syncs": round(synced / max(1, delivered), 3),
        "final_p50_ms": sent["final_p50_ms"],
        "final_p99_ms": sent["final_p99_ms"],
        "memory_mib": round(memory_mib(server.pid), 1),
    }


def run_once(server: Server, sink: Sink, syncs: Syncs, loads: Sequence[Load], scale: float) -> list[dict[str, Any]]:
    """
    Start the server, warm it up, put each load on it, stop it.
    """
    rows = []
    server.start()
    try:
        load([*server.options("plain"), "-s", "5", "--run", "ffffffff"], 100, 30)
        time.sleep(1)
        for job in loads:
            row = measure(server, sink, syncs, job, max(1, int(job.messages * scale)))
            rows.append({"server": server.name, "load": job.name, **row})
            print(f"{server.name:8} {job.name:8} {json.dumps(row)}", file=sys.stderr, flush=True)
    finally:
        server.stop()
    return rows


MEASURES = ("accept_rate", "end_to_end_rate", "cpu_ms", "syncs", "final_p50_ms", "final_p99_ms", "memory_mib")


def report(rows: Sequence[dict[str, Any]], loads: Sequence[Load]) -> dict[str, Any]:
    """
    Medians by load and server, and the ratio of lmrelay to Postfix where there are both.
    """
    result: dict[str, Any] = {}
    for job in loads:
        medians: dict[str, Any] = {}
        for server in sorted({row["server"] for row in rows}):
            of_server = [row for row in rows if row["server"] == server and row["load"] == job.name]
            medians[server] = {name: statistics.median(row[name] for row in of_server) for name in MEASURES}
            medians[server] |= {name: sum(row[name] for row in of_server) for name in ("missing", "duplicates")}
        if len(medians) == 2:
            ours, theirs = medians["lmrelay"], medians["postfix"]
            medians["ratio"] = {name: round(ours[name] / theirs[name], 2) for name in MEASURES if theirs[name]}
        result[job.name] = medians
    return result


def show(result: dict[str, Any], loads: Sequence[Load], rounds: int) -> None:
    """
    The medians as a table for people.
    """
    print(f"Medians of {rounds} rounds, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    for job in loads:
        print(f"\n{job.words}")
        head = ("accept/s", "end to end/s", "CPU ms/msg", "syncs/msg", "250 p50 ms", "250 p99 ms", "PSS MiB")
        print(f"{'':10}" + "".join(f"{title:>14}" for title in head) + f"{'missing/dup':>14}")
        for server, medians in result[job.name].items():
            cells = "".join(f"{medians.get(name, 0):14.2f}" for name in MEASURES)
            lost = f"{medians['missing']}/{medians['duplicates']}" if "missing" in medians else ""
            print(f"{server:10}{cells}{lost:>14}")


def main() -> int:
    """
    Measure and print; exit code 1 if a message was lost or doubled.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each server is measured, in turns (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of messages (1.0)")
    parser.add_argument("--loads", default=",".join(job.name for job in LOADS), help="which, by name")
    parser.add_argument("--servers", default="lmrelay,postfix", help="which, by name")
    parser.add_argument("--no-chunking", action="store_true", help="let the sink not offer it")
    parser.add_argument("--state", type=Path, default=Path("/var/tmp"), help="on the disk to be measured")
    parser.add_argument("--json", type=Path, help="write every run and the medians to this file")
    chosen = parser.parse_args()
    loads = [job for job in LOADS if job.name in chosen.loads.split(",")]
    build()
    port, control = free_port(), free_port()
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="lmrelay-bench-", dir=chosen.state) as state,
        Syncs() as syncs,
        NameServer() as names,
        Sink(SINK, port, control, not chosen.no_chunking) as sink,
    ):
        Path(state).chmod(0o755)  # Postfix's processes do not run as root
        names.mx(f"d0.{DOMAIN}", 10, f"mx.{DOMAIN}")
        names.host(f"mx.{DOMAIN}", SINK)
        servers: list[Server] = [Lmrelay(Path(state) / "lmrelay", names.address, port)]
        if why := Postfix.why_not():
            print(f"without Postfix: {why}", file=sys.stderr)
        else:
            servers.append(Postfix(Path(state) / "postfix", port))
        servers = [server for server in servers if server.name in chosen.servers.split(",")]
        for number in range(chosen.rounds):
            for server in servers if number % 2 == 0 else servers[::-1]:
                rows += run_once(server, sink, syncs, loads, chosen.scale)
        versions = {server.name: server.version() for server in servers}
    result = report(rows, loads)
    show(result, loads, chosen.rounds)
    if chosen.json:
        chosen.json.write_text(json.dumps({"versions": versions, "medians": result, "runs": rows}, indent=1) + "\n")
    return 1 if any(row["missing"] or row["duplicates"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
