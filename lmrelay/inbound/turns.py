"""
Where a session stands: what it reads, how far ahead, and what follows its reply.
"""

from __future__ import annotations

import enum

HIGH_WATER = 64 * 1024
EARLY_WATER = 16 * 1024
"""
Octets that a client may send ahead: in all, and of its login, where the longest response fits.
"""


class Next(enum.Enum):
    """
    What follows the reply.
    """

    GO_ON = "go on"
    START_TLS = "start TLS"
    CLOSE = "close"
    LINGER = "close, but not at once: the client is still sending"


class Turn(enum.Enum):
    """
    What the client's next octets are.
    """

    # Each is there once; by default its name is hashed anew each time, and this is looked up for each command.
    __hash__ = object.__hash__

    COMMAND = "a command, or a response of AUTH"
    DATA = "content of DATA"
    CHUNK = "content of BDAT"
    REFUSED_CHUNK = "a chunk that is not taken"
