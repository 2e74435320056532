"""
What a value must be beyond its type: one table, by class and field.

A check gets the value, gives it as it is to be kept, or raises C{ValueError} that says
what was expected. C{field[]} is each item of a list.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, ip_address
from typing import Any

from attrs import frozen

from lmrelay.config import values as v
from lmrelay.config.durations import size
from lmrelay.config.passwords import read_hash
from lmrelay.config.project import Project, Route, Token, Webhook
from lmrelay.config.urls import check_unsubscribe_url, check_url
from lmrelay.config.words import Kind, Security
from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import ascii_domain, parse_address

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
SLUG_FORM = "lower-case letters, digits and hyphens, at most 63, beginning and ending with a letter or digit"
LEVELS = ("debug", "info", "warn", "error", "critical")
MOST_MESSAGES = 1_000_000_000
LEAST_RATE, MOST_RATE = 0.001, 1_000_000
LEAST_WORD = 3

_OF_MESSAGES = "created sent deferred delivered soft_bounced hard_bounced failed suppressed spam_complaint"
EVENTS = (*(f"message.{it}" for it in _OF_MESSAGES.split()), "suppression.added", "suppression.removed", "webhook.test")
_EVENT_PATTERNS = {"*", *EVENTS, *(f"{name.partition('.')[0]}.*" for name in EVENTS)}

ONLY_BROADCAST = 'is for routes of kind = "broadcast" alone: nobody unsubscribes from transactional mail'


@frozen
class Check:
    """
    C{replaces}: it gets the raw value instead of one already read by its type.
    """

    run: Callable[[Any], Any]
    replaces: bool = False


def check_slug(text: object) -> str:
    """
    A slug of a project or a route.
    """
    if not isinstance(text, str) or not SLUG.fullmatch(text):
        raise ValueError(f"expected a slug: {SLUG_FORM}")
    return text


def _hostname(text: str) -> str:
    try:
        name = ascii_domain(text)
    except SyntaxRefused as error:
        raise ValueError(f"expected a host name: {error}") from error
    if name.startswith("[") or not name:
        raise ValueError('expected a host name such as "mail.example.com"')
    return name


def _sending_domain(text: str) -> str:
    if text == "*":
        return text
    dot = "." if text.startswith(".") else ""
    return dot + _hostname(text[len(dot) :])


def _interface(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise ValueError('expected an IP address such as "::" or "127.0.0.1"') from error


def _source(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise ValueError('expected an IP address of this machine such as "192.0.2.1" or "2001:db8::1"') from error
    if address.is_unspecified or address.is_multicast:
        raise ValueError("expected an address that a connection can come from")
    return str(address)


def _between(low: int, high: int) -> Callable[[int], int]:
    def check(number: int) -> int:
        if not low <= number <= high:
            raise ValueError(f"expected a number from {low} to {high}")
        return number

    return check


def _positive(number: float) -> float:
    if number <= 0:
        raise ValueError("expected more than 0")
    return number


def _positive_size(value: object) -> int:
    octets = size(value)
    if octets <= 0:
        raise ValueError("expected more than 0 octets")
    return octets


def _not_empty(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not items:
        raise ValueError("expected at least one")
    return items


def _delays(items: tuple[float, ...]) -> tuple[float, ...]:
    for item in _not_empty(items):
        _positive(item)
    return items


def _one_of(*words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(map(repr, words))}")
        return text

    return check


def _pattern(pattern: str, form: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"expected {form}")
        return text

    return check


def _workers(number: int) -> int:
    if number != 1:
        raise ValueError("expected 1: more workers are not carried out by this version")
    return number


def _queue_url(text: str) -> str:
    if text.startswith(("postgresql://", "postgres://")):
        raise ValueError('expected "sqlite": PostgreSQL is not carried out by this version')
    return _one_of("sqlite")(text)


def _name_server(text: object) -> v.NameServer:
    form = 'an address such as "127.0.0.1", "127.0.0.1:5353" or "[::1]:5353"'
    if not isinstance(text, str):
        raise ValueError(f"expected {form}")
    host, port = split_port(text, 53, form)
    return v.NameServer(host, port)


def split_port(text: str, otherwise: int, form: str) -> tuple[str, int]:
    """
    C{ADDRESS}, C{ADDRESS:PORT} or C{[ADDRESS]:PORT}, with C{otherwise} for a missing port.
    """
    match = re.fullmatch(r"\[([^\]]+)\](?::([0-9]{1,5}))?|([^:]+):([0-9]{1,5})|(.+)", text)
    host = (match[1] or match[3] or match[5]) if match else ""
    port = (match[2] or match[4]) if match else None
    try:
        return str(ip_address(host)), _between(1, 65535)(int(port)) if port else otherwise
    except ValueError as error:
        raise ValueError(f"expected {form}") from error


def _listen(text: str) -> str:
    host, port = split_port(text, 0, 'an address and a port such as "127.0.0.1:9100"')
    if not port:
        raise ValueError('expected an address and a port such as "127.0.0.1:9100"')
    return f"{host}:{port}" if isinstance(ip_address(host), IPv4Address) else f"[{host}]:{port}"


def _password_hash(text: str) -> str:
    read_hash(text)
    return text


def _mailbox(text: str) -> str:
    if "@" not in text:
        text = f"{text}@placeholder.invalid"
    try:
        parse_address(text, smtputf8=False)
    except SyntaxRefused as error:
        raise ValueError(f"expected an address: {error}") from error
    return text.removesuffix("@placeholder.invalid")


def _mx_pattern(text: str) -> str:
    try:
        return "*." * text.startswith("*.") + _hostname(text.removeprefix("*."))
    except ValueError as error:
        raise ValueError('expected an MX host such as "mx.example.com", or "*.example.com" for all below') from error


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not LEAST_RATE <= value <= MOST_RATE:
        raise ValueError(f"expected a number of messages a second from {LEAST_RATE} to {MOST_RATE}, such as 5 or 0.5")
    return float(value)


def _slow_down(text: str) -> str:
    # A word of two letters is in every reply, and then all that is temporary would slow the site down.
    if len(text.strip()) < LEAST_WORD:
        raise ValueError(f"expected words of a reply, at least {LEAST_WORD} characters")
    return text.lower()


def _event_pattern(text: str) -> str:
    if text not in _EVENT_PATTERNS:
        # One that never happens would be told of by silence alone.
        near = difflib.get_close_matches(text, EVENTS, 1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise ValueError(
            f'expected "*", an event such as "message.delivered" or a kind of them such as "message.*"{hint}'
        )
    return text


_TIME = Check(_positive)
_COUNT = Check(_between(1, 1_000_000))
_MESSAGES = Check(_between(1, MOST_MESSAGES))
_PORT = _between(1, 65535)
_SECRET = Check(_pattern(r"whsec_[A-Za-z0-9+/=_-]{8,}", "whsec_ and at least 8 letters and digits"))

CHECKS: Mapping[tuple[type, str], Check] = {
    (v.Server, "hostname"): Check(_hostname),
    (v.Server, "workers"): Check(_workers),
    (v.ServerTls, "minimum"): Check(_one_of("TLSv1.2", "TLSv1.3")),
    (v.Listener, "port"): Check(_between(0, 65535)),
    (v.Listener, "interface"): Check(_interface),
    (v.Auth, "usernames"): Check(_not_empty),
    (v.Auth, "usernames[]"): Check(_pattern(r"[\x21-\x7e]{1,255}", "a word of printable characters")),
    (v.Auth, "forms"): Check(_not_empty),
    (v.Auth, "token_prefix"): Check(_pattern(r"[A-Za-z0-9_-]{1,32}", "1 to 32 letters, digits, _ and -")),
    (v.Auth, "max_failures"): Check(_between(1, 1000)),
    (v.Limits, "message_size"): Check(_positive_size, replaces=True),
    (v.Limits, "recipients"): _COUNT,
    (v.Limits, "connections"): _COUNT,
    (v.Limits, "connections_per_address"): _COUNT,
    (v.Limits, "received_headers"): _COUNT,
    (v.Timeouts, "command"): _TIME,
    (v.Timeouts, "data"): _TIME,
    (v.Timeouts, "session"): _TIME,
    (v.Queue, "url"): Check(_queue_url),
    (v.Queue, "retention"): _TIME,
    (v.Delivery, "retry"): Check(_delays),
    (v.Delivery, "expire"): _TIME,
    (v.Delivery, "connections_per_site"): _COUNT,
    (v.Delivery, "messages_per_connection"): _COUNT,
    (v.Delivery, "port"): Check(_PORT),
    (v.Delivery, "bounce_from"): Check(_mailbox),
    (v.Delivery, "source_address[]"): Check(_source),
    (v.Delivery, "ehlo_name"): Check(_hostname),
    (v.DeliveryTimeouts, "connect"): _TIME,
    (v.DeliveryTimeouts, "command"): _TIME,
    (v.DeliveryTimeouts, "data"): _TIME,
    (v.Receiver, "name"): Check(_pattern(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?", 'a word such as "example.com"')),
    (v.Receiver, "hosts"): Check(_not_empty),
    (v.Receiver, "hosts[]"): Check(_mx_pattern),
    (v.Receiver, "connections"): _COUNT,
    (v.Receiver, "messages_per_connection"): _COUNT,
    (v.Receiver, "rate"): Check(_rate, replaces=True),
    (v.Receiver, "slow_down[]"): Check(_slow_down),
    (v.Bounces, "message_size"): Check(_positive_size, replaces=True),
    (v.Bounces, "connections"): _COUNT,
    (v.Bounces, "messages_per_minute"): _COUNT,
    (v.Dns, "servers[]"): Check(_name_server, replaces=True),
    (v.Webhooks, "retry"): Check(_delays),
    (v.Webhooks, "timeout"): _TIME,
    (v.Webhooks, "header_prefix"): Check(_pattern(r"[A-Za-z][A-Za-z0-9-]{0,63}", "the beginning of a header name")),
    (v.Http, "listen"): Check(_listen),
    (v.Http, "password_hash"): Check(_password_hash),
    (v.Log, "level"): Check(_one_of(*LEVELS)),
    (Token, "name"): Check(_pattern(r"[^\x00-\x1f\x7f]{1,255}", "1 to 255 printable characters")),
    (Token, "id"): Check(_pattern(r"[A-Za-z0-9]{12}", "12 letters and digits")),
    (Token, "sha256"): Check(_pattern(r"[0-9a-f]{64}", "64 lower-case hexadecimal digits")),
    (Token, "cram"): Check(_pattern(r"[A-Za-z0-9+/=]*", "base64")),
    (Project, "domains[]"): Check(_sending_domain),
    (Project, "default_route"): Check(check_slug),
    (Project, "max_messages_per_hour"): _MESSAGES,
    (Project, "max_messages_per_day"): _MESSAGES,
    (Project, "max_recipients"): _COUNT,
    (Project, "max_size"): Check(_positive_size, replaces=True),
    (Project, "max_connections"): _COUNT,
    (Route, "unsubscribe_url"): Check(check_unsubscribe_url),
    (Route, "return_path"): Check(_hostname),
    (Route, "source_address[]"): Check(_source),
    (Route, "ehlo_name"): Check(_hostname),
    (Route, "max_messages_per_hour"): _MESSAGES,
    (Route, "max_messages_per_day"): _MESSAGES,
    (Webhook, "name"): Check(check_slug),
    (Webhook, "url"): Check(check_url),
    (Webhook, "secret"): _SECRET,
    (Webhook, "previous_secret"): _SECRET,
    (Webhook, "events"): Check(_not_empty),
    (Webhook, "events[]"): Check(_event_pattern),
    (Webhook, "routes[]"): Check(check_slug),
    (Webhook, "batch"): Check(_between(1, 100)),
}


def _check_project(project: Project) -> Iterator[tuple[str, str]]:
    names = [webhook.name for webhook in project.webhooks]
    for number, webhook in enumerate(project.webhooks):
        if names.index(webhook.name) < number:
            yield f"webhooks[{number}].name", f'"{webhook.name}" is used twice'
        for place, slug in enumerate(webhook.routes):
            if slug not in project.routes:
                yield f"webhooks[{number}].routes[{place}]", f'there is no route "{slug}" in this project'


def _check_listener(listener: v.Listener) -> Iterator[tuple[str, str]]:
    if listener.security is Security.PLAIN and not ip_address(listener.interface).is_loopback:
        yield "security", '"plain" would send tokens in clear: expected a loopback interface such as "127.0.0.1"'


def _check_route(route: Route) -> Iterator[tuple[str, str]]:
    if route.unsubscribe_url and route.kind is not Kind.BROADCAST:
        yield "unsubscribe_url", ONLY_BROADCAST


def _check_http(http: v.Http) -> Iterator[tuple[str, str]]:
    if http.status and http.listen is None:
        yield "status", "expected listen to be set too: that is where it is served"
    elif http.status and not http.password_hash and not ip_address(split_port(http.listen or "", 0, "")[0]).is_loopback:
        yield "password_hash", "is required where listen is not on loopback: the status page shows whose mail it is"


WHOLE: Mapping[type, Callable[[Any], Iterable[tuple[str, str]]]] = {
    v.Http: _check_http,
    v.Listener: _check_listener,
    Project: _check_project,
    Route: _check_route,
}
"""
What fields must be to each other: the key that is wrong, and why.
"""
