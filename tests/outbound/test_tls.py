"""
The fold of policies into one demand, as tables: who rules, what is good enough, who overrides whom.
"""

from __future__ import annotations

from itertools import product

import pytest

from lmrelay.config.words import TlsPolicy
from lmrelay.mail.outcome import Delayed, Fault, Tls
from lmrelay.outbound.terms import Egress, Load, Terms
from lmrelay.outbound.tls import Demand, Doubt, Level, Rule, Shown, Vouched, configured, fold

GOOD = Shown("TLSv1.3", "AES", "")
SELF_SIGNED = Shown("TLSv1.2", "AES", "the certificate is self-signed")
OLD = Shown("TLSv1.1", "AES", "")
WAYS = {"plain": None, "old": OLD, "self-signed": SELF_SIGNED, "good": GOOD}

STS = Vouched("mta-sts", Level.AUTHENTICATED)
BARRING = Vouched("mta-sts", Level.AUTHENTICATED, Delayed("4.7.5", "not this host", Fault.POLICY))
ENCRYPTING = Vouched("dane", Level.ENCRYPTED)


class Pinned:
    """
    A rule that trusts one chain, whatever CAs say, and only for one domain.
    """

    policy = "dane"
    required = Level.AUTHENTICATED
    server_name = "real.example"
    barred = None

    def doubt(self, shown: Shown, domains: frozenset[str]) -> str:
        return "" if (shown.chain, domains) == ((b"pinned",), {"b.example"}) else "the chain is another"


DANE = Pinned()
PINNED = Shown("TLSv1.3", "AES", "the certificate is self-signed", (b"pinned",))


def good_enough(demand: Demand) -> set[str]:
    return {name for name, shown in WAYS.items() if demand.doubt(shown) is None}


@pytest.mark.parametrize(
    ("word", "asked", "policy", "required", "enough"),
    [
        (TlsPolicy.NONE, (), "none", Level.NONE, set(WAYS)),
        (TlsPolicy.OPPORTUNISTIC, (), "opportunistic", Level.NONE, set(WAYS)),
        (TlsPolicy.ENFORCED, (), "enforced", Level.AUTHENTICATED, {"good"}),
        (TlsPolicy.NONE, (STS,), "none", Level.NONE, set(WAYS)),
        (TlsPolicy.NONE, (BARRING,), "none", Level.NONE, set(WAYS)),
        (TlsPolicy.OPPORTUNISTIC, (STS,), "mta-sts", Level.AUTHENTICATED, {"good"}),
        (TlsPolicy.ENFORCED, (STS,), "mta-sts", Level.AUTHENTICATED, {"good"}),
        (TlsPolicy.OPPORTUNISTIC, (BARRING,), "mta-sts", Level.AUTHENTICATED, set()),
        (TlsPolicy.OPPORTUNISTIC, (ENCRYPTING,), "dane", Level.ENCRYPTED, {"self-signed", "good"}),
        (TlsPolicy.ENFORCED, (ENCRYPTING,), "enforced", Level.AUTHENTICATED, {"good"}),
        (TlsPolicy.OPPORTUNISTIC, (ENCRYPTING, STS), "mta-sts", Level.AUTHENTICATED, {"good"}),
    ],
)
def test_ladder(word: TlsPolicy, asked: tuple[Rule, ...], policy: str, required: Level, enough: set[str]) -> None:
    """
    The strongest rules; none is raised by nobody; what requires anything takes nothing below TLS 1.2.
    """
    demand = fold(word, asked)
    found = (demand.policy, demand.required, demand.starttls, good_enough(demand))
    assert (policy, required, word is not TlsPolicy.NONE, enough) == found


@pytest.mark.parametrize("word", [TlsPolicy.OPPORTUNISTIC, TlsPolicy.ENFORCED])
def test_each_counts(word: TlsPolicy) -> None:
    """
    What satisfies one rule does not excuse from another, in neither direction; "enforced" alone takes either.
    """
    domains = frozenset({"b.example"})
    dane = fold(word, found=(DANE,), domains=domains)
    both = fold(word, (STS,), (DANE,), domains=domains)
    proved = Shown("TLSv1.3", "AES", "", PINNED.chain)
    assert [None, Doubt("dane", "the chain is another")] == [dane.doubt(PINNED), dane.doubt(GOOD)]
    assert [
        Doubt("mta-sts", "the certificate is self-signed"),
        Doubt("dane", "the chain is another"),
        None,
    ] == [both.doubt(shown) for shown in (PINNED, GOOD, proved)]
    assert ("dane", "real.example") == (both.policy, both.server_name)


def test_domains_are_judged() -> None:
    """
    What proves a host for one recipient domain need not for another; the demands are equal nevertheless.
    """
    one, other = (fold(TlsPolicy.OPPORTUNISTIC, found=(DANE,), domains=frozenset({d})) for d in ("b.example", "c"))
    assert one == other
    assert [True, False] == [demand.doubt(PINNED) is None for demand in (one, other)]


def test_what_is_only_watched() -> None:
    """
    It is told of, and neither rules nor stops anything.
    """
    demand = fold(TlsPolicy.OPPORTUNISTIC, watched=(STS, BARRING))
    assert ("opportunistic", Level.NONE, None) == (demand.policy, demand.required, demand.barred)
    assert set(WAYS) == good_enough(demand)
    told = {name: [doubt.reason for doubt in demand.watch(shown)] for name, shown in WAYS.items()}
    assert {
        "plain": ["the connection is not encrypted", "not this host"],
        "old": ["TLSv1.1 is older than TLS 1.2", "not this host"],
        "self-signed": ["the certificate is self-signed", "not this host"],
        "good": ["not this host"],
    } == told


@pytest.mark.parametrize(
    ("demand", "shown", "expected"),
    [
        (configured(TlsPolicy.OPPORTUNISTIC), GOOD, Tls("TLSv1.3", "AES", True, "", "opportunistic")),
        (configured(TlsPolicy.OPPORTUNISTIC), SELF_SIGNED,
         Tls("TLSv1.2", "AES", False, "the certificate is self-signed", "opportunistic")),
        (fold(TlsPolicy.OPPORTUNISTIC, (STS,)), GOOD, Tls("TLSv1.3", "AES", True, "", "mta-sts")),
        (fold(TlsPolicy.OPPORTUNISTIC, (ENCRYPTING,)), SELF_SIGNED,
         Tls("TLSv1.2", "AES", False, "the certificate is self-signed", "dane")),
        (fold(TlsPolicy.ENFORCED, found=(DANE,), domains=frozenset({"b.example"})), PINNED,
         Tls("TLSv1.3", "AES", True, "", "dane")),
    ],
)  # fmt: skip
def test_described(demand: Demand, shown: Shown, expected: Tls) -> None:
    """
    An attempt says whether the certificate was verified, by a CA or as the policy has it, or why not, and who ruled.
    """
    assert expected == demand.describe(shown)


def test_barred() -> None:
    """
    A host that a policy does not let us use is known before it is connected to.
    """
    load = Load(Terms(TlsPolicy.OPPORTUNISTIC), frozenset({"b.example"}))
    assert None is load.demand_of("mx.example").barred
    assert BARRING.barred == load.demand_of("mx.example", (BARRING,)).barred


def test_equal_terms_share() -> None:
    """
    Terms are equal where they ask for the same, and only then.
    """
    each = [Terms(tls, egress) for tls, egress in product(TlsPolicy, (Egress(), Egress(("192.0.2.1",))))]
    assert len(each) == len(set(each))
