"""
What each recipient gets of its own: the fields of an unsubscribe link, with the signatures that cover them, and a
signed envelope sender.

Pure. They are rendered when sending; of the attempts of one recipient all get the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from attrs import evolve, frozen

from lmrelay.interfaces import Leased
from lmrelay.mail.address import Address
from lmrelay.mail.dkim import SEVERAL, SINGLE, sign
from lmrelay.mail.envelope import Ret
from lmrelay.mail.head import Head
from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.mail.return_path import make_return_path
from lmrelay.mail.signing import Signers
from lmrelay.mail.unsubscribe import derive_key, make_link, make_token, unsubscribe_fields
from lmrelay.outbound.sites import Work

_COVERED = frozenset(name.lower() for name in (*SINGLE, *SEVERAL))

KEYLESS = Delayed("4.3.0", "the relay has no key to sign unsubscribe links and return paths with", Fault.OURS)


@frozen
class Own:
    """
    C{fields} come behind those of the head, C{above} before them; C{sender} is None where the message's own reverse
    path is used.
    """

    fields: bytes = b""
    sender: Address | None = None
    above: bytes = b""

    def apply(self, leased: Leased) -> Leased:
        """
        The message as it goes to this recipient.

        Notifications of later servers come back to the relay then, and tell it, not the client, how it went: that
        they come is not for NOTIFY to say, and for that they need no more than the head.
        """
        if self is NOTHING:
            return leased
        leased = evolve(leased, size=leased.size + len(self.above) + len(self.fields))
        if self.sender is None:
            return leased
        recipients: Any = [evolve(one, recipient=evolve(one.recipient, notify=None)) for one in leased.recipients]
        return evolve(leased, reverse_path=self.sender, recipients=recipients, ret=Ret.HDRS, envid=None)


NOTHING = Own()


def render(server_key: bytes, work: Work) -> Own | Delayed:
    """
    What the only recipient of a personal message gets, nothing for any other; L{KEYLESS} where there is no key.

    @raise lmrelay.errors.SyntaxRefused: the link cannot stand in a field, or the number in an address
    """
    leased = work.leased
    if not leased.is_personal:
        return NOTHING
    if not server_key:
        return KEYLESS
    (held,) = work.held.values()
    recipient = held.recipient
    fields = _render_link(server_key, leased, str(recipient.recipient.address)) if leased.unsubscribe else b""
    sender = None
    if leased.return_path and leased.reverse_path is not None:
        sender = make_return_path(server_key, leased.return_path, leased.message_id, recipient.number)
    return Own(fields, sender)


def _render_link(server_key: bytes, leased: Leased, address: str) -> bytes:
    project, route = leased.lane.project, leased.route
    key = derive_key(server_key, project, route)
    token = make_token(key, project, route, leased.message_id, address, leased.received_at)
    return unsubscribe_fields(make_link(leased.unsubscribe, token))


def sign_own(signers: Signers, own: Own, head: bytes, leased: Leased) -> Own:
    """
    With the signatures of the message as its only recipient gets it (RFC 6376; RFC 8058 §4 wants the link covered).

    @param head: as it was accepted
    @raise lmrelay.errors.SyntaxRefused: it has no author that can be read
    """
    covered, domain = read_accepted(head)
    whole = covered.append(*Head.parse(own.fields).fields)
    # Always the same time, and so the same signature, however often it is tried.
    signatures = sign(whole, signers.find(domain), leased.body_hash, leased.received_at)
    return evolve(own, above=b"".join(field.octets for field in signatures))


@lru_cache(maxsize=8)
def read_accepted(head: bytes) -> tuple[Head, str]:
    """
    What of a head a signature can cover, and its author's domain: once for the many recipients of a newsletter. A
    head of forty thousand fields takes 40 ms, which each of them would cost everybody else.

    @raise lmrelay.errors.SyntaxRefused: it has no author that can be read
    """
    accepted = Head.parse(head)
    covered = Head.of(one for one in accepted.fields if one.name.lower() in _COVERED)
    return covered, next((one.address.ascii_domain for one in accepted.mailboxes("From")), "")
