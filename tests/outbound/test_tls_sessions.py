"""
What is counted of sessions with scripted MX hosts over real TLS, for reports.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.errors import FetchError, SyntaxRefused, UnprovedError
from lmrelay.outbound.dane import TLSA
from lmrelay.outbound.sts import StsMode
from lmrelay.outbound.tls_sessions import judge_fetch
from lmrelay.testing.name_server import Said
from tests.outbound.test_dane import tlsa
from tests.outbound.test_ladder import AUTHORITY, FOREIGN, IP1, IP2, MX1, MX2, Ladder

EXPIRED = datetime.datetime(2021, 1, 1)


class Counted(Ladder):
    """
    C{counted} are domain, policy type, result type and host, in order.
    """

    def setUp(self) -> None:
        super().setUp()
        self.sessions: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        self.courier.count_session = self.count

    def count(self, domain: str, policy: str, result: str) -> None:
        self.assertLess(len(policy) + len(result), 2500)
        self.sessions.append((domain, json.loads(policy), json.loads(result) if result else {}))

    @property
    def counted(self) -> list[tuple[str, str, str, str]]:
        return [
            (domain, policy["policy-type"], result.get("result-type", ""), result.get("receiving-mx-hostname", ""))
            for domain, policy, result in self.sessions
        ]

    def only(self, address: str = IP1) -> None:
        """
        No other host answers.
        """
        for other in {IP1, IP2} - {address}:
            self.network.servers.pop(other, None)


class PlainTests(Counted):
    """
    Domains that publish nothing.
    """

    def test_success(self) -> None:
        """
        A connection counts once, however many messages it carries, for the domain that it was opened for.
        """
        self.deliver("m1", "m2")
        self.assertEqual(
            [("b.example", {"policy-type": "no-policy-found", "policy-domain": "b.example"}, {})], self.sessions
        )

    def test_bad_certificate(self) -> None:
        """
        Nobody asked for a good one.
        """
        self.serve(MX1, IP1, FOREIGN.issue("elsewhere.example"))
        self.deliver("m1")
        self.assertEqual([("b.example", "no-policy-found", "", "")], self.counted)

    def test_no_starttls(self) -> None:
        """
        STARTTLS that is not offered is a failure, though the mail went; it says where.
        """
        self.serve(MX1, IP1, tls=False)
        self.deliver("m1")
        self.assertEqual([("b.example", "no-policy-found", "starttls-not-supported", MX1)], self.counted)
        self.assertEqual(IP1, self.sessions[0][2]["receiving-ip"])

    def test_broken_handshake(self) -> None:
        """
        So is a handshake that broke, with what is known of it.
        """
        self.hosts[MX1].broken_handshake = b"250 this is no TLS\r\n"
        self.deliver("m1")
        self.assertEqual([("b.example", "no-policy-found", "validation-failure", MX1)], self.counted)
        self.assertTrue(self.sessions[0][2]["failure-reason-code"])

    def test_no_session(self) -> None:
        """
        A host that cannot be reached, or says no before TLS, tells nothing of TLS; mail that needs none is not counted.
        """
        self.hosts[MX1].answers["GREETING"] = lambda _: "554 no"
        del self.network.servers[IP1]
        self.only("nobody")
        self.deliver("m1")
        self.assertEqual([], self.counted)
        self.serve(MX1, IP1)
        self.network.pass_time(60, 10)
        one = evolve(self.message("m2"), tls_optional=True)
        self.assertTrue(self.courier.reserve(one.lane, 1))
        self.courier.take([one])
        self.network.settle()
        self.assertEqual(MX1, self.queue.settled["m2", 0].host)
        self.assertEqual([], self.counted)

    def test_switched_off(self) -> None:
        """
        Without C{tls_reports} nothing is counted.
        """
        self.configure(tls_reports=False)
        self.deliver("m1")
        self.assertEqual([], self.counted)

    def test_own_fault(self) -> None:
        """
        Counting that breaks is logged, and holds up no mail.
        """

        def fail(domain: str, policy: str, result: str) -> None:
            raise ZeroDivisionError

        self.courier.count_session = fail
        self.assertEqual((MX1, True, "opportunistic"), self.ruled(self.deliver("m1")))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))


class StsTests(Counted):
    """
    A domain with an MTA-STS policy.
    """

    def judged(self, message: str = "m1") -> tuple[str, str, str, str]:
        self.sessions.clear()
        self.deliver(message)
        return self.counted[0]

    def test_success(self) -> None:
        """
        The policy is told as it was published.
        """
        self.publish(MX1, "*.b.example")
        self.policies["b.example"] = evolve(self.policies["b.example"], max_age=86400)
        self.deliver("m1")
        ((domain, policy, result),) = self.sessions
        self.assertEqual(("b.example", {}), (domain, result))
        strings = ["version: STSv1", "mode: enforce", "max_age: 86400", f"mx: {MX1}", "mx: *.b.example"]
        expected = {"policy-type": "sts", "policy-string": strings, "policy-domain": "b.example"}
        self.assertEqual({**expected, "mx-host": [MX1, "*.b.example"]}, policy)

    def test_failures(self) -> None:
        """
        Each by its type, under a policy in force as under one in testing.
        """
        cases = (
            (AUTHORITY.issue(MX1, not_after=EXPIRED), "certificate-expired"),
            (AUTHORITY.issue("other.example"), "certificate-host-mismatch"),
            (FOREIGN.issue(MX1), "certificate-not-trusted"),
            (None, "starttls-not-supported"),
        )
        for mode in (StsMode.ENFORCE, StsMode.TESTING):
            self.publish(MX1, mode=mode)
            for number, (certificate, expected) in enumerate(cases):
                self.courier.try_anew()
                self.network.pass_time(60, 10)
                self.serve(MX1, IP1, certificate, tls=certificate is not None)
                self.assertEqual(("b.example", "sts", expected, MX1), self.judged(f"{mode.value}{number}"))

    def test_unnamed_host(self) -> None:
        """
        A host that the policy does not name fails before anybody connects, and the next may be good.
        """
        self.publish(MX2)
        self.assertEqual(("b.example", "sts", "validation-failure", MX1), self.judged())
        self.assertEqual([("b.example", "sts", "", "")], self.counted[1:])

    def test_much_is_cut(self) -> None:
        """
        A policy of a hundred hosts has its first ones in the report: what is a key has to fit into an index.
        """
        self.publish(MX1, *(f"mx{number}.{'x' * 60}.example" for number in range(99)))
        self.deliver("m1")
        self.assertIn(f"mx: {MX1}", self.sessions[0][1]["policy-string"])


class DaneTests(Counted):
    """
    A host with TLSA records.
    """

    def setUp(self) -> None:
        super().setUp()
        self.zone.exchanges("b.example", (10, MX1), authenticated=True)
        self.zone.addresses(MX1, IP1, authenticated=True)
        self.pinned = FOREIGN.issue(MX1)
        self.serve(MX1, IP1, self.pinned)

    def pin(self, *records: bytes, **said: Any) -> None:
        said.setdefault("authenticated", True)
        self.zone.say(f"_25._tcp.{MX1}", TLSA, Said(records, **said))

    def test_success(self) -> None:
        """
        The records are told, under the name that has them.
        """
        record = tlsa(3, 1, 1, self.pinned)
        self.pin(record)
        self.deliver("m1")
        string = f"3 1 1 {record[3:].hex().upper()}"
        policy = {"policy-type": "tlsa", "policy-string": [string], "policy-domain": MX1}
        self.assertEqual([("b.example", policy, {})], self.sessions)

    def test_failures(self) -> None:
        """
        A certificate that is another, records of which none can be used, and an answer that cannot be had.
        """
        cases: tuple[tuple[tuple[bytes, ...], dict[str, Any], str], ...] = (
            ((tlsa(3, 1, 1, AUTHORITY.issue(MX1)),), {}, "certificate-not-trusted"),
            ((b"\x00\x01\x01" + bytes(32),), {}, "tlsa-invalid"),
            ((), {"rcode": 2}, "dnssec-invalid"),
        )
        for number, (records, said, expected) in enumerate(cases):
            self.sessions.clear()
            self.courier.try_anew()
            self.network.pass_time(400, 20)
            self.pin(*records, **said)
            self.deliver(f"m{number}")
            self.assertEqual([("b.example", "tlsa", expected, MX1)], self.counted)

    def test_both(self) -> None:
        """
        Under two policies a session counts for each of them, as each sees it.
        """
        self.pin(tlsa(3, 1, 1, self.pinned))
        self.publish(MX1)
        self.deliver("m1")
        expected = [("b.example", "tlsa", "", ""), ("b.example", "sts", "certificate-not-trusted", MX1)]
        self.assertEqual(expected, self.counted)


class FetchTests(SynchronousTestCase):
    def test_types(self) -> None:
        """
        A policy that could not be had tells how.
        """
        cases = (
            (FetchError("the answer was 404"), "sts-policy-fetch-error"),
            (UnprovedError("the certificate has expired"), "sts-webpki-invalid"),
            (SyntaxRefused("it names no mx"), "sts-policy-invalid"),
        )
        for error, expected in cases:
            domain, policy, result = judge_fetch("b.example", error)
            self.assertEqual(("b.example", "sts"), (domain, json.loads(policy)["policy-type"]))
            self.assertEqual({"result-type": expected, "failure-reason-code": str(error)}, json.loads(result))
