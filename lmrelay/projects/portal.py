"""
The portal over project tokens: L{ISubmitter} for whoever shows a right one, while the project has a place for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.cred.portal import IRealm, Portal
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from lmrelay.config.values import Config
from lmrelay.errors import Refused
from lmrelay.interfaces import ISubmitter, ITokenUse
from lmrelay.projects.checkers import CramChecker, Identity, TokenChecker
from lmrelay.projects.directory import Directories
from lmrelay.projects.submitter import Submitter
from lmrelay.smtp import replies


@implementer(IRealm)
@define(eq=False)
class Realm:
    """
    Makes submitters of identities, and counts those of each project that have not logged out.
    """

    directories: Directories
    wall: Callable[[], float]
    use: ITokenUse
    _open: dict[str, int] = field(factory=dict, init=False)

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> tuple[Any, Any, Callable[[], None]]:
        """
        The callable logs out; called again it does nothing.

        @raise Refused: the project has as many sessions as it may have (421 4.7.0)
        @raise NotImplementedError: another interface than L{ISubmitter} is wanted
        """
        if ISubmitter not in interfaces or not isinstance(avatarId, Identity):
            raise NotImplementedError("only ISubmitter is offered")
        logout = self._enter(avatarId.slug)
        self.use.note(avatarId.token_id)
        return ISubmitter, Submitter(avatarId, self.directories, self.wall, self.use), logout

    def sessions(self, slug: str) -> int:
        """
        How many are logged in to the project.
        """
        return self._open.get(slug, 0)

    def _enter(self, slug: str) -> Callable[[], None]:
        config: Config = self.directories.settings.config
        project, count = config.projects.get(slug), self.sessions(slug)
        if project is not None and project.max_connections is not None and count >= project.max_connections:
            raise Refused(replies.too_many_connections_of(slug))
        self._open[slug] = count + 1
        counted = True

        def leave() -> None:
            nonlocal counted
            if counted:
                counted = False
                self._open[slug] -= 1
                if not self._open[slug]:
                    del self._open[slug]

        return leave


def make_portal(directories: Directories, reactor: IReactorTime, wall: Callable[[], float], use: ITokenUse) -> Portal:
    """
    A portal with a checker for each kind of credentials; C{wall()} is seconds since the epoch, C{use} hears of each
    use of a token.
    """
    settings = directories.settings
    checkers = (
        TokenChecker(settings, directories, wall),
        CramChecker(settings, directories, wall, reactor),
    )
    return Portal(Realm(directories, wall, use), checkers)
