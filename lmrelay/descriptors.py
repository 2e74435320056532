"""
The process's file descriptors, and who may have how many of them: clients never take those that delivery, DNS and
store need, else mail that was accepted would go nowhere for as long as clients come.
"""

from __future__ import annotations

import resource
import sys

from attrs import frozen
from twisted.logger import Logger

from lmrelay.dns.resolver import MAX_ASKING
from lmrelay.events.schedule import MAX_REQUESTS
from lmrelay.inbound.limits import MAX_REFUSED
from lmrelay.outbound.dispatch import MAX_RUNNING
from lmrelay.web.door import MAX_CONNECTIONS

OWN = 64 + MAX_CONNECTIONS
"""
For what is there whoever comes: listeners and event loop (12), store (three files for each of its 4 connections and of
the status page's 2, and its lock), log, the files of a reload; the connections of the http port; the rest is spare.
"""

OUTWARD = MAX_RUNNING + MAX_ASKING + MAX_REQUESTS

log = Logger()


@frozen
class Room:
    """
    Connections of clients, transactions of delivery, and requests to webhooks that there is room for, each at least 1.
    """

    connections: int
    deliveries: int
    requests: int


def divide(descriptors: int) -> Room:
    """
    Divide what the process may have.

    Delivery, DNS and webhooks get all that they ever open at a time (2,400), but no more than half of what there is:
    with few descriptors, they are made narrower, not stopped. The rest is for clients.
    """
    rest = max(0, descriptors - OWN - MAX_REFUSED)
    outward = min(rest // 2, OUTWARD)
    questions = min(outward // 2, MAX_ASKING)
    requests = min((outward - questions) // 4, MAX_REQUESTS)
    return Room(max(1, rest - outward), max(1, outward - questions - requests), max(1, requests))


def needed(connections: int) -> int:
    """
    How many descriptors it takes before L{divide} leaves so many connections.
    """
    outward = min(connections - 1, OUTWARD)
    return OWN + MAX_REFUSED + outward + connections


def raise_limit() -> int:
    """
    Raise the soft limit to the hard one; the answer is how many descriptors there may be now.

    The soft limit is low on most systems only for programs that use select(), which cannot take more: the reactors
    for many connections (epoll, kqueue, poll) do not, and nothing here starts other programs. Where it is not to be
    raised, what is there has to do.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            log.warn("limit of file descriptors not raised", soft=soft, hard=hard, reason=str(error))
        else:
            soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
