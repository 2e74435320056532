r"""
The log: one line a fact, C{TIME LEVEL fact key=value} or JSON, to standard output, a file or syslog.

In come events of twisted.logger; of Twisted's own only warnings and worse. Values are quoted
and escaped, so that no subject or reply can forge a line or reach a terminal's controls, and
what looks like a token or an AUTH command is masked: a second line of defence, for nobody
is to log one. The traceback of a failure follows its line, indented by four spaces (text), or
is the field C{traceback} (JSON).
"""

from __future__ import annotations

import enum
import json
import re
import sys
import syslog as syslog_module
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Protocol

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from zope.interface import implementer

from lmrelay.config.values import Log
from lmrelay.config.words import LogFormat
from lmrelay.errors import ConfigError, Problem

OURS = "lmrelay"
MAX_VALUE = 4096

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


class Sink(Protocol):
    """
    Where finished lines go.
    """

    def write(self, level: LogLevel, text: str) -> None:
        """
        One event: a line, or a line and those that follow it; without the last line ending.
        """

    def reopen(self) -> None:
        """
        Let go of the file, which may have been rotated away.
        """


@implementer(ILogObserver)
@define(eq=False)
class LogObserver:
    """
    Writes events to a sink as C{settings} says, which a reload may replace.
    """

    sink: Sink
    settings: Log = field(factory=Log)
    _lowest: LogLevel = field(init=False)

    @_lowest.default
    def _find_lowest(self) -> LogLevel:
        lowest: LogLevel = LogLevel.levelWithName(self.settings.level)
        return lowest

    def __call__(self, event: LogEvent) -> None:
        """
        Write the event, if its level is high enough.
        """
        level = event.get("log_level") or LogLevel.info
        if level < self._lowest or (level < LogLevel.warn and not _is_ours(event)):
            return
        form = format_json if self.settings.format is LogFormat.JSON else format_text
        self.sink.write(level, form(event))

    def change(self, settings: Log) -> None:
        """
        Go on with other settings, and with a fresh file where there is one.
        """
        self.settings, self._lowest = settings, LogLevel.levelWithName(settings.level)
        self.sink.reopen()


def _is_ours(event: LogEvent) -> bool:
    namespace = event.get("log_namespace") or ""
    return namespace == OURS or namespace.startswith(f"{OURS}.")


def format_text(event: LogEvent) -> str:
    """
    The event as C{TIME LEVEL the fact key=value …}, and its traceback, if any, in indented lines.

    A value in quotes is a JSON string.
    """
    (_, when), (_, level), (_, fact), *pairs = _pairs(event)
    line = f"{when} {level} {escape(str(fact))}"
    # Nearly all are simple, and a busy relay writes tens of thousands a second.
    told = [
        f"{key}={value if type(value) is str and _SIMPLE.fullmatch(value) else _quoted(value)}" for key, value in pairs
    ]
    lines = [" ".join([line, *told])]
    if "log_failure" in event:
        lines += ["    " + escape(line) for line in _traceback(event).splitlines()]
    return redact("\n".join(lines))


def format_json(event: LogEvent) -> str:
    """
    The event as one line of JSON, with the same keys.
    """
    record = {key: _jsonable(value) for key, value in _pairs(event)}
    traceback = _traceback(event)
    if traceback:
        record["traceback"] = traceback
    # ASCII only: U+2028 and its like end a line for some readers.
    return redact(json.dumps(record, separators=(",", ":")))


def _pairs(event: LogEvent) -> list[tuple[str, object]]:
    level = event.get("log_level") or LogLevel.info
    pairs: list[tuple[str, object]] = [("time", _iso(event.get("log_time") or 0.0)), ("level", level.name)]
    if not _is_ours(event):
        # Its fields are objects of a library's; the text says what they are.
        pairs += [("fact", "library speaks"), ("source", event.get("log_namespace") or "unknown")]
        pairs.append(("text", formatEvent(event).strip()))
    else:
        pairs.append(("fact", event.get("log_format") or ""))
        unwanted = _LEGACY_FIELDS if "log_legacy" in event else ()
        pairs += [
            (f"{key}_" if key in _OUR_KEYS else key, value)
            for key, value in event.items()
            if key[:4] != "log_" and key not in unwanted
        ]
    failure = event.get("log_failure")
    if failure is not None and "error" not in event:
        pairs.append(("error", _plain(failure)))
    return pairs


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
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, (bytes, bytearray)):
        return _shorten(bytes(value).decode("utf-8", "backslashreplace"))
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return _shorten(",".join(f"{_plain(key)}:{_plain(item)}" for key, item in value.items()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return _shorten(",".join(map(_plain, value)))
    return _shorten(_describe(value))


def _quoted(value: object) -> str:
    if type(value) is int:
        return str(value)
    return quote(_plain(value)) if value or type(value) not in _EMPTY else '""'


_EMPTY = frozenset({str, tuple, dict, type(None)})


_SIMPLE = re.compile(r"[\w.:@/+,;<>*!?#%&()\[\]{}~^$|'`-]{1,256}", re.ASCII)
"""
What needs neither quotes nor shortening.
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


@define(eq=False)
class StreamSink:
    """
    Standard output, which somebody else (systemd, a container) looks after.
    """

    stream: IO[str]

    def write(self, level: LogLevel, text: str) -> None:
        """
        Write and flush.
        """
        self.stream.write(f"{text}\n")
        self.stream.flush()

    def reopen(self) -> None:
        """
        There is nothing to let go of.
        """


@define(eq=False)
class FileSink:
    """
    A file that is appended to; opened at the first line, readable for its owner and group.
    """

    path: Path
    _stream: IO[str] | None = None

    def write(self, level: LogLevel, text: str) -> None:
        """
        Write and flush.
        """
        if self._stream is None:
            self._stream = self.path.open("a", encoding="utf-8", errors="backslashreplace")
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def reopen(self) -> None:
        """
        Close it; the next line opens it anew.
        """
        if self._stream is not None:
            self._stream.close()
            self._stream = None


_PRIORITIES = {
    LogLevel.debug: syslog_module.LOG_DEBUG,
    LogLevel.info: syslog_module.LOG_INFO,
    LogLevel.warn: syslog_module.LOG_WARNING,
    LogLevel.error: syslog_module.LOG_ERR,
    LogLevel.critical: syslog_module.LOG_CRIT,
}


@define(eq=False)
class SyslogSink:
    """
    syslog, facility mail.
    """

    def write(self, level: LogLevel, text: str) -> None:
        """
        One record for each line.
        """
        for line in text.splitlines():
            syslog_module.syslog(_PRIORITIES[level] | syslog_module.LOG_MAIL, line)

    def reopen(self) -> None:
        """
        There is nothing to let go of.
        """


def open_log(settings: Log, *, logfile: str | None = None, daemon: bool = False, syslog: bool = False) -> LogObserver:
    """
    The observer that twistd's options C{--logfile}, C{--nodaemon} and C{--syslog} ask for.

    Nothing is opened yet: twistd forks later.

    @raise ConfigError: a daemon is to log to its standard output, which is closed
    """
    if daemon and logfile == "-":
        raise ConfigError(Problem("twistd", "--logfile", "a daemon has no standard output; use -n or name a file"))
    if syslog:
        return LogObserver(SyslogSink(), settings)
    if logfile == "-" or (not logfile and not daemon):
        return LogObserver(StreamSink(sys.stdout), settings)
    return LogObserver(FileSink(Path(logfile or "twistd.log").absolute()), settings)


def install(application: Componentized, observer: LogObserver) -> None:
    """
    Make twistd use the observer: to be called when the service is given its application.
    """
    application.setComponent(ILogObserver, observer)
