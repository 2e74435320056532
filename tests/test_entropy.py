"""
Random octets from stock.
"""

from __future__ import annotations

from itertools import count

from lmrelay.entropy import STOCK, Entropy


class Source:
    """
    Octets that never repeat within four, and how often they were asked for.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._numbers = count()

    def __call__(self, size: int) -> bytes:
        self.asked.append(size)
        return b"".join(next(self._numbers).to_bytes(4, "big") for _ in range(size // 4))


def test_nobody_gets_what_another_got() -> None:
    """
    Each octet of the source is given once, whatever sizes are asked for.
    """
    entropy = Entropy(Source())
    given = [entropy(12) for _ in range(1000)]
    assert (1000, {12}) == (len(set(given)), {len(one) for one in given})


def test_source_is_asked_now_and_then() -> None:
    """
    Small requests share one fetch.
    """
    source = Source()
    entropy = Entropy(source)
    for _ in range(STOCK // 16):
        entropy(16)
    assert [STOCK] == source.asked
    entropy(16)
    assert [STOCK, STOCK] == source.asked


def test_more_than_the_stock() -> None:
    """
    A request for more than is ever in stock is met whole.
    """
    assert 3 * STOCK == len(Entropy(Source())(3 * STOCK))
