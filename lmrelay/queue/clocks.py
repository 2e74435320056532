"""
Whether the clock on the wall can be believed: asked before anything may expire by it.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmrelay.queue.schedule import Drift

log = Logger()


@define(eq=False)
class Clocks:
    """
    The wall's clock and the reactor's, which nobody can set; from here on they are compared.
    """

    _wall: Callable[[], float]
    _reactor: IReactorTime
    _drift: Drift = field(init=False)

    @_drift.default
    def _start(self) -> Drift:
        return Drift(self._wall(), self._reactor.seconds())

    def have_parted(self) -> bool:
        """
        Have they? The log tells when that changes, so it is to be asked often.
        """
        before = self._drift.parted
        parted = self._drift.observe(self._wall(), self._reactor.seconds())
        if parted and not before:
            log.warn("the clock was set, so nothing expires until it stands for an hour")
        elif before and not parted:
            log.info("the clock is trusted again")
        return parted

    def was_set_back(self) -> bool:
        """
        Was the wall's clock set back since this was asked last?
        """
        self.have_parted()
        was, self._drift.set_back = self._drift.set_back, False
        return was
