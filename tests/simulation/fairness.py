"""
Two tenants at one site: how long a password reset takes while a newsletter has the site busy, and what that costs it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from attrs import frozen

from lmrelay.config.words import Kind
from tests.simulation.applications import Letter, To
from tests.simulation.backlog import fill
from tests.simulation.receivers import Receiver
from tests.simulation.world import World

SENDER = "app@beta.example"


@frozen
class Figures:
    """
    Seconds from each reset's 250 to that of its receiver; messages of the backlogs that the site took in each second
    of the time; and how often others of the backlogs had begun in between.
    """

    waits: tuple[float, ...]
    rates: dict[str, float]
    overtaken: tuple[int, ...]


def queue(world: World, project: str, *addresses: str, kind: Kind = Kind.BROADCAST) -> None:
    """
    Let that much of the project's mail wait, as of now.
    """
    entropy = world.random(f"backlog of {project}").randbytes
    fill(world.write, project, addresses, kind=kind, now=world.wall(), entropy=entropy)


def hand_over(world: World, project: str, name: str, address: str, route: str = "") -> Letter:
    """
    The project's application sends a message; it is accepted now.
    """
    letter = Letter(name, (To(address),), f"app@{project}.example", route)
    world.application(project).send(letter)
    if not world.network.run_until(lambda: bool(letter.id), 60):
        raise AssertionError(f"{name} was not accepted")
    return letter


def await_arrival(world: World, receiver: Receiver, letter: Letter, patience: float = 600.0) -> float:
    """
    Seconds from the 250 of the relay to that of the receiver.
    """

    def find() -> list[float]:
        recent = receiver.arrivals[seen:]
        return [one.at for one in recent if one.field("Subject") == letter.name]

    seen = max(0, len(receiver.arrivals) - 100)
    if not world.network.run_until(lambda: bool(find()), patience):
        raise AssertionError(f"{letter.name} did not arrive")
    return find()[0] - letter.accepted_at


def measure(world: World, receiver: Receiver, domain: str, resets: int = 4, gap: float = 1.0) -> Figures:
    """
    Send password resets of project beta now and then.
    """
    network, before, since = world.network, len(receiver.arrivals), world.network.seconds()
    waits, overtaken = [], []
    for number in range(resets):
        network.run(gap + number * 0.013)
        letter = hand_over(world, "beta", f"reset {number}", f"reset{number}@{domain}")
        heard = len(receiver.mx.commands)
        waits.append(await_arrival(world, receiver, letter))
        begun = [line for line in receiver.mx.commands[heard:] if line.startswith(("MAIL", "RCPT"))]
        # One that is not among them had begun before its 250 was heard.
        mine = next((place for place, line in enumerate(begun) if f"reset{number}@" in line), 1)
        overtaken.append(sum(line.startswith("MAIL") for line in begun[: mine - 1]))
    took = Counter(one.field("Subject").split()[0] for one in receiver.arrivals[before:])
    seconds = network.seconds() - since
    rates = {project: took[project] / seconds for project in world.projects}
    return Figures(tuple(waits), rates, tuple(overtaken))


def play(folder: Path, messages: int, *, own_news: int = 0, resets: int = 4) -> Figures:
    """
    Project acme queues so many broadcast messages to a site that takes 50 a second, and beta, which may have news of
    its own for it, sends password resets.
    """
    world = World(folder)
    receiver = world.receiver("b.example", rate=50)
    queue(world, "acme", *(f"a{number}@b.example" for number in range(messages)))
    queue(world, "beta", *(f"b{number}@b.example" for number in range(own_news)))
    world.start()
    world.network.run(6)
    figures = measure(world, receiver, "b.example", resets)
    world.end()
    return figures
