"""
Tokens.
"""

from __future__ import annotations

import hashlib

import pytest

from lmrelay.config.seals import seal, unseal
from lmrelay.projects.tokens import digest, is_foreign, is_mistyped, make_token

KEY = bytes(range(32))


def entropy(count: int) -> bytes:
    return hashlib.shake_128(b"tokens").digest(count)


TOKEN, ID = make_token("lmr_", entropy)


def test_made() -> None:
    """
    A new token has the documented shape, carries its id, and is not taken for a mistyped one.
    """
    assert (57, f"lmr_{ID}_", False) == (len(TOKEN), TOKEN[:17], is_mistyped(TOKEN, "lmr_"))


@pytest.mark.parametrize("place", range(4, 57))
def test_flipped(place: int) -> None:
    """
    A token with any one character changed or cut there is refused without a look-up.
    """
    other = "a" if TOKEN[place] != "a" else "b"
    assert is_mistyped(TOKEN[:place] + other + TOKEN[place + 1 :], "lmr_")
    assert is_mistyped(TOKEN[:place], "lmr_")


@pytest.mark.parametrize(
    ("token", "good"), [("x" * 16, True), ("x" * 15, False), ("x" * 16 + " ", False), ("é" * 16, False)]
)
def test_foreign(token: str, good: bool) -> None:
    """
    A foreign token is at least 16 printable characters without a space, and never taken for ours.
    """
    assert (good, False) == (is_foreign(token), is_mistyped(token, "lmr_"))


def test_sealed() -> None:
    """
    A sealed token opens with its key, project and id only; altered or nonsense gives nothing.
    """
    sealed = seal(TOKEN, KEY, "acme", ID, entropy)
    assert unseal(sealed, KEY, "acme", ID) == TOKEN
    assert [
        unseal(sealed, bytes(32), "acme", ID),
        unseal(sealed, KEY, "other", ID),
        unseal(sealed, KEY, "acme", "x"),
        unseal("A" + sealed[1:] if sealed[0] != "A" else "B" + sealed[1:], KEY, "acme", ID),
        unseal("!", KEY, "acme", ID),
    ] == [None] * 5


def test_digest() -> None:
    """
    The digest is SHA-256 in hexadecimal (FIPS 180-4's example).
    """
    assert digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
