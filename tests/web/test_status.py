"""
What the status page shows, and what it must not.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.project import Project, Webhook
from lmrelay.config.values import Http
from lmrelay.errors import StoreError
from lmrelay.interfaces import Untold, Waiting
from lmrelay.web.sources import SiteLimit
from tests.web.front import NOW, Front, Reply

NASTY = "<script>alert('x')</script>\"&'"
ESCAPED = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;&#39;"
ID = "01m7z3cdh1bh0hrv8wk6nfrrpm"


def record(**fields: Any) -> dict[str, Any]:
    """
    A message as a search finds it.
    """
    return {
        "message": ID,
        "received": NOW - 60,
        "project": "acme",
        "route": "outgoing",
        "notification": False,
        "redact": False,
        "recipient": "a@b.example",
        "recipients": 1,
        "subject": "Hello",
        "states": {"deferred": 1},
        "tags": ["x"],
        **fields,
    }


def story(**fields: Any) -> dict[str, Any]:
    """
    A message with an attempt, as C{explain} tells it.
    """
    attempt = {
        "started": NOW - 50,
        "seconds": 0.25,
        "outcome": "delayed",
        "status": "4.2.0",
        "text": "the server said no",
        "reply": f"450 4.2.0 not now {fields.get('said', '')}",
        "host": "mx.b.example",
        "address": "192.0.2.1",
        "offered": True,
        "tls": {"version": "TLSv1.3", "verified": False},
        "steps": [{"step": "rcpt", "seconds": 0.1, "text": "450 to a@b.example"}],
    }
    recipient = {
        "number": 0,
        "address": "a@b.example",
        "state": "deferred",
        "next_attempt": NOW + 600,
        "why": ["goes on in 10 minutes, because a@b.example was refused"],
        "attempts": [attempt],
        "returned": [{"received": NOW - 10, "kind": "delay", "status": "4.0.0", "text": "of a@b.example"}],
    }
    delivery = {"endpoint": "shop", "state": "dead", "attempts": 3, "last": "500"}
    return {
        **record(),
        "kind": "transactional",
        "token_name": "website",
        "client": {"helo": "app.acme.example"},
        "software": "PHPMailer",
        "reverse_path": "s@acme.example",
        "sender": "Shop <s@acme.example>",
        "to": "a@b.example",
        "size": 2048,
        "metadata": {"order": "1"},
        "recipients": [recipient],
        "events": [{"event": "message.created", "at": NOW - 60, "deliveries": [delivery]}],
        **fields,
    }


class TestStatus(SynchronousTestCase):
    def setUp(self) -> None:
        hooks = tuple(
            Webhook(name, f"https://user:geheim@{name}.example/?token=geheim", "whsec_geheim1234")
            for name in ("fine", "late", "broken")
        )
        self.front = Front(Http("127.0.0.1:9100", True), projects={"acme": Project("acme", webhooks=hooks)})
        self.front.open()
        self.log = Logger("lmrelay.test", observer=self.front.publisher)

    def ask(self, path: str = "") -> Reply:
        answer = self.front.ask(f"/status{path}")
        self.assertNotIn("<script", answer.body)
        self.assertNotIn(" style=", answer.body)
        self.assertNotIn("geheim", answer.body)
        return answer

    def text(self, path: str = "", code: int = 200) -> str:
        answer = self.ask(path)
        self.assertEqual(code, answer.code)
        return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.body))

    def test_overview(self) -> None:
        """
        What waits, went on, and is narrowed.
        """
        self.front.oversight.waiting = (
            Waiting("acme", "outgoing", "queued", 3, NOW - 5),
            Waiting("acme", "outgoing", "deferred", 1200, NOW - 7200),
        )
        self.front.sites[:] = [SiteLimit("mx.slow.example", 2, False), SiteLimit("mx.off.example", 20, True)]
        line = {"project": "acme", "route": "outgoing", "seconds": 1.0, "age": 1.0}
        for outcome, fault in (("delivered", ""), ("delayed", "network"), ("failed", "recipient")):
            self.log.info("attempt ended", outcome=outcome, fault=fault, **line)
        text = self.text()
        for expected in (
            "Ready",
            "acme / outgoing 3 1 200 0 2 h",
            "delivered 1 delayed 1 failed 1",
            "network 1",
            "mx.off.example suspended mx.slow.example 2 at a time",
        ):
            self.assertIn(expected, text)

    def test_not_ready(self) -> None:
        """
        Why it is not is the first that is said.
        """
        self.front.oversight.troubles = [f"the disk is full {NASTY}"]
        self.assertIn(ESCAPED, self.ask().body)
        self.front.oversight = None
        self.assertIn("the relay is starting", self.text())

    def test_charts(self) -> None:
        """
        What was counted in each span of time is a bar, and the last is under way.
        """
        for number in range(3):
            for _ in range(number + 1):
                self.log.info("message accepted", project="acme", route="outgoing", recipients=1, size=1)
            self.front.reactor.advance(300)
        bars = re.findall(
            r'<rect class="accepted" x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', self.ask().body
        )
        self.assertEqual(["19.2", "38.4", "57.6"], [height for _, _, height in bars])
        self.assertEqual(["568.0", "570.0", "572.0"], [x for x, _, _ in bars])

    def test_search(self) -> None:
        """
        Each field narrows, as it was written; nothing is looked for without one.
        """
        self.assertNotIn("Nothing found", self.text("/messages"))
        self.assertEqual([], self.front.archive.asked)
        self.assertIn("Nothing found", self.text("/messages?recipient=%40b.example&state=failed&project=+acme+&foo=1"))
        self.assertEqual([{"recipient": "@b.example", "state": "failed", "project": "acme"}], self.front.archive.asked)

    def test_found(self) -> None:
        """
        Messages lead to their stories; how far was looked is told.
        """
        self.front.archive.records = [
            record(recipients=3, states={"delivered": 2, "failed": 1}),
            record(notification=True),
        ]
        self.front.archive.looked_back_to = NOW - 86400
        body = self.ask("/messages?tag=x").body
        self.assertIn(f'href="/status/messages/{ID}"', body)
        text = self.text("/messages?tag=x")
        for expected in (
            "2 messages",
            "a@b.example and 2 more",
            "Looked back to",
            "a notification of lmrelay's own",
        ):
            self.assertIn(expected, text)

    def test_nothing_is_html(self) -> None:
        """
        Whatever senders, receivers and those who search write stays text.
        """
        self.front.archive.records = [record(subject=NASTY, recipient=NASTY, tags=[NASTY])]
        body = self.ask("/messages?subject=%3Cscript%3Ealert('x')%3C/script%3E%22%26'").body
        self.assertEqual(4, body.count(ESCAPED))
        self.front.archive.stories[ID] = story(subject=NASTY, said=NASTY, metadata={NASTY: NASTY}, software=NASTY)
        self.assertEqual(6, self.ask(f"/messages/{ID}").body.count(ESCAPED))

    def test_story(self) -> None:
        """
        Who brought it, each attempt with the receiver's words, what came back, what it waits for, who was told.
        """
        self.front.archive.stories[ID] = story()
        text = self.text(f"/messages/{ID}")
        for expected in (
            "Hello",
            "Token website",
            "EHLO app.acme.example",
            "PHPMailer",
            "goes on in 10 minutes",
            "delayed at mx.b.example [192.0.2.1], TLSv1.3, not verified, took 250 ms",
            "450 4.2.0 not now",
            "came back delay",
            "message.created",
            "shop dead 3 500",
        ):
            self.assertIn(expected, text)

    def test_by_id(self) -> None:
        """
        The search leads straight to a message by its id; what is none is told so.
        """
        self.front.archive.stories[ID] = story()
        self.assertIn("450 4.2.0", self.text(f"/messages?id={ID}"))
        self.assertIn("No message", self.text("/messages?id=zz"))
        for path in ("/messages/zz", "/messages/..%2f", "/messages/a/b", "/nothing"):
            self.assertEqual(404, self.ask(path).code)

    def test_redacted(self) -> None:
        """
        Of a redacted message neither subject nor address is shown, nor what others said of it.
        """
        self.front.archive.records = [record(redact=True)]
        self.front.archive.stories[ID] = story(redact=True)
        for path in ("/messages?tag=x", f"/messages/{ID}"):
            body = self.ask(path).body
            for kept in ("Hello", "b.example</", "a@b", "s@acme", "not now", "450 to", "of a@b"):
                self.assertNotIn(kept, body)
            self.assertIn("kept out", body)
        self.assertIn("4.2.0", self.text(f"/messages/{ID}"))

    def test_sites(self) -> None:
        """
        Those that are suspended come first, then those that asked for less, in the receiver's words.
        """
        site = {
            "domains": 1,
            "waiting": 0,
            "connections": None,
            "lowered_at": None,
            "lowered_for": "",
            "changed_at": NOW,
        }
        site |= {"suspended_at": None, "reason": ""}
        self.front.archive.known = [
            {**site, "hosts": "mx.well.example"},
            {**site, "hosts": "mx.low.example,mx2.low.example", "connections": 2, "lowered_for": NASTY},
            {**site, "hosts": "mx.off.example", "suspended_at": NOW, "reason": "maintenance"},
        ]
        text = self.text("/sites")
        places = [
            text.index(name) for name in ("mx.off.example", "maintenance", "mx.low.example", "2 at a time", "mx.well")
        ]
        self.assertEqual(sorted(places), places)
        self.assertIn(ESCAPED, self.ask("/sites").body)

    def test_webhooks(self) -> None:
        """
        Those that fail come first, then those that are late; addresses and secrets are not shown.
        """
        self.front.oversight.untold = (Untold("acme", "late", 7, NOW - 90), Untold("acme", "broken", 2, NOW + 90))
        about = {"project": "acme", "attempt": 1}
        self.log.info("webhook failed", endpoint="fine", reason="timeout", **about)
        self.log.info("webhook delivered", endpoint="fine", **about)
        self.log.info("webhook failed", endpoint="broken", reason=f"500 {NASTY}", **about)
        text = self.text("/webhooks")
        places = [text.index(name) for name in ("acme / broken failing", "acme / late", "7 2 min", "acme / fine well")]
        self.assertEqual(sorted(places), places)
        self.assertIn(ESCAPED, self.ask("/webhooks").body)
        self.assertIn("Webhooks that fail", self.text())
        self.front.oversight.untold = (Untold("acme", "late", 7, NOW - 90, NOW - 60, f"410 {NASTY}"),)
        self.front.reactor.advance(20)
        self.assertIn("acme / late disabled since 2027-01-15 07:59:00 410", self.text("/webhooks"))

    def test_a_store_out_of_order(self) -> None:
        """
        503 with the reason, and no traceback.
        """
        self.front.archive.broken = StoreError(f"the database is gone {NASTY}")
        for path in ("/messages?tag=x", f"/messages/{ID}", "/sites"):
            answer = self.ask(path)
            self.assertEqual(503, answer.code)
            self.assertIn(ESCAPED, answer.body)

    def test_headers(self) -> None:
        """
        No script may run, nothing be framed, kept or sent elsewhere; the stylesheet alone is kept.
        """
        headers = self.ask().headers
        for rule in ("default-src 'none'", "style-src 'self'", "script-src 'none'", "frame-ancestors 'none'"):
            self.assertIn(rule, headers["Content-Security-Policy"])
        self.assertEqual(("no-store", "no-referrer"), (headers["Cache-Control"], headers["Referrer-Policy"]))
        (link,) = re.findall(r'href="/status(/style\.css\?[0-9a-f]+)"', self.ask().body)
        style = self.ask(link)
        self.assertEqual((200, "text/css; charset=utf-8"), (style.code, style.headers["Content-Type"]))
        self.assertNotIn("no-store", style.headers["Cache-Control"])

    def test_an_empty_relay(self) -> None:
        """
        Every page can be shown where there is nothing to show.
        """
        self.front.settings.config = Front(Http("127.0.0.1:9100", True)).settings.config
        self.assertIn("Nothing waits.", self.text())
        self.assertIn("No project has a webhook.", self.text("/webhooks"))
        self.assertIn("No mail went out yet.", self.text("/sites"))
        self.assertIn("Search", self.text("/messages"))
