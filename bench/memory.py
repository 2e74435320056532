"""
What a long queue costs the process: C{python -m bench.memory FOLDER}.

A store is filled with rows, the daemon is started over it and left alone while all that it takes into memory hangs at
receivers that never greet. The figures are of its memory at its height; those of the shortest queue are what is
compared with.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen
from sqlalchemy import Connection, func, insert, literal, select, true

from bench.processes import memory_mib
from lmrelay.config.values import Config, Server
from lmrelay.config.words import Kind
from lmrelay.queue.schema import chunk, event, message, recipient
from lmrelay.queue.store import find_url, make_engine, migrate
from tests.arguments import at_least_one, existing_folder, make_parser, over_zero
from tests.e2e.daemon import LISTENERS, Relay, make_certificate, settings_for
from tests.e2e.names import NameServer
from tests.e2e.world import free_port
from tests.simulation.backlog import fill

PROJECTS, DOMAINS, SITES = 50, 2000, 200
LIMIT = 200
"""
MiB that a million queued messages may cost more than ten thousand.
"""


def multiply(connection: Connection, messages: int) -> None:
    """
    Make so many out of the one that is there, of all projects, kinds and domains in turn.
    """
    numbers = select(literal(2).label("n")).cte(recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < messages))
    n = numbers.c.n
    id_ = func.printf("%026d", n)
    kind = func.iif(n // PROJECTS % 2, Kind.BROADCAST.value, Kind.TRANSACTIONAL.value)
    changed = {
        **dict.fromkeys(("message.id", "message.body", "chunk.body", "recipient.message", "event.message"), id_),
        **dict.fromkeys(("message.project", "recipient.project", "event.project"), func.printf("p%d", n % PROJECTS)),
        "recipient.domain": func.printf("d%d.example", n % DOMAINS),
        "recipient.address": func.printf("u%d@d%d.example", n, n % DOMAINS),
        **dict.fromkeys(("message.kind", "recipient.kind"), kind),
        "event.id": id_,
    }

    for table in (message, chunk, recipient, event):
        names = [column.name for column in table.c if column is not table.autoincrement_column]
        first = select(table).limit(1).subquery()
        values = [changed.get(f"{table.name}.{name}", first.c[name]) for name in names]
        connection.execute(insert(table).from_select(names, select(*values).select_from(numbers.join(first, true()))))


def store(folder: Path, messages: int) -> None:
    """
    A store in which so many wait, due at once.
    """
    config = Config(folder / "lmrelay.toml", Server("relay.test", folder))
    folder.mkdir(mode=0o700)
    migrate(find_url(config))
    engine = make_engine(find_url(config))

    def write(change: Callable[[Connection], object]) -> None:
        with engine.begin() as connection:
            change(connection)

    fill(write, "p0", ["u1@d1.example"], now=time.time(), entropy=os.urandom)
    write(lambda connection: multiply(connection, messages))
    engine.dispose()


@frozen
class Height:
    """
    The most memory, in MiB, when it was ready and in all: resident, and with what is shared counted in part.
    """

    ready: float
    resident: float
    proportional: float


def resident(pid: int, name: str) -> float:
    """
    A field of /proc/PID/status, in MiB.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def measure(folder: Path, messages: int, names: NameServer, port: int, seconds: float) -> Height:
    """
    Run the daemon over such a store for so long.
    """
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "projects.d").mkdir(parents=True)
    make_certificate(folder)
    began = time.monotonic()
    store(folder / "state", messages)
    print(f"{messages} messages written in {time.monotonic() - began:.0f} s", flush=True)
    timeouts = {"connect": "60s", "command": "10m", "data": "10m"}
    relay = Relay(folder, settings_for(folder, names.address, port, LISTENERS, delivery={"timeouts": timeouts}))
    relay.start(afresh=True)
    try:
        ready = resident(relay.pid, "VmRSS")
        proportional, end = 0.0, time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            proportional = max(proportional, memory_mib(relay.pid))
        return Height(ready, resident(relay.pid, "VmHWM"), proportional)
    finally:
        relay.kill()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """
    Exit code 1 if the long queue costs more than it may.
    """
    parser = make_parser("python -m bench.memory", __doc__)
    parser.add_argument(
        "folder", type=existing_folder, metavar="FOLDER", help="where stores are made, on a disk with 3 GiB to spare"
    )
    parser.add_argument(
        "--messages",
        type=at_least_one,
        nargs="+",
        default=[10_000, 1_000_000],
        metavar="N",
        help="queued (10,000 and 1,000,000)",
    )
    parser.add_argument("--seconds", type=over_zero, default=60.0, metavar="N", help="how long each daemon runs (60)")
    chosen = parser.parse_args()
    with NameServer() as names, socket.socket() as silent:
        port = free_port()
        # The kernel connects whoever comes, and nobody ever greets them.
        silent.bind(("0.0.0.0", port))
        silent.listen(4096)
        for number in range(DOMAINS):
            names.mx(f"d{number}.example", 10, f"mx{number % SITES}.example")
        for number in range(SITES):
            names.host(f"mx{number}.example", f"127.88.0.{number + 1}")
        heights = []
        for messages in chosen.messages:
            height = measure(chosen.folder / f"memory{messages}", messages, names, port, chosen.seconds)
            heights.append(height)
            print(
                f"{messages} queued: {height.ready:.1f} MiB resident when ready, {height.resident:.1f} MiB at most "
                f"({height.proportional:.1f} MiB proportional)",
                flush=True,
            )
    more = heights[-1].resident - heights[0].resident
    print(f"{more:.1f} MiB more, {LIMIT} MiB are allowed")
    return 1 if more > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
