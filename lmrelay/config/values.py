"""
The configuration as frozen values, one class a table, defaults in place.

How files become these is L{lmrelay.config.load}. Durations are seconds, sizes
octets, paths absolute. Names are those of the tables in the manual.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Union

from attrs import field, frozen

from lmrelay.errors import Problem

Network = Union[IPv4Network, IPv6Network]

MIB = 1024 * 1024
HOUR = 3600.0
DAY = 24 * HOUR


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


@frozen
class Server:
    hostname: str
    state_dir: Path = Path("/var/lib/lmrelay")
    workers: int = 1
    drain: float = 30.0
    read_projects: Path = Path("projects.d")


@frozen
class ServerTls:
    certificate: Path | None = None
    private_key: Path | None = None
    minimum: str = "TLSv1.2"


RETURN_PORT = 25
"""
Where other mail servers bring what comes back.
"""


@frozen
class Listener:
    """
    C{bounces}: what comes back to return paths is taken here, without login. None: on port 25.
    """

    port: int
    security: Security = Security.STARTTLS
    interface: str = "::"
    enabled: bool = True
    bounces: bool | None = None

    @property
    def takes_bounces(self) -> bool:
        """
        See C{bounces}.
        """
        return self.port == RETURN_PORT if self.bounces is None else self.bounces


DEFAULT_LISTENERS = (
    Listener(25),
    Listener(587),
    Listener(2525),
    Listener(2587),
    Listener(465, Security.IMPLICIT),
    Listener(2465, Security.AUTO),
)


@frozen
class Auth:
    usernames: tuple[str, ...] = ("lettermint",)
    forms: tuple[Form, ...] = tuple(Form)
    token_prefix: str = "lmr_"
    cram_md5: Switch = Switch.AUTO
    max_failures: int = 5


@frozen
class Limits:
    message_size: int = 50 * MIB
    recipients: int = 1000
    connections: int = 10000
    connections_per_address: int = 200
    received_headers: int = 100


@frozen
class Timeouts:
    """
    Of the inbound side. C{session} None: no limit.
    """

    command: float = 300.0
    data: float = 600.0
    session: float | None = None


@frozen
class SubmissionRules:
    """
    C{[submission]}.
    """

    bare_newlines: BareNewlines = BareNewlines.NORMALIZE
    hide_client: bool = True
    require_to: bool = False
    dialects: tuple[Dialect, ...] = (Dialect.LETTERMINT, Dialect.MAILPACE)


@frozen
class Queue:
    url: str = "sqlite"
    retention: float = 28 * DAY


@frozen
class DeliveryTimeouts:
    connect: float = 30.0
    command: float = 300.0
    data: float = 600.0


@frozen
class DomainDelivery:
    """
    C{[delivery.domains."b.example"]}.
    """

    tls: TlsPolicy | None = None


@frozen
class Delivery:
    """
    C{[delivery]}. C{source_address} empty: the system chooses; C{ehlo_name} empty: the server's host name. C{dane}
    C{auto}: where the name servers validate. C{receivers}: a file of rules for receivers, None: those shipped alone.
    """

    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    retry: tuple[float, ...] = (60.0, 300.0, 900.0, 1800.0, HOUR, 2 * HOUR, 4 * HOUR)
    expire: float = 48 * HOUR
    connections_per_site: int = 20
    messages_per_connection: int = 100
    port: int = 25
    ca_file: Path | None = None
    allow_networks: tuple[Network, ...] = ()
    bounce_from: str = ""
    source_address: tuple[str, ...] = ()
    ehlo_name: str = ""
    mta_sts: bool = True
    dane: Switch = Switch.AUTO
    tls_reports: bool = True
    receivers: Path | None = None
    timeouts: DeliveryTimeouts = DeliveryTimeouts()
    domains: Mapping[str, DomainDelivery] = field(factory=dict)


@frozen
class Receiver:
    """
    A rule for a receiver: for the sites whose best hosts fit one of C{hosts}, names or C{*.example.com} (all below).

    What is None, the next rule that fits says, and at last [delivery]. C{rate} is in messages a second; C{slow_down}
    are words, in lower case, with which a temporary reply of these hosts asks for less at a time.
    """

    name: str
    hosts: tuple[str, ...]
    connections: int | None = None
    messages_per_connection: int | None = None
    rate: float | None = None
    slow_down: tuple[str, ...] | None = None


@frozen
class Bounces:
    """
    C{[bounces]}: limits of what comes back to return-path domains on port 25, without AUTH. C{connections} at a time,
    C{messages_per_minute} in all.
    """

    message_size: int = MIB
    connections: int = 100
    messages_per_minute: int = 600


@frozen
class NameServer:
    host: str
    port: int = 53


@frozen
class Dns:
    """
    No C{servers}: those of the system.
    """

    servers: tuple[NameServer, ...] = ()
    validating: bool = False


@frozen
class Webhooks:
    retry: tuple[float, ...] = (10.0, 60.0, 300.0, 900.0, 1800.0, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR)
    timeout: float = 30.0
    header_prefix: str = "X-Lettermint"
    allow_networks: tuple[Network, ...] = ()
    ca_file: Path | None = None


@frozen
class Http:
    """
    C{listen} None: off. C{status}: the status page is served too, to those who know the password of C{password_hash}
    (empty: to whoever reaches the port, which must then be on loopback).
    """

    listen: str | None = None
    status: bool = False
    password_hash: str = ""


@frozen
class Log:
    format: LogFormat = LogFormat.TEXT
    level: str = "info"


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
class DkimKey:
    """
    A key to sign a sending domain's mail with (RFC 6376 §3.1). C{algorithm} is C{rsa} or C{ed25519}; C{private} is the
    key in PKCS #8, DER. Only C{active} ones sign.
    """

    domain: str
    selector: str
    algorithm: str
    private: bytes = field(repr=False)
    active: bool = True


OUTGOING = "outgoing"


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

    def route(self, slug: str | None = None) -> Route:
        """
        The route of that slug; the default one for None and for a route that is gone.
        """
        found = self.routes.get(slug or self.default_route) or self.routes.get(self.default_route)
        return found or Route(OUTGOING)


@frozen
class Config:
    """
    All of it. C{path} is the file it came from, C{projects} goes by slug, C{dkim} by sending domain. C{receivers} are
    rules, the first that fits first.
    """

    path: Path
    server: Server
    tls: ServerTls = ServerTls()
    listeners: tuple[Listener, ...] = DEFAULT_LISTENERS
    auth: Auth = Auth()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    submission: SubmissionRules = SubmissionRules()
    queue: Queue = Queue()
    delivery: Delivery = Delivery()
    bounces: Bounces = Bounces()
    dns: Dns = Dns()
    webhooks: Webhooks = Webhooks()
    http: Http = Http()
    log: Log = Log()
    projects: Mapping[str, Project] = field(factory=dict)
    token_key: bytes = field(default=b"", repr=False)
    dkim: Mapping[str, tuple[DkimKey, ...]] = field(factory=dict)
    receivers: tuple[Receiver, ...] = ()
    warnings: tuple[Problem, ...] = ()
