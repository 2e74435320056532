from __future__ import annotations

from email import policy
from email.parser import BytesParser
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.errors import SyntaxRefused
from lmrelay.mail.unsubscribe import (
    MAX_LINE,
    MAX_TEMPLATE,
    MAX_TOKEN,
    Unsubscription,
    derive_key,
    make_link,
    make_token,
    read_token,
    unsubscribe_fields,
)

KEY = derive_key(b"k" * 32, "acme", "news")
SLUGS = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
LOCALS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=16)
ADDRESSES = st.builds(lambda local: f"{local}@example.org", LOCALS)
TOKENS = st.builds(
    lambda project, route, address, at: make_token(KEY, project, route, "0" * 26, address, at),
    SLUGS,
    SLUGS,
    ADDRESSES,
    st.integers(0, 10**11),
)


def longest() -> str:
    """
    The token of the longest slugs and of the longest address, which has to be escaped most.
    """
    address = '"' + "\\\\" * 31 + '"@' + "d" * 189
    return make_token(KEY, "p" * 63, "r" * 63, "7" * 26, address, 253402300799.9)


@given(SLUGS, SLUGS, ADDRESSES, st.integers(0, 10**11))
def test_round_trip(project: str, route: str, address: str, at: int) -> None:
    """
    Whoever has the key reads what was written.
    """
    token = make_token(KEY, project, route, "m" * 26, address, at + 0.5)
    assert Unsubscription(project, route, "m" * 26, address, at) == read_token(KEY, token)


@given(TOKENS, st.data())
def test_tampering(token: str, data: st.DataObject) -> None:
    """
    A token of which one character is another is refused.
    """
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda one: one != token[place]))
    with pytest.raises(SyntaxRefused):
        read_token(KEY, token[:place] + other + token[place + 1 :])


@given(st.text())
def test_nonsense(text: str) -> None:
    """
    What is no token is refused, whatever it is.
    """
    with pytest.raises(SyntaxRefused):
        read_token(KEY, text)


@pytest.mark.parametrize(("project", "route"), [("acme", "new"), ("acmen", "ews"), ("other", "news")])
def test_keys_are_a_routes_own(project: str, route: str) -> None:
    """
    The key of another route, project or server reads nothing.
    """
    token = make_token(KEY, "acme", "news", "m", "a@b.example", 1)
    for key in (derive_key(b"k" * 32, project, route), derive_key(b"j" * 32, "acme", "news")):
        assert 64 == len(key)
        with pytest.raises(SyntaxRefused):
            read_token(key, token)


@pytest.mark.parametrize("said", ["[]", "1", "{}", "nonsense", '{"p":"x"}'])
def test_signed_nonsense(said: str) -> None:
    """
    A project may sign other things with its key: they are no tokens.
    """
    from lmrelay.mail.unsubscribe import _encode, _sign

    payload = _encode(said.encode())
    with pytest.raises(SyntaxRefused):
        read_token(KEY, f"{payload}.{_sign(KEY, payload)}")


@given(TOKENS, st.sampled_from(["https://a.example/u/{token}", "https://a.example/u?t={token}&l=en"]))
def test_placeholder(token: str, template: str) -> None:
    """
    The token stands where the template has its place, as it is, for it needs no escape in a URL.
    """
    link = make_link(template, token)
    before, after = template.split("{token}")
    assert before + token + after == link
    assert link == urlsplit(link).geturl()


@given(TOKENS, st.sampled_from(["https://a.example/u", "https://a.example/u?l=en", "https://a.example"]))
def test_parameter(token: str, template: str) -> None:
    """
    Without a place of its own the token is a query parameter beside those that are there.
    """
    parameters = parse_qs(urlsplit(make_link(template, token)).query, strict_parsing=True)
    assert [token] == parameters["token"]
    assert parse_qs(urlsplit(template).query) == {name: value for name, value in parameters.items() if name != "token"}


@pytest.mark.parametrize("end", ["", "{token}", "?x=1"])
def test_longest_line(end: str) -> None:
    """
    The longest address in the longest template still makes lines that every server must take.
    """
    template = "https://a.example/".ljust(MAX_TEMPLATE - len(end), "x") + end
    token = longest()
    assert MAX_TOKEN >= len(token) > MAX_TOKEN - 12
    lines = unsubscribe_fields(make_link(template, token)).split(b"\r\n")
    assert 3 == len(lines)
    assert b"" == lines[2]
    assert max(map(len, lines)) <= MAX_LINE


def test_too_long() -> None:
    """
    What would break the limit of a line is refused, not folded.
    """
    with pytest.raises(SyntaxRefused):
        make_token(KEY, "p", "r", "m", "a" * 600, 1)
    with pytest.raises(SyntaxRefused):
        unsubscribe_fields("https://a.example/".ljust(979, "x"))


@pytest.mark.parametrize("link", ["", "https://a.example/ b", "https://a.example/>", "https://a\r\nX: y", "https://ä/"])
def test_no_link(link: str) -> None:
    """
    A link can neither end the field nor forge another.
    """
    with pytest.raises(SyntaxRefused):
        unsubscribe_fields(link)


@given(TOKENS)
def test_fields(token: str) -> None:
    """
    A mail program finds the two fields of RFC 8058 §3.1 as they were meant.
    """
    link = make_link("https://a.example/u/{token}", token)
    parsed = BytesParser(policy=policy.SMTP).parsebytes(unsubscribe_fields(link) + b"\r\n")
    assert [f"<{link}>"] == parsed.get_all("List-Unsubscribe")
    assert ["List-Unsubscribe=One-Click"] == parsed.get_all("List-Unsubscribe-Post")
