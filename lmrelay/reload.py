"""
The configuration in force, and how another takes its place: all of it at one stroke, or none.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from lmrelay.config.values import Config
from lmrelay.errors import ConfigError
from lmrelay.interfaces import ISettings

log = Logger()


@implementer(ISettings)
@define(eq=False)
class Settings:
    """
    What every room reads.
    """

    config: Config


@define(eq=False)
class Reload:
    """
    SIGHUP. C{read} gives a configuration or raises L{ConfigError}, off the reactor thread;
    C{adopt} takes it into force, and raises L{ConfigError} where it cannot (a port in use).
    """

    settings: Settings
    read: Callable[[], Deferred[Config]]
    adopt: Callable[[Config], Deferred[None]]
    _running: bool = field(default=False, init=False)
    _again: bool = field(default=False, init=False)

    async def run(self) -> bool:
        """
        Do it; was the new one taken? A second wish while one is carried out follows it.
        """
        if self._running:
            self._again = True
            return False
        self._running = True
        try:
            taken = await self._once()
            while self._again:
                self._again = False
                taken = await self._once()
            return taken
        finally:
            self._running = False

    async def _once(self) -> bool:
        try:
            config = await self.read()
            for key in needs_restart(self.settings.config, config):
                log.warn("setting takes a restart", key=key)
            await self.adopt(config)
        except ConfigError as error:
            for problem in error.problems:
                log.error("configuration refused", file=problem.file, key=problem.key, reason=problem.reason)
            log.error("reload refused, the old configuration stays", problems=len(error.problems))
            return False
        except Exception:  # noqa: BLE001 - whatever broke, the old configuration serves on
            log.failure("reload failed, the old configuration stays")
            return False
        log.info("reloaded", projects=len(config.projects))
        return True


_FIXED: tuple[tuple[str, Callable[[Config], object]], ...] = (
    ("server.workers", lambda config: config.server.workers),
    ("queue.url", lambda config: config.queue.url),
)


def needs_restart(old: Config, new: Config) -> list[str]:
    """
    The keys whose change a running process cannot follow. (The state folder is one more: C{read} keeps to the old.)
    """
    return [key for key, read in _FIXED if read(old) != read(new)]
