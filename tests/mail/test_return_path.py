"""
Signed envelope senders: nobody else can make one, and none means two recipients.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.errors import SyntaxRefused
from lmrelay.ids import make_id
from lmrelay.mail.address import MAX_LOCAL, Address, parse_address
from lmrelay.mail.return_path import MAX_NUMBER, PREFIX, Origin, derive_key, make_return_path, read_return_path

KEY = b"k" * 32
DOMAIN = "bounce.acme.example"
IDS = st.builds(lambda at, tail: make_id(at, lambda n: tail), st.floats(0, 2**37), st.binary(min_size=10, max_size=10))
NUMBERS = st.integers(0, MAX_NUMBER)
CASES = st.sampled_from([str.lower, str.upper, str.swapcase, str.title])


@given(IDS, NUMBERS, CASES, CASES)
def test_round_trip(id_: str, number: int, local_case, domain_case) -> None:  # type: ignore[no-untyped-def]
    """
    Whoever has the key reads whom it is about, whatever case it came back in.
    """
    made = make_return_path(KEY, DOMAIN, id_, number)
    assert made == make_return_path(KEY, DOMAIN, id_, number)
    assert Origin(id_, number) == read_return_path(KEY, Address(local_case(made.local), domain_case(made.domain)))


@given(IDS, NUMBERS)
def test_every_server_takes_it(id_: str, number: int) -> None:
    """
    It is an address by the grammar, no longer than a local part may be, and shows the message's id.
    """
    made = make_return_path(KEY, DOMAIN, id_, number)
    assert made == parse_address(str(made), smtputf8=False)
    assert len(made.local) <= MAX_LOCAL
    assert made.local.startswith(PREFIX + id_)


@given(st.data(), IDS, NUMBERS)
def test_altered(data: st.DataObject, id_: str, number: int) -> None:
    """
    An address of which one character is another is refused.
    """
    local = make_return_path(KEY, DOMAIN, id_, number).local
    place = data.draw(st.integers(0, len(local) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda one: one.lower() != local[place]))
    with pytest.raises(SyntaxRefused):
        read_return_path(KEY, Address(local[:place] + other + local[place + 1 :], DOMAIN))


@pytest.mark.parametrize(
    ("key", "domain"), [(b"j" * 32, DOMAIN), (b"", DOMAIN), (KEY, "acme.example"), (KEY, f"x.{DOMAIN}")]
)
def test_of_another(key: bytes, domain: str) -> None:
    """
    What was signed with another key, or for another domain, counts for nothing.
    """
    local = make_return_path(KEY, DOMAIN, "0" * 26, 1).local
    with pytest.raises(SyntaxRefused):
        read_return_path(key, Address(local, domain))


@given(st.text())
def test_nonsense(local: str) -> None:
    """
    What is no signed address is refused, whatever it is.
    """
    for tried in (local, PREFIX + local):
        with pytest.raises(SyntaxRefused):
            read_return_path(KEY, Address(tried, DOMAIN))


def test_one_number_is_one_address() -> None:
    """
    A zero put before the number makes another address of it, which was never signed.
    """
    id_ = "0" * 26
    local = make_return_path(KEY, DOMAIN, id_, 1).local
    with pytest.raises(SyntaxRefused):
        read_return_path(KEY, Address(local.replace(f"{id_}.1", f"{id_}.01"), DOMAIN))


@pytest.mark.parametrize(("id_", "number"), [("", 0), ("0" * 25, 0), ("0" * 26, -1), ("0" * 26, MAX_NUMBER + 1)])
def test_no_recipient(id_: str, number: int) -> None:
    """
    What would be no address, or one too long, is not made.
    """
    with pytest.raises(SyntaxRefused):
        make_return_path(KEY, DOMAIN, id_, number)


def test_key_is_not_the_servers() -> None:
    """
    The key that signs is not the one that other keys are made from.
    """
    assert derive_key(KEY) not in (KEY, derive_key(b"j" * 32))
    assert 32 == len(derive_key(KEY))
