"""
A project as a frozen value, with its routes, tokens and webhooks, defaults in place.

How a file of a project becomes these is L{lmrelay.config.load}. Names are those of the tables in the manual.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cached_property

from attrs import field, frozen

from lmrelay.config.words import Dialect, Kind, Mode, Network, TlsPolicy

OUTGOING = "outgoing"


@frozen
class Token:
    """
    A token at rest: never the token itself.

    C{sha256} is 64 hexadecimal digits, C{cram} the token sealed under the server's
    key, or empty. C{networks} empty: from anywhere.
    """

    name: str
    id: str
    sha256: str
    cram: str = ""
    created: datetime.date | None = None
    expires: datetime.date | datetime.datetime | None = None
    networks: tuple[Network, ...] = ()


@frozen
class Route:
    """
    A stream of a project. C{tls} None: as the project says.

    C{unsubscribe_url} is the template of a link for each recipient (broadcast routes only; empty: none).
    C{redact}: subjects and addresses stay out of logs and events. Limits are None where there is none.
    C{return_path} is the domain of signed envelope senders (empty: the application's own are kept). C{source_address},
    C{ehlo_name} empty: as the server says.
    """

    slug: str
    kind: Kind = Kind.TRANSACTIONAL
    tls: TlsPolicy | None = None
    dsn: bool = True
    unsubscribe_url: str = ""
    redact: bool = False
    return_path: str = ""
    source_address: tuple[str, ...] = ()
    ehlo_name: str = ""
    max_messages_per_hour: int | None = None
    max_messages_per_day: int | None = None


@frozen
class Webhook:
    """
    An endpoint of a project's. C{name} is its own within the project. C{previous_secret} signs too (empty: none is in
    use). No C{routes}: those of all. C{batch} is how many events one request may bring.
    """

    name: str
    url: str
    secret: str = field(repr=False)
    previous_secret: str = field(default="", repr=False)
    events: tuple[str, ...] = ("message.*",)
    routes: tuple[str, ...] = ()
    enabled: bool = True
    batch: int = 1

    def wants(self, event: str, route: str) -> bool:
        """
        Is it to be told of such an event of that route? What is of no route (empty) concerns all of them.
        """
        if route and self.routes and route not in self.routes:
            return False
        return any(pattern in ("*", event, f"{event.partition('.')[0]}.*") for pattern in self.events)


@frozen
class Project:
    """
    A tenant. C{routes} always has the default one. C{require_to} None, C{dialects} None: as the server says.

    C{max_size} is in octets, C{max_connections} counts sessions that logged in. Limits are None where there is none.
    """

    slug: str
    smtp: bool = True
    domains: tuple[str, ...] = ()
    default_route: str = OUTGOING
    mode: Mode = Mode.LIVE
    tls: TlsPolicy | None = None
    require_to: bool | None = None
    dialects: tuple[Dialect, ...] | None = None
    max_messages_per_hour: int | None = None
    max_messages_per_day: int | None = None
    max_recipients: int | None = None
    max_size: int | None = None
    max_connections: int | None = None
    tokens: tuple[Token, ...] = ()
    routes: Mapping[str, Route] = field(factory=lambda: {OUTGOING: Route(OUTGOING)})
    webhooks: tuple[Webhook, ...] = ()

    @cached_property
    def endpoints(self) -> Mapping[str, Webhook]:
        """
        The webhooks by their names.
        """
        return {one.name: one for one in self.webhooks}

    def route(self, slug: str | None = None) -> Route:
        """
        The route of that slug; the default one for None and for a route that is gone.
        """
        found = self.routes.get(slug or self.default_route) or self.routes.get(self.default_route)
        return found or Route(OUTGOING)
