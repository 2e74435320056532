"""
One-click unsubscribe links for each recipient (RFC 2369 §3.2, RFC 8058 §3.1).

A link carries a token that says who wants no more of what, signed with a key of the project's route. The relay
keeps nothing of it: whoever has the key can check it, and that is the project, in whatever language it is written.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from attrs import frozen

from lmrelay.errors import SyntaxRefused

PLACEHOLDER = "{token}"
"""
Where in a template the token goes.
"""

MAX_LINE = 998
"""
Octets of a line, its ending not counted (RFC 5322 §2.1.1).
"""

MAX_TOKEN = 740
"""
Octets of a token: what slugs of 63, a message's id, the time, and an address of 254 octets, all 64 of its local part
written with a backslash, come to.
"""

MAX_TEMPLATE = 230
"""
Characters of a template: with the longest token its line is still one that every server must take.
"""

_FIRST = b"List-Unsubscribe: <%b>\r\n"
_REST = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
_LABEL = "lmrelay unsubscribe link 1"
_URI = re.compile(r"[!-;=?-~]+")


@frozen
class Unsubscription:
    """
    What a token says: C{address} wants no more of that route of the project. C{at} is when the message, through
    which it is told, was accepted, in seconds since the epoch.
    """

    project: str
    route: str
    message_id: str
    address: str
    at: int


def derive_key(server_key: bytes, project: str, route: str) -> str:
    """
    The key of a route's links, 64 hexadecimal digits: as they stand they are the key with which tokens are signed.

    Each route has one of its own, from which neither the server's nor another's can be found.
    """
    # No slug has a NUL, so no two pairs of project and route are the same octets.
    context = "\0".join((_LABEL, project, route)).encode()
    return hmac.new(server_key, context, sha256).hexdigest()


def make_token(key: str, project: str, route: str, message_id: str, address: str, at: float) -> str:
    """
    The token of one recipient of a message: two words of base64url without padding (RFC 4648 §5), a dot between
    them. The first is JSON, the second the HMAC-SHA256 of the first as it stands.

    @raise SyntaxRefused: it would be longer than a link may have it
    """
    said = {"p": project, "r": route, "m": message_id, "a": address, "t": int(at)}
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    payload = _encode(text.encode())
    token = f"{payload}.{_sign(key, payload)}"
    if len(token) > MAX_TOKEN:
        raise SyntaxRefused(f"a token has at most {MAX_TOKEN} octets")
    return token


def read_token(key: str, token: str) -> Unsubscription:
    """
    What a token says.

    @raise SyntaxRefused: it was not made with this key, or is none
    """
    payload, dot, signature = token.partition(".")
    if not dot or len(token) > MAX_TOKEN or not token.isascii():
        raise SyntaxRefused("no token")
    if not hmac.compare_digest(_sign(key, payload).encode(), signature.encode()):
        raise SyntaxRefused("the token was not signed with this key")
    try:
        said = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return Unsubscription(said["p"], said["r"], said["m"], said["a"], said["t"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SyntaxRefused("the token says nothing of a recipient") from error


def make_link(template: str, token: str) -> str:
    """
    The link: the token in its place, or, where the template names none, as the query parameter C{token}.
    """
    if PLACEHOLDER in template:
        return template.replace(PLACEHOLDER, token, 1)
    sign = "&" if "?" in template else "?"
    return f"{template}{sign}token={token}"


def unsubscribe_fields(link: str) -> bytes:
    """
    The header fields that tell of the link, with their line endings; no line is folded.

    @raise SyntaxRefused: the link cannot stand in a field
    """
    if not _URI.fullmatch(link):
        raise SyntaxRefused("a link has printable ASCII characters without space, < and >")
    first = _FIRST % link.encode("ascii")
    if len(first) - len(b"\r\n") > MAX_LINE:
        raise SyntaxRefused(f"a line has at most {MAX_LINE} octets")
    return first + _REST


def _sign(key: str, payload: str) -> str:
    return _encode(hmac.new(key.encode(), payload.encode(), sha256).digest())


def _encode(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
