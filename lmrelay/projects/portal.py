"""
The portal over project tokens: L{ISubmitter} for whoever shows a right one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.cred.portal import IRealm, Portal
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from lmrelay.interfaces import ISubmitter
from lmrelay.projects.checkers import CramChecker, Identity, TokenChecker
from lmrelay.projects.directory import Directories
from lmrelay.projects.submitter import Submitter


@implementer(IRealm)
@define(eq=False)
class Realm:
    """
    Makes submitters of identities.
    """

    directories: Directories
    wall: Callable[[], float]

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> tuple[Any, Any, Callable[[], None]]:
        """
        @raise NotImplementedError: another interface than L{ISubmitter} is wanted
        """
        if ISubmitter not in interfaces or not isinstance(avatarId, Identity):
            raise NotImplementedError("only ISubmitter is offered")
        return ISubmitter, Submitter(avatarId, self.directories, self.wall), lambda: None


def make_portal(directories: Directories, reactor: IReactorTime, wall: Callable[[], float]) -> Portal:
    """
    A portal with a checker for each kind of credentials; C{wall()} is seconds since the epoch.
    """
    settings = directories.settings
    checkers = (
        TokenChecker(settings, directories, wall),
        CramChecker(settings, directories, wall, reactor),
    )
    return Portal(Realm(directories, wall), checkers)
