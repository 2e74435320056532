"""
Whose key signs what: the signers of a sending domain, made from the configured keys when they are first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import define, field

from lmrelay.config.values import DkimKey
from lmrelay.mail.dkim import Signer, make_signer, sign
from lmrelay.mail.head import Head

Keys = Mapping[str, tuple[DkimKey, ...]]


def find_keys(keys: Keys, domain: str) -> tuple[DkimKey, ...]:
    """
    The active keys of a domain (in A-labels) or, where it has none, of the nearest of its parents that has.

    So the signing domain is aligned with that of the From field (RFC 7489 §3.1.1).
    """
    while domain:
        active = tuple(key for key in keys.get(domain, ()) if key.active)
        if active:
            return active
        domain = domain.partition(".")[2]
    return ()


@define(eq=False)
class Signers:
    """
    C{keys} gives those of the configuration in force. To be used on one thread.
    """

    keys: Callable[[], Keys]
    _of: Keys = field(factory=dict, init=False)
    _made: dict[str, tuple[Signer, ...]] = field(factory=dict, init=False)

    def find(self, domain: str) -> tuple[Signer, ...]:
        """
        Who signs what comes from C{domain} (in A-labels); nobody where neither it nor a parent has an active key.
        """
        keys = self.keys()
        if not keys:
            return ()
        if keys is not self._of:
            self._of, self._made = keys, {}
        found = find_keys(keys, domain)
        if not found:
            return ()
        owner = found[0].domain
        made = self._made.get(owner)
        if made is None:
            made = self._made[owner] = tuple(make_signer(key.domain, key.selector, key.private) for key in found)
        return made

    def sign(self, head: Head, domain: str, body_hash: bytes, at: float) -> Head:
        """
        C{head} with the signatures for what comes from C{domain} on top; see L{lmrelay.mail.dkim.sign}.
        """
        signers = self.find(domain)
        return head.prepend(*sign(head, signers, body_hash, at)) if signers else head
