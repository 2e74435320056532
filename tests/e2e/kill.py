"""
kill -9 of the daemon at random moments under load, and the count of what came of it.

Every other sender has an Idempotency-Key for each message and, as a good client does, sends it again until it hears
250. C{python -m tests.e2e.kill --rounds 50} runs it by itself.
"""

from __future__ import annotations

import itertools
import random
import smtplib
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen

from tests.arguments import at_least_one, make_parser, whole
from tests.e2e.daemon import Relay
from tests.e2e.mail import SENDER, hand_over, id_in, login
from tests.e2e.receiver import Receiver
from tests.e2e.story import query
from tests.e2e.world import World, free_port, open_world

SESSIONS = 6

CUT = 2.0
"""
Seconds before a kill in which the record of a receiver's 250 may still have been on its way to the disk.
"""

LAG = 0.4
"""
Seconds by which the receiver may take later what the daemon sent before it was killed: it lies in the socket.
"""

Delivery = tuple[str, str]
"""
A message's own number, and a recipient.
"""


LONG = 20
"""
Kills after which at least one must have come between a commit and its 250, else that was not tested.
"""


@define(eq=False)
class Letter:
    """
    A message to be sent. With a key it is sent until it is answered, each time as the client makes it anew.
    """

    name: str
    recipients: list[str]
    text: str
    keyed: bool
    tries: int = 0

    def content(self) -> bytes:
        """
        Of the next try: Date and Message-ID are its own.
        """
        self.tries += 1
        lines = [
            f"From: {SENDER}",
            f"To: {self.recipients[0]}",
            f"X-Number: {self.name}",
            f"Subject: {self.name}",
            f"Date: Fri, 20 Nov 2026 20:00:{self.tries % 60:02d} +0000",
            f"Message-ID: <{self.name}.{self.tries}@kill.test>",
            *([f"Idempotency-Key: {self.name}"] if self.keyed else []),
            "",
            self.text,
        ]
        return "\r\n".join(lines).encode()


@define(eq=False)
class Sender(threading.Thread):
    """
    One session after the other, message after message, until told to stop; what got 250 is in C{accepted}.

    Of those with keys: C{ids} is what was answered, C{retries} how often one was sent again, C{met} how often it was
    stored already then, and C{pending} the one that waits for its answer.
    """

    relay: Relay
    domains: Sequence[str]
    number: int
    seed: int
    stop: threading.Event
    keyed: bool = False
    accepted: list[Delivery] = field(factory=list)
    ids: dict[str, str] = field(factory=dict)
    attempted: int = 0
    retries: int = 0
    met: int = 0
    pending: Letter | None = None

    def __attrs_post_init__(self) -> None:
        super().__init__(name=f"sender {self.number}", daemon=True)

    def run(self) -> None:
        """
        Send; a lost connection is what this is about, so begin again.
        """
        source = random.Random(self.seed * 1000 + self.number)
        while not self.is_over:
            try:
                with login(self.relay) as client:
                    while not self.is_over:
                        self.send_one(client, source)
            except (OSError, smtplib.SMTPException, AssertionError):
                time.sleep(0.05)

    @property
    def is_over(self) -> bool:
        """
        Is there nothing left to do?
        """
        return self.stop.is_set() and self.pending is None

    def send_one(self, client: smtplib.SMTP, source: random.Random) -> None:
        """
        The message that was not answered, else a new one.
        """
        letter = self.pending or self.compose(source)
        if self.keyed:
            self.pending = letter
        self.retries += letter.tries > 0
        reply = hand_over(client, letter.recipients, letter.content())
        self.accepted += [(letter.name, recipient) for recipient in letter.recipients]
        if self.keyed:
            self.pending, self.ids[letter.name] = None, id_in(reply)
            self.met += reply.endswith(b" (duplicate)")

    def compose(self, source: random.Random) -> Letter:
        """
        To one or two sites, now and then a large one.
        """
        self.attempted += 1
        name = f"m{self.number}-{self.attempted}"
        recipients = [f"{name}@{domain}" for domain in source.sample(self.domains, source.choice((1, 1, 2)))]
        lines = source.choice((10, 10, 10, 50, 50, 9000))
        return Letter(name, recipients, f"{name} {'x' * 60}\r\n" * lines + "the end\r\n", self.keyed)


@frozen
class Tally:
    """
    What came of it. C{lost} must be empty, and so must C{unexplained}: duplicates that no kill accounts for.

    Of messages with keys, C{met} is how many retries met a message that was stored already: the kill fell between its
    commit and its 250. C{unanswered} must be empty, and so must C{doubled}: keys of more or less than one message.
    """

    rounds: int
    accepted: int
    delivered: int
    lost: tuple[Delivery, ...]
    cut: tuple[Delivery, ...]
    duplicates: int
    unexplained: tuple[Delivery, ...]
    keys: int = 0
    retries: int = 0
    met: int = 0
    unanswered: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.rounds} kills: {self.accepted} recipients answered 250, {self.delivered} delivered, "
            f"{len(self.lost)} lost, {len(self.cut)} cut short, {self.duplicates} duplicates, "
            f"{len(self.unexplained)} of them unexplained; "
            f"{self.keys} keys: {self.retries} retries, {self.met} of them met the message in the store, "
            f"{len(self.unanswered)} keys unanswered, {len(self.doubled)} not of exactly one message"
        )

    @property
    def is_good(self) -> bool:
        """
        Was every promise kept, and put to the test?
        """
        broken = (self.lost, self.cut, self.unexplained, self.unanswered, self.doubled)
        return not any(broken) and (self.met > 0 or self.rounds < LONG)


def deliveries(receivers: Sequence[Receiver]) -> dict[Delivery, list[float]]:
    """
    When each message was taken for each recipient.
    """
    found: dict[Delivery, list[float]] = defaultdict(list)
    for receiver in receivers:
        for taken in list(receiver.taken):
            for recipient in taken.recipients:
                found[taken.head("X-Number")[0], recipient].append(taken.at)
    return found


def explained(times: Sequence[float], kills: Sequence[float]) -> bool:
    """
    Was there a kill shortly after each delivery but the last, and before the next?
    """
    return all(
        any(first - LAG <= kill <= min(second, first + CUT) for kill in kills)
        for first, second in itertools.pairwise(times)
    )


def run(world: World, rounds: int, seed: int) -> Tally:
    """
    Kill the daemon C{rounds} times under load, then let it finish, and count.
    """
    source = random.Random(seed)
    receivers = [world.receiver() for _ in range(3)]
    domains = [world.domain(receiver) for receiver in receivers]
    relay = world.relay(listeners=[{"port": free_port(), "interface": "127.0.0.1", "security": "plain"}]).start()
    stop = threading.Event()
    senders = [Sender(relay, domains, number, seed, stop, keyed=number % 2 == 0) for number in range(SESSIONS)]
    for sender in senders:
        sender.start()
    kills = []
    for _ in range(rounds):
        time.sleep(source.uniform(0.2, 2.0))
        kills.append(time.monotonic())
        relay.kill()
        relay.start()
    time.sleep(source.uniform(0.2, 1.0))
    stop.set()
    for sender in senders:
        sender.join(60)
    accepted = {delivery for sender in senders for delivery in sender.accepted}
    wait_for(receivers, accepted)
    tally = count(rounds, accepted, receivers, kills)
    tally = evolve(tally, **count_keys([sender for sender in senders if sender.keyed], receivers, relay))
    if relay.stop() != 0:
        raise AssertionError(f"the daemon did not end cleanly:\n{relay.log()[-5000:]}")
    return tally


def wait_for(receivers: Sequence[Receiver], accepted: set[Delivery]) -> None:
    """
    Give the daemon the time it needs: until all has arrived, or nothing new does for 20 s.
    """
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 20:
        arrived = deliveries(receivers)
        if accepted <= arrived.keys():
            break
        if len(arrived) != seen:
            seen, since = len(arrived), time.monotonic()
        time.sleep(0.2)
    time.sleep(1)  # a duplicate would follow its original closely


def count(rounds: int, accepted: set[Delivery], receivers: Sequence[Receiver], kills: Sequence[float]) -> Tally:
    """
    Compare what was answered 250 with what arrived.
    """
    arrived = deliveries(receivers)
    doubled = {delivery: times for delivery, times in arrived.items() if len(times) > 1}
    cut = {
        (taken.head("X-Number")[0], recipient)
        for receiver in receivers
        for taken in receiver.taken
        for recipient in taken.recipients
        if not taken.body.endswith(b"the end\r\n")
    }
    return Tally(
        rounds=rounds,
        accepted=len(accepted),
        delivered=len(accepted & arrived.keys()),
        lost=tuple(sorted(accepted - arrived.keys())),
        cut=tuple(sorted(cut)),
        duplicates=sum(len(times) - 1 for times in doubled.values()),
        unexplained=tuple(sorted(delivery for delivery, times in doubled.items() if not explained(times, kills))),
    )


def count_keys(senders: Sequence[Sender], receivers: Sequence[Receiver], relay: Relay) -> dict[str, Any]:
    """
    Compare the keys with what is in the store, and with the Message-ID that arrived: each try had its own.
    """
    in_store: dict[str, set[str]] = defaultdict(set)
    for name, identity in query(relay, "SELECT subject, id FROM message"):
        in_store[name].add(identity)
    remembered = dict(query(relay, "SELECT key, message FROM idempotency"))
    arrived: dict[str, set[str]] = defaultdict(set)
    for receiver in receivers:
        for taken in receiver.taken:
            arrived[taken.head("X-Number")[0]].update(taken.head("Message-ID"))
    answered = {name: identity for sender in senders for name, identity in sender.ids.items()}
    return {
        "keys": len(answered),
        "retries": sum(sender.retries for sender in senders),
        "met": sum(sender.met for sender in senders),
        "unanswered": tuple(sender.pending.name for sender in senders if sender.pending is not None),
        "doubled": tuple(
            name
            for name, identity in answered.items()
            if (in_store[name], remembered.get(name), len(arrived[name])) != ({identity}, identity, 1)
        ),
    }


def main() -> int:
    """
    Exit code 1 if anything was lost or doubled without a reason, or a long run did not put the keys to the test.
    """
    parser = make_parser("python -m tests.e2e.kill", __doc__)
    parser.add_argument("--rounds", type=at_least_one, default=50, metavar="N", help="kills (50)")
    parser.add_argument(
        "--seed", type=whole, default=random.randrange(10**6), metavar="S", help="of the moments (drawn)"
    )
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="lmrelay-kill-") as folder:
        world = open_world(Path(folder))
        try:
            tally = run(world, chosen.rounds, chosen.seed)
        finally:
            world.close()
    print(tally)
    for name in ("lost", "cut", "unexplained", "unanswered", "doubled"):
        for one in getattr(tally, name):
            print(f"{name}: {one}")
    return 0 if tally.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
