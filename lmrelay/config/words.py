"""
What a setting can say where it is one of a few words, or a network.

The words are those of the manual.
"""

from __future__ import annotations

import enum
from ipaddress import IPv4Network, IPv6Network
from typing import Union

Network = Union[IPv4Network, IPv6Network]


class Security(enum.Enum):
    """
    How a listener is protected.
    """

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    AUTO = "auto"
    PLAIN = "plain"


class TlsPolicy(enum.Enum):
    """
    What delivery asks of TLS.
    """

    __hash__ = object.__hash__

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    ENFORCED = "enforced"


class Kind(enum.Enum):
    """
    The kind of a route.
    """

    # Each is there once; by default its name is hashed anew each time, and what waits for delivery is kept by kind.
    __hash__ = object.__hash__

    TRANSACTIONAL = "transactional"
    BROADCAST = "broadcast"


class Form(enum.Enum):
    """
    A form of user name.
    """

    SHARED = "shared"
    TOKEN = "token"
    TOKEN_ID = "token-id"
    PROJECT = "project"


class Switch(enum.Enum):
    """
    C{cram_md5}.
    """

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class BareNewlines(enum.Enum):
    """
    What becomes of a lone CR or LF in content.
    """

    NORMALIZE = "normalize"
    REJECT = "reject"


class Dialect(enum.Enum):
    """
    A set of control headers.
    """

    __hash__ = object.__hash__

    LETTERMINT = "lettermint"
    MAILPACE = "mailpace"
    POSTMARK = "postmark"
    MAILGUN = "mailgun"
    SES = "ses"
    POSTAL = "postal"


class LogFormat(enum.Enum):
    """
    C{[log] format}.
    """

    TEXT = "text"
    JSON = "json"


class Mode(enum.Enum):
    """
    What becomes of a project's mail.
    """

    LIVE = "live"
    SANDBOX = "sandbox"
