"""
What the operator's command asks of the queue: the seam between the two, synchronous.

A L{Desk} reads the store, and asks the living workers for changes or carries them out itself.
Records are what C{--json} shows: plain values, times in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from lmrelay.queue.orders import Change, Listing, Search, Selector, SiteVerb, Verb

if TYPE_CHECKING:
    from lmrelay.config.values import Config
    from lmrelay.queue.hook_desk import HookDesk


class Desk(Protocol):
    """
    An open store.
    """

    def recipients(self, selector: Selector, limit: int | None) -> Sequence[Mapping[str, Any]]:
        """
        One record a recipient, oldest message first: C{message}, C{number}, C{project}, C{route}, C{kind}, C{tags},
        C{subject}, C{size}, C{received}, C{recipient}, C{domain}, C{state}, C{attempts}, C{next_attempt}, C{last}.
        """

    def messages(self, search: Search, limit: int, seconds: float) -> Listing:
        """
        At most C{limit} messages of all that are kept, the newest first; looked for so many seconds at most.

        A record: C{message}, C{received}, C{project}, C{route}, C{kind}, C{notification}, C{redact}, C{reverse_path}
        (None for C{<>}), C{sender}, C{to}, C{subject}, C{message_id}, C{size}, C{tags}, C{recipient} (the first),
        C{recipients} (how many), C{states} (how many of them in each).
        """

    def count(self, selector: Selector) -> Sequence[Mapping[str, Any]]:
        """
        Recipients counted by C{project}, C{domain} and C{state}: records with C{recipients}, C{octets}, C{oldest}.
        """

    def find(self, beginning: str) -> Sequence[str]:
        """
        At most ten ids of messages, of any state, that begin so.
        """

    def story(self, message: str) -> Mapping[str, Any]:
        """
        A message with its recipients and all their attempts: C{message}, C{received}, C{project}, C{route}, C{kind},
        C{notification}, C{token}, C{client} (mapping), C{reverse_path} (None for C{<>}), C{sender}, C{to}, C{subject},
        C{message_id}, C{size}, C{tags}, C{metadata}, C{software} (the client's, as its header says), C{redact},
        C{sandbox}, C{return_path}, C{require_tls}, C{workers} (how many live), C{recipients}, C{left_out} (how many of
        these are not told), and C{events} (see L{lmrelay.queue.chronicle.list_events}).

        A recipient: C{number}, C{address}, C{state}, C{made} (attempts, in all), C{next_attempt}, C{ended} (None while
        it is open), C{attempts}, C{returned}, C{in_flight}: a living worker owns it, C{held}: since when, C{extended}:
        so many seconds later it is given up, and C{suspended}: None, or that its site is (a mapping of C{site},
        C{hosts}, C{since} and C{reason}). Of one that waits, C{site} and C{lane}, as L{lmrelay.queue.waits} tells them;
        None where there is nothing to tell.
        An attempt: C{started}, C{ended}, C{seconds}, C{outcome} (C{delivered}, C{delayed}, C{failed}), C{status},
        C{text}, C{fault}, C{reply} (as one text, or None), C{host}, C{address}, C{tls} (a mapping of version, cipher,
        verified, reason and policy, or None), C{tls_failure}, C{offered} (MAIL was sent), C{played} (nothing was
        sent: a test address, or the sandbox), and C{steps}: C{step} (its
        name), C{seconds} (None: not timed), C{text}.
        """

    def head(self, message: str) -> bytes:
        """
        The header block as recipients get it; empty where it is no longer kept.
        """

    def token_uses(self) -> Mapping[str, float]:
        """
        When each token was last used, by its id; one that never was is not there.
        """

    def sites(self) -> Sequence[Mapping[str, Any]]:
        """
        All sites that are remembered: C{hosts} (in one word), C{domains}, C{waiting} (both numbers), C{connections} (so
        few since C{lowered_at}, because it said C{lowered_for}; None: as many as allowed), C{suspended_at} (None: it is
        not) and the C{reason}, C{changed_at}.
        """

    def domains_of(self, hosts: str) -> Sequence[Mapping[str, Any]]:
        """
        The domains seen at a site, those with most waiting first: C{domain}, C{waiting}, C{seen_at}.
        """

    def find_sites(self, text: str) -> Sequence[str]:
        """
        The sites, by their hosts, that a domain (A-labels) or a host means.
        """

    def change_site(self, verb: SiteVerb, hosts: str, reason: str) -> Change:
        """
        Suspend a site, or let it go on. C{changed} is 0 for one that was not suspended.
        """

    def hooks(self) -> HookDesk:
        """
        Its webhooks: see L{lmrelay.queue.hook_desk.HookDesk}.
        """

    def lives(self) -> bool:
        """
        Does a daemon run?
        """

    def change(self, verb: Verb, selector: Selector, dry_run: bool) -> Change:
        """
        Do it, or with C{dry_run} count what it would change.
        """


OpenDesk = Callable[["Config", Callable[[], float]], AbstractContextManager[Desk]]
"""
Opens the store of a configuration; the other argument is the wall clock.
"""
