"""
Projects with tokens of every kind, and logins with them as sessions make them.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from lmrelay.config.project import Project, Token
from lmrelay.config.seals import seal
from lmrelay.config.values import Auth, Config, Server
from lmrelay.inbound.sasl import CramCredentials, TokenCredentials
from lmrelay.interfaces import ISettings, ISubmitter, ITokenUse
from lmrelay.projects.directory import Directories
from lmrelay.projects.portal import Realm, make_portal
from lmrelay.projects.tokens import digest, make_token

KEY = bytes(range(32))
NOW = 1_795_000_000.0
CHALLENGE = b"<1.2@relay.example>"
HERE = "192.0.2.7"


def entropy(seed: str) -> Any:
    return lambda count: hashlib.shake_128(seed.encode()).digest(count)


def mint(slug: str, name: str, *, cram: bool = True, key: bytes = KEY, **more: Any) -> tuple[str, Token]:
    """
    A token in clear, and as the project's file keeps it.
    """
    text, id = make_token("lmr_", entropy(f"{slug} {name}"))
    sealed = seal(text, key, slug, id, entropy(name)) if cram else ""
    return text, Token(name, id, digest(text), sealed, **more)


def plain(username: str | bytes, password: str | bytes, address: str = HERE) -> TokenCredentials:
    """
    As PLAIN and LOGIN make them.
    """
    return TokenCredentials(octets(username), octets(password), address)


def cram(username: str | bytes, password: str | bytes, address: str = HERE) -> CramCredentials:
    answer = hmac.new(octets(password), CHALLENGE, "md5").hexdigest().encode()
    return CramCredentials(octets(username), CHALLENGE, answer, address)


def octets(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@implementer(ISettings)
@define(eq=False)
class Settings:
    config: Config


def configure(*projects: Project, auth: Auth | None = None, token_key: bytes = KEY) -> Config:
    return Config(
        Path("/etc/lmrelay.toml"),
        Server("relay.example"),
        auth=auth or Auth(),
        projects={project.slug: project for project in projects},
        token_key=token_key,
    )


@implementer(ITokenUse)
@define(eq=False)
class Use:
    """
    C{noted} are the tokens used, in order.
    """

    noted: list[str] = field(factory=list)

    def note(self, token_id: str) -> None:
        self.noted.append(token_id)


@define(eq=False)
class Room:
    """
    The projects room over C{settings}.
    """

    settings: Settings
    clock: Clock = field(factory=Clock)
    use: Use = field(factory=Use)
    directories: Directories = field(init=False)
    portal: Portal = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.directories = Directories(self.settings)
        self.portal = make_portal(self.directories, self.clock, lambda: NOW + self.clock.seconds(), self.use)

    @property
    def realm(self) -> Realm:
        realm: Realm = self.portal.realm
        return realm

    def login(self, credentials: Any) -> Deferred[Any]:
        return self.portal.login(credentials, None, ISubmitter)

    def replace(self, **changes: Any) -> None:
        """
        A reload.
        """
        self.settings.config = evolve(self.settings.config, **changes)

    def change_project(self, slug: str, **changes: Any) -> None:
        """
        A reload after a project's file was edited.
        """
        projects = self.settings.config.projects
        self.replace(projects={**projects, slug: evolve(projects[slug], **changes)})
