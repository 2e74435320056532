"""
What is kept of an attempt for those who ask later.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.interfaces import Leased, LeasedRecipient
from lmrelay.mail.address import Address
from lmrelay.mail.envelope import Recipient
from lmrelay.mail.outcome import Delayed, Delivered, Failed, Fault
from lmrelay.outbound.route import Addresses
from lmrelay.outbound.sites import Held
from lmrelay.outbound.steps import Step
from lmrelay.outbound.trace import LIMIT, Heard, Trace, join, listen, step
from lmrelay.outbound.verdicts import Cause, Reach, Trouble, Verdict
from lmrelay.outbound.walk import Walk
from lmrelay.smtp.reply import reply
from lmrelay.testing.answers import SILENCE, say
from lmrelay.testing.scripted_mx import EXTENSIONS
from tests.outbound.doubles import leased
from tests.outbound.test_ladder import IP1, MX1, MX2, Ladder

OK = reply(250, "2.1.0", "ok")
GONE = reply(550, "5.1.1", "b@b.example: no such user")
TAKEN = {0: Verdict(Delivered(OK)), 1: Verdict(Delivered(OK))}
REFUSED = {**TAKEN, 1: Verdict(Failed("5.1.1", "no such user", Fault.RECIPIENT, GONE))}
HEARD: list[Heard] = [
    (Step.MAIL, -1, 10.04, OK),
    (Step.RCPT, 0, 10.04, OK),
    (Step.RCPT, 1, 10.05, GONE),
    (Step.CONTENT, -1, 10.06, None),
    (Step.END_OF_DATA, -1, 10.1, OK),
]


def told(trace: Trace, number: int = 0) -> list[list[Any]]:
    """
    The steps of a recipient, milliseconds for microseconds.
    """
    found = json.loads(trace.render(number))
    return [[one[0], one[1] and round(one[1] / 1000), *one[2:]] for one in found]


def test_plain_delivery() -> None:
    """
    Over a connection that was there a delivery leaves its codes and times, and nothing else.
    """
    trace = Trace("mx.b.example")
    trace.hear(listen(HEARD, 10.0, 7, TAKEN))
    assert [
        ["kept", None, "7"],
        ["mail", 40, "250"],
        ["rcpt", 0, "250"],
        ["content", 10],
        ["end_of_data", 40, "250"],
    ] == (told(trace))
    assert len(trace.render(0)) < 150


def test_everybodys_own() -> None:
    """
    Where something went wrong the words stand with it, each recipient's with that one alone.
    """
    trace = Trace("mx1.b.example;mx2.b.example", 0.012)
    trace.hear(listen(HEARD, 10.0, 7, REFUSED))
    first, second = told(trace, 0), told(trace, 1)
    assert [["mx", 12, "mx1.b.example;mx2.b.example"], ["kept", None, "7"], ["mail", 40, "250 2.1.0 ok"]] == first[:3]
    assert ["rcpt", 10, "550 5.1.1 b@b.example: no such user"] in second
    assert ["rcpt", 0, "250 2.1.0 ok"] in first
    assert [1, 1] == [sum(one[0] == "rcpt" for one in each) for each in (first, second)]


def test_redacted() -> None:
    """
    Of a secret message there are codes, and no address in what else is said.
    """
    secret = [Address("b", "b.example")]
    heard: list[Heard] = [*HEARD[:3], (Step.DATA, -1, 11.0, Trouble(Cause.NONSENSE, "it said <b@b.example> unasked"))]
    verdicts = {**REFUSED, 0: Verdict(Failed("5.6.7", "b@b.example cannot be sent", Fault.RECEIVER), Reach.MESSAGE)}
    trace = Trace("mx.b.example")
    trace.hear(listen(heard, 10.0, 1, verdicts, secret))
    for number in (0, 1):
        assert "b@b" not in trace.render(number)
    assert ["rcpt", 10, "550 5.1.1"] in told(trace, 1)
    assert ["unfit", None, "[redacted] cannot be sent"] in told(trace, 0)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.text(max_size=2000)), max_size=60), st.text(max_size=500))
def test_bounded(steps: list[tuple[float, str]], hosts: str) -> None:
    """
    Whatever servers say, a trace is JSON in ASCII of bounded length, with its beginning and its end.
    """
    trace = Trace(hosts or "mx.b.example")
    for seconds, text in steps:
        trace.note("greeting", seconds, text)
    rendered = trace.render(0)
    found = json.loads(rendered)
    assert rendered.isascii()
    assert len(rendered) <= LIMIT
    assert "mx" == found[0][0]
    left_out = sum(int(one[2]) for one in found if one[0] == "left out")
    assert len(steps) + 1 == len([one for one in found if one[0] != "left out"]) + left_out


def test_the_middle_goes_first() -> None:
    """
    Of too many steps the first and the last stay.
    """
    found = json.loads(join([step("greeting", 0.1, f"{number} {'x' * 200}") for number in range(40)]))
    numbers = [int(one[2].split()[0]) for one in found if one[0] == "greeting"]
    assert (0, 39) == (numbers[0], numbers[-1])
    assert [["left out", None, str(40 - len(numbers))]] == [one for one in found if one[0] == "left out"]


@pytest.mark.parametrize("seconds", [-1.0, 0.0, None])
def test_time_never_runs_back(seconds: float | None) -> None:
    """
    A duration is none, or not below zero.
    """
    assert json.loads(step("connect", seconds))[1] in (None, 0)


def test_our_own_fault() -> None:
    """
    What was done until something of ours broke is told too.
    """
    message = leased("m1", 0, 1)
    walk = Walk.begin(5.0, {one.number: Held(message, one, asked=0.02) for one in message.recipients}, "mx.b.example")
    walk.look(Addresses(("192.0.2.1", "2001:db8::1")), "mx.b.example", 0.003)
    ended = walk.end_all(6.0, Delayed("4.3.0", "the relay had an internal error", Fault.OURS))
    steps = [["mx", 20000, "mx.b.example"], ["addresses", 3000, "mx.b.example: 192.0.2.1, 2001:db8::1"]]
    assert {0: steps, 1: steps} == {number: json.loads(made.trace) for number, made in ended.items()}
    assert [(5.0, 6.0)] * 2 == [(made.started_at, made.ended_at) for made in ended.values()]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Addresses(), "none"),
        (Addresses(barred=True), "none that may be connected to"),
        (Delayed("4.4.3", "the DNS gave no answer: timeout", Fault.DNS), "the DNS gave no answer: timeout"),
    ],
)
def test_no_address(found: Addresses | Delayed, words: str) -> None:
    """
    A host without an address to use is told with the reason.
    """
    walk = Walk.begin(5.0, {}, "mx.b.example")
    walk.look(found, "mx.b.example", 0.001)
    assert ["addresses", 1000, f"mx.b.example: {words}"] == json.loads(walk.trace.render(0))[-1]


class OnTheWire(Ladder):
    """
    Attempts at real clients, in memory.
    """

    def attempt(self, message: Leased, number: int = 0) -> list[list[Any]]:
        self.courier.reserve(message.lane, len(message.recipients))
        self.courier.take([message])
        self.network.settle()
        made = self.queue.settled[message.message_id, number]
        return [one[:1] + one[2:] for one in json.loads(made.trace)]

    def test_the_whole_way(self) -> None:
        """
        DNS, connecting, TLS and every reply of the first message; of the second, on the same connection, codes.
        """
        found = self.attempt(leased("m1"))
        self.assertEqual(
            ["mx", "addresses", "connect", "greeting", "ehlo", "starttls", "handshake", "ehlo"],
            [one[0] for one in found[:8]],
        )
        self.assertEqual(["mx", f"{MX1};{MX2}"], found[0])
        self.assertEqual(["addresses", f"{MX1}: {IP1}"], found[1])
        self.assertEqual(["connect", f"{MX1} [{IP1}]"], found[2])
        self.assertIn("TLSv1.3", found[6][1])
        self.assertEqual(["mail", "rcpt", "data", "content", "end_of_data"], [one[0] for one in found[8:]])
        self.assertEqual(
            [["kept", "2"], ["mail", "250"], ["rcpt", "250"], ["data", "354"], ["content"], ["end_of_data", "250"]],
            self.attempt(leased("m2")),
        )

    def test_over_several_hosts(self) -> None:
        """
        A host that is gone, and one whose TLS broke and that took the mail in clear: all of it is told, in order.
        """
        del self.network.servers[IP1]
        self.hosts[MX2].broken_handshake = b"nonsense\r\n"
        names = [one[0] for one in self.attempt(leased("m1"))]
        opening = ["connect", "greeting", "ehlo"]
        self.assertEqual(
            ["mx", "addresses", "connect", "addresses", *opening, "starttls", "handshake", *opening, "mail"], names[:13]
        )

    def test_silence(self) -> None:
        """
        How long was waited is told, and for what.
        """
        self.hosts[MX1].answers["RCPT"] = SILENCE
        self.hosts[MX2].answers["RCPT"] = say("450 4.2.0 later")
        message = leased("m1")
        self.courier.reserve(message.lane, 1)
        self.courier.take([message])
        self.network.settle()
        self.network.pass_time(301, 50)
        found = json.loads(self.queue.settled["m1", 0].trace)
        silent = next(one for one in found if one[0] == "rcpt")
        self.assertEqual(("the server was silent for too long", 300), (silent[2], round(silent[1] / 1e6, -2)))
        self.assertEqual(["rcpt", "450 4.2.0 later"], [[one[0], one[2]] for one in found if one[0] == "rcpt"][1])

    def test_refused_chunk(self) -> None:
        """
        A server that does not know the BDAT it offered, and the next host: both ways are told.
        """
        self.hosts[MX1].extensions = (*EXTENSIONS, "CHUNKING")
        self.hosts[MX1].answers["BDAT"] = say("502 5.5.1 what?")
        names = [one[0] for one in self.attempt(leased("m1"))]
        self.assertEqual(["mail", "rcpt", "chunk", "addresses", "connect"], names[8:13])
        self.assertEqual(["mail", "rcpt", "data", "content", "end_of_data"], names[-5:])

    def test_of_many(self) -> None:
        """
        Each recipient's trace has its own RCPT alone.
        """
        self.hosts[MX1].recipients["u1@b.example"] = say("550 5.1.1 u1 is unknown")
        self.attempt(leased("m1", 0, 1, 2))
        traces = [self.queue.settled["m1", number].trace for number in range(3)]
        self.assertEqual([False, True, False], ["u1 is unknown" in trace for trace in traces])
        self.assertEqual([1, 1, 1], [trace.count('"rcpt"') for trace in traces])

    def test_secret(self) -> None:
        """
        Of a message on a route that redacts no address is in the trace, nor the receiver's words about it.
        """
        self.hosts[MX1].answers["RCPT"] = say("550 5.1.1 <jane@b.example> jane is unknown")
        message = evolve(leased("m1"), redact=True, reverse_path=Address("s", "acme.example"))
        jane: Any = [LeasedRecipient(0, Recipient(Address("jane", "b.example")))]
        found = self.attempt(evolve(message, recipients=jane))
        self.assertNotIn("jane", json.dumps(found))
        self.assertIn(["rcpt", "550 5.1.1"], found)

    def test_no_route(self) -> None:
        """
        Where the DNS knows no way, its answer is the trace.
        """
        self.zone.exchanges("nowhere.example", (0, ""))
        found = self.attempt(leased("m1", domain="nowhere.example"))
        self.assertEqual([["mx", "the domain nowhere.example accepts no mail (null MX)"]], found)


del Ladder
