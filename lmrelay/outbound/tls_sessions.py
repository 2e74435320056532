"""
What TLS reports tell of a session (RFC 8460 §4.3): under which policies it was, and how each of them ended.

Pure. Values in, the JSON of the counts out; short enough to be a key of the store's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Union

from attrs import frozen

from lmrelay.errors import FetchError, SyntaxRefused, UnprovedError
from lmrelay.outbound.client import Connection
from lmrelay.outbound.connect import HostFailure
from lmrelay.outbound.dane import DaneRule
from lmrelay.outbound.sts import StsPolicy
from lmrelay.outbound.terms import Load
from lmrelay.outbound.tls import SOUND, Demand, Rule, Shown

MAX_STRINGS = 700
MAX_REASON = 100
"""
Characters of a policy's strings and of a reason: what is a key of the database has to fit into a page of its index.
"""

CountSession = Callable[[str, str, str], None]
"""
As L{lmrelay.interfaces.ITlsCounts.count}.
"""

_EXPIRED = ("the certificate has expired", "the certificate is not valid yet")
_FOREIGN = "the certificate is for "
_UNTRUSTED = "the certificate"


@frozen
class Result:
    """
    A failure by its type; C{reason} in words, where these say more.
    """

    type: str
    reason: str = ""


@frozen
class _Seen:
    """
    What came of TLS. C{shown}: in a finished handshake; else C{reason} says why there was none. Empty: it was not
    offered.
    """

    shown: Shown | None
    reason: str = ""


def judge_session(load: Load, demand: Demand, end: Connection | HostFailure) -> Iterator[tuple[str, str, str]]:
    """
    Recipient domain, policy and result (L{lmrelay.interfaces.TlsCount}) of each policy that the session was under;
    nothing where TLS was not come to, or no policy is to count.
    """
    if not demand.starttls or load.terms.tls_optional:
        return
    if isinstance(end, HostFailure):
        host, address, source = end.target.host, end.target.address, end.target.source
    else:
        host, address, source = end.host, end.address, end.source
    where = {"sending-mta-ip": source, "receiving-mx-hostname": host, "receiving-ip": address}
    seen = _see(end)
    for domain in sorted(load.domains):
        for policy, rule in _policies(load.terms.sts, demand.found, host, domain):
            if rule is not None and rule.barred is not None:
                result: Result | None = _BARRED[type(rule) is DaneRule]
            elif seen is None:
                continue
            else:
                result = _judge(rule, seen, load.domains)
            yield domain, _dump(policy), _tell(result, where)


def judge_fetch(domain: str, error: FetchError | SyntaxRefused) -> tuple[str, str, str]:
    """
    The same of an MTA-STS policy that was announced and could not be had.
    """
    type_ = "sts-policy-invalid" if isinstance(error, SyntaxRefused) else "sts-policy-fetch-error"
    if isinstance(error, UnprovedError):
        type_ = "sts-webpki-invalid"
    policy = {"policy-type": "sts", "policy-string": [], "policy-domain": domain}
    return domain, _dump(policy), _tell(Result(type_, str(error)), {})


_BARRED = {False: Result("validation-failure", "mx-mismatch"), True: Result("dnssec-invalid")}
"""
Of a host that is not to be connected to: MTA-STS does not name it, or its TLSA records cannot be looked up.
"""


def _see(end: Connection | HostFailure) -> _Seen | None:
    if not isinstance(end, HostFailure):
        return _Seen(end.shown, end.tls_failure)
    failed = end.failed
    if failed is None:
        return None
    return _Seen(failed.shown, "" if failed.unoffered else failed.reason)


Policy = tuple[dict[str, Any], Union[Rule, None]]


def _policies(sts: StsPolicy | None, found: tuple[Rule, ...], host: str, domain: str) -> Iterator[Policy]:
    """
    The policies that speak for that host of the domain, as reports name them, and what each asks.
    """
    dane = [rule for rule in found if isinstance(rule, DaneRule)]
    for rule in dane:
        strings = [f"{one.usage} {one.selector} {one.matching} {one.association.hex().upper()}" for one in rule.records]
        policy = {"policy-type": "tlsa", "policy-string": _shorten(strings), "policy-domain": rule.server_name}
        yield policy, rule
    if sts is not None:
        mx = [f"mx: {pattern}" for pattern in sts.mx]
        strings = ["version: STSv1", f"mode: {sts.mode.value}", f"max_age: {sts.max_age}", *mx]
        policy = {
            "policy-type": "sts",
            "policy-string": _shorten(strings),
            "policy-domain": domain,
            "mx-host": _shorten(sts.mx, MAX_STRINGS // 2),
        }
        yield policy, next(chain(sts.asks(host), sts.watches(host)), None)
    elif not dane:
        yield {"policy-type": "no-policy-found", "policy-domain": domain}, None


def _judge(rule: Rule | None, seen: _Seen, domains: frozenset[str]) -> Result | None:
    """
    None: it went as the policy asks.
    """
    if seen.shown is None:
        return Result("validation-failure", seen.reason) if seen.reason else Result("starttls-not-supported")
    if rule is None:
        return None
    if seen.shown.version not in SOUND:
        return Result("validation-failure", f"{seen.shown.version} is older than TLS 1.2")
    if isinstance(rule, DaneRule) and not rule.records:
        return Result("tlsa-invalid")
    doubt = rule.doubt(seen.shown, domains)
    if not doubt:
        return None
    if doubt in _EXPIRED:
        return Result("certificate-expired", doubt)
    if doubt.startswith(_FOREIGN):
        return Result("certificate-host-mismatch", doubt)
    return Result("certificate-not-trusted" if doubt.startswith(_UNTRUSTED) else "validation-failure", doubt)


def _tell(result: Result | None, where: dict[str, str]) -> str:
    if result is None:
        return ""
    told = {
        "result-type": result.type,
        **where,
        "failure-reason-code": result.reason.encode("ascii", "replace").decode("ascii")[:MAX_REASON],
    }
    return _dump({key: value for key, value in told.items() if value})


def _shorten(strings: list[str] | tuple[str, ...], most: int = MAX_STRINGS) -> list[str]:
    """
    As many as have so many characters together.
    """
    kept: list[str] = []
    for one in strings:
        most -= len(one) + 3
        if most < 0:
            break
        kept.append(one)
    return kept


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
