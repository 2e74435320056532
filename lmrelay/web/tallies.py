"""
Counts by label, in bounded memory: a look into a dictionary and an addition, for facts of every message end here.

What is read out is a copy made in one step, so that another thread may write it down meanwhile.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from attrs import define, field

MOST = 500
"""
Combinations of labels that are told apart. A server may have tens of thousands of projects, and each is a time series.
"""

MOST_SPREAD = 200
"""
The same where each is a score of time series.
"""

OTHER = "(other)"
"""
All further projects and routes. It is no slug, so none of them is called so.
"""

UNBOUNDED = frozenset({"project", "route"})

Key = tuple[str, ...]


def _lump(labels: Sequence[str], key: Key) -> Key:
    return tuple(OTHER if label in UNBOUNDED else value for label, value in zip(labels, key, strict=True))


@define(eq=False)
class Tally:
    """
    How often something was so. C{meaning} is what people are told of it; without C{labels} it begins at 0.
    """

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    _counts: dict[Key, float] = field(init=False)

    @_counts.default
    def _begin(self) -> dict[Key, float]:
        return {} if self.labels else {(): 0.0}

    def add(self, key: Key, amount: float = 1.0) -> None:
        """
        So often more.
        """
        counts = self._counts
        if key in counts:
            counts[key] += amount
            return
        if len(counts) >= MOST:
            key = _lump(self.labels, key)
        counts[key] = counts.get(key, 0.0) + amount

    def copy(self) -> dict[Key, float]:
        """
        The counts by the values of the labels.
        """
        return self._counts.copy()


@define(eq=False)
class Spread:
    """
    How values are spread: how many are at most each of C{bounds}, which rise, and how many are above all of them.
    """

    name: str
    meaning: str
    bounds: tuple[float, ...]
    labels: tuple[str, ...] = ()
    _series: dict[Key, list[float]] = field(init=False)

    @_series.default
    def _begin(self) -> dict[Key, list[float]]:
        return {} if self.labels else {(): self._empty()}

    def _empty(self) -> list[float]:
        # One more for what is above all bounds, and the sum of all.
        return [0.0] * (len(self.bounds) + 2)

    def add(self, key: Key, value: float) -> None:
        """
        One more of that value.
        """
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MOST_SPREAD:
                key = _lump(self.labels, key)
            series = self._series.setdefault(key, self._empty())
        series[bisect_left(self.bounds, value)] += 1
        series[-1] += value

    def copy(self) -> dict[Key, tuple[list[float], float]]:
        """
        By the values of the labels: how many fell between each two bounds, and the sum of all.
        """
        return {key: (series[:-1], series[-1]) for key, series in self._series.copy().items()}
