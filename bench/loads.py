"""
Mail put on a server as fast as it takes it, and what that cost, until the sink has the last of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from bench.ground import Ground
from bench.held import Unable
from bench.processes import cpu_seconds, memory_mib
from bench.server import Server
from bench.sink import Sink, load

LIMIT = 180.0
"""
Seconds that one load may take, and its deliveries after it.
"""

STALL = 60.0
"""
Seconds without any delivery after which no more is waited for.
"""

SESSIONS = 20

WARM_UP = 100


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
    Load("4k-tls", "4 KiB, 20 persistent sessions, STARTTLS and AUTH", 5000, 4096, "starttls"),
    Load("100k", "100 KiB, 20 persistent sessions, no TLS", 1000, 102400, "plain"),
    Load("connect", "4 KiB, a connection with STARTTLS and AUTH each, 20 at once", 1500, 4096, "starttls", each=True),
)


def warm_up(server: Server) -> None:
    """
    Some messages that are not measured.
    """
    load([*server.options("plain"), "-s", "5", "--run", "ffffffff"], WARM_UP, 30)
    time.sleep(1)


def new_run(sink: Sink, messages: int) -> str:
    """
    The sink counts from here on; the run's name, by which it knows the messages.
    """
    run = f"{random.getrandbits(31) + 1:08x}"
    sink.ask(f"reset {run} {messages} 1")
    return run


def wait_for(sink: Sink, messages: int, limit: float, stall: float = STALL) -> None:
    """
    Until the sink has so many, or so many seconds have passed, or none has come for C{stall} seconds.
    """
    end = time.monotonic() + limit
    latest, since = 0, time.monotonic()
    while (arrived := sink.figures()["distinct"]) < messages and time.monotonic() < min(end, since + stall):
        if arrived > latest:
            latest, since = arrived, time.monotonic()
        time.sleep(0.02)


def count(sent: Mapping[str, Any], got: Mapping[str, Any]) -> dict[str, Any]:
    """
    What became of the messages: as the load generator and the sink have it.
    """
    return {
        "accepted": sent["accepted"],
        "delivered": got["distinct"],
        "missing": sent["accepted"] - got["distinct"],
        "duplicates": got["duplicates"],
        "errors": sent["errors"],
        "accept_rate": sent["rate"],
    }


def measure(server: Server, ground: Ground, job: Load, messages: int) -> dict[str, Any]:
    """
    One run: load, then wait until the sink has what was accepted.
    """
    sink, syncs = ground.sink, ground.syncs
    run = new_run(sink, messages)
    before, synced = cpu_seconds(server.pid), syncs.count()
    options = [*server.options(job.security), "-s", str(SESSIONS), "-S", str(job.size), "--run", run]
    sent = load([*options, *(["-c", "1"] if job.each else [])], messages, LIMIT)
    if not sent["accepted"]:
        errors = ", ".join(f"{error} {count} times" for error, count in sent["errors"].items())
        raise Unable(f"it took no message ({errors})")
    wait_for(sink, sent["accepted"], LIMIT)
    time.sleep(0.5)  # its clearing up after the last delivery is its work too
    used, synced = cpu_seconds(server.pid) - before, syncs.count() - synced
    got = sink.figures()
    seconds = (got["last_ns"] - sent["t_start_ns"]) / 1e9
    delivered = got["distinct"]
    return {
        **count(sent, got),
        "end_to_end_rate": round(delivered / seconds, 1) if delivered else 0.0,
        "cpu_ms": round(used * 1000 / max(1, delivered), 3),
        "syncs": round(synced / max(1, delivered), 3),
        "final_p50_ms": sent["final_p50_ms"],
        "final_p99_ms": sent["final_p99_ms"],
        "memory_mib": round(memory_mib(server.pid), 1),
    }
