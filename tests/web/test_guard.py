"""
Who may see the status page.
"""

from __future__ import annotations

from base64 import b64encode

import pytest
from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.config.values import Config, Http, Server
from lmrelay.web.guard import GUESSES, REFILL, is_own_name, read_password
from lmrelay.web.password import is_password, make_hash
from tests.web.front import Front

PASSWORD = "correct horse battery staple"
HASH = make_hash(PASSWORD, lambda count: b"s" * count)
OTHER = make_hash("another password", lambda count: b"s" * count)


def basic(password: str, user: str = "admin") -> str:
    """
    The field that a browser sends.
    """
    return "Authorization: Basic " + b64encode(f"{user}:{password}".encode()).decode()


def test_passwords() -> None:
    """
    The right one is right, and no other, and the same password has another hash with another salt.
    """
    assert is_password(PASSWORD.encode(), HASH)
    assert not is_password(b"", HASH)
    assert not is_password(PASSWORD.encode() + b" ", HASH)
    assert make_hash(PASSWORD, lambda count: b"t" * count) != HASH
    assert is_password("pässwörd".encode(), make_hash("pässwörd", lambda count: b"s" * count))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("", None),
        ("Bearer abc", None),
        ("Basic", None),
        ("Basic !!!", None),
        ("Basic \u00ff", None),
        ("Basic " + b64encode(b"nocolon").decode(), None),
        ("basic " + b64encode(b"a:b:c").decode(), b"b:c"),
        ("Basic " + b64encode(b":").decode(), b""),
        ("Basic " + b64encode(b"a:" + b"x" * 5000).decode(), b"x" * 1024),
    ],
)
def test_read_password(field: str, expected: bytes | None) -> None:
    """
    RFC 7617: what follows the first colon, whatever the user's name; what is no such field is none.
    """
    assert expected == read_password(field)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:9100", True),
        ("127.0.0.1", True),
        ("[::1]:9100", True),
        ("[::1]", True),
        ("192.0.2.1:80", True),
        ("localhost:9100", True),
        ("relay", True),
        ("Relay.Test", True),
        ("relay.test.:443", True),
        ("evil.example", False),
        ("relay.test.evil.example:9100", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        (":80", False),
        ("[", False),
    ],
)
def test_names(host: str, expected: bool) -> None:
    """
    Only addresses, names that nobody else can have, and the relay's own.
    """
    config = Config(None, Server("relay.test"))  # type: ignore[arg-type]
    assert expected is is_own_name(host, config)


class TestGuard(SynchronousTestCase):
    def setUp(self) -> None:
        self.front = Front(Http("127.0.0.1:9100", True, HASH))
        self.front.open()

    def ask(self, *fields: str, path: str = "/status") -> int:
        return self.front.ask(path, *fields).code

    def test_without_a_password(self) -> None:
        """
        401, and it is asked for, below the page too; metrics and health have none.
        """
        for path in ("/status", "/status/", "/status/messages", "/status/style.css", "/status/none"):
            answer = self.front.ask(path)
            self.assertEqual(
                (401, 'Basic realm="lmrelay", charset="UTF-8"'), (answer.code, answer.headers["WWW-Authenticate"])
            )
        self.assertEqual([200] * 3, [self.ask(path=path) for path in ("/metrics", "/healthz", "/readyz")])

    def test_with_the_password(self) -> None:
        """
        The page, for any user's name.
        """
        self.assertEqual([200, 200], [self.ask(basic(PASSWORD)), self.ask(basic(PASSWORD, "any"))])

    def test_with_a_wrong_one(self) -> None:
        """
        401 again, also behind a right one.
        """
        self.ask(basic(PASSWORD))
        self.assertEqual([401, 401], [self.ask(basic("wrong")), self.ask(basic(""))])

    def test_guessing(self) -> None:
        """
        After some wrong ones nothing is weighed for a while, the right one neither; but who is logged in stays so.
        """
        guesses = [self.ask(basic(f"wrong {number}")) for number in range(GUESSES + 2)]
        self.assertEqual([401] * GUESSES + [429] * 2, guesses)
        self.assertEqual(429, self.ask(basic(PASSWORD)))
        self.front.reactor.advance(REFILL)
        self.assertEqual([200, 429], [self.ask(basic(PASSWORD)), self.ask(basic("wrong")) and self.ask(basic("wrong"))])
        self.assertEqual(200, self.ask(basic(PASSWORD)))

    def test_another_password(self) -> None:
        """
        A reload with another hash logs everybody out.
        """
        self.ask(basic(PASSWORD))
        self.front.settings.config = evolve(self.front.settings.config, http=Http("127.0.0.1:9100", True, OTHER))
        self.assertEqual([401, 200], [self.ask(basic(PASSWORD)), self.ask(basic("another password"))])

    def test_rebinding(self) -> None:
        """
        Under a name that is another's nothing is shown, with the password neither.
        """
        self.assertEqual(421, self.ask("Host: evil.example", basic(PASSWORD)))
        self.front.settings.config = evolve(self.front.settings.config, http=Http("127.0.0.1:9100", True))
        self.assertEqual([421, 200], [self.ask("Host: evil.example"), self.ask("Host: relay.test")])

    def test_two_names(self) -> None:
        """
        Who gives two names gives none that is the relay's, in whichever order.
        """
        own, other = "Host: 127.0.0.1", "Host: evil.example"
        answers = [self.front.ask("/status", *names).code for names in ((own, other), (other, own))]
        self.assertEqual([421, 421], answers)

    def test_odd_octets(self) -> None:
        """
        A head that is no ASCII is a stranger's, not a fault of ours.
        """
        self.assertEqual([401] * 3, [self.ask(f"{one}: \u00ff") for one in ("Host", "Authorization", "Accept")])
        self.assertEqual(200, self.ask("Accept: \u00ff", path="/metrics"))

    def test_other_sites(self) -> None:
        """
        The page of another site may link to this one, and cannot load it behind somebody's back.
        """
        self.front.settings.config = evolve(self.front.settings.config, http=Http("127.0.0.1:9100", True))
        asked = {
            use: [
                self.ask(f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Dest: {use}")
                for site in ("same-origin", "none", "same-site", "cross-site")
            ]
            for use in ("document", "image", "empty", "iframe")
        }
        here_alone = [200, 200, 403, 403]
        expected = {"document": [200] * 4, "image": here_alone, "empty": here_alone, "iframe": here_alone}
        self.assertEqual(expected, asked)

    def test_off(self) -> None:
        """
        Where it is not switched on there is no such page.
        """
        self.front.settings.config = evolve(self.front.settings.config, http=Http("127.0.0.1:9100"))
        self.assertEqual([404, 404], [self.ask(), self.ask(path="/status/messages")])
