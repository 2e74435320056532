"""
An outage: the next hop refuses everything for now while mail is taken, then has recovered, and the operator flushes.
"""

from __future__ import annotations

import time
from typing import Any

from bench.ground import Ground
from bench.loads import SESSIONS, count, new_run, wait_for
from bench.processes import Height, cpu_seconds
from bench.server import Server
from bench.sink import Sink, load

MESSAGES, SIZE = 100_000, 4096

ACCEPTING = 180.0
"""
Seconds in which the mail may be taken; what a slow server has until then is its backlog.
"""

TRYING = 30.0
"""
Seconds after that in which each message may be tried for the first time.
"""

DRAINING = 300.0
"""
Seconds in which the backlog may be delivered.
"""

FLUSHES, STALL = 3, 20.0
"""
How often the queue is flushed at most: again when nothing has been delivered for so many seconds, as an operator would.
"""


def measure_backlog(server: Server, ground: Ground, messages: int) -> dict[str, Any]:
    """
    One outage. The time of the drain is that from the recovery, at which the queue is flushed, to the last delivery.
    """
    sink, syncs = ground.sink, ground.syncs
    run = new_run(sink, messages)
    sink.ask("mode rcpt451")
    try:
        with Height(server.pid) as height:
            before = cpu_seconds(server.pid)
            options = [*server.options("plain"), "-s", str(SESSIONS), "-S", str(SIZE), "--run", run]
            sent = load(options, messages, ACCEPTING)
            end = time.monotonic() + TRYING
            while time.monotonic() < end and sink.figures()["refused"] < sent["accepted"]:
                time.sleep(0.2)
            middle, refused, synced = cpu_seconds(server.pid), sink.figures()["refused"], syncs.count()
            sink.ask("mode ok")
            recovered = time.monotonic_ns()
            flushes = drain(server, sink, sent["accepted"])
            time.sleep(0.5)
            used, synced = cpu_seconds(server.pid) - middle, syncs.count() - synced
    finally:
        sink.ask("mode ok")
    got = sink.figures()
    drained = got["distinct"]
    seconds = max(0.001, (got["last_ns"] - recovered) / 1e9)
    return {
        **count(sent, got),
        "refused": refused,
        "flushes": flushes,
        "drain_s": round(seconds, 1),
        "drain_rate": round(drained / seconds, 1),
        "accept_cpu_ms": round((middle - before) * 1000 / max(1, sent["accepted"]), 3),
        "drain_cpu_ms": round(used * 1000 / max(1, drained), 3),
        "drain_syncs": round(synced / max(1, drained), 3),
        "height_mib": round(height.mib, 1),
    }


def drain(server: Server, sink: Sink, messages: int) -> int:
    """
    Flush the queue, and wait until it is empty, as far as it goes; the answer is how often it was flushed.
    """
    end, flushes = time.monotonic() + DRAINING, 0
    while flushes < FLUSHES and time.monotonic() < end and sink.figures()["distinct"] < messages:
        server.flush()
        flushes += 1
        wait_for(sink, messages, end - time.monotonic(), STALL)
    return flushes
