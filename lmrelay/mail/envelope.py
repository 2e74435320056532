"""
The envelope: from whom, to whom, and how, as MAIL and RCPT said it.

RFC 5321 §2.3.1; the DSN fields RFC 3461, C{body} RFC 6152, C{smtputf8} RFC 6531.
"""

from __future__ import annotations

import enum

from attrs import field, frozen

from lmrelay.mail.address import Address


class Notify(enum.Enum):
    """
    When the sender wants to hear of a recipient (RFC 3461 §4.1). C{NEVER} stands alone.
    """

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


class Ret(enum.Enum):
    """
    How much of the message a failure notification carries (RFC 3461 §4.3).
    """

    FULL = "FULL"
    HDRS = "HDRS"


@frozen
class Recipient:
    """
    One RCPT. C{notify} is None where the client said nothing of it.

    C{orcpt} is the address type and the address, xtext undone (RFC 3461 §4.2).
    """

    address: Address
    notify: frozenset[Notify] | None = None
    orcpt: tuple[str, str] | None = None

    def wants(self, notify: Notify) -> bool:
        """
        Is a notification of this kind wanted? Without NOTIFY: failures and delays.
        """
        if self.notify is None:
            return notify in (Notify.FAILURE, Notify.DELAY)
        return notify in self.notify


@frozen
class Envelope:
    """
    What MAIL and the RCPTs of one transaction said.

    C{reverse_path} is None for C{<>}. C{eight_bit} is BODY=8BITMIME as declared.
    C{size} is the declared SIZE in octets. C{envid} is xtext undone. C{require_tls} is REQUIRETLS (RFC 8689 §2).
    """

    reverse_path: Address | None
    recipients: tuple[Recipient, ...] = field(default=(), converter=tuple)
    eight_bit: bool = False
    smtputf8: bool = False
    size: int | None = None
    ret: Ret | None = None
    envid: str | None = None
    require_tls: bool = False
