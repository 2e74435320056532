"""
The scene of a story: who is there, and what mail there is between them.
"""

from __future__ import annotations

from random import Random

from lmrelay.config.values import DeliveryTimeouts
from lmrelay.mail.parts import Part
from lmrelay.testing.scripted_mx import EXTENSIONS
from tests.simulation.applications import Letter, To
from tests.simulation.receivers import Receiver
from tests.simulation.world import World

DOMAINS = ("b.example", "c.example", "d.example", "e.example", "slow.example")
REGULARS = ("Ann", "ben")
"""
Who gets more than one letter, and may be suppressed meanwhile.
"""

PARTS = tuple(part.value for part in Part)
EXPIRE = 150.0
DELIVERY = {
    "retry": (10.0, 20.0, 40.0, 80.0),
    "expire": EXPIRE,
    "connections_per_site": 4,
    "messages_per_connection": 5,
    "timeouts": DeliveryTimeouts(connect=5.0, command=30.0, data=60.0),
}


def set_receivers(world: World, chance: Random) -> tuple[Receiver, ...]:
    """
    The receivers of all that mail; those that may have bad hours.
    """
    moody = (
        world.receiver("b.example", rate=chance.choice((None, 5.0)), most=chance.choice((1, 3, 100))),
        world.receiver("c.example", "d.example", pause=chance.choice((0.0, 0.3))),
        world.receiver("e.example"),
        # Another host for the same domain, which is asked when the first gives no answer.
        world.receiver(rate=10.0),
    )
    world.zone.exchanges("e.example", (10, moody[2].host), (20, moody[3].host))
    # So slow that its mail waits in memory.
    world.receiver("slow.example", pause=chance.uniform(5, 25), most=1)
    for receiver in moody:
        receiver.mx.extensions = chance.choice((EXTENSIONS, (*EXTENSIONS, "CHUNKING"), ("8BITMIME", "SIZE 52428800")))
    # The senders' own, where notifications go.
    world.receiver("acme.example", "beta.example")
    return moody


def draw_letter(name: str, chance: Random, testing: str) -> Letter:
    """
    A letter of that name. C{testing} is the domain of the test addresses.
    """
    addresses = {
        _draw_address(f"{name}.{number}".lower(), chance, testing) for number in range(chance.choice((1, 1, 3)))
    }
    notify = ("", "", "", "NEVER", "FAILURE", "DELAY,FAILURE", "DELAY")
    return Letter(
        name,
        tuple(To(address, chance.choice(notify)) for address in sorted(addresses)),
        chance.choice((f"app@{chance.choice(('acme', 'beta'))}.example", "app@acme.example", "")),
        chance.choice(("", "", "news", "quiet")),
        chance.choice(("", name)),
        chance.choice((100, 100, 2000, 400_000)),
    )


def _draw_address(name: str, chance: Random, testing: str) -> str:
    if chance.random() < 0.15:
        return f"{chance.choice(PARTS)}+{name}@{testing}"
    local = chance.choice(REGULARS) if chance.random() < 0.4 else name
    return f"{local}@{chance.choice((*DOMAINS, 'nowhere.example'))}"
