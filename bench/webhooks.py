"""
What a dead endpoint costs mail: the same load with 100,000 events that wait for one, and without, in turn:
C{python -m bench.webhooks --rounds 7}.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import sys
import time
from pathlib import Path

from attrs import define

from bench.ground import add_state, laid
from bench.loads import Load, measure
from bench.relays import Lmrelay
from bench.sink import load
from lmrelay.config.load import load as read
from lmrelay.queue.outbox import Outbox
from lmrelay.queue.rows import event_row
from lmrelay.queue.store import find_url, make_engine
from tests.arguments import at_least_one, make_parser
from tests.e2e.world import free_port

DEAD = "dead"
STEP = 1000
MEASURES = ("accept_rate", "end_to_end_rate", "cpu_ms", "syncs")


@define(eq=False)
class WithDead(Lmrelay):
    """
    lmrelay with another project, for whose endpoint C{pending} events wait; C{url} is where nobody answers.
    """

    url: str = ""
    pending: int = 0

    def start(self) -> None:
        """
        A fresh folder, the events in its store, and a daemon that is ready.
        """
        Lmrelay.start(self)
        relay = self.relay
        if relay is None or not self.pending:
            return
        relay.settings["webhooks"] = {"allow_networks": ["127.0.0.0/8"]}
        relay.stop()
        relay.write()
        relay.command("project", "add", DEAD, "--domain", "dead.test")
        relay.command("webhooks", "add", DEAD, DEAD, self.url, "--event", "*")
        self._fill(relay.config)
        relay.start(afresh=True)

    def _fill(self, config: Path) -> None:
        known = read(config)
        outbox, now = Outbox(_Settings(known)), time.time()
        engine = make_engine(find_url(known))
        for start in range(0, self.pending, STEP):
            rows = [
                event_row(os.urandom, "suppression.added", now, (DEAD, ""), (None, None))
                for _ in range(start, min(self.pending, start + STEP))
            ]
            with engine.begin() as connection:
                outbox.write(connection, rows)
        engine.dispose()


@define
class _Settings:
    config: object


def main() -> int:
    """
    Exit code 1 if it costs more than it may, or mail was lost.
    """
    parser = make_parser("python -m bench.webhooks", __doc__)
    parser.add_argument("--rounds", type=at_least_one, default=7, metavar="N", help="of three runs (7)")
    parser.add_argument("--messages", type=at_least_one, default=5000, metavar="N", help="in each run (5,000)")
    parser.add_argument("--pending", type=at_least_one, default=100_000, metavar="N", help="events that wait (100,000)")
    add_state(parser)
    chosen = parser.parse_args()
    job = Load("4k", "4 KiB, 20 persistent sessions, no TLS", chosen.messages, 4096, "plain")
    silent = socket.create_server(("127.0.0.1", 0), backlog=1000)
    refusing, stalling = f"http://127.0.0.1:{free_port()}/", f"http://127.0.0.1:{silent.getsockname()[1]}/"
    rows: dict[str, list[dict[str, float]]] = {"without": [], "refusing": [], "stalling": []}
    with laid(chosen.state) as ground:
        for number in range(chosen.rounds):
            order = list(rows) if number % 2 else list(rows)[::-1]
            for name in order:
                pending = 0 if name == "without" else chosen.pending
                url = refusing if name == "refusing" else stalling
                folder = ground.folder / "relay"
                server = WithDead(folder, ground.names, ground.port, name, url=url, pending=pending)
                server.start()
                try:
                    load([*server.options("plain"), "-s", "5", "--run", "ffffffff"], 100, 30)
                    time.sleep(2)
                    rows[name].append(measure(server, ground, job, job.messages))
                finally:
                    server.stop()
                print(f"{name:9} {json.dumps(rows[name][-1])}", file=sys.stderr, flush=True)
    return show(rows)


def show(rows: dict[str, list[dict[str, float]]]) -> int:
    """
    The medians of the ratios of each round.
    """
    good = True
    for name in ("refusing", "stalling"):
        ratios = {
            what: statistics.median(
                one[what] / other[what] for one, other in zip(rows[name], rows["without"], strict=True)
            )
            for what in MEASURES
        }
        print(name, json.dumps({what: round(ratio, 3) for what, ratio in ratios.items()}))
        good = good and ratios["accept_rate"] >= 0.85 and ratios["end_to_end_rate"] >= 0.85
    lost = sum(int(one["missing"] + one["duplicates"]) for each in rows.values() for one in each)
    print(f"{lost} messages missing or doubled")
    return 0 if good and not lost else 1


if __name__ == "__main__":
    sys.exit(main())
