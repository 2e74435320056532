"""
Lines of the log that are written together, once a turn of the reactor.

A line costs a call into the kernel, and each such call lets the thread of the store go first. With a message every
millisecond that was a tenth of the work.
"""

from __future__ import annotations

from threading import get_ident
from typing import Any

from attrs import define, field
from twisted.logger import LogLevel

from lmrelay.logs import Sink

_INFO, _DEBUG = LogLevel.info, LogLevel.debug


@define(eq=False)
class GatheredLines:
    """
    Keeps what the reactor's thread logs in a turn until its end; warnings and worse, and what other threads say, are
    written at once. A line that was kept is lost only with the process.
    """

    sink: Sink
    reactor: Any
    _kept: list[str] = field(factory=list, init=False)
    _level: LogLevel = field(default=_INFO, init=False)
    _thread: int = field(factory=get_ident, init=False)

    def write(self, level: LogLevel, text: str) -> None:
        """
        Write it now, or at the end of the turn.
        """
        # Told apart by what they are: to be compared, levels are sorted.
        minor = level is _INFO or level is _DEBUG
        if not minor or get_ident() != self._thread or not self.reactor.running:
            self.flush()
            self.sink.write(level, text)
            return
        if level is not self._level:
            self.flush()
            self._level = level
        if not self._kept:
            self.reactor.callLater(0, self.flush)
        self._kept.append(text)

    def flush(self) -> None:
        """
        Write what was kept.
        """
        if self._kept:
            kept, self._kept = self._kept, []
            self.sink.write(self._level, "\n".join(kept))

    def reopen(self) -> None:
        """
        Write what was kept, and let go of the file.
        """
        self.flush()
        self.sink.reopen()
