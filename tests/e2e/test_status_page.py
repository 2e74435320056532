"""
The status page of a real relay, over real HTTP and in a real browser.
"""

from __future__ import annotations

import shutil
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import PATIENCE, Relay
from tests.e2e.mail import message, send
from tests.e2e.receiver import always
from tests.e2e.story import await_states
from tests.e2e.world import World, free_port

PASSWORD = "correct horse battery"


@pytest.fixture
def own(world: World) -> Iterator[Relay]:
    """
    A relay with a status page on loopback, and a route that keeps addresses to itself.
    """
    relay = world.relay(http={"listen": f"127.0.0.1:{free_port()}", "status": True}, delivery={"retry": ["1h"]})
    relay.change_project(routes={"outgoing": {}, "secret": {"redact": True}})
    relay.start()
    yield relay
    print(relay.log())  # captured, and shown only on failure
    relay.kill()


def ask(relay: Relay, path: str = "", password: str = "", host: str = "") -> tuple[int, str]:
    """
    Status and text of a page.
    """
    request = urllib.request.Request(f"http://{relay.settings['http']['listen']}/status{path}")
    if password:
        request.add_header("Authorization", "Basic " + b64encode(f"me:{password}".encode()).decode())
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_finding_a_message(world: World, own: Relay) -> None:
    """
    By recipient to its story, with the receiver's words as text; what is redacted is not found so, and tells nothing.
    """
    bad = world.receiver(script=always("RCPT", "450 4.2.0 <b>later</b>"))
    to = f"someone@{world.domain(bad)}"
    id_ = send(own, to, message(to, subject="Order 66 & more"))
    hidden = send(own, to, message(to, "Hello.\r\n", "X-Lettermint-Route: secret", subject="Order 67"))
    for one in (id_, hidden):
        await_states(own, one, {to: "deferred"})
    code, listed = ask(own, f"/messages?recipient={to}")
    assert (200, True, False) == (code, f"/status/messages/{id_}" in listed, hidden in listed)
    assert "Order 66 &amp; more" in listed
    code, told = ask(own, f"/messages/{id_}")
    assert 200 == code
    assert "450 4.2.0 &lt;b&gt;later&lt;/b&gt;" in told
    assert "given up at" in told
    code, told = ask(own, f"/messages/{hidden}")
    assert (200, False, False, False) == (code, to in told, "Order 67" in told, "later" in told)
    code, told = ask(own)
    assert (200, True) == (code, "acme / secret" in told)
    assert 200 == ask(own, "/sites")[0]


def test_the_password(own: Relay) -> None:
    """
    What the command makes lets in who knows it and nobody else; under another name nobody at all.
    """
    made = own.ask("status", "password", stdin=f"{PASSWORD}\n")["password_hash"]
    assert PASSWORD not in made
    own.settings["http"]["password_hash"] = made
    own.write()
    assert own.reload()
    assert [401, 401, 200, 421] == [
        ask(own)[0],
        ask(own, password="wrong")[0],
        ask(own, password=PASSWORD)[0],
        ask(own, password=PASSWORD, host="evil.example")[0],
    ]
    assert PASSWORD not in own.log()
    own.settings["http"]["status"] = False
    own.write()
    assert own.reload()
    assert 404 == ask(own, password=PASSWORD)[0]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed (Debian: chromium)")
@pytest.mark.parametrize("path", ["", "/messages?project=acme", "/sites", "/webhooks"])
def test_in_a_browser(own: Relay, tmp_path: Path, path: str) -> None:
    """
    A browser shows each page with its stylesheet, and refuses nothing of it by its own policy.
    """
    url = f"http://{own.settings['http']['listen']}/status{path}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--enable-logging=stderr"]
    command = ["chromium", *options, "--window-size=390,800", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 2, check=True)
    assert 'aria-current="page"' in done.stdout
    assert "Content Security Policy" not in done.stderr
    assert [] == [line for line in done.stderr.splitlines() if "CONSOLE" in line]
