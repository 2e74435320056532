"""
DANE for SMTP (RFC 7672): what an MX host's TLSA records ask, and whether the chain that it showed is theirs.

The records and the matching are pure. L{Dane} looks them up, only where the DNS vouched for the whole way to the host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto

from lmrelay.config.words import Switch
from lmrelay.errors import DnsError
from lmrelay.interfaces import IResolver, ISettings
from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.outbound.route import Site
from lmrelay.outbound.tls import Level, Rule, Shown
from lmrelay.reach import Addresses
from lmrelay.trust import names_other

TLSA = 52

TRUST_ANCHOR, END_ENTITY = 2, 3
"""
The usages that mail knows: DANE-TA and DANE-EE (RFC 7672 §3.1).
"""

CERTIFICATE, KEY = 0, 1
EXACT = 0
"""
Selectors, and the matching type of what is not a digest (RFC 6698 §2.1).
"""

_DIGESTS: dict[int, Callable[[bytes], bytes]] = {
    1: lambda octets: hashlib.sha256(octets).digest(),
    2: lambda octets: hashlib.sha512(octets).digest(),
}
_LENGTHS = {1: 32, 2: 64}

MAX_RECORDS = 50
MAX_CHAIN = 10
"""
Records and certificates that are looked at: nobody's need be that many, and each costs time.
"""


@frozen(order=True)
class TlsaRecord:
    """
    One that can be used. C{association} is what the selected part of a certificate, or its digest, has to be.
    """

    usage: int
    selector: int
    matching: int
    association: bytes

    def matches(self, certificate: x509.Certificate) -> bool:
        """
        Is it that certificate's, or its key's?
        """
        selected = certificate.public_bytes(Encoding.DER) if self.selector == CERTIFICATE else find_key(certificate)
        digest = _DIGESTS.get(self.matching)
        return self.association == (selected if digest is None else digest(selected))


def parse_tlsa(rdata: object) -> TlsaRecord | None:
    """
    The record in that RDATA (RFC 6698 §2.1); None: it cannot be used. Nor can PKIX-TA and PKIX-EE, for there is no set
    of CAs that all mail hosts agree about (RFC 7672 §3.1.3).
    """
    if not isinstance(rdata, bytes) or len(rdata) < 4:
        return None
    record = TlsaRecord(rdata[0], rdata[1], rdata[2], rdata[3:])
    if record.usage not in (TRUST_ANCHOR, END_ENTITY) or record.selector not in (CERTIFICATE, KEY):
        return None
    if record.matching != EXACT:
        return record if _LENGTHS.get(record.matching) == len(record.association) else None
    if record.selector == CERTIFICATE and _load(record.association) is None:
        return None
    return record


def choose_strongest(records: Iterable[TlsaRecord]) -> tuple[TlsaRecord, ...]:
    """
    Without digests of what a better digest stands beside, of the same usage and selector (RFC 7671 §9).
    """
    each = sorted(set(records))
    best = {(one.usage, one.selector): one.matching for one in each}
    return tuple(one for one in each if one.matching in (EXACT, best[one.usage, one.selector]))


def find_key(certificate: x509.Certificate) -> bytes:
    """
    The SubjectPublicKeyInfo of a certificate, octet for octet as it stands there.
    """
    rest = _content(certificate.tbs_certificate_bytes)
    if rest[:1] == b"\xa0":
        _, rest = _take(rest)
    for _ in range(5):
        # Serial number, signature, issuer, validity, subject (RFC 5280 §4.1).
        _, rest = _take(rest)
    return _take(rest)[0]


def _content(element: bytes) -> bytes:
    return element[_bounds(element)[0] :]


def _take(elements: bytes) -> tuple[bytes, bytes]:
    end = _bounds(elements)[1]
    return elements[:end], elements[end:]


def _bounds(element: bytes) -> tuple[int, int]:
    """
    Where the content of the first DER element begins and ends.
    """
    length = element[1]
    if length < 0x80:
        return 2, 2 + length
    octets = length & 0x7F
    start = 2 + octets
    return start, start + int.from_bytes(element[2:start], "big")


def _load(octets: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(octets)
    except (ValueError, x509.InvalidVersion):
        return None


@frozen
class DaneRule:
    """
    What TLSA records ask of a host. C{records} are those that can be used; without any, TLS is asked for and no proof.

    C{server_name} is the name that the records are of: the host's, or where its CNAME leads.
    """

    server_name: str
    records: tuple[TlsaRecord, ...] = ()
    barred: Delayed | None = None
    policy: str = field(default="dane", init=False)

    @property
    def required(self) -> Level:
        """
        See L{Rule}.
        """
        return Level.AUTHENTICATED if self.records or self.barred else Level.ENCRYPTED

    def doubt(self, shown: Shown, domains: frozenset[str]) -> str:
        """
        See L{Rule}.
        """
        if not self.records:
            return ""
        chain = [loaded for octets in shown.chain[:MAX_CHAIN] if (loaded := _load(octets)) is not None]
        if len(chain) != len(shown.chain[:MAX_CHAIN]) or not chain:
            return "the server showed no certificate that can be read"
        if any(one.matches(chain[0]) for one in self.records if one.usage == END_ENTITY):
            # Neither names nor dates count: the record says all of it (RFC 7672 §3.1.1).
            return ""
        anchors = list(self._anchors(chain))
        if not anchors:
            return "the certificate matches no TLSA record"
        return _distrust(chain, anchors) or self._names_other(chain[0], domains)

    def _anchors(self, chain: Sequence[x509.Certificate]) -> Iterator[x509.Certificate]:
        """
        The certificates that the records say may have issued the host's: those of its chain, or given whole.
        """
        records = [one for one in self.records if one.usage == TRUST_ANCHOR]
        yield from (certificate for certificate in chain[1:] if any(one.matches(certificate) for one in records))
        for one in records:
            if (one.selector, one.matching) == (CERTIFICATE, EXACT) and (given := _load(one.association)) is not None:
                yield given

    def _names_other(self, certificate: x509.Certificate, domains: frozenset[str]) -> str:
        """
        For whom the certificate is, if it is neither for the host nor for the recipients' domains (RFC 7672 §3.2.2).
        """
        shown = crypto.X509.from_cryptography(certificate)
        trouble = names_other(shown, self.server_name)
        if trouble and domains and not any(names_other(shown, domain) for domain in domains):
            return ""
        return trouble


def _distrust(chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]) -> str:
    """
    Why the host's certificate does not come from one of the anchors; empty: it does.
    """
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for anchor in anchors:
        store.add_cert(crypto.X509.from_cryptography(anchor))
    leaf, *others = map(crypto.X509.from_cryptography, chain)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        return f"the certificate does not come from what the TLSA records name: {error}"
    return ""


def make_rule(name: str, records: Iterable[object]) -> DaneRule:
    """
    What the TLSA records (RDATA) of C{name} ask.
    """
    usable = (record for rdata in list(records)[:MAX_RECORDS] if (record := parse_tlsa(rdata)) is not None)
    return DaneRule(name, choose_strongest(usable))


@define(eq=False)
class Dane:
    """
    Looks TLSA records up.
    """

    resolver: IResolver
    settings: ISettings

    async def find(
        self, site: Site, host: str, addresses: Addresses, port: int, whose: Hashable = None
    ) -> tuple[Rule, ...]:
        """
        What the DNS publishes of that host of the site, by a way that it vouches for from the domain on; nothing
        where it does not (RFC 7672 §2.2).

        @param whose: for whom the DNS is asked, as L{IResolver.query} has it
        """
        if self.settings.config.delivery.dane is Switch.OFF or not (site.authenticated and addresses.authenticated):
            return ()
        # Where a CNAME leads comes first, then the name itself (RFC 7672 §2.2.3).
        for name in dict.fromkeys((addresses.name or host, host)):
            try:
                answer = await self.resolver.query(f"_{port}._tcp.{name}", TLSA, whose)
            except DnsError as error:
                # Else whoever can break an answer could switch DANE off (RFC 7672 §2.1.2).
                text = f"the TLSA records of {name} cannot be looked up: {error}"
                return (DaneRule(name, barred=Delayed("4.4.3", text, Fault.DNS)),)
            if answer.records and answer.authenticated:
                return (make_rule(name, answer.records),)
        return ()
