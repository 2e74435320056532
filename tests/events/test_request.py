"""
What is sent: bodies, headers, signatures.
"""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrelay.config.project import Webhook
from lmrelay.events.request import MAX_OCTETS, compose, count_next, sign
from lmrelay.interfaces import Telling


def telling(number: int = 1, document: bytes = b'{"a":1}', attempts: int = 0) -> Telling:
    return Telling(number, f"id{number}", "message.sent", document, attempts)


def hook(batch: int = 1, previous: str = "") -> Webhook:
    return Webhook("shop", "https://a.example", "whsec_0123456789", previous, batch=batch)


def test_known_signature() -> None:
    """
    The HMAC-SHA256 of time, dot and body under the secret as is, in lower-case hexadecimal.
    """
    expected = hmac.new(b"whsec_secret", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert f"t=1700000000,v1={expected}" == sign(["whsec_secret"], 1_700_000_000, b'{"a":1}')


@given(st.lists(st.text(min_size=1), min_size=1, max_size=2), st.integers(0, 2**40), st.binary())
def test_signature(secrets: list[str], at: int, body: bytes) -> None:
    """
    Each secret signs, in order, whatever the body is.
    """
    first, *rest = sign(secrets, at, body).split(",")
    assert f"t={at}" == first
    assert [
        f"v1={hmac.new(one.encode('utf-8'), f'{at}.'.encode() + body, 'sha256').hexdigest()}" for one in secrets
    ] == rest


def test_one() -> None:
    """
    One event is its document, and the headers say which.
    """
    request = compose(hook(), [telling(attempts=2)], "X-Acme", 1_700_000_000.9)
    assert b'{"a":1}' == request.body
    assert {
        "Content-Type": "application/json",
        "X-Acme-Signature": sign(["whsec_0123456789"], 1_700_000_000, b'{"a":1}'),
        "X-Acme-Event": "message.sent",
        "X-Acme-Delivery": "1700000000",
        "X-Acme-Attempt": "3",
    } == request.headers


@pytest.mark.parametrize("number", [1, 3])
def test_batch(number: int) -> None:
    """
    Where there may be several, there is an array, also of one; the attempt is the highest of its events.
    """
    request = compose(hook(batch=5), [telling(n, attempts=n) for n in range(number)], "X", 1.0)
    assert [{"a": 1}] * number == json.loads(request.body)
    assert ("batch", str(number)) == (request.headers["X-Event"], request.headers["X-Attempt"])


@pytest.mark.parametrize(
    ("batch", "sizes", "expected"),
    [
        (1, [10, 10], 1),
        (5, [10, 10], 2),
        (2, [10, 10, 10], 2),
        (5, [2 * MAX_OCTETS, 10], 1),
        (5, [10, 2 * MAX_OCTETS], 1),
        (5, [MAX_OCTETS // 2, MAX_OCTETS // 2, 1], 2),
    ],
)
def test_bounded(batch: int, sizes: list[int], expected: int) -> None:
    """
    A request has no more events than may be, and no more octets, unless the first alone has them.
    """
    tellings = [telling(document=b"x" * size) for size in sizes]
    assert expected == count_next(hook(batch), tellings)
