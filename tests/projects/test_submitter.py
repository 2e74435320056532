"""
The avatar: what a session that is logged in may do, always by the configuration in force.
"""

from __future__ import annotations

import datetime
from ipaddress import ip_network

import pytest
from attrs import evolve
from twisted.mail.smtp import Address as SmtpAddress
from twisted.mail.smtp import SMTPBadRcpt, SMTPBadSender, User
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.project import Project
from lmrelay.errors import Refused
from lmrelay.interfaces import ISubmitter
from lmrelay.projects.senders import is_allowed
from tests.projects.tenants import NOW, Room, Settings, configure, mint, plain

TEXT, TOKEN = mint("acme", "web")
OTHER_TEXT, OTHER = mint("other", "web")

DISABLED = "421 4.7.0 SMTP was disabled for project acme"
GONE = "421 4.7.0 The API token was revoked or has expired, closing connection"


class Avatars(SynchronousTestCase):
    def setUp(self) -> None:
        acme = Project("acme", tokens=(TOKEN,), domains=("acme.example",))
        self.room = Room(Settings(configure(acme, Project("other", tokens=(OTHER,)))))
        self.avatar: ISubmitter = self.successResultOf(self.room.login(plain("acme", TEXT)))[1]

    def project(self) -> str:
        """
        The project, or the reply.
        """
        try:
            return self.avatar.project().slug
        except Refused as error:
            return str(error.reply).strip()

    def sender(self, domain: str) -> str:
        try:
            self.avatar.check_sender(domain)
        except Refused as error:
            return str(error.reply).strip()
        return ""


class TestReload(Avatars):
    def test_as_configured_now(self) -> None:
        """
        What was changed by a reload holds for open sessions.
        """
        self.room.change_project("acme", require_to=True, domains=("new.example",))
        self.assertTrue(self.avatar.project().require_to)
        self.assertEqual("", self.sender("new.example"))
        self.assertIn("550 5.7.1", self.sender("acme.example"))

    def test_smtp_off(self) -> None:
        """
        Sessions end when SMTP is switched off, or the project goes; they go on when it is back.
        """
        said = [self.project()]
        self.room.change_project("acme", smtp=False)
        said.append(self.project())
        self.room.change_project("acme", smtp=True)
        said.append(self.project())
        self.room.replace(projects={})
        said.append(self.project())
        self.assertEqual(["acme", DISABLED, "acme", DISABLED], said)

    def test_revoked(self) -> None:
        """
        Sessions of a token end with it, whoever has its id next.
        """
        self.room.change_project("acme", tokens=())
        self.assertEqual(GONE, self.project())
        self.room.change_project("other", tokens=(evolve(OTHER, id=TOKEN.id),))
        self.assertEqual(GONE, self.project())

    def test_replaced_under_its_id(self) -> None:
        """
        A new secret under the old id is another token: whoever had the old one is out.
        """
        self.room.change_project("acme", tokens=(evolve(TOKEN, sha256=OTHER.sha256),))
        self.assertEqual(GONE, self.project())

    def test_expires(self) -> None:
        """
        A token that expires ends its sessions, without a reload.
        """
        expires = datetime.datetime.fromtimestamp(NOW + 60, datetime.UTC)
        self.room.change_project("acme", tokens=(evolve(TOKEN, expires=expires),))
        self.assertEqual("acme", self.project())
        self.room.clock.advance(60)
        self.assertEqual(GONE, self.project())

    def token(self) -> str:
        """
        Empty, or the reply.
        """
        try:
            self.avatar.check_token()
        except Refused as error:
            return str(error.reply).strip()
        return ""

    def test_other_networks(self) -> None:
        """
        A session ends when its address is no longer one that the token may be used from, and no other does.
        """
        said = [self.token()]
        for networks in ((ip_network("192.0.2.0/24"),), (ip_network("198.51.100.0/24"),), ()):
            self.room.change_project("acme", tokens=(evolve(TOKEN, networks=networks),))
            said.append(self.token())
        self.assertEqual(["", "", GONE, ""], said)

    def test_token_without_its_project(self) -> None:
        """
        SMTP that is off does not concern the token; a project that is gone took its tokens with it.
        """
        self.room.change_project("acme", smtp=False)
        said = [self.token()]
        self.room.replace(projects={})
        self.assertEqual(["", GONE], [*said, self.token()])

    def test_token_that_expires(self) -> None:
        """
        It was good at the last command, and is not at the next.
        """
        expires = datetime.datetime.fromtimestamp(NOW + 60, datetime.UTC)
        self.room.change_project("acme", tokens=(evolve(TOKEN, expires=expires),))
        said = [self.token()]
        self.room.clock.advance(60)
        self.assertEqual(["", GONE], [*said, self.token()])

    def test_last_use(self) -> None:
        """
        A login is a use, and so is each message that begins; what is refused is none.
        """
        self.assertEqual([TOKEN.id], self.room.use.noted)
        self.avatar.project()
        self.avatar.check_token()
        self.assertEqual([TOKEN.id] * 2, self.room.use.noted)
        self.room.change_project("acme", smtp=False)
        self.project()
        self.room.change_project("acme", smtp=True, tokens=())
        self.project()
        self.assertEqual([TOKEN.id] * 2, self.room.use.noted)

    def test_other_tokens_go_on(self) -> None:
        """
        Nothing but its own token and project concerns a session.
        """
        self.room.change_project("other", smtp=False, tokens=())
        self.assertEqual("acme", self.project())

    def test_sender_of_a_project_that_is_gone(self) -> None:
        """
        It may send as nobody, but its mail under way is not given up for that.
        """
        self.room.replace(projects={})
        self.assertEqual("451 4.7.0 Project acme is no longer configured here", self.sender("acme.example"))

    def test_refusals_are_ascii(self) -> None:
        """
        An internationalized domain is told in A-labels, and one that is none without its odd characters.
        """
        for domain, told in (("b\u00fccher.example", "xn--bcher-kva.example"), ("\u00fc..x", "?..x")):
            self.assertEqual(f"550 5.7.1 Sender domain {told} is not allowed for project acme", self.sender(domain))


class TestStockTwisted(Avatars):
    def test_validate_from(self) -> None:
        """
        A stock factory asks the same question and hears the answer by its own exception; the null sender may pass.
        """
        for address in ("app@acme.example", ""):
            origin = SmtpAddress(address)
            self.assertIs(origin, self.avatar.validateFrom(None, origin))
        with self.assertRaises(SMTPBadSender) as caught:
            self.avatar.validateFrom(None, SmtpAddress("app@evil.example"))
        expected = "5.7.1 Sender domain evil.example is not allowed for project acme"
        self.assertEqual((550, expected), (caught.exception.code, caught.exception.resp))

    def test_no_queue(self) -> None:
        """
        It has nowhere to put a message, and says so for now only.
        """
        origin = SmtpAddress("app@acme.example")
        user = User("b@b.example", (b"x", b"y"), None, origin)
        with self.assertRaises(SMTPBadRcpt) as caught:
            self.avatar.validateTo(user)
        self.assertEqual((451, b""), (caught.exception.code, self.avatar.receivedHeader(None, origin, [user])))


EXACT, BELOW, ANY = ("acme.example",), (".acme.example",), ("*",)
BOTH = ("acme.example", ".acme.example")
IDN = ("xn--bcher-kva.example",)

SENDERS = [
    (EXACT, "acme.example", True),
    (EXACT, "ACME.Example", True),
    (EXACT, "acme.example.", True),
    (EXACT, "acme.example..", False),
    (EXACT, "sub.acme.example", False),
    (EXACT, "evilacme.example", False),
    (EXACT, "acme.example.evil.example", False),
    (EXACT, "acme.exampl", False),
    (EXACT, "example", False),
    (EXACT, "acme.example@evil.example", False),
    (EXACT, "evil.example\0.acme.example", False),
    (EXACT, "acme.example\n", False),
    (EXACT, " acme.example", False),
    (EXACT, "a\u0441me.example", False),  # a Cyrillic letter that looks like c
    (EXACT, "acme。example", True),  # U+3002, which IDNA maps to a dot
    (EXACT, "ａcme.example", True),  # a full-width letter, which UTS 46 maps to a
    (EXACT, "", False),
    (BELOW, "acme.example", False),
    (BELOW, "a.acme.example", True),
    (BELOW, "A.B.acme.EXAMPLE", True),
    (BELOW, "evilacme.example", False),
    (BELOW, ".acme.example", False),
    (BELOW, "a..acme.example", False),
    (BELOW, "a.acme.example.evil.example", False),
    (BOTH, "acme.example", True),
    (BOTH, "a.acme.example", True),
    (BOTH, "b.example", False),
    (ANY, "whatever.example", True),
    (ANY, "bücher.example", True),
    (ANY, "a b", False),
    (ANY, "", False),
    (IDN, "bücher.example", True),
    (IDN, "BÜCHER.example", True),
    (IDN, "bu\u0308cher.example", True),  # the same letter, decomposed
    (IDN, "xn--bcher-kva.example", True),
    (IDN, "XN--BCHER-KVA.example", True),
    (IDN, "bucher.example", False),
    ((), "acme.example", False),
]


@pytest.mark.parametrize(("domains", "domain", "allowed"), SENDERS)
def test_sender_domain(domains: tuple[str, ...], domain: str, allowed: bool) -> None:
    """
    A project sends as its domains and no other, however they are spelt; the refusal names domain and project.
    """
    room = Room(Settings(configure(Project("acme", tokens=(TOKEN,), domains=domains))))
    found: list[ISubmitter] = []
    room.login(plain("acme", TEXT)).addCallback(lambda result: found.append(result[1]))
    try:
        found[0].check_sender(domain)
    except Refused as error:
        said = str(error.reply).strip()
    else:
        said = ""
    assert ("" if allowed else "550 5.7.1 Sender domain ") == said[:24]
    assert allowed or said.endswith(" is not allowed for project acme")


def test_dot_in_a_pattern() -> None:
    """
    A dot stands for itself, and an entry that is only one allows nothing by itself.
    """
    assert not is_allowed("acmexexample", ("acme.example",))
    assert not is_allowed("acme.example", ("",))
