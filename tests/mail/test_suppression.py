"""
Which failures suppress an address, and which spellings are one.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.mail.address import Address, parse_address
from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault, Outcome
from lmrelay.mail.parts import Part, find_part, parts_domain
from lmrelay.mail.reports import Kind, Report
from lmrelay.mail.suppression import REFUSING, Why, key_of, why_of_outcome, why_of_report
from lmrelay.smtp.reply import reply


def refused(status: str, fault: Fault = Fault.RECIPIENT, code: int = 550, words: str = "no") -> Failed:
    return Failed(status, "the server said so", fault, reply(code, status, words))


@pytest.mark.parametrize("status", sorted(REFUSING))
def test_recipient_refuses(status: str) -> None:
    """
    A reply to RCPT that speaks of the mailbox suppresses it, and so does a report.
    """
    assert Why.HARD_BOUNCE is why_of_outcome(refused(status))
    assert Why.HARD_BOUNCE is why_of_report(Report(Kind.BOUNCE, status, "gone"))


@pytest.mark.parametrize(
    "outcome",
    [
        Delivered(reply(250, "2.0.0", "ok")),
        Delayed("4.2.2", "full", Fault.RECIPIENT, reply(452, "4.2.2", "full")),
        Delayed("5.1.1", "later", Fault.RECIPIENT, reply(452, "5.1.1", "later")),
        refused("5.7.1", Fault.POLICY),
        refused("5.7.1"),
        refused("5.0.0"),
        refused("5.2.2"),
        # What is said of MAIL, DATA or the content is never the recipient's trouble.
        refused("5.1.1", Fault.RECEIVER),
        refused("5.1.1", Fault.OURS),
        # NXDOMAIN, and a null MX: nobody was asked.
        Failed("5.1.2", "the domain does not exist", Fault.RECIPIENT),
        Failed("5.1.10", "the domain takes no mail", Fault.RECIPIENT),
    ],
)
def test_other_trouble(outcome: Outcome) -> None:
    """
    What is temporary, of policy, of our own or of the DNS alone suppresses nobody.
    """
    assert None is why_of_outcome(outcome)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("5.2.1", "The user you are trying to contact is receiving mail at a rate that prevents additional messages"),
        ("5.2.1", "Mailbox full"),
        ("5.1.1", "User is over quota"),
        ("5.1.1", "Blocked using zen.spamhaus.org"),
        ("5.1.1", "Rejected: your mail fails SPF"),
        ("5.1.10", "Greylisted, come back later"),
        ("5.1.1", "<app@acme.example>: Sender address rejected: User unknown in virtual mailbox table"),
    ],
)
def test_words_that_contradict_the_code(status: str, words: str) -> None:
    """
    Who only gets too much, or refuses the sender, is not suppressed for ever for a code that does not fit.
    """
    assert None is why_of_outcome(refused(status, words=words))
    assert None is why_of_report(Report(Kind.BOUNCE, status, words))


@pytest.mark.parametrize(
    "words", ["disabled by policy", "access denied", "no such user here", "not in our directory", ""]
)
def test_words_that_do_not(words: str) -> None:
    """
    Other words leave it at what the code says.
    """
    assert Why.HARD_BOUNCE is why_of_outcome(refused("5.2.1", words=words))
    assert Why.HARD_BOUNCE is why_of_report(Report(Kind.BOUNCE, "5.1.1", words))


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (Report(Kind.COMPLAINT, "", "abuse"), Why.SPAM_COMPLAINT),
        (Report(Kind.BOUNCE, "5.7.1", "refused"), None),
        (Report(Kind.BOUNCE, "5.0.0", "user unknown"), None),
        (Report(Kind.BOUNCE, "4.1.1", "given up"), None),
        (Report(Kind.DELAY, "5.1.1", "late"), None),
        (Report(Kind.NONE, "5.1.1", "an auto-reply"), None),
    ],
)
def test_reports(report: Report, why: Why | None) -> None:
    """
    A complaint always does; a bounce only for those codes, and nothing else ever.
    """
    assert why is why_of_report(report)


@pytest.mark.parametrize(
    "spelling", ["jane@b.example", "Jane@B.example", '"jane"@b.example', "JANE@b.EXAMPLE", '"j\\ane"@b.example']
)
def test_spellings(spelling: str) -> None:
    """
    Quotes and case make no other mailbox.
    """
    assert "jane@b.example" == key_of(parse_address(spelling))


def test_international_spellings() -> None:
    """
    A domain in letters and in A-labels is one.
    """
    assert key_of(parse_address("a@bücher.example")) == key_of(parse_address("A@XN--bcher-kva.example"))


def test_accents() -> None:
    """
    An accent that stands behind its letter makes no other mailbox.
    """
    assert key_of(parse_address("jose\u0301@b.example")) == key_of(parse_address("JOS\u00c9@b.example"))


@pytest.mark.parametrize(
    "spelling", ['"a b"@b.example', '"a@b"@c.example', r'"a\"b"@c.example', r'"\\"@c.example', '""@c.example']
)
def test_quotes_that_are_needed(spelling: str) -> None:
    """
    The key is an address itself, so that what is exported can be imported, and events name somebody.
    """
    assert spelling == key_of(parse_address(spelling))
    assert spelling == key_of(parse_address(spelling.upper()))


def test_no_address() -> None:
    """
    What is no address has a key too, its own.
    """
    assert "a@b..example" == key_of(Address("A", "b..example"))


@given(st.text("aAzZ09äÄßİe\u0301+.", min_size=1, max_size=20))
def test_key_is_stable(local: str) -> None:
    """
    The key of a mailbox spelt as its key is the same again, for as such it is exported and imported.
    """
    key = key_of(Address(local, "b.example"))
    assert key == key_of(Address(key.rpartition("@")[0], "b.example"))


@pytest.mark.parametrize("part", list(Part))
@pytest.mark.parametrize("spelling", ["{}", "{}+anything", "{}+", "{}+a+b", '"{}"'])
def test_parts(part: Part, spelling: str) -> None:
    """
    A test address plays its part whatever stands behind a plus, and in any case.
    """
    for name in (part.value, part.value.upper()):
        assert part is find_part(Address(spelling.format(name), parts_domain("relay.example")))


@pytest.mark.parametrize("local", ["okay", "o", "+ok", "soft-bounce", "ok.", "user+ok", '""'])
def test_no_part(local: str) -> None:
    """
    Any other plays none.
    """
    assert None is find_part(Address(local, "testing.relay.example"))
