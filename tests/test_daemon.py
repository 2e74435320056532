"""
The daemon as twistd gets it, with a reactor of the test's own.
"""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import tomlkit
from twisted.internet.epollreactor import EPollReactor

from lmrelay.daemon import build
from lmrelay.writes import GatheredWrites
from tests.e2e.daemon import make_certificate, settings_for


def test_timers_go_by_no_wall_clock(tmp_path: Path) -> None:
    """
    What the relay waits for is counted in seconds that nobody can set: a wall clock that is set back holds nothing up.
    """
    make_certificate(tmp_path)
    path = tmp_path / "lmrelay.toml"
    path.write_text(tomlkit.dumps(settings_for(tmp_path, ("127.0.0.1", 53), 25)))
    reactor = EPollReactor()
    try:
        build(path, reactor, logfile=None, daemon=False, syslog=False)
        before = monotonic()
        timers = [one.callLater(1000, list) for one in (reactor, GatheredWrites(reactor))]
        after = monotonic()
        assert all(before + 1000 <= timer.getTime() <= after + 1000 for timer in timers)
    finally:
        reactor.removeAll()
        reactor._poller.close()
