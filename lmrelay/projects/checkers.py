"""
twisted.cred checkers over project tokens: PLAIN and LOGIN by one, CRAM-MD5 by the other.

Every wrong one gets the same reply, whatever was wrong with it, but a right token of a
project with SMTP off, whose owner needs to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hmac import compare_digest
from typing import Any

from attrs import define, frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from lmrelay.config.values import Auth, Config
from lmrelay.config.words import Form, Switch
from lmrelay.errors import Refused
from lmrelay.interfaces import ICramCredentials, ISettings, ITokenCredentials
from lmrelay.projects.directory import Directories, Entry, Sealed
from lmrelay.projects.tokens import digest
from lmrelay.smtp import replies

MAX_CRAM = 1000
SLICE = 64
"""
Sealed tokens tried before other sessions have their turn: half a millisecond.
"""


@frozen
class Identity:
    """
    The avatar's id: a project, which of its tokens, for an id may get another secret, and from where it was shown.
    """

    slug: str
    token_id: str
    sha256: str
    address: str


def cram_is_offered(directories: Directories, now: float) -> bool:
    """
    May clients be offered CRAM-MD5? Those that know it take it and never fall back, so it
    must work with every token that has not expired by C{now}, in seconds since the epoch.
    """
    config: Config = directories.settings.config
    if config.auth.cram_md5 is not Switch.AUTO:
        return config.auth.cram_md5 is Switch.ON
    directory = directories.current()
    return 0 < len(directory.by_id) <= MAX_CRAM and not any(entry.is_live(now) for entry in directory.unsealed)


def _admit(entry: Entry | None, address: str, now: float) -> Identity:
    if entry is None or not entry.is_live(now) or not entry.is_from(address):
        raise Refused(replies.AUTH_INVALID)
    if not entry.project.smtp:
        raise Refused(replies.smtp_not_enabled(entry.project.slug))
    return Identity(entry.project.slug, entry.token.id, entry.token.sha256, address)


def _decode(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(replies.AUTH_INVALID) from None


@implementer(ICredentialsChecker)
@define(eq=False)
class TokenChecker:
    """
    PLAIN and LOGIN.
    """

    settings: ISettings
    directories: Directories
    wall: Callable[[], float]
    credentialInterfaces = (ITokenCredentials,)

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """
        An L{Identity}, or fails with L{Refused}.
        """
        return execute(self._check, credentials)

    def _check(self, credentials: Any) -> Identity:
        auth: Auth = self.settings.config.auth
        username, token = _decode(credentials.username), _decode(credentials.password)
        entry = self.directories.current().by_digest.get(digest(token))
        if entry is not None and not _fits(auth, username, token, entry):
            entry = None
        return _admit(entry, credentials.address, self.wall())


def _fits(auth: Auth, username: str, token: str, entry: Entry) -> bool:
    """
    Is C{username} of a form that is on, for this token?
    """
    return (
        (Form.SHARED in auth.forms and username in auth.usernames)
        or (Form.TOKEN in auth.forms and compare_digest(username.encode(), token.encode()))
        or (Form.TOKEN_ID in auth.forms and username == entry.token.id)
        or (Form.PROJECT in auth.forms and username == entry.project.slug)
    )


@implementer(ICredentialsChecker)
@define(eq=False)
class CramChecker:
    """
    CRAM-MD5: with the shared name all sealed tokens are tried, a slice at a time.
    """

    settings: ISettings
    directories: Directories
    wall: Callable[[], float]
    reactor: IReactorTime
    credentialInterfaces = (ICramCredentials,)

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """
        An L{Identity}, or fails with L{Refused}.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: Any) -> Identity:
        username = _decode(credentials.username)
        found = self._by_token(username, credentials)
        if found is None:
            for number, sealed in enumerate(self._candidates(username)):
                if number and number % SLICE == 0:
                    await deferLater(self.reactor, 0)
                if sealed.answers(credentials.challenge, credentials.response):
                    # The search takes turns with other sessions: the token may have been revoked meanwhile.
                    found = self.directories.current().by_digest.get(sealed.entry.token.sha256)
                    break
        return _admit(found, credentials.address, self.wall())

    def _by_token(self, username: str, credentials: Any) -> Entry | None:
        """
        The entry of the token that is the user name itself, if its answer is right.
        """
        auth: Auth = self.settings.config.auth
        if Form.TOKEN not in auth.forms:
            return None
        entry = self.directories.current().by_digest.get(digest(username))
        return entry if entry is not None and credentials.checkPassword(username.encode()) else None

    def _candidates(self, username: str) -> Iterator[Sealed]:
        auth: Auth = self.settings.config.auth
        directory = self.directories.current()
        if Form.SHARED in auth.forms and username in auth.usernames:
            yield from directory.all_sealed()
            return
        if Form.PROJECT in auth.forms:
            yield from directory.sealed.get(username, ())
        entry = directory.by_id.get(username)
        if Form.TOKEN_ID in auth.forms and entry is not None:
            yield from (one for one in directory.sealed[entry.project.slug] if one.entry is entry)
