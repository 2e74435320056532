"""
The log: to standard output, a file or syslog goes what has the level that is asked for.

In come events of twisted.logger; of Twisted's own only warnings and worse.
"""

from __future__ import annotations

import sys
import syslog as syslog_module
from pathlib import Path
from typing import IO, Protocol

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python.components import Componentized
from zope.interface import implementer

from lmrelay.config.values import Log
from lmrelay.config.words import LogFormat
from lmrelay.errors import ConfigError, Problem
from lmrelay.lines import format_json, format_text, is_ours

_INFO = LogLevel.info
_LOUD = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})


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
    _written: frozenset[LogLevel] = field(init=False)

    @_written.default
    def _find_written(self) -> frozenset[LogLevel]:
        return _at_least(self.settings.level)

    def __call__(self, event: LogEvent) -> None:
        """
        Write the event, if its level is high enough.
        """
        level = event.get("log_level") or _INFO
        if level not in self._written or (level not in _LOUD and not is_ours(event)):
            return
        form = format_json if self.settings.format is LogFormat.JSON else format_text
        self.sink.write(level, form(event))

    def change(self, settings: Log) -> None:
        """
        Go on with other settings, and with a fresh file where there is one.
        """
        self.settings, self._written = settings, _at_least(settings.level)
        self.sink.reopen()


def _at_least(name: str) -> frozenset[LogLevel]:
    lowest = LogLevel.levelWithName(name)
    return frozenset(level for level in LogLevel.iterconstants() if level >= lowest)


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
