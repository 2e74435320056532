"""
What is secret is never compared octet by octet: how long a refusal takes must not tell how much of a guess was right.
"""

from __future__ import annotations

import hmac
from typing import NoReturn

from lmrelay.config.project import Project
from lmrelay.inbound.sasl import CramCredentials, TokenCredentials
from lmrelay.projects.directory import index
from tests.projects.tenants import CHALLENGE, KEY, configure, cram, mint

TEXT, TOKEN = mint("acme", "web")
GUESSES = (TEXT, TEXT[:-1] + "?", "?" + TEXT[1:], "")


class Secret(bytes):
    """
    Octets that break what compares them by C{==}.
    """

    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("compared octet by octet")

    def __ne__(self, other: object) -> NoReturn:
        raise RuntimeError("compared octet by octet")

    __hash__ = bytes.__hash__


def test_tokens() -> None:
    """
    Of PLAIN and LOGIN.
    """
    shown = TokenCredentials(b"acme", Secret(TEXT.encode()))
    assert [True, False, False, False] == [shown.checkPassword(Secret(guess.encode())) for guess in GUESSES]


def test_answers() -> None:
    """
    Of CRAM-MD5, for a token in clear and for a sealed one.
    """
    digests = [Secret(hmac.new(guess.encode(), CHALLENGE, "md5").hexdigest().encode()) for guess in GUESSES]
    answers = [CramCredentials(b"acme", CHALLENGE, digest) for digest in digests]
    assert [True, False, False, False] == [answer.checkPassword(TEXT.encode()) for answer in answers]
    [sealed] = index(configure(Project("acme", tokens=(TOKEN,)))).all_sealed()
    assert [True, False, False, False] == [sealed.answers(CHALLENGE, digest) for digest in digests]
    assert sealed.answers(CHALLENGE, Secret(cram("acme", TEXT).response))


def test_digests_are_looked_up() -> None:
    """
    What a login shows is looked up by its SHA-256, of which nobody can choose the first octets: the index has no token
    in clear that something could be compared with.
    """
    known = index(configure(Project("acme", tokens=(TOKEN,)), token_key=KEY))
    assert [TOKEN.sha256] == list(known.by_digest)
    assert TEXT not in repr(known)
