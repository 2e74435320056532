"""
Questions to the DNS: the dns room offers it, outbound uses it.
"""

from __future__ import annotations

from collections.abc import Hashable

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface


@frozen
class MxRecord:
    """
    C{host} in lower case, without the final dot; empty for the null MX (RFC 7505).
    """

    preference: int
    host: str


@frozen
class Answer:
    """
    What a name server said of a name and a type.

    C{records} are of the asked type at the end of any CNAME chain: L{MxRecord}s, IP addresses as text, or
    the raw RDATA octets of other types. Empty and C{exists}: the name has none of
    the type; not C{exists}: NXDOMAIN. C{authenticated} is the AD bit, where it may be believed.
    C{ttl} is in seconds. C{name} is where a CNAME chain ended; empty: there was none.
    """

    records: tuple[object, ...] = ()
    exists: bool = True
    authenticated: bool = False
    ttl: float = 0.0
    name: str = ""


class IResolver(Interface):
    """
    Questions to the DNS, answered from a bounded cache where it may be.
    """

    def query(name: str, type: int, whose: Hashable = None) -> Deferred[Answer]:
        """
        @param name: in A-labels
        @param type: the number of the record type (15 MX, 1 A, 28 AAAA, 52 TLSA …)
        @param whose: for whom it is asked: nobody's questions wait for those of another

        It fails with L{lmrelay.errors.DnsError} where there was no usable answer.
        """
