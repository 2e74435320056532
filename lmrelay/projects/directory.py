"""
Tokens by what a client shows of them: one index a configuration, made once and dropped with it.
"""

from __future__ import annotations

import datetime
import hmac
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from attrs import define, field, frozen

from lmrelay.config.project import Project, Token
from lmrelay.config.seals import unseal
from lmrelay.config.values import Config
from lmrelay.interfaces import ISettings


@frozen
class Entry:
    """
    A token and whose it is.
    """

    project: Project
    token: Token

    def is_live(self, now: float) -> bool:
        """
        Has it not expired? A bare date ends the token when that day begins (UTC).
        """
        expires = self.token.expires
        if expires is None:
            return True
        if not isinstance(expires, datetime.datetime):
            expires = datetime.datetime.combine(expires, datetime.time())
        if expires.tzinfo is None:
            expires = expires.replace(tzinfo=datetime.UTC)
        return now < expires.timestamp()

    def is_from(self, address: str) -> bool:
        """
        May it be used from there?
        """
        if not self.token.networks:
            return True
        try:
            client = ip_address(address)
        except ValueError:
            return False
        return any(client in network for network in self.token.networks)


@define(eq=False)
class Sealed:
    """
    A token that CRAM-MD5 can try: unsealed when it is first needed, and kept as a key schedule.
    """

    entry: Entry
    _key: bytes
    _start: hmac.HMAC | None = None
    _broken: bool = False

    def answers(self, challenge: bytes, response: bytes) -> bool:
        """
        Is C{response} (hexadecimal) this token's answer (RFC 2195)?
        """
        if self._start is None and not self._broken:
            entry = self.entry
            token = unseal(entry.token.cram, self._key, entry.project.slug, entry.token.id)
            self._broken = token is None
            if token is not None:
                self._start = hmac.new(token.encode(), digestmod="md5")
        if self._start is None:
            return False
        digest = self._start.copy()
        digest.update(challenge)
        return hmac.compare_digest(digest.hexdigest().encode(), response)


@frozen
class Directory:
    """
    The index over one configuration. C{unsealed}: those that CRAM-MD5 cannot try.
    """

    by_digest: Mapping[str, Entry]
    by_id: Mapping[str, Entry]
    sealed: Mapping[str, Sequence[Sealed]]
    unsealed: Sequence[Entry]

    def all_sealed(self) -> Iterator[Sealed]:
        """
        Every sealed token.
        """
        for some in self.sealed.values():
            yield from some


def index(config: Config) -> Directory:
    """
    The index over C{config}.
    """
    by_digest: dict[str, Entry] = {}
    by_id: dict[str, Entry] = {}
    sealed: dict[str, list[Sealed]] = {}
    unsealed: list[Entry] = []
    for slug, project in config.projects.items():
        sealed[slug] = []
        for token in project.tokens:
            entry = by_digest[token.sha256] = by_id[token.id] = Entry(project, token)
            if token.cram and config.token_key:
                sealed[slug].append(Sealed(entry, config.token_key))
            else:
                unsealed.append(entry)
    return Directory(by_digest, by_id, sealed, unsealed)


@define(eq=False)
class Directories:
    """
    The index over the configuration in force.
    """

    settings: ISettings
    _config: Config | None = field(default=None, init=False)
    _directory: Directory | None = field(default=None, init=False)

    def current(self) -> Directory:
        """
        Made afresh when another configuration took force.
        """
        config: Config = self.settings.config
        if self._directory is None or self._config is not config:
            self._config, self._directory = config, index(config)
        return self._directory
