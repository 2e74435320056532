"""
Who gets in: every form of user name, every kind of credentials, and every way to fail, with exact replies.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.verify import verifyObject

from lmrelay.config.project import Project, Token
from lmrelay.config.seals import seal
from lmrelay.config.values import Auth
from lmrelay.config.words import Form, Switch
from lmrelay.errors import Refused
from lmrelay.interfaces import ISubmitter
from lmrelay.projects.checkers import MAX_CRAM, SLICE, cram_is_offered
from lmrelay.projects.tokens import digest
from tests.projects.tenants import CHALLENGE, HERE, KEY, NOW, Room, Settings, configure, cram, mint, plain

INVALID = "535 5.7.8 Authentication credentials invalid"
OFF = "535 5.7.8 SMTP is not enabled for project off"

WEB, WEB_TOKEN = mint("acme", "web")
BARE, BARE_TOKEN = mint("acme", "bare", cram=False)
OTHER, OTHER_TOKEN = mint("other", "other")
SWITCHED_OFF, OFF_TOKEN = mint("off", "off")
STRANGE, STRANGE_TOKEN = "pt_live_0123456789abcdef", Token("imported", "importedtokn", "")

KINDS: dict[str, Callable[..., Any]] = {"plain": plain, "cram": cram}


def date(days: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(NOW + days * 86400, datetime.UTC)


def imported() -> Token:
    sealed = seal(STRANGE, KEY, "acme", STRANGE_TOKEN.id, lambda count: bytes(count))
    return evolve(STRANGE_TOKEN, sha256=digest(STRANGE), cram=sealed)


def make_room(auth: Auth | None = None, **changes: Any) -> Room:
    return Room(
        Settings(
            configure(
                Project("acme", tokens=(WEB_TOKEN, BARE_TOKEN, imported()), domains=("acme.example",)),
                Project("other", tokens=(OTHER_TOKEN,)),
                Project("off", smtp=False, tokens=(OFF_TOKEN,)),
                auth=auth,
                **changes,
            )
        )
    )


class Logins(SynchronousTestCase):
    def finish(self, room: Room, deferred: Deferred[Any]) -> str:
        """
        C{project/token id} of who got in, else the reply.
        """
        while room.clock.getDelayedCalls():
            room.clock.advance(0)
        outcome: list[Any] = []
        deferred.addCallbacks(lambda found: outcome.append(found[1]), lambda failure: outcome.append(failure))
        if ISubmitter.providedBy(outcome[0]):
            return f"{outcome[0].slug}/{outcome[0].token_id}"
        outcome[0].trap(Refused)
        return str(outcome[0].value.reply).strip()

    def attempt(self, room: Room, credentials: Any) -> str:
        return self.finish(room, room.login(credentials))


class TestForms(Logins):
    def test_each_form(self) -> None:
        """
        Every form of user name works with the token as password, by PLAIN and LOGIN and by CRAM-MD5.
        """
        room = make_room()
        for token, kept in ((WEB, WEB_TOKEN), (STRANGE, imported())):
            for username in ("lettermint", token, kept.id, "acme"):
                for name, kind in KINDS.items():
                    said = self.attempt(room, kind(username, token))
                    self.assertEqual(f"acme/{kept.id}", said, (username, name))

    def test_unsealed(self) -> None:
        """
        A token without seal works by PLAIN under every form; by CRAM-MD5 only where the user name shows it.
        """
        room = make_room()
        names = ("lettermint", BARE, BARE_TOKEN.id, "acme")
        inside = f"acme/{BARE_TOKEN.id}"
        self.assertEqual([inside] * 4, [self.attempt(room, plain(name, BARE)) for name in names])
        said = [self.attempt(room, cram(name, BARE)) for name in names]
        self.assertEqual([INVALID, inside, INVALID, INVALID], said)

    def test_forms_off(self) -> None:
        """
        A form that is off lets nobody in; the others do.
        """
        names = {Form.SHARED: "lettermint", Form.TOKEN: WEB, Form.TOKEN_ID: WEB_TOKEN.id, Form.PROJECT: "acme"}
        inside = f"acme/{WEB_TOKEN.id}"
        for off in Form:
            room = make_room(Auth(forms=tuple(form for form in Form if form is not off)))
            for form, username in names.items():
                for name, kind in KINDS.items():
                    said = self.attempt(room, kind(username, WEB))
                    self.assertEqual(INVALID if form is off else inside, said, (off, form, name))

    def test_other_shared_names(self) -> None:
        """
        The shared names are those configured, exactly as they are written.
        """
        room = make_room(Auth(usernames=("lettr", "Api"), forms=(Form.SHARED,)))
        for kind in KINDS.values():
            said = {
                name: self.attempt(room, kind(name, WEB)) for name in ("lettr", "Api", "api", "lettermint", "LETTR")
            }
            self.assertEqual(["lettr", "Api"], [name for name, text in said.items() if text != INVALID])

    def test_foreign_token_of_our_prefix(self) -> None:
        """
        A service whose prefix is configured has tokens of a shape of its own: imported, they work in every form.
        """
        text = "lttr_0123456789abcdef"
        sealed = seal(text, KEY, "acme", "abcdefghijkl", lambda count: bytes(count))
        token = Token("moved", "abcdefghijkl", digest(text), sealed)
        room = Room(Settings(configure(Project("acme", tokens=(token,)), auth=Auth(token_prefix="lttr_"))))
        for name in ("lettermint", text, "abcdefghijkl", "acme"):
            for kind in KINDS.values():
                self.assertEqual("acme/abcdefghijkl", self.attempt(room, kind(name, text)))

    def test_a_slug_that_is_a_shared_name(self) -> None:
        """
        With the shared name all tokens may log in, even where a project is called so.
        """
        room = make_room(Auth(usernames=("other",)))
        for kind in KINDS.values():
            self.assertEqual(f"acme/{WEB_TOKEN.id}", self.attempt(room, kind("other", WEB)))


class TestRefusals(Logins):
    def test_wrong(self) -> None:
        """
        Whatever is wrong, the reply is the same: it tells a guesser nothing.
        """
        room = make_room()
        mistyped = WEB[:-1] + ("a" if WEB[-1] != "a" else "b")
        unknown, _ = mint("acme", "never stored")
        rows = [
            ("lettermint", mistyped),
            ("lettermint", WEB[:-1]),
            ("lettermint", WEB + "x"),
            ("lettermint", WEB + "\n"),
            ("lettermint", WEB.upper()),
            ("lettermint", unknown),
            ("lettermint", ""),
            ("", WEB),
            ("Lettermint", WEB),
            ("lettermint ", WEB),
            ("other", WEB),
            (OTHER_TOKEN.id, WEB),
            (OTHER, WEB),
            (WEB, OTHER),
            (BARE_TOKEN.id, WEB),
            ("ACME", WEB),
            (WEB_TOKEN.id.swapcase(), WEB),
            (WEB_TOKEN.sha256, WEB),
            ("lettermint", WEB_TOKEN.sha256),
            ("lettermint", WEB_TOKEN.cram),
            ("gone", WEB),
            ("lettermint", STRANGE[:-1]),
            (b"\xff", WEB),
            ("lettermint", b"\xff" * 20),
            ("lettermint\0", WEB),
        ]
        for username, token in rows:
            for name, kind in KINDS.items():
                self.assertEqual(INVALID, self.attempt(room, kind(username, token)), (username, token, name))

    def test_revoked(self) -> None:
        """
        A token that is gone from the file is unknown from the reload on.
        """
        room = make_room()
        self.assertEqual(f"acme/{WEB_TOKEN.id}", self.attempt(room, cram("acme", WEB)))
        room.change_project("acme", tokens=(BARE_TOKEN,))
        for username in ("lettermint", WEB, WEB_TOKEN.id, "acme"):
            for kind in KINDS.values():
                self.assertEqual(INVALID, self.attempt(room, kind(username, WEB)))

    def test_expired(self) -> None:
        """
        A date ends the token when its day begins in UTC; a time when it comes, in its zone, UTC without one.
        """
        today = date(0).date()
        east, west = (datetime.timezone(datetime.timedelta(hours=hours)) for hours in (5, -5))
        rows: list[tuple[Any, bool]] = [
            (None, True),
            (today, False),
            (today + datetime.timedelta(days=1), True),
            (date(1), True),
            (date(-1), False),
            (date(0), False),
            (date(1 / 86400), True),
            (date(0.1).replace(tzinfo=None), True),
            (date(-0.1).replace(tzinfo=None), False),
            (date(0.1).astimezone(east), True),
            (date(-0.1).astimezone(west), False),
            (date(0.1).replace(tzinfo=east), False),
            (date(-0.1).replace(tzinfo=west), True),
            (datetime.date.min, False),
            (datetime.date.max, True),
            (datetime.datetime.min, False),
            (datetime.datetime.max, True),
            (datetime.datetime.min.replace(tzinfo=east), False),
            (datetime.datetime.max.replace(tzinfo=west), True),
        ]
        for expires, live in rows:
            room = make_room()
            room.change_project("acme", tokens=(evolve(WEB_TOKEN, expires=expires),))
            for kind in KINDS.values():
                said = self.attempt(room, kind("lettermint", WEB))
                self.assertEqual(f"acme/{WEB_TOKEN.id}" if live else INVALID, said, expires)

    def test_expires_while_the_relay_runs(self) -> None:
        """
        No reload is needed for a token to end.
        """
        room = make_room()
        room.change_project("acme", tokens=(evolve(WEB_TOKEN, expires=date(0.5)),))
        self.assertNotEqual(INVALID, self.attempt(room, plain("acme", WEB)))
        room.clock.advance(43_200)
        self.assertEqual(INVALID, self.attempt(room, plain("acme", WEB)))

    def test_networks(self) -> None:
        """
        A token with networks works from there only, in either family.
        """
        networks = tuple(map(ip_network, ("192.0.2.0/25", "2001:db8:1::/48", "198.51.100.9/32")))
        rows = {
            "192.0.2.7": True,
            "192.0.2.127": True,
            "192.0.2.128": False,
            "198.51.100.9": True,
            "198.51.100.8": False,
            "2001:db8:1::5": True,
            "2001:db8:1:ffff::1": True,
            "2001:db8:2::5": False,
            "::": False,
            "": False,
            "unknown": False,
        }
        room = make_room()
        room.change_project("acme", tokens=(evolve(WEB_TOKEN, networks=networks),))
        for address, inside in rows.items():
            for kind in KINDS.values():
                said = self.attempt(room, kind("lettermint", WEB, address))
                self.assertEqual(f"acme/{WEB_TOKEN.id}" if inside else INVALID, said, address)

    def test_smtp_off(self) -> None:
        """
        Whoever shows a right token of a project with SMTP off is told so, under every form; nobody else is.
        """
        room = make_room()
        for kind in KINDS.values():
            for username in ("lettermint", SWITCHED_OFF, OFF_TOKEN.id, "off"):
                self.assertEqual(OFF, self.attempt(room, kind(username, SWITCHED_OFF)), username)
            self.assertEqual(INVALID, self.attempt(room, kind("off", WEB)))
        for changes in ({"expires": date(-1)}, {"networks": (ip_network("10.0.0.0/8"),)}):
            room.change_project("off", tokens=(evolve(OFF_TOKEN, **changes),))
            for kind in KINDS.values():
                self.assertEqual(INVALID, self.attempt(room, kind("lettermint", SWITCHED_OFF)))

    def test_another_interface(self) -> None:
        """
        Only submitters are made.
        """
        room = make_room()
        failure = self.failureResultOf(room.portal.login(plain("acme", WEB), None, Interface))
        self.assertIsInstance(failure.value, NotImplementedError)

    def test_avatar(self) -> None:
        """
        What comes is a submitter.
        """
        interface, avatar, logout = self.successResultOf(make_room().login(plain("acme", WEB)))
        self.assertIs(ISubmitter, interface)
        self.assertTrue(verifyObject(ISubmitter, avatar))
        self.assertIsNone(logout())


class TestManyTokens(Logins):
    """
    CRAM-MD5 with the shared name over as many tokens as it is offered for.
    """

    def make_room(self) -> tuple[Room, list[str]]:
        minted = [mint("many", f"n{number}") for number in range(MAX_CRAM)]
        room = Room(Settings(configure(Project("many", tokens=tuple(token for _, token in minted)))))
        return room, [text for text, _ in minted]

    def test_slices(self) -> None:
        """
        The last of a thousand is found, and others have their turn after every slice.
        """
        room, texts = self.make_room()
        deferred = room.login(cram("lettermint", texts[-1]))
        turns = 0

        def take_turn() -> None:
            nonlocal turns
            if not deferred.called:
                turns += 1
                room.clock.callLater(0, take_turn)

        room.clock.callLater(0, take_turn)
        room.clock.advance(0)
        self.assertEqual("many", self.successResultOf(deferred)[1].slug)
        self.assertEqual((MAX_CRAM - 1) // SLICE - 1, turns)

    def test_short_ways(self) -> None:
        """
        A token or its id as user name needs no search, and a wrong answer searches all once.
        """
        room, texts = self.make_room()
        ids = [token.id for token in room.settings.config.projects["many"].tokens]
        for username in (texts[-1], ids[-1]):
            self.assertEqual("many", self.successResultOf(room.login(cram(username, texts[-1])))[1].slug)
        self.assertEqual(INVALID, self.attempt(room, cram("lettermint", "wrong")))
        self.assertEqual([], room.clock.getDelayedCalls())

    def test_a_reload_meanwhile(self) -> None:
        """
        A token that is revoked while the search goes on does not get in.
        """
        room, texts = self.make_room()
        deferred = room.login(cram("lettermint", texts[-1]))
        room.change_project("many", tokens=())
        self.assertEqual(INVALID, self.finish(room, deferred))

    def test_two_at_once(self) -> None:
        """
        Two searches go on side by side, and each finds its own.
        """
        room, texts = self.make_room()
        first, second = room.login(cram("lettermint", texts[700])), room.login(cram("lettermint", texts[100]))
        while room.clock.getDelayedCalls():
            room.clock.advance(0)
        ids = [token.id for token in room.settings.config.projects["many"].tokens]
        found = [self.successResultOf(one)[1].token_id for one in (first, second)]
        self.assertEqual([ids[700], ids[100]], found)

    def test_seals_that_do_not_open(self) -> None:
        """
        Tokens sealed under another key, or nonsense, get nobody in and stop no other.
        """
        lost, lost_token = mint("acme", "lost", key=bytes(32))
        broken = evolve(mint("acme", "broken")[1], cram="AAAA")
        room = Room(Settings(configure(Project("acme", tokens=(lost_token, broken, WEB_TOKEN)))))
        self.assertEqual(INVALID, self.attempt(room, cram("lettermint", lost)))
        self.assertEqual(f"acme/{WEB_TOKEN.id}", self.attempt(room, cram("lettermint", WEB)))
        self.assertEqual(f"acme/{lost_token.id}", self.attempt(room, plain("lettermint", lost)))

    def test_wrong_challenge(self) -> None:
        """
        An answer to another challenge is none.
        """
        credentials = evolve(cram("acme", WEB), challenge=CHALLENGE + b"x")
        self.assertEqual((HERE, INVALID), (credentials.address, self.attempt(make_room(), credentials)))


class TestOffer(SynchronousTestCase):
    def offered(self, *tokens: Token, switch: Switch = Switch.AUTO, token_key: bytes = KEY) -> bool:
        config = configure(Project("acme", tokens=tokens), auth=Auth(cram_md5=switch), token_key=token_key)
        return cram_is_offered(Room(Settings(config)).directories, NOW)

    def test_auto(self) -> None:
        """
        Offered while every live token is sealed, and there are some but not too many.
        """
        many = [mint("acme", f"n{number}")[1] for number in range(MAX_CRAM + 1)]
        expired = evolve(BARE_TOKEN, expires=date(-1))
        self.assertEqual(
            (False, True, False, True, False, False, True),
            (
                self.offered(),
                self.offered(WEB_TOKEN),
                self.offered(WEB_TOKEN, BARE_TOKEN),
                self.offered(*many[:-1]),
                self.offered(*many),
                self.offered(WEB_TOKEN, token_key=b""),
                self.offered(WEB_TOKEN, expired),
            ),
        )

    def test_forced(self) -> None:
        """
        On and off are what they say.
        """
        for tokens in ((), (WEB_TOKEN,), (BARE_TOKEN,)):
            self.assertTrue(self.offered(*tokens, switch=Switch.ON))
            self.assertFalse(self.offered(*tokens, switch=Switch.OFF))

    def test_follows_a_reload(self) -> None:
        """
        A token without seal takes the offer back, and its end brings it again.
        """
        room = Room(Settings(configure(Project("acme", tokens=(WEB_TOKEN,)))))
        said = [cram_is_offered(room.directories, NOW)]
        room.change_project("acme", tokens=(WEB_TOKEN, BARE_TOKEN))
        said.append(cram_is_offered(room.directories, NOW))
        room.change_project("acme", tokens=(WEB_TOKEN,))
        said.append(cram_is_offered(room.directories, NOW))
        self.assertEqual([True, False, True], said)
