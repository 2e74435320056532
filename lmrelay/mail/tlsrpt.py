"""
TLS reports (RFC 8460): who wants one, what stands in it, and the mail that carries it.

Pure. What others said stands in a report only inside of JSON, and in its mail only compressed.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import frozen

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import Address, parse_address
from lmrelay.mail.head import make_field
from lmrelay.mail.received import format_date

MEDIA_TYPE = "application/tlsrpt+gzip"

MAX_DESTINATIONS = 4
"""
Of a domain: nobody is to have a report sent all over the world.
"""

_BOUNDARY = "=_tls-report"
"""
No part can have it in it: neither base64 nor the words beside it have "=_".
"""

_VERSION = re.compile(rb"v=TLSRPTv1[ \t]*;")
_RUA = re.compile(rb"[ \t]*rua=[ \t]*([\x21-\x3a\x3c-\x7e](?:[\x20-\x3a\x3c-\x7e]*[\x21-\x3a\x3c-\x7e])?)[ \t]*")
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]")


@frozen
class Destinations:
    """
    Where a domain wants its reports: mailboxes, and URLs to POST them to.
    """

    mailboxes: tuple[Address, ...] = ()
    urls: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.mailboxes or self.urls)


def find_destinations(texts: Iterable[bytes]) -> Destinations:
    """
    What the TXT records of C{_smtp._tls} say (RFC 8460 §3). Nothing unless exactly one of them is for this; what of it
    cannot be understood is passed over.
    """
    records = [text for text in texts if _VERSION.match(text)]
    if len(records) != 1:
        return Destinations()
    fields = [found[1] for part in records[0].split(b";")[1:] if (found := _RUA.fullmatch(part))]
    if len(fields) != 1:
        return Destinations()
    mailboxes: list[Address] = []
    urls: list[str] = []
    for uri in fields[0].decode("ascii").split(",")[:MAX_DESTINATIONS]:
        address, url = _read_mailto(uri.strip()), _read_https(uri.strip())
        mailboxes += [address] if address is not None and address not in mailboxes else []
        urls += [url] if url is not None and url not in urls else []
    return Destinations(tuple(mailboxes), tuple(urls))


def _read_mailto(uri: str) -> Address | None:
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "mailto":
        return None
    try:
        address = parse_address(unquote(rest.partition("?")[0], errors="strict"))
    except (SyntaxRefused, UnicodeDecodeError):
        return None
    # Where SMTPUTF8 were needed the report might not arrive, and a literal leads past MX and policy.
    return address if address.is_ascii and not address.is_literal else None


def _read_https(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
        good = parts.scheme == "https" and parts.port != 0 and parts.username is None and parts.password is None
    except ValueError:
        return None
    # Not an address: which hosts the relay may be sent to is for the DNS to say, and to be checked there.
    return uri if good and _HOST.fullmatch((parts.hostname or "").lower()) else None


def day_of(at: float) -> str:
    """
    The day (UTC) of a time in seconds since the epoch.
    """
    return datetime.fromtimestamp(at, UTC).date().isoformat()


@frozen
class TlsCount:
    """
    How many sessions had that result under that policy; both as JSON objects of RFC 8460 §4.4, the result empty where
    all was well.
    """

    policy: str
    result: str
    sessions: int


@frozen
class Report:
    """
    The report on one day (UTC, C{YYYY-MM-DD}) for mail to C{domain}, by C{submitter} (a host name), whom C{contact} (an
    address) leads to.
    """

    id: str
    day: str
    domain: str
    submitter: str
    contact: str
    counts: Sequence[TlsCount]

    def to_json(self) -> bytes:
        """
        As RFC 8460 §4.4 has it.
        """
        policies: dict[str, dict[str, Any]] = {}
        for count in self.counts:
            told = policies.setdefault(count.policy, {"policy": json.loads(count.policy), "summary": _summary()})
            kind = "failure" if count.result else "successful"
            told["summary"][f"total-{kind}-session-count"] += count.sessions
            if count.result:
                details = told.setdefault("failure-details", [])
                details.append({**json.loads(count.result), "failed-session-count": count.sessions})
        report = {
            "organization-name": self.submitter,
            "date-range": {"start-datetime": f"{self.day}T00:00:00Z", "end-datetime": f"{self.day}T23:59:59Z"},
            "contact-info": self.contact,
            "report-id": self.id,
            "policies": list(policies.values()),
        }
        return json.dumps(report, separators=(",", ":")).encode("ascii")

    def to_gzip(self) -> bytes:
        """
        The same, compressed.
        """
        return gzip.compress(self.to_json(), mtime=0)


def _summary() -> dict[str, int]:
    return {"total-successful-session-count": 0, "total-failure-session-count": 0}


def compose(report: Report, to: Sequence[Address], octets: bytes, now: float) -> tuple[bytes, bytes]:
    """
    Head and body of the mail with the report (RFC 8460 §5.3); the body begins with the empty line.

    @param octets: the report, compressed
    """
    submitter, domain = report.submitter, report.domain
    begin = round(datetime.fromisoformat(f"{report.day}T00:00:00Z").timestamp())
    name = f"{submitter}!{domain}!{begin}!{begin + 86_399}!{report.id}.json.gz"
    words = (
        f"This is an aggregate report of TLS sessions for mail to {domain}\r\n"
        f"on {report.day} (UTC), by the mail relay {submitter} (RFC 8460).\r\n"
    )
    parts = (
        f"Content-Type: text/plain; charset=us-ascii\r\n\r\n{words}",
        f'Content-Type: {MEDIA_TYPE}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n'
        f'Content-Disposition: attachment; filename="{name}"\r\n\r\n{_base64(octets)}',
    )
    body = "\r\n" + "".join(f"--{_BOUNDARY}\r\n{part}\r\n" for part in parts) + f"--{_BOUNDARY}--\r\n"
    fields = [
        ("Date", format_date(now)),
        ("From", f"Mail Delivery System <{report.contact}>"),
        ("To", ", ".join(f"<{address}>" for address in to)),
        ("Subject", f"Report Domain: {domain} Submitter: {submitter} Report-ID: <{report.id}@{submitter}>"),
        ("Message-ID", f"<{report.id}@{submitter}>"),
        ("TLS-Report-Domain", domain),
        ("TLS-Report-Submitter", submitter),
        # It tells of broken TLS, and has to get through it (RFC 8460 §5.3, RFC 8689 §3).
        ("TLS-Required", "No"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/report; report-type="tlsrpt"; boundary="{_BOUNDARY}"'),
    ]
    head = b"".join(make_field(name, value).octets for name, value in fields)
    return head, body.encode("ascii")


def _base64(octets: bytes) -> str:
    return base64.encodebytes(octets).decode("ascii").replace("\n", "\r\n")
