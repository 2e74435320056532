"""
A start that cannot be says all that is wrong at once, one clear line each, and exits 1.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.daemon import TWISTD, Relay, environment, make_certificate
from tests.e2e.world import World


@pytest.fixture
def own(world: World) -> Iterator[Relay]:
    """
    A relay of the test's own, not started.
    """
    relay = world.relay()
    yield relay
    print(relay.log())  # captured, and shown only on failure
    relay.kill()


def complaints(relay: Relay) -> list[str]:
    """
    What it printed before it exited with 1.
    """
    relay.launch()
    assert relay.wait() == 1
    log = relay.log()
    assert "Traceback" not in log
    return log.splitlines()


def test_all_that_is_wrong_with_the_configuration(own: Relay) -> None:
    """
    Unknown keys, wrong types and impossible values are each a line that names the file and the key.
    """
    own.settings["limits"] = {"recipients": "many"}
    own.settings["delivery"]["tls"] = "perhaps"
    own.settings["colour"] = {"red": 1}
    own.settings["listeners"][0]["port"] = 70000
    own.project_file().write_text(own.project_file().read_text() + "\nsurprise = 1\n")
    lines = complaints(own)
    for key in ("limits.recipients", "delivery.tls", "colour", "listeners[0].port"):
        assert [line for line in lines if key in line and "lmrelay.toml" in line], key
    assert [line for line in lines if "acme.toml" in line and "surprise" in line]


def test_a_file_that_is_not_toml(own: Relay) -> None:
    """
    Broken TOML is one line with the place.
    """
    own.write()
    own.project_file().write_text("smtp = tru\n")
    lines = complaints(own)
    assert [line for line in lines if "acme.toml" in line]


def test_an_empty_configuration(own: Relay) -> None:
    """
    What is required and missing is named.
    """
    own.settings.clear()
    lines = complaints(own)
    assert [line for line in lines if "server.hostname" in line]


def test_plain_is_for_loopback(own: Relay) -> None:
    """
    A listener without TLS on a public interface is refused.
    """
    own.settings["listeners"] = [{"port": 0, "interface": "0.0.0.0", "security": "plain"}]
    assert [line for line in complaints(own) if "listeners[0]" in line]


def test_a_port_in_use(own: Relay) -> None:
    """
    Every port that another program has is named, all at once.
    """
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = [taken.getsockname()[1] for taken in (first, second)]
        own.settings["listeners"] = [{"port": port, "interface": "127.0.0.1", "security": "starttls"} for port in ports]
        lines = complaints(own)
    for port in ports:
        assert [line for line in lines if str(port) in line and "in use" in line], port


def test_a_key_of_another_certificate(own: Relay) -> None:
    """
    Certificate and key that do not belong together are one line.
    """
    key = (own.folder / "relay.key").read_bytes()
    make_certificate(own.folder)
    (own.folder / "relay.key").write_bytes(key)
    assert [line for line in complaints(own) if "match" in line and "relay.key" in line]


def test_a_missing_certificate(own: Relay) -> None:
    """
    A certificate that is not there, and one that is not one, are named.
    """
    (own.folder / "relay.crt").unlink()
    assert [line for line in complaints(own) if "relay.crt" in line]


def test_a_certificate_that_is_none(own: Relay) -> None:
    """
    A file with something else in it is named.
    """
    (own.folder / "relay.crt").write_text("hello\n")
    assert [line for line in complaints(own) if "relay.crt" in line]


def await_true(condition: Callable[[], bool]) -> None:
    """
    Wait, bounded.
    """
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def test_in_the_background(own: Relay) -> None:
    """
    Without -n it becomes a daemon with a log and a pid file of its own; one that cannot start ends with 1, and
    its log says why.
    """
    own.write()
    command = [sys.executable, "-c", TWISTD, "lmrelay", "--config", str(own.config)]

    def start(name: str) -> int:
        options = [f"--pidfile={own.folder / name}.pid", f"--logfile={own.folder / name}.log"]
        started = subprocess.run(
            [*command[:3], *options, *command[3:]], cwd=own.folder, env=environment(), capture_output=True, timeout=60
        )
        return started.returncode

    assert start("first") == 0
    pid = int((own.folder / "first.pid").read_text())
    try:
        log = own.folder / "first.log"
        await_true(lambda: " ready " in log.read_text())
        port = re.search(r"listening port=(\d+) interface=127.0.0.1", log.read_text())
        assert port is not None
        own.settings["listeners"] = [{"port": int(port[1]), "interface": "127.0.0.1", "security": "plain"}]
        own.write()
        assert start("second") == 1
        told = (own.folder / "second.log").read_text()
        assert port[1] in told
        assert "in use" in told
    finally:
        os.kill(pid, signal.SIGTERM)
    await_true(lambda: not (own.folder / "first.pid").exists())
    assert " stopped" in log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run on the folder of another")
def test_root_on_the_state_folder_of_another(own: Relay) -> None:
    """
    What root made there its owner could not open: it does not start, and says as whom it would.
    """
    state = own.folder / "state"
    state.mkdir(exist_ok=True)
    os.chown(state, 65534, 65534)
    (line,) = (line for line in complaints(own) if "server.state_dir" in line)
    assert "and this is root: start it as" in line
    assert [] == [path.name for path in state.iterdir() if path.name.startswith("queue")]
