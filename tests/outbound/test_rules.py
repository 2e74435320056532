"""
Which rules fit a site, and what they say together.
"""

from __future__ import annotations

import pytest
from attrs import evolve

from lmrelay.config.receivers import all_receivers
from lmrelay.config.values import Delivery, Receiver
from lmrelay.outbound.route import Site
from lmrelay.outbound.rules import Limits, Rules, find_limits, find_words
from tests.outbound.doubles import Settings, config

OWN = Receiver("own", ("*.l.google.com", "mx.b.example"), connections=30, rate=2.0)
GOOGLE = Receiver("google", ("*.google.com",), 10, 50, slow_down=("unusual rate",))
BARE = Receiver("bare", ("*.example",), slow_down=())


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["aspmx.l.google.com"], Limits(30, 50, 2.0, ("own", "google"))),
        (["mx.google.com"], Limits(10, 50, None, ("google",))),
        (["google.com"], Limits(20, 100)),
        (["mx.notgoogle.com"], Limits(20, 100)),
        (["mx.b.example"], Limits(30, 100, 2.0, ("own", "bare"))),
        (["other.org", "mx.google.com"], Limits(10, 50, None, ("google",))),
    ],
)
def test_limits(hosts: list[str], expected: Limits) -> None:
    """
    Of each key the first rule that says it; what none says, the configuration says for all.
    """
    assert expected == find_limits(config(receivers=(OWN, GOOGLE, BARE)), hosts)


def test_words() -> None:
    """
    The first rule that has words, be they none, says them.
    """
    rules = config(receivers=(OWN, GOOGLE, BARE, evolve(GOOGLE, hosts=("*.example",))))
    assert ("unusual rate",) == find_words(rules, "aspmx.l.google.com")
    assert () == find_words(rules, "mx.b.example")
    assert () == find_words(rules, "mx.c.org")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("gmail-smtp-in.l.google.com", "google"),
        ("outlook-com.olc.protection.outlook.com", "outlook.com"),
        ("contoso-com.mail.protection.outlook.com", "microsoft365"),
        ("contoso-com.a-v1.mx.microsoft", "microsoft365"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("mx01.mail.icloud.com", "apple"),
        ("mx00.gmx.net", "gmx-webde"),
        ("mx-ha02.web.de", "gmx-webde"),
        ("mx00.t-online.de", "t-online"),
        ("smtp-in.orange.fr", "orange"),
        ("mx1.free.fr", "free"),
        ("mxs.mail.ru", "mail.ru"),
        ("mx.yandex.ru", "yandex"),
        ("mx1a1.comcast.net", "comcast"),
        ("mail.protonmail.ch", "proton"),
    ],
)
def test_shipped(host: str, name: str) -> None:
    """
    The MX hosts of the large receivers fit the rules that are shipped for them, and no other.
    """
    assert (name,) == find_limits(config(receivers=all_receivers(Delivery())), [host]).rules


def test_reload() -> None:
    """
    Another configuration is seen, and what was found under the old one is forgotten.
    """
    settings = Settings(config(delivery=Delivery(connections_per_site=3)))
    rules, site = Rules(settings), Site((("mx.b.example",), ("backup.google.com",)))
    assert [True, False] == [rules.have_changed(), rules.have_changed()]
    assert Limits(3) == rules.find(site)
    settings.config = config(receivers=(OWN,))
    assert rules.have_changed()
    assert Limits(30, rate=2.0, rules=("own",)) == rules.find(site)
