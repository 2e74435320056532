"""
What an application needs to send through the relay, as environment variables to paste.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmrelay.config.values import Config, Listener
from lmrelay.config.words import Form, Security

_PREFERRED = (587, 465, 2587, 2525, 2465, 25)


def client_settings(config: Config, slug: str, token_id: str, token: str) -> Mapping[str, str]:
    """
    The settings, in the order in which people are asked for them.
    """
    settings = {"SMTP_HOST": config.server.hostname}
    listener = _choose(config.listeners)
    if listener is not None:
        settings["SMTP_PORT"] = str(listener.port)
        settings["SMTP_SECURITY"] = _WORDS[listener.security]
    return settings | {"SMTP_USERNAME": _username(config, slug, token_id, token), "SMTP_PASSWORD": token}


_WORDS = {
    Security.STARTTLS: "starttls",
    Security.AUTO: "starttls",
    Security.IMPLICIT: "tls",
    Security.PLAIN: "none",
}


def _choose(listeners: Sequence[Listener]) -> Listener | None:
    """
    The listener that applications know best: 587, else one that is open.
    """
    found = [one for one in listeners if one.enabled]
    rank = {port: place for place, port in enumerate(_PREFERRED)}
    return min(found, key=lambda one: (one.security is Security.PLAIN, rank.get(one.port, len(rank))), default=None)


def _username(config: Config, slug: str, token_id: str, token: str) -> str:
    forms = config.auth.forms
    if Form.SHARED in forms and config.auth.usernames:
        return config.auth.usernames[0]
    if Form.PROJECT in forms:
        return slug
    return token_id if Form.TOKEN_ID in forms else token
