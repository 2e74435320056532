"""
What receivers make of a sending domain's records, and what to add to them: rules without I/O of their own.

In come a L{Subject} and a way to ask the DNS; out come L{Finding}s, each with the record to paste where one is missing.
A C{problem} makes mail suffer, C{advice} is worth a look.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from ipaddress import ip_address

from attrs import frozen

from lmrelay.cli.lookups import AAAA, MX, PTR, TXT, A, Ask, names_of, texts_of
from lmrelay.cli.spf import MAX_LOOKUPS, PASS, Verdict, allow, check_host, find_records
from lmrelay.config.values import DkimKey
from lmrelay.errors import DnsError
from lmrelay.interfaces import MxRecord
from lmrelay.mail.dkim import ED25519, make_signer
from lmrelay.mail.dkim_record import compare, is_testing, make_record, parse_tags, record_name


class Level(enum.Enum):
    """
    How a finding bears on mail.
    """

    OK = "ok"
    ADVICE = "advice"
    PROBLEM = "problem"


@frozen
class Record:
    """
    A record to publish.
    """

    name: str
    type: str
    value: str


@frozen
class Finding:
    """
    C{about} is what was looked at: C{spf}, C{ptr}, C{dkim}, C{return-path}, C{dmarc} or C{mx}.
    """

    about: str
    level: Level
    text: str
    record: Record | None = None


@frozen
class Subject:
    """
    What is known here of a sending domain. C{addresses} are those that its mail comes from, C{keys} those that sign it,
    C{idle} others of the domain. C{return_paths} are the signed senders' domains of its projects' routes, C{own_path}
    says that there are routes whose mail has the domain's own reverse path.
    """

    domain: str
    hostname: str
    addresses: tuple[str, ...]
    keys: tuple[DkimKey, ...] = ()
    idle: tuple[DkimKey, ...] = ()
    return_paths: tuple[str, ...] = ()
    own_path: bool = True


def examine(subject: Subject, ask: Ask) -> list[Finding]:
    """
    All there is to say, in the order in which it is set up.
    """
    findings: list[Finding] = []
    for about, look in _RULES:
        try:
            findings.extend(look(subject, ask))
        except DnsError as error:
            findings.append(Finding(about, Level.PROBLEM, f"the DNS gives no answer: {error}"))
    return findings


# --- SPF -----------------------------------------------------------------------------------


def look_at_spf(subject: Subject, ask: Ask) -> Iterator[Finding]:
    """
    Does the domain let this server's addresses send?
    """
    # Where all mail has a sender of another domain, this domain's record decides of none.
    worst = Level.PROBLEM if subject.own_path else Level.ADVICE
    yield from _look_at_sender("spf", subject.domain, subject, ask, worst)


def _look_at_sender(about: str, domain: str, subject: Subject, ask: Ask, worst: Level) -> Iterator[Finding]:
    records = find_records(ask, domain)
    if not records:
        value = allow("", subject.addresses) if subject.addresses else f"v=spf1 a:{subject.hostname} ~all"
        yield Finding(about, worst, f"{domain} has no SPF record", Record(domain, "TXT", value))
        return
    if not subject.addresses:
        yield Finding(about, Level.ADVICE, f"SPF of {domain} was not tried: this server's addresses are not known")
        return
    verdicts = {address: check_host(ask, address, domain) for address in subject.addresses}
    refused = [address for address, verdict in verdicts.items() if verdict.result != PASS]
    flawed = next((one for one in verdicts.values() if one.reason), None)
    if flawed is not None:
        yield Finding(about, worst, f"SPF of {domain} has no result ({flawed.result}): {flawed.reason}")
    elif refused:
        why = _explain(verdicts[refused[0]])
        text = f"SPF of {domain} does not let {', '.join(refused)} send ({why}): change it"
        yield Finding(about, worst, text, Record(domain, "TXT", allow(records[0], refused)))
    else:
        most = max(verdict.lookups for verdict in verdicts.values())
        text = f"SPF of {domain} lets {', '.join(subject.addresses)} send ({most} of {MAX_LOOKUPS} lookups)"
        yield Finding(about, Level.OK, text)
    if any(term.lower() in ("+all", "all") for term in records[0].split()):
        yield Finding(about, Level.ADVICE, f"SPF of {domain} lets everybody send: end it in ~all or -all")


def _explain(verdict: Verdict) -> str:
    unknown = ", ".join(verdict.unknown)
    return f"{verdict.result}, but for {unknown}, which only a message decides" if unknown else verdict.result


# --- the names of addresses ------------------------------------------------------------------


def look_at_names(subject: Subject, ask: Ask) -> Iterator[Finding]:
    """
    Has every address a name, and leads that name back to it? Many receivers refuse mail from one that has none.
    """
    for address in subject.addresses:
        try:
            names = names_of(ask(ip_address(address).reverse_pointer, PTR))
            leads_back = any(address in _addresses(name, ask) for name in names)
        except DnsError as error:
            # Reverse zones are often out of order, and not those of whoever sends.
            yield Finding("ptr", Level.ADVICE, f"the name of {address}: the DNS gives no answer: {error}")
            continue
        if leads_back:
            yield Finding("ptr", Level.OK, f"{address} is called {names[0]}, which leads back to it")
        elif names:
            text = f"{address} is called {names[0]}, which does not lead back to it: many receivers mind"
            yield Finding("ptr", Level.ADVICE, text)
        else:
            text = (
                f"{address} has no name in the DNS, and many receivers refuse such: have its owner set its PTR record"
            )
            yield Finding("ptr", Level.ADVICE, f"{text} to {subject.hostname}")


# --- DKIM ----------------------------------------------------------------------------------


def look_at_dkim(subject: Subject, ask: Ask) -> Iterator[Finding]:
    """
    Is the mail signed, and does every signing key's record say so?
    """
    if not subject.keys:
        yield _unsigned(subject)
        return
    for key in subject.keys:
        yield _look_at_key(key, ask)
    if all(key.algorithm == ED25519 for key in subject.keys):
        text = f"only Ed25519 keys sign, which many receivers cannot verify yet: {_create(subject.keys[0].domain)}"
        yield Finding("dkim", Level.PROBLEM, text)


def _unsigned(subject: Subject) -> Finding:
    if subject.idle:
        key = subject.idle[0]
        text = f"no key is active: lmrelay dkim activate {key.domain} {key.selector}"
    else:
        text = f"mail is not signed, there is no key: {_create(subject.domain)}"
    return Finding("dkim", Level.PROBLEM, text)


def _create(domain: str) -> str:
    return f"lmrelay dkim create {domain}"


def _look_at_key(key: DkimKey, ask: Ask) -> Finding:
    name = record_name(key.domain, key.selector)
    public = make_signer(key.domain, key.selector, key.private).public
    try:
        texts = texts_of(ask(name, TXT))
    except DnsError as error:
        return Finding("dkim", Level.PROBLEM, f"{name}: the DNS gives no answer: {error}")
    published = compare(key.algorithm, public, texts)
    if not published.is_right:
        value = make_record(key.algorithm, public)
        return Finding("dkim", Level.PROBLEM, f"{name}: {published.reason}", Record(name, "TXT", value))
    if any(map(is_testing, texts)):
        return Finding("dkim", Level.ADVICE, f"{name} is in test mode (t=y): take that out once all works")
    return Finding("dkim", Level.OK, f"{name} is the record of the key that signs")


# --- return path ---------------------------------------------------------------------------


def look_at_return_paths(subject: Subject, ask: Ask) -> Iterator[Finding]:
    """
    Do bounces come back to this server, and may it send under those domains?
    """
    for domain in subject.return_paths:
        yield _look_at_exchange(domain, subject, ask)
        yield from _look_at_sender("return-path", domain, subject, ask, Level.PROBLEM)


def _look_at_exchange(domain: str, subject: Subject, ask: Ask) -> Finding:
    hosts = [one.host for one in ask(domain, MX).records if isinstance(one, MxRecord)] or [domain]
    ours = {subject.hostname, *_addresses(subject.hostname, ask), *subject.addresses}
    strangers = [host for host in hosts if host not in ours and not ours.intersection(_addresses(host, ask))]
    if not strangers:
        return Finding("return-path", Level.OK, f"mail to {domain} comes to this server")
    text = f"bounces to {domain} do not come to this server"
    if len(strangers) < len(hosts):
        text = f"some bounces to {domain} do not come to this server, but to {', '.join(strangers)}"
    return Finding("return-path", Level.PROBLEM, text, Record(domain, "MX", f"10 {subject.hostname}."))


def _addresses(name: str, ask: Ask) -> list[str]:
    return [str(one) for type in (A, AAAA) for one in ask(name, type).records] if name else []


# --- DMARC ---------------------------------------------------------------------------------


@frozen
class Policy:
    """
    The DMARC record that holds for a domain, and whose it is; C{name} is the policy in force.
    """

    owner: str
    name: str
    strict_dkim: bool
    strict_spf: bool

    @property
    def is_harsh(self) -> bool:
        """
        Is mail refused or put away that does not pass?
        """
        return self.name in ("quarantine", "reject")


POLICIES = ("none", "quarantine", "reject")


def look_at_dmarc(subject: Subject, ask: Ask) -> Iterator[Finding]:
    """
    Is there a policy, and does what is sent from here pass it: a signature or a reverse path aligned with the From
    field (RFC 7489 §3.1)?
    """
    owner, records = _find_policies(subject.domain, ask)
    if not records:
        text = f"{subject.domain} has no DMARC record, which large receivers ask of whoever sends in bulk"
        value = f"v=DMARC1; p=none; rua=mailto:postmaster@{subject.domain}"
        yield Finding("dmarc", Level.PROBLEM, text, Record(f"_dmarc.{subject.domain}", "TXT", value))
        return
    if len(records) > 1:
        text = f"_dmarc.{owner} has {len(records)} DMARC records, so that none of them holds: keep one"
        yield Finding("dmarc", Level.PROBLEM, text)
        return
    policy = _read_policy(records[0], owner, subject.domain)
    if policy.name not in POLICIES:
        text = f"the DMARC record of {owner} has no policy that holds: p=none, p=quarantine or p=reject"
        yield Finding("dmarc", Level.PROBLEM, text)
        return
    yield Finding("dmarc", Level.OK, f"DMARC of {owner} says p={policy.name}{_tell_policy(policy)}")
    yield from _look_at_alignment(subject, policy, ask)


def _tell_policy(policy: Policy) -> str:
    return "" if policy.is_harsh else ": nothing is refused yet; make it quarantine when all your mail passes"


def _find_policies(domain: str, ask: Ask) -> tuple[str, list[str]]:
    """
    The records of the domain or, where it has none, of the nearest parent that has some.
    """
    name = domain
    while "." in name:
        found = [text for text in texts_of(ask(f"_dmarc.{name}", TXT)) if parse_tags(text).get("v") == "DMARC1"]
        if found:
            return name, found
        name = name.partition(".")[2]
    return domain, []


def _read_policy(record: str, owner: str, domain: str) -> Policy:
    tags = parse_tags(record)
    name = tags.get("p", "")
    if owner != domain:
        name = tags.get("sp", name)
    return Policy(owner, name.lower(), tags.get("adkim", "r").lower() == "s", tags.get("aspf", "r").lower() == "s")


def _look_at_alignment(subject: Subject, policy: Policy, ask: Ask) -> Iterator[Finding]:
    signed = [key for key in subject.keys if is_aligned(key.domain, subject.domain, strict=policy.strict_dkim)]
    if subject.keys and not signed:
        text = f"mail is signed as {subject.keys[0].domain}, which adkim=s does not take for {subject.domain}"
        worst = Level.PROBLEM if policy.is_harsh else Level.ADVICE
        yield Finding("dmarc", worst, f"{text}: {_create(subject.domain)}")
    published = [key for key in signed if _look_at_key(key, ask).level is Level.OK]
    if published:
        yield Finding("dmarc", Level.OK, "mail from here passes DMARC by its signature")
    for sender in ([subject.domain] if subject.own_path else []) + list(subject.return_paths):
        yield from _look_at_path(sender, subject, policy, ask, bool(published))


def _look_at_path(sender: str, subject: Subject, policy: Policy, ask: Ask, by_signature: bool) -> Iterator[Finding]:
    aligned = is_aligned(sender, subject.domain, strict=policy.strict_spf)
    passes = bool(subject.addresses) and all(
        check_host(ask, address, sender).result == PASS for address in subject.addresses
    )
    if aligned and (passes or not subject.addresses):
        return
    if by_signature and sender == subject.domain:
        # That SPF does not pass was told where SPF was looked at.
        return
    why = "is not aligned with it" if not aligned else "does not pass SPF"
    text = f"mail with return path {sender} {why}"
    if by_signature:
        yield Finding("dmarc", Level.ADVICE, f"{text}, so that DMARC hangs on the signature alone")
    else:
        worst = Level.PROBLEM if policy.is_harsh else Level.ADVICE
        yield Finding("dmarc", worst, f"{text} and there is no signature that passes: receivers apply p={policy.name}")


def is_aligned(found: str, author: str, *, strict: bool) -> bool:
    """
    Is a domain that was authenticated aligned with the From field's (RFC 7489 §3.1)?

    Relaxed, both have to be of one organization. Which labels are that is a matter of lists; here it is what both
    have in common, if that is more than a public suffix looks like (C{example}, C{co.uk}).
    """
    if strict or found == author:
        return found == author
    common: list[str] = []
    for one, other in zip(reversed(found.split(".")), reversed(author.split(".")), strict=False):
        if one != other:
            break
        common.insert(0, one)
    suffix = len(common) == 2 and len(common[0]) <= 3 and len(common[1]) == 2
    return len(common) >= 2 and not suffix


# --- MX ------------------------------------------------------------------------------------


def look_at_mx(subject: Subject, ask: Ask) -> Iterator[Finding]:
    """
    Can the domain be answered? Receivers refuse mail from one that cannot (RFC 7505 §4.2, RFC 5321 §3.6.2).
    """
    answer = ask(subject.domain, MX)
    hosts = [one.host for one in answer.records if isinstance(one, MxRecord)]
    paste = Record(subject.domain, "MX", f"10 mail.{subject.domain}.")
    if not answer.exists:
        yield Finding("mx", Level.PROBLEM, f"{subject.domain} does not exist in the DNS: receivers refuse it", paste)
    elif hosts and not any(hosts):
        text = f"{subject.domain} says that it takes no mail (null MX): receivers may refuse what comes from it"
        yield Finding("mx", Level.PROBLEM, text)
    elif hosts:
        lost = [host for host in hosts if not _addresses(host, ask)]
        yield from (Finding("mx", Level.ADVICE, f"the MX host {host} has no address") for host in lost)
        if len(lost) < len(hosts):
            yield Finding("mx", Level.OK, f"mail to {subject.domain} goes to {', '.join(hosts)}")
        else:
            yield Finding("mx", Level.PROBLEM, f"mail to {subject.domain} cannot be delivered: receivers may refuse it")
    elif _addresses(subject.domain, ask):
        yield Finding("mx", Level.ADVICE, f"{subject.domain} has no MX record: replies go to its address", paste)
    else:
        text = f"{subject.domain} has neither MX nor address: receivers refuse what comes from it"
        yield Finding("mx", Level.PROBLEM, text, paste)


_RULES = (
    ("spf", look_at_spf),
    ("ptr", look_at_names),
    ("dkim", look_at_dkim),
    ("return-path", look_at_return_paths),
    ("dmarc", look_at_dmarc),
    ("mx", look_at_mx),
)
