r"""
An event of twisted.logger as a line: C{TIME LEVEL fact key=value}, or JSON.

Values are quoted and escaped, so that no subject or reply can forge a line or reach a
terminal's controls, and what looks like a token or an AUTH command is masked: a second line
of defence, for nobody is to log one. The traceback of a failure follows its line, indented
by four spaces (text), or is the field C{traceback} (JSON).
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

OURS = "lmrelay"
MAX_VALUE = 4096
SHORT = 256
"""
Characters of a text that is remembered: what strangers say may be as long as a line and never come again.
"""

_ROOT = f"{OURS}."
_INFO = LogLevel.info

_LEGACY_FIELDS = frozenset({"time", "system", "format", "isError", "failure", "why"})
"""
What a legacy observer that saw the event first has written into it.
"""

_OUR_KEYS = frozenset({"time", "level", "fact", "traceback"})

_SECRETS = (
    # A token with its checksum, of any prefix; a cut or mistyped one of the default prefix; a webhook's.
    # They begin with a literal, for which a line is searched ten times faster than for a set of characters.
    ("_", re.compile(r"_(?<=[A-Za-z0-9]_)([A-Za-z0-9]{12}_)[A-Za-z0-9]{20,}"), r"_\1***"),
    ("lmr_", re.compile(r"(lmr_[A-Za-z0-9]+_)[A-Za-z0-9]+"), r"\1***"),
    ("whsec_", re.compile(r"(whsec_)[A-Za-z0-9+/=_-]+"), r"\1***"),
    ("auth ", re.compile(r"(?i)(auth +(?:PLAIN|LOGIN|CRAM-MD5|XOAUTH2|OAUTHBEARER) +)[A-Z0-9+/=*]+"), r"\1***"),
)
"""
What a line with a secret has in it, in lower case; the secret; and what is left of it.
"""


def is_ours(event: LogEvent) -> bool:
    """
    Does a room of ours tell it? Of what libraries have to say only warnings and worse are wanted.
    """
    namespace = event.get("log_namespace") or ""
    return namespace.startswith(_ROOT) or namespace == OURS


def format_text(event: LogEvent) -> str:
    """
    The event as C{TIME LEVEL the fact key=value …}, and its traceback, if any, in indented lines.

    A value in quotes is a JSON string.
    """
    level = event.get("log_level") or _INFO
    when = _iso(event.get("log_time") or 0.0)
    # A busy relay writes tens of thousands of fields a second, so there is one pass over them.
    if is_ours(event):
        told = [f"{when} {level.name} {escape(_fact(event))}"]
        told += [
            f"{shown}={_TEXTS.get(type(value := event[key]), _quoted)(value)}" for key, shown in _fields(tuple(event))
        ]
    else:
        told = [f"{when} {level.name} {_LIBRARY}", *(f"{key}={_quoted(value)}" for key, value in _overhear(event))]
    if "log_failure" not in event:
        return redact(" ".join(told))
    told += [f"error={_quoted(error)}" for error in _find_error(event)]
    return redact("\n".join([" ".join(told), *("    " + escape(line) for line in _traceback(event).splitlines())]))


def format_json(event: LogEvent) -> str:
    """
    The event as one line of JSON, with the same keys.
    """
    level = event.get("log_level") or _INFO
    record: dict[str, object] = {"time": _iso(event.get("log_time") or 0.0), "level": level.name}
    if is_ours(event):
        record["fact"] = _shorten(_fact(event))
        for key, shown in _fields(tuple(event)):
            value = event[key]
            record[shown] = value if type(value) in _AS_THEY_ARE else _jsonable(value)
    else:
        record["fact"] = _LIBRARY
        record.update(_overhear(event))
    if "log_failure" in event:
        record.update(("error", error) for error in _find_error(event))
        if traceback := _traceback(event):
            record["traceback"] = traceback
    return redact(_encode(record))


_LIBRARY = "library speaks"
_AS_THEY_ARE = frozenset({int, bool, type(None)})

_encode = json.JSONEncoder(separators=(",", ":")).encode
"""
ASCII only: U+2028 and its like end a line for some readers.
"""


def _fact(event: LogEvent) -> str:
    return str(event.get("log_format") or "")


def _overhear(event: LogEvent) -> list[tuple[str, str]]:
    """
    What a library says. Its fields are objects of its own; the text says what they are.
    """
    return [("source", event.get("log_namespace") or "unknown"), ("text", _shorten(formatEvent(event).strip()))]


def _find_error(event: LogEvent) -> list[str]:
    """
    The failure of an event in a word, unless that is among its fields.
    """
    failure = event["log_failure"]
    return [] if failure is None or "error" in event else [_plain(failure)]


@lru_cache(maxsize=256)
def _fields(keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """
    Of the keys of an event those that are told, each with the name under which it is.
    """
    unwanted = _LEGACY_FIELDS if "log_legacy" in keys else ()
    return tuple(
        (key, f"{key}_" if key in _OUR_KEYS else key) for key in keys if key[:4] != "log_" and key not in unwanted
    )


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return ""
    try:
        return failure.getTraceback().rstrip()
    except Exception as error:  # noqa: BLE001 - an exception whose text cannot be made is still to be told
        return f"(no traceback: {type(error).__name__})"


def _plain(value: object) -> str:
    """
    A value as text.
    """
    if isinstance(value, str):
        return _shorten(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _decimal(value)
    if isinstance(value, (bytes, bytearray)):
        return _shorten(bytes(value).decode("utf-8", "backslashreplace"))
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return _shorten(",".join(f"{_plain(key)}:{_plain(item)}" for key, item in value.items()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return _shorten(",".join(map(_plain, value)))
    return _shorten(_describe(value))


def _decimal(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _quoted(value: object) -> str:
    return quote(_plain(value)) if value or type(value) not in _EMPTY else '""'


_EMPTY = frozenset({str, tuple, dict, type(None)})


def _quoted_text(text: str) -> str:
    """
    The same of text.
    """
    return _remembered(text) if len(text) <= SHORT else quote(_shorten(text))


@lru_cache(maxsize=1024)
def _remembered(text: str) -> str:
    """
    Projects, hosts and the words of receivers come again and again.
    """
    return text if _SIMPLE.fullmatch(text) else quote(text)


_TEXTS: Mapping[type, Callable[[Any], str]] = {
    str: _quoted_text,
    int: str,
    float: _decimal,
    bool: ("no", "yes").__getitem__,
}
"""
How nearly all values become text.
"""


_SIMPLE = re.compile(r"[\w.:@/+,;<>*!?#%&()\[\]{}~^$|'`-]+", re.ASCII)
"""
What needs no quotes.
"""


def _describe(value: object) -> str:
    if isinstance(value, Failure):
        value = value.value
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001 - one bad value must not cost the line
        return f"(unprintable {type(value).__name__}: {type(error).__name__})"
    return f"{type(value).__name__}: {text}" if isinstance(value, BaseException) else text


def _jsonable(value: object) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, enum.Enum):
        return _jsonable(value.value)
    if isinstance(value, Mapping):
        return _bounded({_plain(key): _jsonable(item) for key, item in value.items()}, value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _bounded([_jsonable(item) for item in value], value)
    return _plain(value)


def _bounded(converted: object, value: object) -> object:
    """
    A collection as it is; as shortened text where it would fill the log.
    """
    return converted if len(str(converted)) <= 2 * MAX_VALUE else _plain(value)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text)} characters)"


def _iso(seconds: float) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{_iso_second(whole)}.{thousandths:03d}Z"


@lru_cache(maxsize=4)
def _iso_second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def quote(text: str) -> str:
    """
    A value of C{key=value}: as it is, or in quotes where it has spaces or anything that could deceive.
    """
    if not text.isprintable() or '"' in text or "\\" in text:
        return escape(json.dumps(text, ensure_ascii=False))
    # A printable text has no other white space.
    return f'"{text}"' if not text or " " in text or "=" in text else text


def escape(text: str) -> str:
    """
    The text with each character that does not print as an escape: it stays on its line.
    """
    if text.isprintable():
        return text
    return "".join(map(_escape_one, text))


def _escape_one(character: str) -> str:
    if character.isprintable():
        return character
    # JSON leaves DEL as it is.
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def redact(text: str) -> str:
    """
    The text without what looks like a secret; the id in a token stays.
    """
    lowered = text.lower()
    for sign, pattern, mask in _SECRETS:
        # To search first costs half of what to replace nothing does, and every line comes here.
        if sign in lowered and pattern.search(text):
            text = pattern.sub(mask, text)
    return text
