"""
What each recipient gets of its own: the fields of an unsubscribe link.

Pure. They are rendered when sending; of the attempts of one recipient all get the same.
"""

from __future__ import annotations

from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.mail.unsubscribe import derive_key, make_link, make_token, unsubscribe_fields
from lmrelay.outbound.sites import Work

KEYLESS = Delayed("4.3.0", "the relay has no key to sign unsubscribe links with", Fault.OURS)


def render_fields(server_key: bytes, work: Work) -> bytes | Delayed:
    """
    The fields for the only recipient of a personal message, none for any other; L{KEYLESS} where there is no key.

    @raise lmrelay.errors.SyntaxRefused: the link cannot stand in a field
    """
    leased = work.leased
    if not leased.is_personal:
        return b""
    if not server_key:
        return KEYLESS
    (held,) = work.held.values()
    project, route = leased.lane.project, leased.route
    key = derive_key(server_key, project, route)
    address = str(held.recipient.recipient.address)
    token = make_token(key, project, route, leased.message_id, address, leased.received_at)
    return unsubscribe_fields(make_link(leased.unsubscribe, token))
