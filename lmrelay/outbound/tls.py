"""
What is asked of TLS on the way to a host, and whether a finished handshake is good enough for it.

Pure. Each policy (the configuration's word, MTA-STS, DANE) is a L{Rule}; L{fold} makes one L{Demand}
of them for an MX host. Levels are ordered none < encrypted < authenticated.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Protocol

from attrs import field, frozen

from lmrelay.config.words import TlsPolicy
from lmrelay.mail.outcome import Delayed, Failed, Tls


class Level(enum.IntEnum):
    """
    How well a connection is protected, weakest first.
    """

    NONE = 0
    ENCRYPTED = 1
    AUTHENTICATED = 2


@frozen
class Shown:
    """
    What a server showed in a finished handshake.

    C{distrust} says why no known CA vouches for the host's certificate; empty: one does. C{chain} are the
    certificates as it sent them, DER, its own first.
    """

    version: str
    cipher: str
    distrust: str
    chain: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def words(self) -> str:
        """
        Version and cipher.
        """
        return f"{self.version} {self.cipher}"


@frozen
class Doubt:
    """
    Why a connection, or the lack of TLS on it, is not good enough for C{policy}.
    """

    policy: str
    reason: str


class Rule(Protocol):
    """
    A policy's answer for one MX host; a value, equal where it asks for the same.
    """

    @property
    def policy(self) -> str:
        """
        Its name for people.
        """

    @property
    def required(self) -> Level:
        """
        What it does not go below.
        """

    @property
    def server_name(self) -> str:
        """
        What the handshake has to ask for instead of the host's name (SNI); empty: nothing else.
        """

    @property
    def barred(self) -> Delayed | Failed | None:
        """
        Why the host is not to be used, whatever it shows; None: it may prove itself.
        """

    def doubt(self, shown: Shown, domains: frozenset[str]) -> str:
        """
        Why mail for these recipient domains must not go to who showed that; empty: it may.
        """


@frozen
class Vouched:
    """
    A rule that rests on the known CAs: of the configuration, and of whoever takes their word.
    """

    policy: str
    required: Level
    barred: Delayed | Failed | None = None
    server_name: str = ""

    def doubt(self, shown: Shown, domains: frozenset[str]) -> str:
        """
        See L{Rule}.
        """
        return shown.distrust if self.required is Level.AUTHENTICATED else ""


_CONFIGURED: dict[TlsPolicy, Rule] = {
    TlsPolicy.NONE: Vouched("none", Level.NONE),
    TlsPolicy.OPPORTUNISTIC: Vouched("opportunistic", Level.NONE),
    TlsPolicy.ENFORCED: Vouched("enforced", Level.AUTHENTICATED),
}

SOUND = frozenset({"TLSv1.2", "TLSv1.3"})


@frozen
class Demand:
    """
    What mail asks of a connection to one host: all that C{rules} ask.

    C{starttls}: use STARTTLS where it is offered, even where nothing requires it. C{found} are those of the rules that
    were looked up for the host. C{watched} are rules that do not count and are only told of. C{domains} are the
    recipients'.
    """

    rules: tuple[Rule, ...]
    starttls: bool
    found: tuple[Rule, ...] = ()
    watched: tuple[Rule, ...] = ()
    domains: frozenset[str] = field(default=frozenset(), eq=False)

    @property
    def required(self) -> Level:
        """
        A connection that proved less must not carry the mail.
        """
        return self._ruling.required

    @property
    def policy(self) -> str:
        """
        Which policy ruled.
        """
        return self._ruling.policy

    @property
    def _ruling(self) -> Rule:
        return max(self.rules, key=lambda rule: rule.required)

    @property
    def server_name(self) -> str:
        """
        See L{Rule}.
        """
        return next((rule.server_name for rule in self.rules if rule.server_name), "")

    @property
    def barred(self) -> Delayed | Failed | None:
        """
        See L{Rule}.
        """
        return next((rule.barred for rule in self.rules if rule.barred is not None), None)

    def doubt(self, shown: Shown | None) -> Doubt | None:
        """
        Why a connection is not good enough. C{shown} None: it is in plaintext.
        """
        return next(self._doubts(self.rules, shown), None)

    def watch(self, shown: Shown | None) -> Iterator[Doubt]:
        """
        What the rules that do not count would have said.
        """
        return self._doubts(self.watched, shown)

    def _doubts(self, rules: Iterable[Rule], shown: Shown | None) -> Iterator[Doubt]:
        for rule in rules:
            if rule.required is Level.NONE:
                continue
            if rule.barred is not None:
                yield Doubt(rule.policy, rule.barred.text)
            elif shown is None:
                yield Doubt(rule.policy, "the connection is not encrypted")
            elif shown.version not in SOUND:
                # Below it a certificate proves nothing, and what it protects can be broken (RFC 8996).
                yield Doubt(rule.policy, f"{shown.version} is older than TLS 1.2")
            elif reason := rule.doubt(shown, self.domains):
                yield Doubt(rule.policy, reason)

    def describe(self, shown: Shown) -> Tls:
        """
        The handshake as an attempt tells it: verified if what asked for proof got it, or a known CA gives it unasked.
        """
        proved = self.required is Level.AUTHENTICATED and self.doubt(shown) is None
        reason = "" if proved else shown.distrust
        return Tls(shown.version, shown.cipher, not reason, reason, self.policy)


def fold(
    word: TlsPolicy,
    asked: Iterable[Rule] = (),
    found: Iterable[Rule] = (),
    watched: Iterable[Rule] = (),
    domains: frozenset[str] = frozenset(),
    sender: Rule | None = None,
) -> Demand:
    """
    One demand of the configuration's C{word}, of what recipient domains ask and of what was found out of the host.

    All of them count, so none overrides the failure of another (RFC 8461 §2). C{none} is raised by nobody. C{enforced}
    asks for nothing of its own where another authenticates the host, in whichever way; nor does what the C{sender}
    of the message asks, which C{none} does not take back.
    """
    if word is TlsPolicy.NONE and sender is None:
        return configured(word)
    found = tuple(found)
    rules = (*found, *asked)
    for own in filter(None, (sender, _CONFIGURED[word])):
        proved = own.barred is None and any(rule.required is Level.AUTHENTICATED for rule in rules)
        if own.required < Level.AUTHENTICATED or not proved:
            rules = (*rules, own)
    return Demand(rules, True, found, tuple(watched), domains)


def configured(policy: TlsPolicy) -> Demand:
    """
    What the configuration's word alone asks for.
    """
    return Demand((_CONFIGURED[policy],), policy is not TlsPolicy.NONE)
