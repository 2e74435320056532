from __future__ import annotations

from itertools import product
from random import Random

import pytest
from twisted.internet.defer import Deferred

from lmrelay.config.project import Project, Route
from lmrelay.config.words import TlsPolicy
from lmrelay.interfaces import Answer, MxRecord
from lmrelay.mail.outcome import Delayed, Failed
from lmrelay.outbound.requirement import choose_policy, find_policy
from lmrelay.outbound.route import MAX_HOSTS, MAX_KNOWN_HOSTS, Router, Site, choose_site
from lmrelay.reach import AAAA, A, Addresses
from lmrelay.testing.name_server import FakeResolver, Said, Zone
from tests.outbound.doubles import config

NONE, OPPORTUNISTIC, ENFORCED = TlsPolicy.NONE, TlsPolicy.OPPORTUNISTIC, TlsPolicy.ENFORCED


def answer(*records: tuple[int, str], exists: bool = True) -> Answer:
    return Answer(tuple(MxRecord(*record) for record in records), exists)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([(10, "a.x")], (("a.x",),)),
        ([(20, "b.x"), (10, "a.x")], (("a.x",), ("b.x",))),
        ([(10, "c.x"), (10, "a.x"), (5, "b.x")], (("b.x",), ("a.x", "c.x"))),
        ([(10, "a.x"), (20, "a.x")], (("a.x",),)),
        ([(10, "a.x"), (20, "relay.x"), (20, "b.x"), (30, "c.x")], (("a.x",),)),
        ([(0, ""), (10, "a.x")], (("a.x",),)),
        ([], (("d.x",),)),
    ],
)
def test_site(records: list[tuple[int, str]], expected: tuple[tuple[str, ...], ...]) -> None:
    """
    Hosts come in groups of preference; this server and what is no better than it is dropped.
    """
    site = choose_site("d.x", answer(*records), "relay.x")
    assert isinstance(site, Site)
    assert expected == site.groups


@pytest.mark.parametrize(
    ("domain", "said", "status"),
    [
        ("d.x", answer(exists=False), "5.1.2"),
        ("d.x", answer((0, "")), "5.1.10"),
        ("d.x", answer((10, "relay.x"), (10, "b.x")), "5.4.6"),
        ("relay.x", answer(), "5.4.6"),
    ],
)
def test_no_site(domain: str, said: Answer, status: str) -> None:
    """
    What the DNS refuses for good fails with its own code.
    """
    failed = choose_site(domain, said, "relay.x")
    assert isinstance(failed, Failed)
    assert status == failed.status


def test_same_hosts_same_site() -> None:
    """
    The preferences' values and the order of the records make no other site.
    """
    first = choose_site("a.x", answer((10, "m1.x"), (20, "m2.x")), "relay.x")
    assert first == choose_site("b.x", answer((7, "m2.x"), (1, "m1.x")), "relay.x")


def test_best_hosts() -> None:
    """
    Of a thousand hosts those of the best preference are known, and no more than anybody has.
    """
    site = choose_site("d.x", answer(*((number // 3, f"m{number:04}.x") for number in range(999, 0, -1))), "relay.x")
    assert isinstance(site, Site)
    assert [f"m{number:04}.x" for number in range(1, MAX_KNOWN_HOSTS + 1)] == [
        host for one in site.groups for host in one
    ]


def test_order_spreads_the_load() -> None:
    """
    Equal preference comes in every order, a worse one always later; the number is bounded.
    """
    site = Site((("a", "b"), ("c",)))
    orders = {tuple(site.order(Random(seed))) for seed in range(20)}
    assert {("a", "b", "c"), ("b", "a", "c")} == orders
    many = Site((tuple(f"m{number}" for number in range(50)),))
    assert MAX_HOSTS == len(many.order(Random(0)))


@pytest.mark.parametrize(
    ("server", "project", "route", "domain", "expected"),
    [
        (OPPORTUNISTIC, None, None, None, OPPORTUNISTIC),
        (OPPORTUNISTIC, ENFORCED, None, None, ENFORCED),
        (ENFORCED, OPPORTUNISTIC, None, None, OPPORTUNISTIC),
        (ENFORCED, ENFORCED, NONE, None, NONE),
        (NONE, None, OPPORTUNISTIC, None, OPPORTUNISTIC),
        (OPPORTUNISTIC, None, None, NONE, NONE),
        (OPPORTUNISTIC, None, ENFORCED, NONE, ENFORCED),
        (OPPORTUNISTIC, ENFORCED, None, OPPORTUNISTIC, ENFORCED),
        (NONE, None, None, OPPORTUNISTIC, NONE),
    ],
)
def test_policy(
    server: TlsPolicy,
    project: TlsPolicy | None,
    route: TlsPolicy | None,
    domain: TlsPolicy | None,
    expected: TlsPolicy,
) -> None:
    """
    The most specific setting counts, and the recipient's domain as far as it may.
    """
    assert expected is choose_policy(server, project, route, domain)


@pytest.mark.parametrize(("server", "project", "route"), list(product(TlsPolicy, *[[None, *TlsPolicy]] * 2)))
def test_domain_and_promise(server: TlsPolicy, project: TlsPolicy | None, route: TlsPolicy | None) -> None:
    """
    A domain's C{enforced} always holds; its C{none} never breaks a promise of C{enforced}.
    """
    assert ENFORCED is choose_policy(server, project, route, ENFORCED)
    promised = choose_policy(server, project, route)
    assert (ENFORCED if promised is ENFORCED else NONE) is choose_policy(server, project, route, NONE)


@pytest.mark.parametrize(
    ("kept", "now", "expected"),
    [
        (None, OPPORTUNISTIC, OPPORTUNISTIC),
        (None, NONE, NONE),
        (NONE, OPPORTUNISTIC, OPPORTUNISTIC),
        (OPPORTUNISTIC, NONE, OPPORTUNISTIC),
        (ENFORCED, OPPORTUNISTIC, ENFORCED),
        (ENFORCED, NONE, ENFORCED),
        (NONE, ENFORCED, ENFORCED),
    ],
)
def test_kept_promise(kept: TlsPolicy | None, now: TlsPolicy, expected: TlsPolicy) -> None:
    """
    Of what was promised at the acceptance and of what is promised now the stricter counts, whoever promises it.
    """
    assert expected is choose_policy(OPPORTUNISTIC, None, now, kept=kept)
    assert expected is choose_policy(now, kept=kept)
    assert ENFORCED is choose_policy(now, None, None, NONE, ENFORCED)


def test_policy_of_the_configuration() -> None:
    """
    Route, project and server are looked up by name; a project that is gone leaves the server's.
    """
    settings = config()
    routes = {"outgoing": Route("outgoing"), "strict": Route("strict", tls=ENFORCED)}
    settings.projects["acme"] = Project("acme", tls=NONE, routes=routes)  # type: ignore[index]
    found = [find_policy(settings, *where, "b.example") for where in (("acme", "strict"), ("acme", ""), ("x", "y"))]
    assert [ENFORCED, NONE, OPPORTUNISTIC] == found
    assert ENFORCED is find_policy(settings, "x", "y", "b.example", ENFORCED)


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "expected"),
    [
        (Said(("8.8.8.8",), authenticated=True), Said((), authenticated=True), True),
        (Said(("8.8.8.8",), authenticated=True), Said((), authenticated=False), False),
        (Said(("8.8.8.8",), authenticated=False), Said(("2606:4700::1",), authenticated=True), False),
        (Said(("8.8.8.8",), authenticated=True), Said(rcode=2), True),
    ],
)
def test_authenticated_addresses(ipv4: Said, ipv6: Said, expected: bool) -> None:
    """
    The DNS vouches for a host's addresses if it does for all that it answered; an alias is told.
    """
    zone = Zone().say("mx.example", A, ipv4).say("mx.example", AAAA, ipv6).alias("alias.example", "mx.example")
    router = Router(FakeResolver(zone), Random(1))
    for host, name in (("mx.example", ""), ("alias.example", "mx.example")):
        found: list[Addresses | Delayed] = []
        Deferred.fromCoroutine(router.find_addresses(host, ())).addCallback(found.append)
        assert [(expected, name)] == [(one.authenticated, one.name) for one in found if isinstance(one, Addresses)]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((("mx.b.example",),), "mx.b.example"),
        ((("a.x", "b.x"), ("c.x",)), "a.x,b.x;c.x"),
        ((("a.x,b.x",), ("c.x",)), "sha256:"),
        ((("a.x",), ("b.x;c.x",)), "a.x;sha256:"),
        ((("a.x",), ("b\x00.x",)), "a.x;sha256:"),
        ((("a.x",), ("sha256:b",)), "a.x;sha256:"),
        (tuple((f"mx{number}.{'d' * 60}.x",) for number in range(9)), f"mx0.{'d' * 60}.x;sha256:"),
        ((("d" * 300,),), "sha256:"),
    ],
)
def test_word_of_a_site(groups: tuple[tuple[str, ...], ...], expected: str) -> None:
    """
    The hosts in one word; a zone's owner makes none that is too long, or that is another site's.
    """
    word = Site(groups).hosts
    assert expected == word[: len(expected)]
    assert len(expected) + 64 * expected.endswith("sha256:") == len(word) <= 400
    assert word == Site(groups, authenticated=True).hosts


def test_words_differ() -> None:
    """
    Other hosts, or in another order of preference, are another site.
    """
    groups = [(("a.x", "b.x"),), (("a.x",), ("b.x",)), (("b.x",), ("a.x",)), (("a.x,b.x",),), (("a.x;b.x",),)]
    assert len(groups) == len({Site(one).hosts for one in groups})
