"""
Suppressions as CSV: as this relay writes them, and as other services export theirs.

Lines in, suppressions or what is wrong with a line out. Pure but for the lines, which are read one by one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from io import StringIO

from attrs import evolve, frozen

from lmrelay.cli.output import iso_time, printable
from lmrelay.errors import SyntaxRefused
from lmrelay.mail.address import parse_address
from lmrelay.mail.suppression import Suppression, Why, key_of

COLUMNS = ("project", "route", "address", "reason", "added", "expires", "message", "text", "redact")

YES = "yes"
"""
What stands under C{redact} where the address is to stay out of logs and events.
"""


MAX_TEXT = 1000
"""
Characters.
"""

_NAMES = {
    "project": ("project",),
    "route": ("route", "messagestream"),
    "address": ("address", "email", "emailaddress", "recipient"),
    "reason": ("reason", "suppressionreason", "type"),
    "added": ("added", "addedat", "created", "createdat", "lastupdatetime"),
    "expires": ("expires", "expiresat"),
    "text": ("text", "note", "description"),
    "redact": ("redact",),
}
"""
What the columns are called here and elsewhere, in lower case and without what is no letter.
"""

_REASONS = {
    Why.HARD_BOUNCE: ("hardbounce", "hardbounced", "bounce", "bounced", "bounces"),
    Why.SPAM_COMPLAINT: ("spamcomplaint", "complaint", "complained", "complaints", "spam", "spamreport"),
    Why.UNSUBSCRIBE: ("unsubscribe", "unsubscribed", "unsubscribes"),
    Why.MANUAL: ("manual", "manualsuppression", "manuallyadded"),
}
_WHYS = {name: why for why, names in _REASONS.items() for name in names}

_FORMULA = ("=", "+", "-", "@")
"""
What a spreadsheet would calculate instead of showing, and send where a stranger wants it: it gets a C{'} before it.
"""

_NO_LETTER = re.compile(r"[^a-z]")


@frozen
class Bad:
    """
    A line that cannot be read, and why.
    """

    line: int
    reason: str


def read(lines: Iterable[str], otherwise: Suppression, knows: Callable[[str, str], str]) -> Iterator[Suppression | Bad]:
    """
    Each line as a suppression that has of C{otherwise} what the file does not say.

    Without a line that names the columns the first column is the address.

    @param knows: says what is wrong with a project and a route, empty if nothing is
    """
    numbered = enumerate(lines, 1)
    first = next(((number, line) for number, line in numbered if line.strip("\ufeff \t\r\n;,")), None)
    if first is None:
        return
    head = first[1].lstrip("\ufeff")
    delimiter = ";" if head.count(";") > head.count(",") else ","
    named = _find_columns(_cells(head, delimiter))
    if named is None:
        named = {"address": 0}
        yield _read_line(first[0], _cells(head, delimiter), named, otherwise, knows)
    for number, line in numbered:
        cells = _cells(line, delimiter)
        if any(cells):
            yield _read_line(number, cells, named, otherwise, knows)


def _cells(line: str, delimiter: str) -> list[str]:
    """
    The cells of a line. None goes on behind its end, lest a lost quote swallow the rest of the file.
    """
    try:
        return [cell.strip() for cell in next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])]
    except csv.Error:
        return [line.strip()]


def _find_columns(cells: Sequence[str]) -> dict[str, int] | None:
    names = [_NO_LETTER.sub("", cell.lower()) for cell in cells]
    found: dict[str, int] = {}
    for column, known in _NAMES.items():
        number = next((number for number, name in enumerate(names) if name in known), None)
        if number is not None:
            found[column] = number
    return found if "address" in found else None


def _read_line(
    number: int,
    cells: Sequence[str],
    named: dict[str, int],
    otherwise: Suppression,
    knows: Callable[[str, str], str],
) -> Suppression | Bad:
    said = {column: cells[at] for column, at in named.items() if at < len(cells) and cells[at]}
    try:
        one = evolve(
            otherwise,
            project=said.get("project", otherwise.project),
            route=said.get("route", otherwise.route),
            address=_read_address(said.get("address", "")),
            why=_read_why(said["reason"]) if "reason" in said else otherwise.why,
            added_at=_read_time(said["added"]) if "added" in said else otherwise.added_at,
            expires_at=_read_time(said["expires"]) if "expires" in said else otherwise.expires_at,
            text=_read_text(said.get("text", otherwise.text))[:MAX_TEXT],
            redact=otherwise.redact or said.get("redact", "").lower() == YES,
        )
    except SyntaxRefused as error:
        return Bad(number, f"{said.get('address', '')!r} is no address: {error}")
    except ValueError as error:
        return Bad(number, str(error))
    wrong = knows(one.project, one.route)
    return Bad(number, wrong) if wrong else one


def _read_address(text: str) -> str:
    if "\N{REPLACEMENT CHARACTER}" in text:
        # It would be somebody else's, or nobody's, and who was meant would go on getting mail.
        raise SyntaxRefused("it is not in UTF-8")
    return key_of(parse_address(text))


def _read_text(text: str) -> str:
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def _read_why(text: str) -> Why:
    why = _WHYS.get(_NO_LETTER.sub("", text.lower()))
    if why is None:
        raise ValueError(f"{text!r} is no reason; there are {', '.join(one.value for one in Why)}")
    return why


def _read_time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        # What names no zone is taken for UTC, as those who leave it out mean it.
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        # Near the ends of the calendar it may be of no year in UTC, and no list with it in could be shown.
        iso_time(at)
        return at
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; write 2027-01-01 or 2027-01-01T12:00:00Z") from None


def write_head() -> str:
    """
    The line that names the columns.
    """
    return _write(COLUMNS)


def write(one: Suppression) -> str:
    """
    The line of a suppression.
    """
    added, expires = iso_time(one.added_at), iso_time(one.expires_at)
    # Strangers chose the words, and a terminal obeys what it is sent.
    text = printable(" ".join(one.text.split()))
    redact = YES if one.redact else ""
    if text.lstrip("'").startswith(_FORMULA):
        text = f"'{text}"
    place = one.project, one.route, one.address
    return _write((*place, one.why.value, added or "", expires or "", one.message or "", text, redact))


def _write(cells: Sequence[str]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
