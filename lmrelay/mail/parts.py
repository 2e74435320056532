"""
Test addresses: recipients that never leave, and the part that each of them plays.

They are at C{testing.HOSTNAME}. The local part says which part, in any case; behind a C{+} it may have anything.
"""

from __future__ import annotations

import enum

from lmrelay.mail.address import Address


class Part(enum.Enum):
    """
    What becomes of mail for it. The value is the local part.
    """

    OK = "ok"
    SOFT_BOUNCE = "softbounce"
    HARD_BOUNCE = "hardbounce"
    SPAM_COMPLAINT = "spamcomplaint"


_PARTS = {part.value: part for part in Part}


def parts_domain(hostname: str) -> str:
    """
    Where the test addresses of a server are, in A-labels as its name is.
    """
    return f"testing.{hostname}"


def find_part(address: Address) -> Part | None:
    """
    The part that an address at that domain plays; None: it plays none.
    """
    local = address.key.rpartition("@")[0]
    return _PARTS.get(local.partition("+")[0].lower())
