"""
The configuration as frozen values, one class a table, defaults in place; a project's own are L{lmrelay.config.project}.

How files become these is L{lmrelay.config.load}. Durations are seconds, sizes
octets, paths absolute. Names are those of the tables in the manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from lmrelay.config.project import Project
from lmrelay.config.words import BareNewlines, Dialect, Form, LogFormat, Network, Security, Switch, TlsPolicy
from lmrelay.errors import Problem

MIB = 1024 * 1024
HOUR = 3600.0
DAY = 24 * HOUR


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
