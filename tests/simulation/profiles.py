"""
Profiles: which families of troubles come together in a story, and how much of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from tests.simulation.troubles.clocks import Clocks
from tests.simulation.troubles.crashes import Crashes, Stops
from tests.simulation.troubles.disks import Disks
from tests.simulation.troubles.hooks import Hooks
from tests.simulation.troubles.moods import Moods
from tests.simulation.troubles.names import Names
from tests.simulation.troubles.operators import Lists
from tests.simulation.troubles.orders import Orders
from tests.simulation.troubles.reloads import Reloads
from tests.simulation.troubles.security import Security
from tests.simulation.troubles.trouble import Trouble
from tests.simulation.troubles.wires import Wires

Profile = Mapping[type[Trouble], float]
"""
Families and their weights. Their order is that in which they are told of things.
"""

PROFILES: Mapping[str, Profile] = {
    "calm": {},
    "network": {Moods: 1, Wires: 1},
    "crashes": {Moods: 0.5, Crashes: 1, Stops: 1},
    "disk": {Moods: 0.5, Disks: 1, Crashes: 0.3},
    "clock": {Moods: 0.5, Clocks: 1, Crashes: 0.3},
    "operator": {Moods: 0.5, Lists: 1, Orders: 1, Reloads: 1, Crashes: 0.2, Stops: 0.5},
    "dns": {Moods: 0.5, Names: 1},
    "tls": {Moods: 0.2, Security: 1, Crashes: 0.3},
    "webhooks": {Moods: 0.5, Hooks: 1, Crashes: 0.5, Stops: 0.5},
    "everything": {
        Moods: 1,
        Wires: 1,
        Names: 1,
        Security: 0.5,
        Hooks: 0.7,
        Disks: 0.5,
        Clocks: 0.3,
        Lists: 0.5,
        Reloads: 0.5,
        Crashes: 1,
        Stops: 0.3,
    },
}


def draw_profile(seed: int) -> str:
    """
    The profile of that seed, where nobody names one.
    """
    return Random(f"{seed} profile").choice(list(PROFILES))
