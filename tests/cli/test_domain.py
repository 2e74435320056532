"""
C{lmrelay domain check}, over real files and a real name server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from lmrelay.cli.domain_rules import is_aligned
from lmrelay.cli.lookups import PTR, TXT
from lmrelay.testing.name_server import NameServer, Said, Zone
from tests.cli.home import acme, make_home, run, said
from tests.cli.zone import configure, rdata, serving, texts

US, US6 = "192.0.2.1", "2001:db8::1"
SPF = f"v=spf1 ip4:{US} ip6:{US6} -all"
PAST_RETURN = (
    'domains = ["acme.example", "news.acme.example"]\n[routes.outgoing]\nreturn_path = "bounce.acme.example"\n'
)


@define(eq=False)
class Place:
    """
    A relay with a signing key for C{acme.example}, and a zone in which all is as it should be.
    """

    home: Path
    server: NameServer
    key: dict[str, Any] = field(factory=dict)

    @property
    def zone(self) -> Zone:
        return self.server.zone

    def set_up(self) -> None:
        self.key = said(self.home, "dkim", "create", "acme.example", "--selector", "s1", "--activate")["record"]
        self.name(US, "relay.test")
        self.name(US6, "relay.test")
        self.zone.addresses("relay.test", US, US6).addresses("mx.acme.example", "198.51.100.1")
        self.zone.exchanges("acme.example", (10, "mx.acme.example"))
        self.texts("acme.example", SPF)
        self.texts(self.key["name"], self.key["value"])
        self.texts("_dmarc.acme.example", "v=DMARC1; p=reject; rua=mailto:a@acme.example")
        self.zone.exchanges("bounce.acme.example", (10, "relay.test"))
        self.texts("bounce.acme.example", SPF)

    def name(self, address: str, name: str) -> None:
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        self.zone.say(ip_address(address).reverse_pointer, PTR, Said((labels + b"\0",)))

    def texts(self, name: str, *values: str) -> None:
        texts(self.zone, name, *values)

    def check(self, domain: str = "acme.example", *options: str) -> tuple[int, list[dict[str, Any]]]:
        """
        Exit code, and what was found.
        """
        result = run(self.home, "domain", "check", domain, *options, "--json")
        document = json.loads(result.stdout)
        assert (result.exit_code == 0) is document["ok"]
        return result.exit_code, document["findings"]

    def wrong(self, domain: str = "acme.example", *options: str) -> list[tuple[str, str]]:
        """
        Levels and texts of what is not as it should be.
        """
        _, findings = self.check(domain, *options)
        return [(one["level"], one["text"]) for one in findings if one["level"] != "ok"]

    def record(self, about: str, domain: str = "acme.example") -> str:
        """
        The only record to publish about that, as a line of a zone.
        """
        (found,) = [one["record"]["zone"] for one in self.check(domain)[1] if one["about"] == about and one["record"]]
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with serving(Zone()) as server:
        home = make_home(tmp_path)
        configure(home, server.port)
        place = Place(home, server)
        place.set_up()
        yield place


def test_all_is_well(place: Place) -> None:
    """
    Where all is published nothing is to be added, and the exit code is 0.
    """
    code, findings = place.check()
    assert (0, {"ok"}) == (code, {one["level"] for one in findings})
    assert ["spf", "ptr", "ptr", "dkim", "dmarc", "dmarc", "mx"] == [one["about"] for one in findings]
    told = run(place.home, "domain", "check", "acme.example")
    assert told.stdout.startswith(f"Mail of acme.example comes from {US}, {US6} (else say so with --address).\n\nok  ")
    assert "To publish" not in told.stdout
    assert "" == told.stderr


def test_nothing_is_there(place: Place) -> None:
    """
    Of a domain without records everything is told, with the records to paste.
    """
    acme(place.home).write_text('domains = ["new.example"]\n')
    told = run(place.home, "domain", "check", "new.example")
    assert (1, "lmrelay: new.example: 4 problems\n") == (told.exit_code, told.stderr)
    _, records = told.stdout.split("To publish:\n\n")
    assert [
        f'    new.example. IN TXT "v=spf1 ip4:{US} ip6:{US6} ~all"',
        '    _dmarc.new.example. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@new.example"',
        "    new.example. IN MX 10 mail.new.example.",
    ] == records.splitlines()
    assert "problem  mail is not signed, there is no key: lmrelay dkim create new.example\n" in told.stdout


def test_what_is_told_is_enough(place: Place) -> None:
    """
    Whoever publishes what is told, and makes the key, has nothing left to do.
    """
    acme(place.home).write_text('domains = ["new.example"]\n')
    key = said(place.home, "dkim", "create", "new.example", "--activate")["record"]
    place.texts(key["name"], key["value"])
    for one in place.check("new.example")[1]:
        if one["record"] and one["record"]["type"] == "TXT":
            place.texts(one["record"]["name"], one["record"]["value"])
    place.zone.exchanges("new.example", (10, "mail.new.example")).addresses("mail.new.example", "198.51.100.2")
    assert 0 == place.check("new.example")[0]


# --- SPF


def test_spf_without_us(place: Place) -> None:
    """
    The record to paste is the domain's own, with the addresses that it lacks.
    """
    place.texts("acme.example", f"v=spf1 mx ip6:{US6} -all")
    assert [("problem", f"SPF of acme.example does not let {US} send (fail): change it")] == place.wrong()
    assert f'acme.example. IN TXT "v=spf1 ip4:{US} mx ip6:{US6} -all"' == place.record("spf")


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([SPF, SPF], "2 SPF records"),
        (["v=spf1 include:gone.example -all"], "gone.example, which is included, has no SPF record"),
        (["v=spf1 ip5:1 -all"], "'ip5:1', which is no mechanism"),
    ],
)
def test_spf_broken(place: Place, records: list[str], reason: str) -> None:
    """
    A record without a result is told with the reason, and without another to paste over it.
    """
    place.texts("acme.example", *records)
    ((level, text),) = place.wrong()
    assert ("problem", True) == (level, reason in text)
    assert 1 == place.check()[0]


def test_spf_for_all(place: Place) -> None:
    """
    A record that lets everybody send is told of.
    """
    place.texts("acme.example", "v=spf1 +all")
    assert [("advice", "SPF of acme.example lets everybody send: end it in ~all or -all")] == place.wrong()


def test_source_addresses(place: Place) -> None:
    """
    What is configured counts, of the route before the server, and what the operator says before both.
    """
    configure(place.home, place.server.port, '[delivery]\nsource_address = ["198.51.100.9", "10.0.0.1"]\n')
    told = said_of(place)
    assert (["198.51.100.9"], False) == (told["addresses"], told["ok"])
    acme(place.home).write_text('domains = ["acme.example"]\n[routes.outgoing]\nsource_address = ["192.0.2.1"]\n')
    assert ([US], True) == (said_of(place)["addresses"], said_of(place)["ok"])
    assert ["2001:db8::9"] == said_of(place, "--address", "2001:DB8::0009")["addresses"]
    assert "expected an IP address" in run(place.home, "domain", "check", "acme.example", "--address", "x").stderr


def said_of(place: Place, *options: str) -> Any:
    return json.loads(run(place.home, "domain", "check", "acme.example", *options, "--json").stdout)


def test_addresses_not_known(place: Place) -> None:
    """
    A server behind another address is not judged by its own.
    """
    place.zone.addresses("relay.test", "10.0.0.1")
    assert [("advice", "SPF of acme.example was not tried: this server's addresses are not known")] == place.wrong()
    place.texts("acme.example", "other text")
    assert 'acme.example. IN TXT "v=spf1 a:relay.test ~all"' == place.record("spf")


# --- names


def test_names(place: Place) -> None:
    """
    An address that has no name, or one that leads elsewhere, is told of; its record is another's to set.
    """
    place.name(US, "other.test")
    place.zone.addresses("other.test", "198.51.100.1")
    del place.zone.names[ip_address(US6).reverse_pointer]
    (first, second) = place.wrong()
    assert ("advice", f"{US} is called other.test, which does not lead back to it: many receivers mind") == first
    assert (True, True) == (second[1].startswith(f"{US6} has no name"), second[1].endswith("record to relay.test"))
    place.zone.fault(ip_address(US).reverse_pointer, Said(rcode=2))
    assert ("advice", True) == (place.wrong()[0][0], "the DNS gives no answer" in place.wrong()[0][1])


# --- DKIM


def test_dkim(place: Place) -> None:
    """
    A missing record of an active key is a problem, with the record; one of another key too.
    """
    del place.zone.names[place.key["name"]]
    wrong = place.wrong()
    assert ("problem", "s1._domainkey.acme.example: there is no TXT record") == wrong[0]
    assert place.key["zone"] == place.record("dkim")
    said(place.home, "dkim", "create", "acme.example", "--selector", "s2")
    assert wrong == place.wrong()


def test_dkim_not_active(place: Place) -> None:
    """
    A key that does not sign yet is named, with the command that lets it.
    """
    run(place.home, "dkim", "retire", "acme.example", "s1")
    assert ("problem", "no key is active: lmrelay dkim activate acme.example s1") in place.wrong()


def test_dkim_only_ed25519(place: Place) -> None:
    """
    Many receivers know RSA alone.
    """
    run(place.home, "dkim", "retire", "acme.example", "s1")
    options = ("--selector", "e1", "--algorithm", "ed25519", "--activate")
    key = said(place.home, "dkim", "create", "acme.example", *options)["record"]
    place.texts(key["name"], key["value"])
    ((level, text),) = place.wrong()
    assert ("problem", True) == (level, "only Ed25519 keys sign" in text)


def test_dkim_in_test_mode(place: Place) -> None:
    """
    A record in test mode is told of.
    """
    place.texts(place.key["name"], place.key["value"] + "; t=y")
    assert ("advice", "s1._domainkey.acme.example is in test mode (t=y): take that out once all works") in place.wrong()


# --- DMARC


def dmarc(place: Place, *values: str, of: str = "acme.example") -> None:
    place.texts(f"_dmarc.{of}", *values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((), "no DMARC record"),
        (("v=DMARC1",), "no policy that holds"),
        (("v=DMARC1; p=refuse",), "no policy that holds"),
        (("v=DMARC1; p=none", "v=DMARC1; p=none"), "2 DMARC records"),
    ],
)
def test_dmarc_broken(place: Place, values: tuple[str, ...], reason: str) -> None:
    """
    A policy that does not hold is a problem.
    """
    dmarc(place, *values)
    ((level, text),) = place.wrong()
    assert ("problem", True) == (level, reason in text)


def test_dmarc_of_the_parent(place: Place) -> None:
    """
    A subdomain has its parent's policy and signature; where DMARC is strict it needs a key of its own.
    """
    acme(place.home).write_text('domains = ["news.acme.example"]\n')
    place.zone.exchanges("news.acme.example", (10, "mx.acme.example"))
    place.texts("news.acme.example", SPF)
    assert [] == place.wrong("news.acme.example")
    dmarc(place, "v=DMARC1; p=none; sp=reject; adkim=s")
    ((level, text),) = place.wrong("news.acme.example")
    assert "problem" == level
    assert "signed as acme.example, which adkim=s does not take for news.acme.example" in text
    assert any("says p=reject" in one["text"] for one in place.check("news.acme.example")[1])


def test_dmarc_without_signature(place: Place) -> None:
    """
    Without a signature that passes, SPF has to: where it does not, a policy that refuses makes mail suffer.
    """
    del place.zone.names[place.key["name"]]
    place.texts("acme.example", "v=spf1 -all")
    fails = "mail with return path acme.example does not pass SPF and there is no signature that passes"
    assert ("problem", f"{fails}: receivers apply p=reject") in place.wrong()
    dmarc(place, "v=DMARC1; p=none")
    assert ("advice", f"{fails}: receivers apply p=none") in place.wrong()
    place.texts("acme.example", SPF)
    assert 1 == len(place.wrong())


def test_dmarc_of_other_return_path(place: Place) -> None:
    """
    A return path elsewhere leaves DMARC to the signature alone, which is told.
    """
    acme(place.home).write_text('domains = ["acme.example"]\n[routes.outgoing]\nreturn_path = "bounce.other.test"\n')
    place.zone.exchanges("bounce.other.test", (10, "relay.test"))
    place.texts("bounce.other.test", SPF)
    ((level, text),) = place.wrong()
    assert ("advice", True) == (level, "bounce.other.test is not aligned with it" in text)


@pytest.mark.parametrize(
    ("found", "author", "strict", "expected"),
    [
        ("a.example", "a.example", True, True),
        ("b.a.example", "a.example", True, False),
        ("b.a.example", "a.example", False, True),
        ("b.a.example", "c.a.example", False, True),
        ("b.example", "a.example", False, False),
        ("a.co.uk", "b.co.uk", False, False),
        ("x.a.co.uk", "a.co.uk", False, True),
        ("xa.example", "a.example", False, False),
    ],
)
def test_aligned(found: str, author: str, strict: bool, expected: bool) -> None:
    """
    Relaxed, subdomains of one organization are aligned; strict, only equals are.
    """
    assert expected is is_aligned(found, author, strict=strict)


# --- return paths and MX


def test_return_path(place: Place) -> None:
    """
    Its mail has to come here, and its SPF to let us send; then the domain's own SPF is for advice alone.
    """
    acme(place.home).write_text(PAST_RETURN)
    place.texts("acme.example", "v=spf1 -all")
    code, findings = place.check()
    assert (0, "advice") == (code, findings[0]["level"])
    assert ["return-path", "return-path"] == [one["about"] for one in findings if one["about"] == "return-path"]
    place.zone.exchanges("bounce.acme.example", (10, "mx.acme.example"))
    assert ("problem", "bounces to bounce.acme.example do not come to this server") in place.wrong()
    assert "bounce.acme.example. IN MX 10 relay.test." == place.record("return-path")
    place.zone.exchanges("bounce.acme.example", (10, "relay.test"), (20, "mx.acme.example"))
    assert any("some bounces to bounce.acme.example" in text for _, text in place.wrong())
    place.zone.exchanges("bounce.acme.example", (10, "alias.test")).addresses("alias.test", US)
    place.texts("bounce.acme.example", "v=spf1 ~all")
    ((level, text),) = [one for one in place.wrong() if "bounce" in one[1] and "SPF of" in one[1]]
    assert ("problem", True) == (level, "softfail" in text)


def test_mx(place: Place) -> None:
    """
    A domain that cannot be answered is a problem; one without MX record works, and could be better.
    """
    place.zone.exchanges("acme.example", (0, ""))
    assert "null MX" in place.wrong()[0][1]
    place.zone.exchanges("acme.example", (10, "gone.example"))
    assert ["advice", "problem"] == [level for level, _ in place.wrong()]
    place.zone.exchanges("acme.example")
    assert "neither MX nor address" in place.wrong()[0][1]
    place.zone.addresses("acme.example", "198.51.100.1")
    assert ["advice"] == [level for level, _ in place.wrong()]


# --- beside


def test_no_project(place: Place) -> None:
    """
    A domain that nobody may send as can be looked at before.
    """
    place.zone.exchanges("other.test", (10, "mx.acme.example"))
    assert ("advice", "no project may send as other.test: lmrelay project add SLUG --domain other.test") == place.wrong(
        "other.test"
    )[0]


def test_dns_is_away(place: Place) -> None:
    """
    No answer is told as such, and costs no look at the rest.
    """
    place.zone.fault("_dmarc.acme.example", Said(rcode=2)).fault(place.key["name"], Said(rcode=2))
    told = [text for level, text in place.wrong() if level == "problem"]
    assert [True, True] == ["the DNS gives no answer: SERVFAIL" in text for text in told]


def test_long_records(place: Place) -> None:
    """
    Records of several strings, and answers that take TCP, are read whole.
    """
    record = SPF.replace(" -all", " " + " ".join(f"ip4:198.51.100.{number}" for number in range(60)) + " -all")
    place.zone.say("acme.example", TXT, Said((rdata(record), rdata("other text")), truncated=True))
    assert [] == place.wrong()


@pytest.mark.parametrize("name", ["localhost", "a b.example", "[192.0.2.1]", "*"])
def test_no_domain(place: Place, name: str) -> None:
    """
    What is no domain is refused before anything is asked.
    """
    before = len(place.server.asked)
    told = run(place.home, "domain", "check", name)
    assert (1, "", before) == (told.exit_code, told.stdout, len(place.server.asked))
