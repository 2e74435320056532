"""
What the rules for receivers say of a site: how much at a time it takes, and which of its words ask for less.

Pure, but for a memory of what was found, which is for as long as the configuration is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from attrs import define, field, frozen

from lmrelay.config.values import Config, Receiver
from lmrelay.interfaces import ISettings
from lmrelay.outbound.route import Site

T = TypeVar("T")

MAX_FOUND = 10_000


@frozen
class Limits:
    """
    What a site takes at a time. C{rate} is in messages a second, None: as many as come. C{rules} names the rules that
    say so.
    """

    connections: int = 20
    messages_per_connection: int = 100
    rate: float | None = None
    rules: tuple[str, ...] = ()


def find_limits(config: Config, hosts: Sequence[str]) -> Limits:
    """
    The limits of the site whose most preferred hosts these are: of each, what the first rule that says it says.
    """
    rules = list(_fitting(config.receivers, hosts))
    delivery = config.delivery
    return Limits(
        _first((rule.connections for rule in rules), delivery.connections_per_site),
        _first((rule.messages_per_connection for rule in rules), delivery.messages_per_connection),
        _first((rule.rate for rule in rules), None),
        tuple(rule.name for rule in rules),
    )


def find_words(config: Config, host: str) -> tuple[str, ...]:
    """
    The words of that host which ask for less at a time, in lower case; besides those of every receiver.
    """
    return _first((rule.slow_down for rule in _fitting(config.receivers, [host])), ())


def _fitting(rules: Iterable[Receiver], hosts: Sequence[str]) -> Iterator[Receiver]:
    return (rule for rule in rules if any(_fits(pattern, host) for pattern in rule.hosts for host in hosts))


def _fits(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*") else host == pattern


def _first(values: Iterable[T | None], otherwise: T) -> T:
    return next((value for value in values if value is not None), otherwise)


@define(eq=False)
class Rules:
    """
    The limits of sites under the configuration in force.
    """

    settings: ISettings
    _under: Config | None = field(default=None, init=False)
    _found: dict[tuple[str, ...], Limits] = field(factory=dict, init=False)

    def have_changed(self) -> bool:
        """
        Is the configuration another than when this was last asked?
        """
        if self.settings.config is self._under:
            return False
        self._under = self.settings.config
        self._found.clear()
        return True

    def find(self, site: Site) -> Limits:
        """
        What the site takes now.
        """
        limits = self._found.get(site.groups[0])
        if limits is None:
            if len(self._found) >= MAX_FOUND:
                self._found.clear()
            limits = self._found[site.groups[0]] = find_limits(self.settings.config, site.groups[0])
        return limits
