"""
kill -9 of the daemon at random moments under load, and the count of what came of it.

C{python -m tests.e2e.kill --rounds 50} runs it by itself.
"""

from __future__ import annotations

import argparse
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

from attrs import define, field, frozen

from tests.e2e.daemon import Relay
from tests.e2e.mail import SENDER, login, submit
from tests.e2e.receiver import Receiver
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


@define(eq=False)
class Sender(threading.Thread):
    """
    One session after the other, message after message, until told to stop; what got 250 is in C{accepted}.
    """

    relay: Relay
    domains: Sequence[str]
    number: int
    seed: int
    stop: threading.Event
    accepted: list[Delivery] = field(factory=list)
    attempted: int = 0

    def __attrs_post_init__(self) -> None:
        super().__init__(name=f"sender {self.number}", daemon=True)

    def run(self) -> None:
        """
        Send; a lost connection is what this is about, so begin again.
        """
        source = random.Random(self.seed * 1000 + self.number)
        while not self.stop.is_set():
            try:
                with login(self.relay) as client:
                    while not self.stop.is_set():
                        self.send_one(client, source)
            except (OSError, smtplib.SMTPException, AssertionError):
                self.stop.wait(0.05)

    def send_one(self, client: smtplib.SMTP, source: random.Random) -> None:
        """
        One message to one or two sites, now and then a large one.
        """
        self.attempted += 1
        name = f"m{self.number}-{self.attempted}"
        recipients = [f"{name}@{domain}" for domain in source.sample(self.domains, source.choice((1, 1, 2)))]
        lines = source.choice((10, 10, 10, 50, 50, 9000))
        content = (
            f"From: {SENDER}\r\nTo: {recipients[0]}\r\nX-Number: {name}\r\nSubject: {name}\r\n\r\n"
            + f"{name} {'x' * 60}\r\n" * lines
            + "the end\r\n"
        )
        submit(client, recipients, content.encode())
        self.accepted += [(name, recipient) for recipient in recipients]


@frozen
class Tally:
    """
    What came of it. C{lost} must be empty, and so must C{unexplained}: duplicates that no kill accounts for.
    """

    rounds: int
    accepted: int
    delivered: int
    lost: tuple[Delivery, ...]
    cut: tuple[Delivery, ...]
    duplicates: int
    unexplained: tuple[Delivery, ...]

    def __str__(self) -> str:
        return (
            f"{self.rounds} kills: {self.accepted} recipients answered 250, {self.delivered} delivered, "
            f"{len(self.lost)} lost, {len(self.cut)} cut short, {self.duplicates} duplicates, "
            f"{len(self.unexplained)} of them unexplained"
        )


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
    senders = [Sender(relay, domains, number, seed, stop) for number in range(SESSIONS)]
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


def main() -> int:
    """
    Exit code 1 if anything was lost or doubled without a reason.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.kill", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="lmrelay-kill-") as folder:
        world = open_world(Path(folder))
        try:
            tally = run(world, chosen.rounds, chosen.seed)
        finally:
            world.close()
    print(tally)
    for name in ("lost", "cut", "unexplained"):
        for delivery in getattr(tally, name):
            print(f"{name}: {delivery}")
    return 1 if tally.lost or tally.cut or tally.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
