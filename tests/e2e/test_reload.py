"""
SIGHUP: everything is read again at one stroke, or nothing is changed.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.e2e.daemon import PROJECT, Relay, make_certificate
from tests.e2e.mail import connect, login, send, submit, unverified
from tests.e2e.world import World


@pytest.fixture
def own(world: World) -> Iterator[Relay]:
    """
    A relay of the test's own.
    """
    relay = world.relay().start()
    yield relay
    print(relay.log())  # captured, and shown only on failure
    relay.kill()


def test_smtp_is_switched_off_and_on(world: World, own: Relay) -> None:
    """
    Off: new logins get 535, the open session 421 at its next MAIL, what was accepted is still delivered.
    On: all is as before.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    world.names.silent.add(to.partition("@")[2])
    session = login(own)
    submit(session, [to])
    own.ask("project", "disable", PROJECT)
    assert own.reload()
    assert session.mail("app@acme.example") == (421, b"4.7.0 SMTP was disabled for project acme")
    session.close()
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        login(own)
    assert refused.value.args == (535, b"5.7.8 SMTP is not enabled for project acme")
    world.names.silent.clear()
    mx.wait(timeout=60)
    own.ask("project", "enable", PROJECT)
    assert own.reload()
    send(own, to)
    mx.wait(2)


def test_a_bad_configuration_is_refused(world: World, own: Relay) -> None:
    """
    Its errors are in the log, and the old one goes on working.
    """
    mx = world.receiver()
    own.settings["limits"] = {"recipients": "many", "colour": 1}
    own.write()
    assert not own.reload()
    assert "limits.recipients" in own.log()
    assert "limits.colour" in own.log()
    send(own, f"someone@{world.domain(mx)}")
    mx.wait()


def test_a_new_project_and_token_work(world: World, own: Relay) -> None:
    """
    What the operator's command wrote counts from the reload on, and a revoked token no more.
    """
    own.ask("project", "add", "other", "--domain", "other.example")
    token = own.ask("token", "create", "other", "--name", "first")
    assert own.reload()
    with connect(own) as client:
        client.login("lettermint", token["token"])
        assert client.mail("a@other.example")[0] == 250
        client.rset()
        assert client.mail("a@acme.example") == (
            550,
            b"5.7.1 Sender domain acme.example is not allowed for project other",
        )
    own.ask("token", "revoke", "other", token["id"])
    assert own.reload()
    with connect(own) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("lettermint", token["token"])


def presented(relay: Relay) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", relay.port("implicit")), timeout=10) as raw,
        unverified().wrap_socket(raw) as client,
    ):
        return client.getpeercert(binary_form=True) or b""


def test_the_certificate_is_read_again(own: Relay) -> None:
    """
    New connections get the new certificate, and a session under the old one goes on.
    """
    old = presented(own)
    session = login(own, "starttls")
    certificate, _ = make_certificate(own.folder)
    assert own.reload()
    assert presented(own) == ssl.PEM_cert_to_DER_cert(certificate.read_text())
    assert presented(own) != old
    assert session.noop()[0] == 250
    session.quit()


def test_a_certificate_that_does_not_match_is_refused(own: Relay) -> None:
    """
    A key of another certificate is refused, and the old pair stays.
    """
    old = presented(own)
    key = (own.folder / "relay.key").read_bytes()
    make_certificate(own.folder)
    (own.folder / "relay.key").write_bytes(key)
    assert not own.reload()
    assert presented(own) == old


def test_a_token_key_that_was_exchanged(own: Relay) -> None:
    """
    With tokens sealed under another key the log says so, CRAM-MD5 is not offered any more, and PLAIN works on.
    """
    with connect(own) as client:
        client.ehlo()
        assert "CRAM-MD5" in client.esmtp_features["auth"]
    (own.folder / "state" / "token.key").write_bytes(bytes(32))
    since = len(own.log())
    assert own.reload()
    assert "were sealed under another key" in own.await_fact("configuration warning", since)["reason"]
    with login(own) as client:
        assert "CRAM-MD5" not in client.esmtp_features["auth"]


def test_another_state_folder_takes_a_restart(world: World, own: Relay) -> None:
    """
    A reload that names another state folder, even one that is not there, says that it takes a restart; queue and key
    of tokens stay those that are in use, mail is accepted and delivered on, and nothing is made in the new place.
    """
    mx = world.receiver()
    own.settings["server"]["state_dir"] = "elsewhere"
    own.write()
    since = len(own.log())
    assert own.reload()
    warning = own.await_fact("configuration warning", since)
    assert ("server.state_dir", True) == (warning["key"], warning["reason"].startswith("takes a restart"))
    with connect(own) as client:
        client.ehlo()
        assert "CRAM-MD5" in client.esmtp_features["auth"]
    send(own, f"someone@{world.domain(mx)}")
    mx.wait()
    assert not (own.folder / "elsewhere").exists()


def test_a_folder_of_projects_that_is_gone(own: Relay) -> None:
    """
    Every tenant vanishing at once is a mount that is missing or a move half done: such a reload is refused, and
    sessions and logins go on.
    """
    folder = own.folder / "projects.d"
    session = login(own)
    folder.rename(own.folder / "moved")
    assert not own.reload()
    assert "there is no such folder" in own.log()
    assert session.mail("app@acme.example")[0] == 250
    session.close()
    login(own).quit()
