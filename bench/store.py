"""
CPU per message to accept and to settle in batches, on SQLite: C{python -m bench.store FOLDER}.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from random import Random

from lmrelay.config.values import Config, Kind, Server
from lmrelay.ids import make_id
from lmrelay.interfaces import Submission
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Envelope, Recipient
from lmrelay.mail.outcome import Attempt, Delivered
from lmrelay.queue.acceptance import Accept, write_messages
from lmrelay.queue.rows import describe, event_row, message_row, recipient_rows
from lmrelay.queue.settle import Settle, Settler
from lmrelay.queue.store import find_url, make_engine, migrate
from lmrelay.smtp.reply import reply

BATCH, BATCHES = 50, 40


class _Settings:
    def __init__(self, config: Config) -> None:
        self.config = config


def _accept() -> Accept:
    id_ = make_id(time.time(), os.urandom)
    envelope = Envelope(Address("s", "acme.example"), (Recipient(Address("a", "b.example")),))
    one = Submission("acme", "outgoing", Kind.TRANSACTIONAL, envelope, b"Subject: x\r\n" * 40, time.time(), id_)
    body = b"\r\n" + b"x" * 4094
    chunk = {"body": id_, "number": 0, "size": len(body), "octets": body}
    created = event_row(
        os.urandom, "message.created", 0.0, ("acme", "outgoing"), (id_, None), describe(id_, "", (), {})
    )
    return Accept(message_row(one, 4500, id_), recipient_rows(one, {"b.example": "w"}), created, [chunk])


def main(folder: str) -> None:
    """
    Measure and print.
    """
    config = Config(Path(folder) / "x", Server("relay.example", Path(folder)))
    migrate(find_url(config))
    engine = make_engine(find_url(config))
    settler = Settler("w", _Settings(config), time.time, os.urandom, Random(1))  # type: ignore[arg-type]
    made = Attempt(time.time(), time.time(), Delivered(reply(250, "2.0.0", "ok")), "mx.b.example")
    spent = [0.0, 0.0]
    for _ in range(BATCHES):
        start = time.process_time()
        batch = [_accept() for _ in range(BATCH)]
        with engine.begin() as connection:
            write_messages(connection, batch, 0.0)
        middle = time.process_time()
        with engine.begin() as connection:
            settler.write(connection, [Settle(one.message["id"], {0: made}) for one in batch])
        spent[0] += middle - start
        spent[1] += time.process_time() - middle
    number = BATCH * BATCHES / 1e6
    print(f"accept {spent[0] / number:.0f} us, settle {spent[1] / number:.0f} us CPU a message")


if __name__ == "__main__":
    main(sys.argv[1])
