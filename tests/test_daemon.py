"""
The daemon as twistd gets it, with a reactor of the test's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
import tomlkit
from twisted.internet.epollreactor import EPollReactor

from lmrelay.daemon import Daemon, build
from lmrelay.writes import GatheredWrites
from tests.e2e.daemon import make_certificate, settings_for


@pytest.fixture
def built(tmp_path: Path) -> Iterator[tuple[Daemon, EPollReactor]]:
    make_certificate(tmp_path)
    path = tmp_path / "lmrelay.toml"
    path.write_text(tomlkit.dumps(settings_for(tmp_path, ("127.0.0.1", 53), 25)))
    reactor = EPollReactor()
    yield build(path, reactor, logfile=None, daemon=False, syslog=False), reactor
    reactor.removeAll()
    reactor._poller.close()


def test_timers_go_by_no_wall_clock(built: tuple[Daemon, EPollReactor]) -> None:
    """
    What the relay waits for is counted in seconds that nobody can set: a wall clock that is set back holds nothing up.
    """
    _, reactor = built
    before = monotonic()
    timers = [one.callLater(1000, list) for one in (reactor, GatheredWrites(reactor))]
    after = monotonic()
    assert all(before + 1000 <= timer.getTime() <= after + 1000 for timer in timers)


def test_store_knows_what_connections_do(built: tuple[Daemon, EPollReactor]) -> None:
    """
    What is written to connections shows the store whether a rush is on.
    """
    daemon, _ = built
    seen = daemon.relay.queue.moves()
    daemon.relay.reactor.sent += 2
    assert seen + 2 == daemon.relay.queue.moves()
