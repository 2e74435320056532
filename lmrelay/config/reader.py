"""
TOML tables to values, by the types that their fields declare.

Every wrong key is a L{Problem}, and reading goes on: all that is wrong is told at once.
A field's type says what is expected; C{CHECKS} has what a type cannot say.
"""

from __future__ import annotations

import datetime
import difflib
import enum
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs import define, field

from lmrelay.config.checks import CHECKS, WHOLE
from lmrelay.config.durations import duration
from lmrelay.errors import Problem

T = TypeVar("T")

MISSING = object()


@define(eq=False)
class Reader:
    """
    Reads one file. C{problems} are all that was wrong in it; C{folder} is what paths are relative to.
    """

    file: str
    folder: Path
    problems: list[Problem] = field(factory=list)

    def complain(self, key: str, reason: str) -> None:
        """
        Note a problem.
        """
        self.problems.append(Problem(self.file, key, reason))

    def table(self, cls: type[T], table: object, key: str = "", **given: object) -> T | None:
        """
        An instance of C{cls} from a TOML table, or None where something was wrong with it.

        Fields in C{given} are not read.
        """
        if not isinstance(table, Mapping):
            self.complain(key, f"expected a table, not {_kind(table)}")
            return None
        before = len(self.problems)
        kinds = _kinds(cls)  # type: ignore[arg-type]  # mypy does not see that classes are hashable
        readable = {name: kind for name, kind in kinds.items() if name not in given}
        self._refuse_unknown(table, readable, key)
        values = dict(given)
        for one in attrs.fields(cls):  # type: ignore[arg-type]
            if one.name not in readable:
                continue
            inner = f"{key}.{one.name}" if key else one.name
            if one.name in table:
                values[one.name] = self._value(table[one.name], readable[one.name], inner, (cls, one.name))
            elif one.default is attrs.NOTHING and attrs.has(readable[one.name]):
                # What is required within it is named, which helps more than the table's name.
                values[one.name] = self.table(readable[one.name], {}, inner)
            elif one.default is attrs.NOTHING:
                self.complain(inner, "is required")
        if len(self.problems) > before:
            return None
        made = cls(**values)
        for name, reason in WHOLE.get(cls, _nothing)(made):
            self.complain(f"{key}.{name}" if key else name, reason)
        return made if len(self.problems) == before else None

    def _refuse_unknown(self, table: Mapping[str, object], known: Mapping[str, object], key: str) -> None:
        for name in table:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                self.complain(f"{key}.{name}" if key else name, f"unknown key{hint}")

    def _value(self, value: object, kind: Any, key: str, place: tuple[type, str]) -> Any:
        check = CHECKS.get(place)
        try:
            if check is not None and check.replaces:
                return check.run(value)
            read = self._read(value, kind, key, place)
            if check is not None and read is not MISSING:
                read = check.run(read)
        except ValueError as error:
            self.complain(key, str(error))
            return MISSING
        return read

    def _read(self, value: object, kind: Any, key: str, place: tuple[type, str]) -> Any:
        origin = typing.get_origin(kind)
        if origin in (typing.Union, types.UnionType):
            return self._union(value, typing.get_args(kind), key, place)
        if origin is tuple:
            return self._list(value, typing.get_args(kind)[0], key, place)
        if isinstance(kind, type) and attrs.has(kind):
            return self.table(kind, value, key)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return _word(value, kind)
        if kind is Path:
            return self.folder / _path(value)
        return _SIMPLE[kind](value)

    def _union(self, value: object, kinds: tuple[Any, ...], key: str, place: tuple[type, str]) -> Any:
        kinds = tuple(kind for kind in kinds if kind is not type(None))
        if set(kinds) == {IPv4Network, IPv6Network}:
            return _network(value)
        if set(kinds) == {datetime.date, datetime.datetime}:
            return _moment(value)
        return self._read(value, kinds[0], key, place)

    def _list(self, value: object, kind: Any, key: str, place: tuple[type, str]) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, not {_kind(value)}")
        items = []
        before = len(self.problems)
        for number, item in enumerate(value):
            inner = f"{key}[{number}]"
            items.append(self._value(item, kind, inner, (place[0], f"{place[1]}[]")))
        # What is left of a list with bad items is not what was meant: nothing more is said of it.
        return tuple(items) if len(self.problems) == before else MISSING


@cache
def _kinds(cls: Any) -> Mapping[str, Any]:
    hints = typing.get_type_hints(cls)
    return {one.name: hints[one.name] for one in attrs.fields(cls) if one.init}


def _nothing(_: object) -> tuple[()]:
    return ()


def _kind(value: object) -> str:
    names: Mapping[type, str] = {
        bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list", dict: "a table",
    }  # fmt: skip
    return names.get(type(value), "a time" if isinstance(value, datetime.time) else "a date")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, not {_kind(value)}")
    return value


def _path(value: object) -> str:
    text = _text(value)
    if not text or "\0" in text:
        raise ValueError("expected a path")
    return text


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, not {_kind(value)}")
    return value


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, not {_kind(value)}")
    return value


def _word(value: object, kind: type[enum.Enum]) -> enum.Enum:
    words = [one.value for one in kind]
    if value not in words:
        close = difflib.get_close_matches(value, words, 1) if isinstance(value, str) else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"expected one of {', '.join(map(repr, words))}{hint}")
    return kind(value)


def _network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(_text(value))
    except ValueError as error:
        raise ValueError(f'expected a network such as "192.0.2.0/24": {error}') from error


def _date(value: object) -> datetime.date:
    if not isinstance(value, datetime.date):
        raise ValueError(f"expected a date such as 2027-01-01, not {_kind(value)}")
    return value


def _moment(value: object) -> datetime.date:
    if isinstance(value, datetime.datetime) and value.tzinfo is None:
        # Whose noon is meant? A guess may let a token live for hours longer.
        raise ValueError("expected a time with its zone: 2027-01-01T12:00:00Z or …+02:00, or a date")
    return _date(value)


_SIMPLE: Mapping[Any, Callable[[object], Any]] = {
    str: _text,
    bool: _flag,
    int: _number,
    float: duration,
    datetime.date: _date,
}
