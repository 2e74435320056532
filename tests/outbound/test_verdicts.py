"""
What replies and troubles mean, case by case.
"""

from __future__ import annotations

import pytest

from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault
from lmrelay.mail.suppression import REFUSING, Why, why_of_outcome
from lmrelay.outbound.steps import ENDS, Step
from lmrelay.outbound.verdicts import (
    KNOWN_REFUSALS,
    MAX_WORDS,
    Cause,
    Reach,
    Trouble,
    judge,
    judge_refusal,
    judge_trouble,
)
from lmrelay.smtp.reply import reply

IN_SESSION = [Step.GREETING, Step.EHLO, Step.HELO, Step.STARTTLS, Step.RSET]
IN_MESSAGE = [Step.MAIL, Step.RCPT, Step.DATA, Step.CONTENT, Step.END_OF_DATA]


@pytest.mark.parametrize("step", IN_MESSAGE)
def test_5xx_in_a_transaction_is_final_for_the_recipient(step: Step) -> None:
    """
    No other host is asked, and it is not tried again.
    """
    verdict = judge(step, reply(550, "5.1.1", "No such user"))
    assert (Failed, "5.1.1", Reach.RECIPIENT) == (type(verdict.outcome), verdict.outcome.status, verdict.reach)


@pytest.mark.parametrize("status", sorted(REFUSING))
@pytest.mark.parametrize("step", [*IN_SESSION, *IN_MESSAGE])
def test_only_rcpt_suppresses(step: Step, status: str) -> None:
    """
    The same words in reply to anything else say nothing of the mailbox, whatever they are; nor does a temporary reply.
    """
    expected = Why.HARD_BOUNCE if step is Step.RCPT else None
    for code in (550, 551, 553, 554):
        assert expected is why_of_outcome(judge(step, reply(code, status, "No such user")).outcome)
    for code in (421, 450, 552):
        assert None is why_of_outcome(judge(Step.RCPT, reply(code, f"4{status[1:]}", "No such user")).outcome)
    assert None is why_of_outcome(judge(Step.RCPT, reply(550, "5.7.1", "No such user, says Spamhaus")).outcome)
    assert None is why_of_outcome(judge(Step.RCPT, reply(550, None, "No such user")).outcome)


@pytest.mark.parametrize("step", IN_SESSION)
@pytest.mark.parametrize("code", [421, 450, 500, 554])
def test_refusal_of_the_session_is_the_hosts_trouble(step: Step, code: int) -> None:
    """
    Whatever the code: the next MX, or later.
    """
    verdict = judge(step, reply(code, None, "No"))
    assert (Delayed, "4.0.0", Reach.HOST) == (type(verdict.outcome), verdict.outcome.status, verdict.reach)
    assert not verdict.slow_down


@pytest.mark.parametrize("step", IN_MESSAGE)
def test_4xx_is_temporary(step: Step) -> None:
    """
    For the recipient alone, and nothing is slowed down.
    """
    verdict = judge(step, reply(451, "4.7.1", "Greylisted, too many messages unseen, come back"))
    assert (Delayed, "4.7.1", Reach.RECIPIENT, False) == (
        type(verdict.outcome),
        verdict.outcome.status,
        verdict.reach,
        verdict.slow_down,
    )


@pytest.mark.parametrize("step", IN_MESSAGE)
def test_421_in_a_transaction_asks_for_less(step: Step) -> None:
    """
    The host leaves; another may take it.
    """
    verdict = judge(step, reply(421, "4.3.2", "Bye"))
    assert (Delayed, Reach.HOST, True) == (type(verdict.outcome), verdict.reach, verdict.slow_down)


@pytest.mark.parametrize("text", ["Too many connections from your IP", "message rate limit exceeded", "THROTTLED"])
def test_words_that_ask_for_less(text: str) -> None:
    """
    They are for the whole site.
    """
    verdict = judge(Step.MAIL, reply(450, "4.7.0", text))
    assert (verdict.reach, verdict.slow_down) == (Reach.SITE, True)
    refused = judge(Step.MAIL, reply(550, "5.7.0", text))
    assert not refused.slow_down


@pytest.mark.parametrize(
    ("code", "enhanced", "text", "expected"),
    [
        (451, "4.7.500", "Server busy. Please try again later. (S77714)", True),
        (451, "4.7.501", "Server busy. Please try again later.", False),
        (421, "4.7.0", "Service refuse OFR004_104", True),
        (451, "4.7.1", "Greylisted, OFR004_104", False),
        (550, "5.7.1", "OFR004_104", False),
    ],
)
def test_words_of_the_receiver(code: int, enhanced: str, text: str, expected: bool) -> None:
    """
    Its own words ask for less too, codes and all; never in a reply for good, nor in one that only wants time.
    """
    verdict = judge(Step.GREETING, reply(code, enhanced, text), words=("451 4.7.500", "ofr004_104"))
    assert expected == verdict.slow_down
    assert not judge(Step.GREETING, reply(code, enhanced, text)).slow_down


@pytest.mark.parametrize(
    ("enhanced", "text"),
    [
        ("4.2.1", "The user you are trying to contact is receiving mail too fast"),
        ("4.2.2", "Rate limit of the mailbox"),
        ("4.7.1", "The recipient has exceeded message rate limit. Try again later."),
    ],
)
def test_busy_mailbox(enhanced: str, text: str) -> None:
    """
    A mailbox that gets too much slows nobody down but itself.
    """
    verdict = judge(Step.RCPT, reply(450, enhanced, text), words=("too fast",))
    assert (Reach.RECIPIENT, False) == (verdict.reach, verdict.slow_down)


@pytest.mark.parametrize(
    ("step", "code", "enhanced", "kind", "status"),
    [
        (Step.RCPT, 552, "5.5.3", Delayed, "4.5.3"),
        (Step.RCPT, 552, None, Delayed, "4.0.0"),
        (Step.MAIL, 552, "5.3.4", Failed, "5.3.4"),
        (Step.END_OF_DATA, 552, "5.2.2", Failed, "5.2.2"),
        (Step.RCPT, 550, None, Failed, "5.0.0"),
        (Step.RCPT, 550, "4.2.1", Failed, "5.0.0"),
        (Step.RCPT, 450, "5.1.1", Delayed, "4.0.0"),
        (Step.RCPT, 450, "2.1.5", Delayed, "4.0.0"),
        (Step.GREETING, 554, "5.7.1", Delayed, "4.7.1"),
        (Step.DATA, 250, "2.0.0", Delayed, "4.5.0"),
        (Step.MAIL, 354, None, Delayed, "4.5.0"),
        (Step.END_OF_DATA, 354, None, Delayed, "4.5.0"),
    ],
)
def test_codes(step: Step, code: int, enhanced: str | None, kind: type, status: str) -> None:
    """
    552 to RCPT counts as 452, enhanced codes of the wrong class count for nothing.
    """
    outcome = judge(step, reply(code, enhanced, "text")).outcome
    assert not isinstance(outcome, Delivered)
    assert (kind, status) == (type(outcome), outcome.status)


@pytest.mark.parametrize(
    ("step", "code", "enhanced", "text", "expected"),
    [
        (Step.RCPT, 452, "4.5.3", "no", True),
        (Step.RCPT, 552, "5.5.3", "no", True),
        (Step.RCPT, 452, None, "Too many recipients", True),
        (Step.RCPT, 452, "4.2.2", "over quota", False),
        (Step.RCPT, 552, "5.2.2", "mailbox full", False),
        (Step.RCPT, 450, "4.5.3", "no", False),
        (Step.RCPT, 550, "5.5.3", "too many recipients", False),
        (Step.DATA, 452, "4.5.3", "no", False),
    ],
)
def test_too_many_recipients(step: Step, code: int, enhanced: str | None, text: str, expected: bool) -> None:
    """
    452 to RCPT that speaks of the transaction leaves the recipient for another one; a full mailbox does not.
    """
    assert expected == judge(step, reply(code, enhanced, text)).too_many


@pytest.mark.parametrize(
    ("step", "enhanced", "text", "fault"),
    [
        (Step.RCPT, "5.1.1", "no", Fault.RECIPIENT),
        (Step.RCPT, None, "no", Fault.RECIPIENT),
        (Step.RCPT, None, "blocked using bl.b.example", Fault.POLICY),
        (Step.RCPT, "5.3.4", "no", Fault.RECEIVER),
        (Step.RCPT, "5.7.1", "user unknown", Fault.POLICY),
        (Step.RCPT, "5.5.2", "Syntax error", Fault.RECEIVER),
        (Step.MAIL, "5.1.1", "user unknown", Fault.RECEIVER),
        (Step.END_OF_DATA, "5.7.26", "no", Fault.POLICY),
        (Step.END_OF_DATA, "5.2.2", "no", Fault.RECEIVER),
        (Step.END_OF_DATA, None, "no", Fault.RECEIVER),
    ],
)
def test_fault(step: Step, enhanced: str | None, text: str, fault: Fault) -> None:
    """
    Only a reply to RCPT speaks of the recipient, and what the receiver takes for our fault is not known to be.
    """
    outcome = judge(step, reply(550, enhanced, text)).outcome
    assert isinstance(outcome, Failed)
    assert fault == outcome.fault


@pytest.mark.parametrize("cause", list(Cause))
@pytest.mark.parametrize("step", list(Step))
def test_trouble_is_temporary(step: Step, cause: Cause) -> None:
    """
    After the end of data nobody else is asked, for the message may have arrived.
    """
    verdict = judge_trouble(step, Trouble(cause, "gone"))
    final = step in ENDS or cause is Cause.OURS
    assert (Delayed, Reach.RECIPIENT if final else Reach.HOST) == (type(verdict.outcome), verdict.reach)


def test_end_of_data_warns() -> None:
    """
    The operator reads that it may be sent twice.
    """
    outcome = judge_trouble(Step.END_OF_DATA, Trouble(Cause.LOST, "gone")).outcome
    assert isinstance(outcome, Delayed)
    assert "may be sent more than once" in outcome.text


def test_remembers_little() -> None:
    """
    What the same refusal means is found once, and no receiver fills the memory with refusals: few are remembered.
    """
    judge_refusal.cache_clear()
    for _ in range(100):
        verdict = judge(Step.RCPT, reply(451, "4.3.0", "try again later"), words=["tarpit"])
    assert (Delayed, False) == (type(verdict.outcome), verdict.slow_down)
    assert 1 == judge_refusal.cache_info().misses
    assert judge(Step.RCPT, reply(451, "4.3.0", "try again later"), words=["again"]).slow_down
    for number in range(2 * KNOWN_REFUSALS):
        judge(Step.RCPT, reply(451, "4.3.0", f"try again later ({number})"))
    assert KNOWN_REFUSALS == judge_refusal.cache_info().currsize


@pytest.mark.parametrize("step", [*IN_SESSION, *IN_MESSAGE, Step.CHUNK])
@pytest.mark.parametrize("code", [250, 451, 550, 299, 399])
def test_words_are_bounded(step: Step, code: int) -> None:
    """
    What is kept of a receiver's words is bounded, whatever they answer: it is written down for each recipient.
    """
    endless = reply(code, None, *["x" * 4000] * 4)
    outcomes = [
        judge(step, endless),
        judge_trouble(step, Trouble(Cause.NONSENSE, f"the server said {endless} unasked")),
    ]
    for outcome in (verdict.outcome for verdict in outcomes):
        told = "" if isinstance(outcome, Delivered) else outcome.text
        assert len(told) < MAX_WORDS + 200
        assert outcome.reply is None or len(str(outcome.reply)) < MAX_WORDS + 20
