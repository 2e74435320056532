"""
What the operator's command prints: tables, lines, or one JSON document.

In comes what a command found out; out goes text that fits the terminal, plain and
untruncated text where there is none, or JSON with ISO times. Nothing that a remote
server or a sender wrote reaches the terminal as a control character.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from textwrap import indent

import click
from attrs import define

Record = Mapping[str, object]
"""
One thing of a listing: what C{--json} shows of it, by key.
"""

MISSING = "-"

_UNUSUAL = re.compile(r"[^\x20-\x7e\n]")

WHOLE_COLUMN = "MESSAGE"
"""
As what a row begins with, it is never cut: ids are there to be pasted into the next command.
"""

GAP, NARROWEST, WIDEST_KEPT = 2, 4, 40
"""
Cells between two columns, of one that is cut as far as can be, and of a first one that is not.
"""


@define(eq=False)
class Output:
    """
    Where a command puts what it has to say.

    With C{json} a command prints exactly one document, by L{document} or L{listing}; L{line}
    and L{table} then print nothing, so most commands need not ask which it is.
    C{terminal} None: as standard output says. C{width} None: the terminal's.
    """

    json: bool = False
    terminal: bool | None = None
    width: int | None = None

    def document(self, value: object) -> None:
        """
        Print C{value} as the JSON document of this command; without C{--json} nothing.
        """
        if self.json:
            click.echo(_dump(value))

    def stream(self, values: Iterable[object]) -> None:
        """
        Print C{values} as L{document} prints a list of them, but one after the other, however many there are.
        """
        if not self.json:
            return
        before = "[\n"
        for value in values:
            click.echo(before + indent(_dump(value), "  "), nl=False)
            before = ",\n"
        click.echo("[]" if before == "[\n" else "\n]")

    def line(self, text: str = "") -> None:
        """
        Print one line for people.
        """
        if not self.json:
            click.echo(printable(text))

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """
        Print a table for people: fitted to the terminal, or plain and whole where there is none.
        """
        if self.json:
            return
        clean = [[printable(cell) or MISSING for cell in row] for row in rows]
        if self._is_terminal():
            _print_fitted(titles, clean, self.width)
        else:
            _print_plain(titles, clean)

    def listing(
        self,
        columns: Mapping[str, str],
        records: Sequence[Record],
        nothing: str = "Nothing found.",
        in_words: Callable[[Record], Record] | None = None,
    ) -> None:
        """
        Print records: all of them as JSON, or as a table.

        @param columns: key in the record to the column's title
        @param nothing: what to say to people if there is none
        @param in_words: a record's columns that people get otherwise than programs
        """
        self.document([dict(record) for record in records])
        if records:
            told = [{**record, **in_words(record)} for record in records] if in_words else records
            rows = [[cell(record.get(key)) for key in columns] for record in told]
            self.table(list(columns.values()), rows)
        else:
            self.line(nothing)

    def warn(self, text: str) -> None:
        """
        Print one line on standard error, with C{--json} too.
        """
        click.echo(printable(text), err=True)

    def _is_terminal(self) -> bool:
        return sys.stdout.isatty() if self.terminal is None else self.terminal


def _dump(value: object) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    # JSON escapes ASCII's control characters alone; a terminal obeys U+009B as well, and people misread U+202E.
    return _UNUSUAL.sub(lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def _print_fitted(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> None:
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=width, highlight=False, markup=False, emoji=False)
    widest = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
    kept = [title == WHOLE_COLUMN or (number == 0 and widest[0] <= WIDEST_KEPT) for number, title in enumerate(titles)]
    widths = fit(widest, kept, console.width - GAP * (len(titles) - 1))
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for title, room in zip(titles, widths, strict=True):
        grid.add_column(title, overflow="ellipsis", no_wrap=True, width=room)
    for row in rows:
        grid.add_row(*map(Text, row))
    console.width = max(console.width, sum(widths) + GAP * (len(titles) - 1))
    console.print(grid)


def fit(widest: Sequence[int], kept: Sequence[bool], room: int) -> list[int]:
    """
    Widths of columns that fit into C{room}, if they can: the widest gives first, none is lost, and those C{kept} stay.
    """
    widths = list(widest)
    while sum(widths) > room:
        giving = [number for number, width in enumerate(widths) if not kept[number] and width > NARROWEST]
        if not giving:
            break
        widths[max(giving, key=widths.__getitem__)] -= 1
    return widths


def _print_plain(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    every = [list(titles), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)]
    for row in every:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def cell(value: object) -> str:
    """
    A value of a record as people read it.
    """
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or MISSING
    return str(value)


def printable(text: str) -> str:
    r"""
    C{text} with every control and formatting character shown as an escape (C{\x1b}).

    Subjects and replies are chosen by strangers, and a terminal obeys what it is sent.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def iso_time(seconds: float | None) -> str | None:
    """
    Seconds since the epoch as C{2026-11-20T20:31:00.123Z}; None stays None.
    """
    if seconds is None:
        return None
    # Rounded before it is cut: else 0.3 s reads as .299.
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    # Not by strftime, which writes no zeros before a year.
    when = datetime.fromtimestamp(whole, UTC).replace(tzinfo=None)
    return f"{when.isoformat(timespec='seconds')}.{thousandths:03d}Z"


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def human_duration(seconds: float) -> str:
    """
    A time span in its two largest units: C{350ms}, C{4.2s}, C{3m 20s}, C{1d 4h}.
    """
    if seconds < 0:
        return f"-{human_duration(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    rest = round(seconds)
    parts: list[tuple[int, str]] = []
    for unit, length in _UNITS:
        number, rest = divmod(rest, length)
        if number or parts:
            parts.append((number, unit))
    return " ".join(f"{number}{unit}" for number, unit in parts[:2] if number)


def human_size(octets: int) -> str:
    """
    A size as people say it: C{512 B}, C{4.1 KiB}, C{50 MiB}.
    """
    if octets < 1024:
        return f"{octets} B"
    size = float(octets)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1024 or unit == "TiB":
            break
    return f"{size:.1f}".removesuffix(".0") + f" {unit}"
