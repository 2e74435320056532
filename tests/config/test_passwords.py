"""
Hashes of passwords, as they stand in the configuration.
"""

from __future__ import annotations

from base64 import b64encode

import pytest

from lmrelay.config.passwords import MOST_WORK, PasswordHash, read_hash
from lmrelay.web.password import is_password

SALT, HASH = b"s" * 16, b"h" * 32
END = "$".join(b64encode(one).decode() for one in (SALT, HASH))


def test_a_hash() -> None:
    """
    All that scrypt needs, and what is to come of it.
    """
    assert PasswordHash(16384, 8, 1, SALT, HASH) == read_hash(f"scrypt$16384$8$1${END}")


@pytest.mark.parametrize(("cost", "block", "lanes"), [(2, 1, 1), (32768, 1, 64), (MOST_WORK // 8, 8, 1)])
def test_what_is_read_can_be_checked(cost: int, block: int, lanes: int) -> None:
    """
    Nothing passes here that fails when somebody logs in.
    """
    assert not is_password(b"x", f"scrypt${cost}${block}${lanes}${END}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x", "lmrelay status password"),
        (f"bcrypt$16384$8$1${END}", "lmrelay status password"),
        (f"scrypt$16384$8$1${END}$", "lmrelay status password"),
        (f"scrypt$x$8$1${END}", "three numbers"),
        (f"scrypt$16384$0$1${END}", "three numbers"),
        (f"scrypt$16384$8$-1${END}", "three numbers"),
        (f"scrypt$16384$8$\u0661${END}", "three numbers"),
        (f"scrypt$1$8$1${END}", "power of two"),
        (f"scrypt$16383$8$1${END}", "power of two"),
        (f"scrypt$65536$1$1${END}", "power of two"),
        (f"scrypt${MOST_WORK}$8$1${END}", "too long"),
        (f"scrypt$16384$8$9999${END}", "too long"),
        ("scrypt$16384$8$1$c2F$aGFzaA==", "base64"),
        ("scrypt$16384$8$1$c2FsdA==$aGFzaA==", "cut off"),
        (f"scrypt$16384$8$1$${b64encode(HASH).decode()}", "cut off"),
    ],
)
def test_no_hash(text: str, reason: str) -> None:
    """
    What cannot be checked, or would cost all the memory or time there is, is told with its reason.
    """
    with pytest.raises(ValueError, match=reason):
        read_hash(text)
