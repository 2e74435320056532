"""
MTA-STS as a domain publishes it (RFC 8461 §3): the TXT record, the policy file, and what a policy asks of an MX host.

Pure: octets in, values out; what is malformed is no policy.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Sequence

from attrs import field, frozen

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.outcome import Delayed, Fault
from lmrelay.outbound.tls import Level, Rule, Vouched

POLICY = "mta-sts"

MAX_OCTETS = 64 * 1024
MAX_AGE = 31_557_600
"""
Of a policy file, and seconds for which it may be kept (RFC 8461 §3.2, §3.3).
"""

MAX_LINES = 500
MAX_PATTERNS = 100
"""
Lines of a policy file, so that nobody's takes longer to read than others can wait; hosts that it may name: policies of
many domains are in memory, and held against each host.
"""

_VERSION = b"v=STSv1"
_BLANKS = b" \t"
_FIELD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[\x21-\x3a\x3c\x3e-\x7e]+")
_ID = re.compile(rb"id=([A-Za-z0-9]{1,32})")

_LINE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*([^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?)[ \t]*"
)
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_SECONDS = re.compile("[0-9]{1,10}")


class StsMode(enum.Enum):
    """
    What becomes of mail that a policy does not let through.
    """

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@frozen
class StsPolicy:
    """
    Which MX hosts a domain names: in lower case, a pattern C{*.} with any one label before it. C{max_age} is as
    published, in seconds.
    """

    mode: StsMode
    mx: tuple[str, ...]
    max_age: int = field(default=0, eq=False)

    def matches(self, host: str) -> bool:
        """
        Does it name that MX host (RFC 8461 §4.1)?
        """
        _, _, parent = host.partition(".")
        return host in self.mx or f"*.{parent}" in self.mx

    def asks(self, host: str) -> Iterator[Rule]:
        """
        What it asks of that host: to be named, and a certificate that a known CA vouches for.
        """
        if self.mode is StsMode.ENFORCE:
            yield self._rule(host)

    def watches(self, host: str) -> Iterator[Rule]:
        """
        What it would ask if it were not in testing.
        """
        if self.mode is StsMode.TESTING:
            yield self._rule(host)

    def _rule(self, host: str) -> Rule:
        if self.matches(host):
            return Vouched(POLICY, Level.AUTHENTICATED)
        text = f"the MTA-STS policy of the recipient's domain does not name the host {host}"
        return Vouched(POLICY, Level.AUTHENTICATED, Delayed("4.7.5", text, Fault.POLICY))


@frozen
class Published:
    """
    A policy file. C{max_age} is in seconds.
    """

    policy: StsPolicy
    max_age: int


def parse_record(records: Iterable[object]) -> str | None:
    """
    The id in the TXT records (RDATA) of C{_mta-sts}; None: there is not one valid record, so no policy is to be
    looked for (RFC 8461 §3.1).
    """
    texts = [text for record in records if isinstance(record, bytes) and (text := join_strings(record)) is not None]
    published = [fields for text in texts if len(fields := _split(text)) > 1 and fields[0] == _VERSION]
    if len(published) != 1:
        return None
    fields = published[0][1:]
    if fields[-1] == b"":
        fields.pop()
    if not all(_FIELD.fullmatch(one) for one in fields):
        return None
    ids = [one for one in fields if one.startswith(b"id=")]
    # Of a field that comes again only the first counts.
    found = _ID.fullmatch(ids[0]) if ids else None
    return found[1].decode("ascii") if found else None


def _split(text: bytes) -> list[bytes]:
    """
    What stands between the semicolons, without the blanks around these.
    """
    # Not by a regular expression: a domain that publishes nothing but blanks would hold up all others for seconds.
    first, *others = text.split(b";")
    if not others:
        return [first]
    return [first.rstrip(_BLANKS), *(one.strip(_BLANKS) for one in others[:-1]), others[-1].lstrip(_BLANKS)]


def join_strings(rdata: bytes) -> bytes | None:
    """
    The character strings of a TXT record as one; None where they are cut short.
    """
    strings, at = [], 0
    while at < len(rdata):
        end = at + 1 + rdata[at]
        strings.append(rdata[at + 1 : end])
        at = end
    return b"".join(strings) if at == len(rdata) else None


def parse_policy(octets: bytes) -> Published:
    """
    The policy in a policy file (RFC 8461 §3.2). Fields of other names are passed over; a C{max_age} above a year is
    a year.

    @raise SyntaxRefused: it is none
    """
    if len(octets) > MAX_OCTETS:
        raise SyntaxRefused(f"it has more than {MAX_OCTETS} octets")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SyntaxRefused("it is not UTF-8") from error
    fields = list(_fields(text))
    firsts = dict(reversed(fields))
    if firsts.get("version") != "STSv1":
        raise SyntaxRefused("its version is not STSv1")
    mode = _mode(firsts.get("mode"))
    patterns = [value for name, value in fields if name == "mx"]
    if not patterns and mode is not StsMode.NONE:
        raise SyntaxRefused("it names no mx")
    return Published(StsPolicy(mode, _patterns(patterns)), _max_age(firsts.get("max_age")))


def _fields(text: str) -> Iterator[tuple[str, str]]:
    # Empty lines at the end are no part of the grammar, and many a file has some.
    text = text.rstrip("\r\n")
    if text.count("\n") >= MAX_LINES:
        raise SyntaxRefused(f"it has more than {MAX_LINES} lines")
    for number, line in enumerate(re.split("\r?\n", text), 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise SyntaxRefused(f"its line {number} is not a field and its value")
        yield found[1], found[2]


def _mode(value: str | None) -> StsMode:
    try:
        return StsMode(value)
    except ValueError as error:
        raise SyntaxRefused("its mode is none of enforce, testing and none") from error


def _patterns(values: Sequence[str]) -> tuple[str, ...]:
    if len(values) > MAX_PATTERNS:
        raise SyntaxRefused(f"it names more than {MAX_PATTERNS} mx")
    for value in values:
        if len(value) > 255 or not _PATTERN.fullmatch(value):
            raise SyntaxRefused("one of its mx is not a domain in A-labels, nor one behind *.")
    return tuple(dict.fromkeys(value.lower() for value in values))


def _max_age(value: str | None) -> int:
    if value is None or not _SECONDS.fullmatch(value):
        raise SyntaxRefused("its max_age is not a number of seconds")
    return min(int(value), MAX_AGE)
