"""
SPF (RFC 7208) from the sender's side: would a receiver find that this address may send for the domain?

Pure but for the questions it is given a way to ask. What hangs on a message (macros, C{exists}, C{ptr}) cannot be told
beforehand: it matches nothing here, and is told of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from attrs import define, field, frozen

from lmrelay.cli.lookups import AAAA, MX, TXT, A, Ask, texts_of
from lmrelay.errors import DnsError, LmrelayError
from lmrelay.interfaces import Answer, MxRecord

MAX_LOOKUPS = 10
MAX_VOID = 2
MAX_HOSTS = 10
"""
RFC 7208 §4.6.4: terms that ask the DNS, questions of them without an answer, and hosts of one C{mx}.
"""

IPAddress = IPv4Address | IPv6Address

PASS, NONE, NEUTRAL = "pass", "none", "neutral"
_QUALIFIERS = {"+": PASS, "-": "fail", "~": "softfail", "?": NEUTRAL}
_VERSION = re.compile(r"v=spf1(?: |\Z)", re.IGNORECASE)
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)")
_MECHANISM = re.compile(r"([+~?-]?)([A-Za-z0-9]+)(?::([^/]*(?:/[^/0-9][^/]*)*))?(?:/(\d{1,3}))?(?://(\d{1,3}))?")
_NETWORK = re.compile(r"([+~?-]?)(ip[46]):(\S+)", re.IGNORECASE)


class SpfError(LmrelayError):
    """
    There is no result: a flaw of the record where C{permanent}, else of the DNS.
    """

    def __init__(self, reason: str, *, permanent: bool = True) -> None:
        super().__init__(reason)
        self.permanent = permanent


@frozen
class Verdict:
    """
    C{result} in the words of RFC 7208 §2.6; C{reason} says what led to an error. C{lookups} counts the terms that
    asked the DNS, C{unknown} are terms that only a message could decide.
    """

    result: str
    reason: str = ""
    lookups: int = 0
    unknown: tuple[str, ...] = ()


def find_records(ask: Ask, domain: str) -> list[str]:
    """
    The SPF records of a domain; there may be one.

    @raise DnsError: no answer
    """
    return [text for text in texts_of(ask(domain, TXT)) if _VERSION.match(text)]


def check_host(ask: Ask, address: str, domain: str) -> Verdict:
    """
    May C{address} send with a reverse path of C{domain}?
    """
    evaluation = _Evaluation(ask, ip_address(address))
    try:
        result, reason = evaluation.check(domain), ""
    except SpfError as error:
        result, reason = "permerror" if error.permanent else "temperror", str(error)
    return Verdict(result, reason, evaluation.lookups, tuple(evaluation.unknown))


@define(eq=False)
class _Evaluation:
    ask: Ask
    address: IPAddress
    lookups: int = 0
    voids: int = 0
    unknown: list[str] = field(factory=list)

    def check(self, domain: str) -> str:
        """
        RFC 7208 §4.
        """
        try:
            records = find_records(self.ask, domain)
        except DnsError as error:
            raise SpfError(str(error), permanent=False) from error
        if not records:
            return NONE
        if len(records) > 1:
            raise SpfError(f"{domain} has {len(records)} SPF records")
        return self._run(records[0].split()[1:], domain)

    def _run(self, terms: Sequence[str], domain: str) -> str:
        redirect = ""
        mechanisms = []
        # The grammar is checked whole before anything is asked (RFC 7208 §4.6).
        for term in terms:
            modifier = _MODIFIER.fullmatch(term)
            if modifier is None:
                mechanisms.append((term, *_parse(term, domain)))
            elif modifier[1].lower() == "redirect":
                redirect = modifier[2]
        for term, qualifier, name, argument, widths in mechanisms:
            if self._matches(term, name, argument or domain, widths):
                return _QUALIFIERS[qualifier or "+"]
        if not redirect:
            return NEUTRAL
        self._count(f"redirect={redirect}")
        if "%" in redirect:
            self.unknown.append(f"redirect={redirect}")
            return NEUTRAL
        result = self.check(redirect)
        if result == NONE:
            raise SpfError(f"{redirect}, to which {domain} redirects, has no SPF record")
        return result

    def _matches(self, term: str, name: str, argument: str, widths: tuple[int, int]) -> bool:
        if name == "all":
            return True
        if name in ("ip4", "ip6"):
            return self.address in ip_network(argument, strict=False)
        self._count(term)
        if "%" in argument or name in ("exists", "ptr"):
            self.unknown.append(term)
            return False
        if name == "include":
            return self._includes(argument)
        hosts = self._exchanges(argument) if name == "mx" else [argument]
        return any(self._covers(host, widths) for host in hosts)

    def _includes(self, domain: str) -> bool:
        result = self.check(domain)
        if result == NONE:
            raise SpfError(f"{domain}, which is included, has no SPF record")
        return result == PASS

    def _exchanges(self, domain: str) -> list[str]:
        hosts = [one.host for one in self._ask(domain, MX).records if isinstance(one, MxRecord) and one.host]
        if len(hosts) > MAX_HOSTS:
            raise SpfError(f"{domain} has more than {MAX_HOSTS} MX hosts")
        return hosts

    def _covers(self, host: str, widths: tuple[int, int]) -> bool:
        version = self.address.version
        answer = self._ask(host, A if version == 4 else AAAA)
        width = widths[0] if version == 4 else widths[1]
        return any(self.address in ip_network(f"{one}/{width}", strict=False) for one in answer.records)

    def _ask(self, name: str, type: int) -> Answer:
        try:
            answer = self.ask(name, type)
        except DnsError as error:
            raise SpfError(str(error), permanent=False) from error
        if not answer.records:
            self.voids += 1
            if self.voids > MAX_VOID:
                raise SpfError(f"more than {MAX_VOID} of its names have no address, the last of them {name}")
        return answer

    def _count(self, term: str) -> None:
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            raise SpfError(f"it takes more than {MAX_LOOKUPS} DNS lookups, the first too many for {term}")


def _parse(term: str, domain: str) -> tuple[str, str, str, tuple[int, int]]:
    """
    Qualifier, name, argument and prefix lengths of a mechanism.

    @raise SpfError: it is none
    """
    network = _NETWORK.fullmatch(term)
    if network is not None:
        return network[1], network[2].lower(), _check_network(network[3], network[2], domain), (32, 128)
    match = _MECHANISM.fullmatch(term)
    name = match[2].lower() if match else ""
    argument = (match[3] or "") if match else ""
    if match is None or name not in _MECHANISMS or (name in _NEED and not argument):
        raise SpfError(f"the record of {domain} has {term!r}, which is no mechanism")
    widths = int(match[4] or 32), int(match[5] or 128)
    if (widths != (32, 128) and name not in ("a", "mx")) or widths[0] > 32 or widths[1] > 128:
        raise SpfError(f"the record of {domain} has {term!r}, whose length cannot be")
    return match[1], name, argument.removesuffix("."), widths


_MECHANISMS = {"all", "include", "a", "mx", "ptr", "exists"}
_NEED = {"include", "exists"}


def _check_network(text: str, name: str, domain: str) -> str:
    try:
        fits = ip_network(text, strict=False).version == int(name[2])
    except ValueError:
        fits = False
    if not fits:
        raise SpfError(f"the record of {domain} has {name}:{text}, which is no network of that kind")
    return text


def allow(record: str, addresses: Sequence[str]) -> str:
    """
    The record with these addresses let in, before all that it says already.
    """
    terms = [f"ip{ip_address(address).version}:{address}" for address in addresses]
    version, *others = record.split() or ["v=spf1", "~all"]
    return " ".join([version, *terms, *others])
