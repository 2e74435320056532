"""
CPU per message to accept (plain, with a key, with limits) and to settle in batches, on SQLite:
C{python -m bench.store FOLDER}.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from random import Random

from lmrelay.config.values import Config, Server
from lmrelay.config.words import Kind
from lmrelay.ids import make_id
from lmrelay.interfaces import Submission
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.mail.outcome import Attempt, Delivered
from lmrelay.queue.keys import Use
from lmrelay.queue.outbox import write_untold
from lmrelay.queue.quotas import WHOLE, Limit
from lmrelay.queue.rows import event_row, message_row, recipient_rows
from lmrelay.queue.settle import Settle, Settler
from lmrelay.queue.store import find_url, make_engine, migrate
from lmrelay.queue.storing import Accept, write_messages
from lmrelay.queue.suppressions import Suppressions
from lmrelay.smtp.reply import reply

BATCH, BATCHES = 50, 40


class _Settings:
    def __init__(self, config: Config) -> None:
        self.config = config


HOURLY, DAILY = 3600.0, 86400.0
LIMITS = tuple(
    Limit(("acme", route), 1_000_000, seconds, period)
    for route in (WHOLE, "outgoing")
    for seconds, period in ((HOURLY, "hour"), (DAILY, "day"))
)
"""
All that one message can have, and never reached.
"""

KINDS = {"plain": (False, False), "key": (True, False), "limits": (False, True), "both": (True, True)}
"""
Has it a key, has it limits?
"""


def _accept(key: bool, limits: bool) -> Accept:
    id_ = make_id(time.time(), os.urandom)
    envelope = Envelope(Address("s", "acme.example"), (Recipient(Address("a", "b.example")),))
    one = Submission("acme", "outgoing", Kind.TRANSACTIONAL, envelope, b"Subject: x\r\n" * 40, time.time(), id_)
    body = b"\r\n" + b"x" * 4094
    chunk = {"body": id_, "number": 0, "size": len(body), "octets": body}
    created = event_row(
        os.urandom,
        "message.created",
        0.0,
        ("acme", "outgoing"),
        (id_, None),
    )
    use = Use(("acme", id_), id_, "0" * 64) if key else None
    rows = message_row(one, 4500, id_), recipient_rows(one, {"b.example": "w"}), created, [chunk]
    return Accept(*rows, use=use, limits=LIMITS if limits else ())


def main(folder: str) -> None:
    """
    Measure and print.
    """
    config = Config(Path(folder) / "x", Server("relay.example", Path(folder)))
    migrate(find_url(config))
    engine = make_engine(find_url(config))
    settler = Settler("w", _Settings(config), time.time, os.urandom, Random(1))  # type: ignore[arg-type]
    suppressions = Suppressions(os.urandom, write_untold)
    made = Attempt(time.time(), time.time(), Delivered(reply(250, "2.0.0", "ok")), "mx.b.example")
    accepted, settled = dict.fromkeys(KINDS, 0.0), 0.0
    for _ in range(BATCHES):
        for kind, of in KINDS.items():
            start = time.process_time()
            batch = [_accept(*of) for _ in range(BATCH)]
            with engine.begin() as connection:
                write_messages(connection, batch, time.time(), write_untold, suppressions)
            middle = time.process_time()
            with engine.begin() as connection:
                settler.write(connection, [Settle(one.message["id"], {0: made}) for one in batch])
            accepted[kind] += middle - start
            settled += time.process_time() - middle
    number = BATCH * BATCHES / 1e6
    told = ", ".join(f"{kind} {spent / number:.0f}" for kind, spent in accepted.items())
    print(f"accept {told} us, settle {settled / number / len(KINDS):.0f} us CPU a message")


if __name__ == "__main__":
    main(sys.argv[1])
