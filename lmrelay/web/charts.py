"""
Bars for a day as SVG: numbers in, places of rectangles out; a template draws them. Colours are the stylesheet's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

WIDTH, HEIGHT = 576.0, 96.0


@frozen
class Bar:
    """
    A rectangle of C{kind}, the name of a series.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float


@frozen
class Chart:
    """
    Stacked bars. C{most} is what the full height means, C{totals} the sum of each series.
    """

    title: str
    bars: tuple[Bar, ...]
    most: float
    totals: Mapping[str, float]
    width: float = WIDTH
    height: float = HEIGHT


def round_up(most: float) -> float:
    """
    The next number that is easy to read: 1, 2 or 5 with zeros behind it.
    """
    scale = 1.0
    while True:
        for step in (1.0, 2.0, 5.0):
            if most <= step * scale:
                return step * scale
        scale *= 10


def stack(title: str, series: Mapping[str, Sequence[float]], slots: int) -> Chart:
    """
    A chart of series of equal length, the first at the bottom; the last values stand at the right of C{slots} places.
    """
    columns = list(zip(*series.values(), strict=True))[-slots:]
    most = round_up(max((sum(column) for column in columns), default=0.0))
    width = WIDTH / slots
    bars = []
    for place, column in enumerate(columns, slots - len(columns)):
        top = HEIGHT
        for kind, value in zip(series, column, strict=True):
            if value > 0:
                # Of what was there at all something is to be seen.
                height = max(1.0, HEIGHT * value / most)
                top -= height
                bars.append(Bar(kind, round(place * width, 2), round(top, 2), round(width, 2), round(height, 2)))
    totals = {kind: sum(values) for kind, values in series.items()}
    return Chart(title, tuple(bars), most, totals)
