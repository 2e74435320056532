"""
The mechanisms, step by step.
"""

from __future__ import annotations

import base64
import hmac

import pytest
from zope.interface.verify import verifyObject

from lmrelay.errors import Refused
from lmrelay.inbound import sasl
from lmrelay.interfaces import ICramCredentials, ITokenCredentials


def test_cram_digest_of_the_rfc() -> None:
    """
    The example of RFC 2195 §2 checks, and with another secret it does not.
    """
    exchange = sasl.CramMd5("192.0.2.1", b"<1896.697170952@postoffice.reston.mci.net>")
    assert sasl.Challenge(b"<1896.697170952@postoffice.reston.mci.net>") == exchange.begin(None)
    step = exchange.respond(b"tim b913a602c7eda7a495b4e6e7334d3890")
    assert isinstance(step, sasl.CramCredentials)
    assert verifyObject(ICramCredentials, step)
    assert (
        step.username,
        step.checkPassword(b"tanstaaftanstaaf"),
        step.checkPassword(b"other"),
    ) == (b"tim", True, False)


def test_cram_user_name_may_have_spaces() -> None:
    """
    The digest is what stands after the last space.
    """
    digest = hmac.new(b"k", b"c", "md5").hexdigest().upper().encode()
    step = sasl.CramMd5("", b"c").respond(b"a b " + digest)
    assert isinstance(step, sasl.CramCredentials)
    assert (step.username, step.checkPassword(b"k")) == (b"a b", True)


@pytest.mark.parametrize("response", [b"", b"tim", b"tim 1234", b" b913a602c7eda7a495b4e6e7334d3890"])
def test_cram_nonsense_is_refused(response: bytes) -> None:
    """
    What is no user name and digest fails as a wrong token does.
    """
    with pytest.raises(Refused) as caught:
        sasl.CramMd5("", b"c").respond(response)
    assert caught.value.reply.code == 535


def test_cram_takes_no_initial_response() -> None:
    """
    Nobody can answer a challenge that was not made.
    """
    with pytest.raises(Refused) as caught:
        sasl.CramMd5("", b"c").begin(b"x")
    assert caught.value.reply.code == 501


def test_plain() -> None:
    """
    User name and token come out of one response, with the address for network lists.
    """
    step = sasl.Plain("192.0.2.1").begin(b"\0user\0token")
    assert sasl.TokenCredentials(b"user", b"token", "192.0.2.1") == step
    assert verifyObject(ITokenCredentials, step)
    assert "token" not in repr(step).replace("TokenCredentials", "")


@pytest.mark.parametrize(
    ("response", "code"),
    [(b"", 501), (b"a\0b", 501), (b"\0a\0b\0c", 501), (b"other\0user\0t", 535), (b"\0\0t", 535), (b"\0user\0", 535)],
)
def test_plain_refusals(response: bytes, code: int) -> None:
    """
    A wrong number of parts is no syntax, somebody else's name or an empty part no credential.
    """
    with pytest.raises(Refused) as caught:
        sasl.Plain("").begin(response)
    assert code == caught.value.reply.code


@pytest.mark.parametrize("text", [b"YQ", b"YQ==\n", b"Y Q==", b"YQ=", b"Y!==", b"====", b"YQ==YQ=="])
def test_base64_is_strict(text: bytes) -> None:
    """
    Junk is refused, never skipped.
    """
    with pytest.raises(Refused) as caught:
        sasl.decode(text)
    assert caught.value.reply.enhanced == "5.5.2"


def test_longest_response() -> None:
    """
    12,288 octets are a response, one more are not.
    """
    assert sasl.decode(base64.b64encode(b"\0" * 9216)) == b"\0" * 9216
    with pytest.raises(Refused) as caught:
        sasl.decode(b"A" * 12292)
    assert str(caught.value.reply)[:9] == "500 5.5.6"


def test_initial_responses() -> None:
    """
    None without one, empty for C{=}.
    """
    assert (
        sasl.decode_initial(None),
        sasl.decode_initial("="),
        sasl.decode_initial("YQ=="),
    ) == (None, b"", b"a")


def test_challenges_differ() -> None:
    """
    A challenge that came twice could be answered by who listened.
    """
    numbers = iter([b"a" * 12, b"b" * 12])
    first, second = (sasl.make_challenge("h", 1.5, lambda n: next(numbers)) for _ in range(2))
    assert first != second
    assert first == b"<" + b"61" * 12 + b".1@h>"
