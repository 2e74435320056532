"""
Who may log in: forms of user names, mechanisms, and what each failure is answered with.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from attrs import define, evolve
from twisted.internet.task import Clock
from twisted.mail.smtp import Address as StockAddress
from twisted.mail.smtp import SMTPBadRcpt, SMTPBadSender, User
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from lmrelay.config.values import Auth, Config, Form, Project, Server, Switch, Token
from lmrelay.errors import Refused
from lmrelay.interfaces import ICramCredentials, ISettings, ISubmitter, ITokenCredentials
from lmrelay.projects.checkers import SLICE, cram_is_offered
from lmrelay.projects.directory import Directories
from lmrelay.projects.portal import make_portal
from lmrelay.projects.tokens import digest, make_token, seal
from lmrelay.smtp import replies

KEY = bytes(range(32))
NOW = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC).timestamp()
CHALLENGE = b"<1.2@relay.example>"


def minted(number: int) -> tuple[str, str]:
    """
    The token of that number and its id, the same in every run.
    """
    return make_token("lmr_", lambda count: hashlib.shake_128(b"%d" % number).digest(count))


def at_rest(number: int, slug: str, **fields: Any) -> Token:
    """
    That token as a project's file has it, sealed.
    """
    token, token_id = minted(number)
    cram = seal(token, KEY, slug, token_id, lambda count: bytes(count))
    return evolve(Token(f"t{number}", token_id, digest(token), cram), **fields)


@implementer(ISettings)
@define(eq=False)
class Settings:
    """
    A configuration that a test can replace.
    """

    config: Config


@implementer(ITokenCredentials)
@define(eq=False)
class Plain:
    """
    PLAIN or LOGIN.
    """

    username: bytes
    password: bytes
    address: str = "192.0.2.1"

    def checkPassword(self, password: bytes) -> bool:
        """
        Never asked: tokens are found by their digests.
        """
        raise AssertionError("not asked")


@implementer(ICramCredentials)
@define(eq=False)
class Cram:
    """
    CRAM-MD5.
    """

    username: bytes
    token: bytes
    address: str = "192.0.2.1"
    challenge: bytes = CHALLENGE

    @property
    def response(self) -> bytes:
        """
        What a client with that token answers.
        """
        return hmac.new(self.token, self.challenge, "md5").hexdigest().encode()

    def checkPassword(self, password: bytes) -> bool:
        """
        Is the answer that of C{password}?
        """
        return hmac.compare_digest(self.response, hmac.new(password, self.challenge, "md5").hexdigest().encode())


def configuration(*tokens: Token, smtp: bool = True, auth: Auth = Auth()) -> Config:
    """
    The project acme with those tokens, or with token 1.
    """
    acme = Project("acme", smtp=smtp, domains=("acme.example", ".sub.example"), tokens=tokens or (at_rest(1, "acme"),))
    beta = Project("beta", tokens=(at_rest(2, "beta"),))
    return Config(Path("/c"), Server("relay.example"), auth=auth, projects={"acme": acme, "beta": beta}, token_key=KEY)


class PortalTests(SynchronousTestCase):
    """
    L{make_portal} over a configuration.
    """

    def setUp(self) -> None:
        self.now = NOW
        self.clock = Clock()
        self.settings = Settings(configuration())
        self.directories = Directories(self.settings)
        self.portal = make_portal(self.directories, self.clock, lambda: self.now)
        self.token, self.token_id = minted(1)

    def login(self, credentials: Any) -> Any:
        """
        The submitter, or the reply of the refusal; all slices run.
        """
        done = self.portal.login(credentials, None, ISubmitter)
        for _ in range(100):
            self.clock.advance(0)
        found: list[Any] = []
        done.addBoth(found.append)
        if isinstance(found[0], tuple):
            return found[0][1]
        found[0].trap(Refused)
        return found[0].value.reply

    def both(self, username: str, token: str, **fields: Any) -> list[Any]:
        """
        What PLAIN and CRAM-MD5 give for it.
        """
        return [self.login(kind(username.encode(), token.encode(), **fields)) for kind in (Plain, Cram)]

    def forms(self) -> dict[Form, str]:
        """
        The user name of each form.
        """
        return {
            Form.SHARED: "lettermint",
            Form.TOKEN: self.token,
            Form.TOKEN_ID: self.token_id,
            Form.PROJECT: "acme",
        }

    def test_every_form_by_every_mechanism(self) -> None:
        """
        All four forms of user name log in by PLAIN and by CRAM-MD5.
        """
        for form, username in self.forms().items():
            for avatar in self.both(username, self.token):
                self.assertEqual((form, "acme", self.token_id), (form, avatar.slug, avatar.token_id))

    def test_a_form_that_is_off(self) -> None:
        """
        A form that is switched off is refused as a wrong token is, and the others stay.
        """
        for off in Form:
            auth = Auth(forms=tuple(form for form in Form if form is not off))
            self.settings.config = configuration(auth=auth)
            for form, username in self.forms().items():
                refused = [actual == replies.AUTH_INVALID for actual in self.both(username, self.token)]
                self.assertEqual((off, form, [form is off] * 2), (off, form, refused))

    def test_wrong_user_names_and_tokens(self) -> None:
        """
        Whatever is wrong, the reply is the same.
        """
        other, other_id = minted(2)
        unknown = minted(3)[0]
        for username, token in (
            ("lettermint", unknown),
            ("Lettermint", self.token),
            ("", self.token),
            ("beta", self.token),
            (other_id, self.token),
            (other, self.token),
            (self.token, other),
            ("acme", other),
            ("lettermint", ""),
            ("lettermint", self.token[:-1]),
            ("lettermint", self.token + "x"),
        ):
            self.assertEqual([replies.AUTH_INVALID] * 2, self.both(username, token), username)

    def test_octets_that_are_no_text(self) -> None:
        """
        Octets beyond UTF-8 are refused, not a failure of ours.
        """
        for credentials in (Plain(b"\xff", b"x"), Plain(b"lettermint", b"\xff"), Cram(b"\xff", b"x")):
            self.assertEqual(replies.AUTH_INVALID, self.login(credentials))

    def test_expiry(self) -> None:
        """
        A token ends at its date, to the second.
        """
        self.settings.config = configuration(at_rest(1, "acme", expires=datetime.date(2026, 11, 21)))
        self.now = NOW + 86399
        self.assertEqual(["acme"] * 2, [avatar.slug for avatar in self.both("acme", self.token)])
        self.now = NOW + 86400
        self.assertEqual([replies.AUTH_INVALID] * 2, self.both("acme", self.token))

    def test_networks(self) -> None:
        """
        A token with networks works from there alone.
        """
        networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
        self.settings.config = configuration(at_rest(1, "acme", networks=networks))
        for address, fits in (("192.0.2.9", True), ("2001:db8::1", True), ("198.51.100.1", False), ("::1", False)):
            actual = [found != replies.AUTH_INVALID for found in self.both("acme", self.token, address=address)]
            self.assertEqual((address, [fits] * 2), (address, actual))

    def test_smtp_off(self) -> None:
        """
        Only who has a right token learns that SMTP is off for the project.
        """
        self.settings.config = configuration(smtp=False)
        self.assertEqual([replies.smtp_not_enabled("acme")] * 2, self.both("lettermint", self.token))
        self.assertEqual([replies.AUTH_INVALID] * 2, self.both("acme", minted(3)[0]))

    def test_a_reload_counts_at_once(self) -> None:
        """
        Open sessions see SMTP off, a revoked token and a new sender domain at their next question.
        """
        avatar = self.login(Plain(b"acme", self.token.encode()))
        self.assertTrue(verifyObject(ISubmitter, avatar))
        self.assertEqual("acme", avatar.project().slug)
        self.settings.config = configuration(smtp=False)
        self.assertEqual(replies.smtp_disabled("acme"), self.assertRaises(Refused, avatar.project).reply)
        self.settings.config = configuration(at_rest(4, "acme"))
        self.assertEqual(replies.TOKEN_GONE, self.assertRaises(Refused, avatar.project).reply)

    def test_sender_domains(self) -> None:
        """
        Only the project's domains, in any spelling; a leading dot means the subdomains.
        """
        avatar = self.login(Plain(b"acme", self.token.encode()))
        for domain in ("acme.example", "ACME.example", "a.sub.example", "a.b.sub.example"):
            avatar.check_sender(domain)
        for domain in ("x.acme.example", "sub.example", "xsub.example", "acme.example.org", "", "[192.0.2.1]", "a b"):
            refused = self.assertRaises(Refused, avatar.check_sender, domain)
            self.assertEqual(replies.sender_not_allowed(domain, "acme"), refused.reply)

    def test_sender_of_a_removed_project(self) -> None:
        """
        A project that is gone under a transaction is no reason to give its mail up for good.
        """
        avatar = self.login(Plain(b"acme", self.token.encode()))
        self.settings.config = evolve(self.settings.config, projects={})
        refused = self.assertRaises(Refused, avatar.check_sender, "acme.example")
        self.assertEqual("451 4.7.0 Project acme is no longer configured here", str(refused.reply))
        self.assertEqual(421, self.assertRaises(Refused, avatar.project).reply.code)

    def test_refusals_are_ascii(self) -> None:
        """
        An internationalized domain is told in A-labels, and one that is none without its odd characters.
        """
        avatar = self.login(Plain(b"acme", self.token.encode()))
        for domain, told in (("b\u00fccher.example", "xn--bcher-kva.example"), ("\u00fc..x", "?..x")):
            refused = self.assertRaises(Refused, avatar.check_sender, domain)
            self.assertEqual(replies.sender_not_allowed(told, "acme"), refused.reply)

    def test_stock_factory(self) -> None:
        """
        A stock twisted.mail factory hears of the sender policy in its own words, and that it cannot submit.
        """
        avatar = self.login(Plain(b"acme", self.token.encode()))
        allowed, null, refused = (StockAddress(octets) for octets in (b"a@acme.example", b"", b"a@b.example"))
        self.assertEqual([allowed, null], [avatar.validateFrom((b"x", b"y"), one) for one in (allowed, null)])
        error = self.assertRaises(SMTPBadSender, avatar.validateFrom, (b"x", b"y"), refused)
        self.assertEqual((550, "5.7.1 Sender domain b.example"), (error.code, error.resp[:29]))
        user = User(b"b@b.example", (b"x", b"y"), None, allowed)
        self.assertEqual(451, self.assertRaises(SMTPBadRcpt, avatar.validateTo, user).code)
        self.assertEqual(b"", avatar.receivedHeader((b"x", b"y"), allowed, [user]))

    def test_cram_takes_turns(self) -> None:
        """
        The last of many tokens is found, and others have their turn in between.
        """
        tokens = [at_rest(number, "acme") for number in range(10, 11 + 2 * SLICE)]
        self.settings.config = configuration(*tokens)
        last = minted(10 + 2 * SLICE)[0]
        done = self.portal.login(Cram(b"lettermint", last.encode()), None, ISubmitter)
        self.assertNoResult(done)
        self.clock.advance(0)
        self.assertEqual("acme", self.successResultOf(done)[1].slug)

    def test_when_cram_is_offered(self) -> None:
        """
        Offered by itself only where it works with every token that is alive: an expired one hinders nobody.
        """
        dead = at_rest(3, "acme", cram="", expires=datetime.date(2026, 1, 1))
        alive = at_rest(3, "acme", cram="")
        for expected, tokens, switch in (
            (True, (), Switch.AUTO),
            (False, (), Switch.OFF),
            (False, (at_rest(1, "acme"), alive), Switch.AUTO),
            (True, (at_rest(1, "acme"), alive), Switch.ON),
            (True, (at_rest(1, "acme"), dead), Switch.AUTO),
        ):
            self.settings.config = configuration(*tokens, auth=Auth(cram_md5=switch))
            self.assertEqual(expected, cram_is_offered(self.directories, NOW))
        self.settings.config = evolve(configuration(), token_key=b"")
        self.assertFalse(cram_is_offered(self.directories, NOW))

    def test_a_seal_of_another_key(self) -> None:
        """
        A token sealed under a key that is gone fails by CRAM-MD5 and works by PLAIN.
        """
        self.settings.config = evolve(configuration(), token_key=bytes(32))
        plain, cram = self.both("lettermint", self.token)
        self.assertEqual(("acme", replies.AUTH_INVALID), (plain.slug, cram))
