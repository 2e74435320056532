"""
What a reply, a silence or a lost connection means: an outcome, and how far it reaches.

Pure. Anything not understood is temporary; our own faults are never permanent.
"""

from __future__ import annotations

import enum

from attrs import frozen

from lmrelay.mail.outcome import Outcome


class Reach(enum.Enum):
    """
    For what a verdict counts.

    C{RECIPIENT}: it is the answer for the recipient; no other host is asked in this attempt.
    C{MESSAGE}: for this message on this host; another host of the site may take it.
    C{HOST}: for this host, whatever the message; go on with the next MX.
    C{SITE}: for the site; asking its other hosts now would only make it worse.
    """

    RECIPIENT = "recipient"
    MESSAGE = "message"
    HOST = "host"
    SITE = "site"


@frozen
class Verdict:
    """
    How it went for one recipient. C{slow_down}: the receiver asks for less at a time.
    """

    outcome: Outcome
    reach: Reach = Reach.RECIPIENT
    slow_down: bool = False
