"""
Metrics and health of a real relay, over real HTTP, after real mail.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.daemon import PATIENCE, Relay, pause
from tests.e2e.mail import login, message, send
from tests.e2e.receiver import always
from tests.e2e.story import await_states
from tests.e2e.world import World, free_port


@pytest.fixture
def own(world: World) -> Iterator[Relay]:
    """
    A relay with a port for people.
    """
    relay = world.relay(http={"listen": f"127.0.0.1:{free_port()}"}).start()
    yield relay
    print(relay.log())  # captured, and shown only on failure
    relay.kill()


def ask(relay: Relay, path: str) -> tuple[int, str]:
    """
    Status and text of a page.
    """
    try:
        with urllib.request.urlopen(f"http://{relay.settings['http']['listen']}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(relay: Relay) -> dict[tuple[str, ...], float]:
    """
    The metrics by name and the values of their labels, in the order of the labels' names.
    """
    status, text = ask(relay, "/metrics")
    assert 200 == status
    return {
        (one.name, *(one.labels[name] for name in sorted(one.labels))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_real_mail(world: World, own: Relay) -> None:
    """
    What was accepted, refused, delivered and delayed is counted so, and what waits is told with its age.
    """
    good, bad = world.receiver(), world.receiver(script=always("RCPT", "450 4.2.0 later"))
    there, later = f"a@{world.domain(good)}", f"a@{world.domain(bad)}"
    own.settings["delivery"]["retry"] = ["1h"]
    assert own.reload()
    for to in (there, later):
        await_states(own, send(own, to), {to: "delivered" if to == there else "deferred"})
    with login(own) as client:
        client.ehlo()
        assert 250 == client.mail("app@acme.example")[0]
        assert 250 == client.rcpt(there)[0]
        code, _ = client.data(message(there).replace(b"From: App <app@acme.example>", b"From: app@else.example"))
        assert 550 == code
    found = scrape(own)
    acme = ("acme", "outgoing")
    expected = {
        ("lmrelay_messages_accepted_total", *acme): 2,
        ("lmrelay_recipients_accepted_total", *acme): 2,
        ("lmrelay_attempts_total", "", "delivered", *acme): 1,
        ("lmrelay_attempts_total", "recipient", "delayed", *acme): 1,
        ("lmrelay_delivery_seconds_count", *acme): 1,
        ("lmrelay_refusals_total", "550", "acme", "content"): 1,
        ("lmrelay_queue_recipients", *acme, "deferred"): 1,
        ("lmrelay_ready",): 1,
        ("lmrelay_config_reload_success",): 1,
    }
    assert expected == {key: found.get(key) for key in expected}
    assert 0 < found["lmrelay_queue_oldest_seconds", *acme, "deferred"] < 600
    assert found["lmrelay_commit_writes_count",] >= 4
    assert found["process_resident_memory_bytes",] > 0


def test_on_off_and_moved(own: Relay) -> None:
    """
    The port follows reloads; one that cannot be had is refused with its key, and the old one serves on.
    """
    assert (200, "ready\n") == ask(own, "/readyz")
    old = own.settings["http"]["listen"]
    own.settings["http"]["listen"] = f"127.0.0.1:{own.port('plain')}"
    own.write()
    since = len(own.log())
    assert not own.reload()
    (refused,) = own.facts("configuration refused", since)
    assert ("http.listen", str(own.config)) == (refused["key"], refused["file"])
    own.settings["http"]["listen"] = old
    assert (200, "ok\n") == ask(own, "/healthz")
    own.settings["http"]["listen"] = f"127.0.0.1:{free_port()}"
    own.write()
    assert own.reload()
    assert (200, "ok\n") == ask(own, "/healthz")
    new = own.settings.pop("http")
    own.write()
    assert own.reload()
    own.settings["http"] = new
    with pytest.raises(urllib.error.URLError):
        ask(own, "/healthz")


def test_in_use_at_the_start(world: World, relay: Relay) -> None:
    """
    A port that another program has ends the start, with a line that names file, key and reason.
    """
    late = world.relay(http={"listen": f"127.0.0.1:{relay.port('plain')}"})
    late.launch()
    assert 1 == late.wait()
    line = late.log().splitlines()[-1]
    assert "Traceback" not in late.log()
    assert line.startswith(f"{late.config}: http.listen: cannot listen on 127.0.0.1:")


def test_draining(world: World, own: Relay) -> None:
    """
    A relay that ends is alive and not ready, so that nothing new is sent to it.
    """
    slow = world.receiver(script=lambda verb, argument: pause(4) or None if verb == "RCPT" else None)
    send(own, f"a@{world.domain(slow)}")
    end = time.monotonic() + PATIENCE
    while not slow.heard("MAIL") and time.monotonic() < end:
        pause()
    own.signal(15)
    own.await_fact("stopping")
    assert (503, "the relay is stopping\n") == ask(own, "/readyz")
    assert (200, "ok\n") == ask(own, "/healthz")
    assert 0 == own.wait()
