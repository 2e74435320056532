"""
The folder of the quickstart.
"""

from __future__ import annotations

import socket
import ssl
import tomllib
from pathlib import Path

import click
import pytest

from lmrelay.cli.trial import IPV4, find_listeners, parse_ports, prepare, self_signed
from lmrelay.config.words import Security


def make_token(config: Path) -> str:
    assert config.exists()
    return "lmr_id_secret"


def no_token(config: Path) -> str:
    raise AssertionError("a token is made once")


@pytest.mark.parametrize("exists", [True, False])
def test_an_empty_folder_is_filled(tmp_path: Path, exists: bool) -> None:
    """
    Everything a relay needs is made, secrets for the owner alone.
    """
    folder = tmp_path if exists else tmp_path / "a" / "b"
    trial, token = prepare(folder, make_token)
    assert token == "lmr_id_secret"
    config = tomllib.loads(trial.config.read_text())
    assert config["tls"] == {"certificate": "certificate.pem", "private_key": "private-key.pem"}
    assert tomllib.loads(trial.project.read_text())["domains"] == ["*"]
    for secret in (trial.token, trial.private_key):
        assert secret.stat().st_mode & 0o777 == 0o600
    assert (folder / "state").stat().st_mode & 0o777 == 0o700
    ssl.create_default_context().load_cert_chain(trial.certificate, trial.private_key)


def test_a_second_start_finds_everything(tmp_path: Path) -> None:
    """
    The same token, and no file written again, not even one that was changed.
    """
    trial, token = prepare(tmp_path, make_token)
    trial.config.write_text(trial.config.read_text() + "\n[log]\nlevel = 'debug'\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert prepare(tmp_path, no_token) == (trial, token)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("missing", ["token", "certificate.pem", "private-key.pem", "projects.d/demo.toml"])
def test_a_start_that_was_cut_off_is_gone_on_with(tmp_path: Path, missing: str) -> None:
    """
    What is missing is made, and what belongs together is made together.
    """
    prepare(tmp_path, make_token)
    (tmp_path / missing).unlink()
    trial, _ = prepare(tmp_path, make_token)
    assert (tmp_path / missing).exists()
    ssl.create_default_context().load_cert_chain(trial.certificate, trial.private_key)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "lmrelay.toml"])
def test_a_folder_with_other_things_is_refused(tmp_path: Path, name: str) -> None:
    """
    Nothing is written among what belongs to somebody, a real configuration least of all.
    """
    (tmp_path / name).write_text("[server]\nhostname = 'mail.example'\n")
    with pytest.raises(click.ClickException, match="--dir"):
        prepare(tmp_path, no_token)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """
    A folder that cannot be made is one clear error.
    """
    (tmp_path / "file").write_text("")
    with pytest.raises(click.ClickException, match="Not a directory"):
        prepare(tmp_path / "file" / "folder", no_token)


def test_clients_can_trust_the_certificate(tmp_path: Path) -> None:
    """
    With the certificate as its own authority a strict client accepts it for 127.0.0.1 and localhost.
    """
    certificate, key = self_signed("localhost", addresses=(IPV4,))
    (tmp_path / "both.pem").write_bytes(certificate + key)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(tmp_path / "both.pem")
    client_context = ssl.create_default_context(cadata=certificate.decode())
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("localhost", IPV4):
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server):
            with pytest.raises(ssl.SSLWantReadError):
                side.do_handshake()
        client.do_handshake()
        assert client.version() == "TLSv1.3"


@pytest.mark.parametrize("text", ["", "25", "1,2", "1,2,3,4", "a,b,c", "1,2,65536", "-1,2,3", "5,5,6", "1,2,"])
def test_bad_ports(text: str) -> None:
    """
    Ports are three different numbers.
    """
    with pytest.raises(click.BadParameter, match="three"):
        parse_ports(text)


def test_good_ports() -> None:
    """
    0 may be there three times: any free port.
    """
    assert parse_ports("2525, 2587,2465") == (2525, 2587, 2465)
    assert parse_ports("0,0,0") == (0, 0, 0)


def test_listeners_on_free_ports() -> None:
    """
    Each listener gets a port of its own, the same for both families, with its security.
    """
    listeners = [one for one in find_listeners((0, 0, 0)) if one.interface == IPV4]
    assert [one.security for one in listeners] == [Security.STARTTLS, Security.STARTTLS, Security.AUTO]
    assert 0 not in [one.port for one in listeners]


def test_each_port_in_use_is_named() -> None:
    """
    All that cannot be had is told at once, a line each.
    """
    with socket.create_server((IPV4, 0)) as first, socket.create_server((IPV4, 0)) as second:
        taken = [one.getsockname()[1] for one in (first, second)]
        with pytest.raises(click.ClickException) as caught:
            find_listeners((taken[0], 0, taken[1]))
    lines = caught.value.message.splitlines()
    assert [f"port {port} on {IPV4} is in use" in line for port, line in zip(taken, lines, strict=True)] == [True, True]
