"""
Counts by client, and the price of guessing.
"""

from __future__ import annotations

import pytest

from lmrelay.config.values import Limits, Timeouts
from lmrelay.inbound import limits
from lmrelay.inbound.auto import is_tls
from lmrelay.inbound.clock import Patience
from lmrelay.inbound.limits import ConnectionLimits, LoginFailures, client_key, unmap
from lmrelay.smtp import replies


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("/run/socket", "/run/socket"),
    ],
)
def test_unmap(address: str, expected: str) -> None:
    """
    An IPv4 client is the same one on an IPv6 socket.
    """
    assert expected == unmap(address)


def test_ipv6_clients_are_networks() -> None:
    """
    A client cannot escape by another address of its /64.
    """
    assert client_key("2001:db8:1:2:3::4") == client_key("2001:db8:1:2:ffff::1")
    assert client_key("2001:db8:1:2::1") != client_key("2001:db8:1:3::1")


def test_connections() -> None:
    """
    Over either limit nothing enters until something left, and leaving leaves nothing behind.
    """
    counts = ConnectionLimits(lambda: Limits(connections=3, connections_per_address=2))
    entered = [counts.enter(host) for host in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3")]
    assert entered == [True, True, False, True, False]
    counts.leave("192.0.2.1")
    assert counts.enter("192.0.2.3")
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        counts.leave(host)
    assert (counts.total, counts._open) == (0, {})


def test_delays_grow_and_fade() -> None:
    """
    Each failure costs twice the last up to a bound; time forgives, and others do not pay.
    """
    now = [0.0]
    failures = LoginFailures(lambda: now[0])
    assert [failures.note("192.0.2.1") for _ in range(4)] == [0.25, 0.5, 1.0, 2.0]
    assert failures.note("192.0.2.2") == 0.25
    assert [failures.note("192.0.2.1") for _ in range(60)][-1] == limits.LONGEST_DELAY
    now[0] = 24 * 3600.0
    assert pytest.approx(0.25) == failures.note("192.0.2.1")


def test_the_next_login_pays() -> None:
    """
    What is owed runs down with time, and is owed by the whole network of an IPv6 client.
    """
    now = [0.0]
    failures = LoginFailures(lambda: now[0])
    assert failures.enter("2001:db8::1") == 0.0
    for _ in range(5):
        failures.note("2001:db8::1")
    assert failures.enter("2001:db8::2") == 4.0
    now[0] = 3.0
    assert failures.enter("2001:db8::3") == 1.0
    now[0] = 5.0
    assert failures.enter("2001:db8::3") == 0.0
    assert failures.enter("192.0.2.1") == 0.0


def test_waiting_logins_are_bounded() -> None:
    """
    One client cannot gather any number of them; who left makes room.
    """
    failures = LoginFailures(lambda: 0.0)
    waits = [failures.enter("192.0.2.1") for _ in range(limits.MAX_WAITING + 1)]
    assert waits == [0.0] * limits.MAX_WAITING + [None]
    assert failures.enter("192.0.2.2") == 0.0
    failures.leave("192.0.2.1")
    assert failures.enter("192.0.2.1") == 0.0
    for _ in range(limits.MAX_WAITING):
        failures.leave("192.0.2.1")
    failures.leave("192.0.2.2")
    assert failures._waiting == {}


def test_failures_are_bounded() -> None:
    """
    An attacker with many addresses fills no memory.
    """
    failures = LoginFailures(lambda: 0.0)
    for number in range(limits.MAX_ADDRESSES + 50):
        failures.note(f"host{number}")
    assert len(failures._failures) == limits.MAX_ADDRESSES


@pytest.mark.parametrize(
    ("first", "expected"), [(b"\x16", True), (b"\x16\x03\x01", True), (b"EHLO", False), (b"", False)]
)
def test_tls_is_known_by_its_first_octet(first: bytes, expected: bool) -> None:
    """
    However little came.
    """
    assert expected is is_tls(first)


class TestPatience:
    """
    How long a client may take.
    """

    def setup_method(self) -> None:
        self.now = 0.0
        self.patience = Patience(lambda: self.now, known=True)

    def test_idle(self) -> None:
        """
        A client that says nothing is ended after its time; each line gives it all again, and less does not.
        """
        self.now = 200.0
        assert self.patience.judge(Timeouts()) == 100.0
        self.patience.note_line()
        self.now = 499.0
        self.patience.hear(1)
        assert self.patience.judge(Timeouts()) == 1.0
        self.now = 500.0
        assert self.patience.judge(Timeouts()) == replies.TIMEOUT

    def test_work_is_not_idleness(self) -> None:
        """
        While the relay works no time runs, nor does it count afterwards.
        """
        self.patience.begin_work()
        self.now = 10_000.0
        assert self.patience.judge(Timeouts()) == 300.0
        self.patience.end_work()
        assert self.patience.judge(Timeouts()) == 300.0

    def test_login(self) -> None:
        """
        Who does not log in has two minutes from the greeting, or less where a command has; the relay's own time does
        not count.
        """
        self.patience.known = False
        self.now = 50.0
        self.patience.greet()
        self.now = 60.0
        self.patience.note_line()
        assert self.patience.judge(Timeouts(command=20.0)) == 10.0
        self.patience.begin_work()
        self.now = 90.0
        self.patience.end_work()
        self.now = 190.0
        assert self.patience.judge(Timeouts()) == 10.0
        self.now = 200.0
        assert self.patience.judge(Timeouts()) == replies.TIMEOUT

    def test_login_in_a_crowd(self) -> None:
        """
        While there are hardly any connections left, a client has fifteen seconds; who has logged in has all the time.
        """
        self.patience.known = False
        self.now = 10.0
        assert self.patience.judge(Timeouts(), crowded=True) == 5.0
        assert self.patience.judge(Timeouts(command=12.0), crowded=True) == 2.0
        self.now = 15.0
        assert self.patience.judge(Timeouts(), crowded=True) == replies.TIMEOUT
        assert self.patience.judge(Timeouts()) == 15.0
        self.patience.known = True
        assert self.patience.judge(Timeouts(), crowded=True) == 285.0

    def test_session(self) -> None:
        """
        A limit of the whole session ends the busiest client.
        """
        self.now = 50.0
        self.patience.note_line()
        assert self.patience.judge(Timeouts(session=60.0)) == 10.0
        self.now = 60.0
        assert self.patience.judge(Timeouts(session=60.0)) == replies.TIMEOUT

    def test_slow_content(self) -> None:
        """
        Content that trickles is ended, though never idle; content on pace is not.
        """
        self.patience.note_content(True)
        for _ in range(61):
            self.now += 1
            self.patience.hear(499)
        assert self.patience.judge(Timeouts()) == replies.TOO_SLOW
        self.patience.hear(1000)
        assert self.patience.judge(Timeouts()) == 60.0
