"""
The clients that people use from shells and applications: swaks, msmtp, nodemailer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.daemon import DOMAIN, Relay
from tests.e2e.mail import SENDER, message
from tests.e2e.world import World


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def run(*command: str, stdin: bytes = b"", cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")
    return done.stdout.decode(errors="replace")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("security", ["starttls", "implicit", "auto", "auto-first"])
def test_swaks(world: World, relay: Relay, security: str, mechanism: str) -> None:
    """
    The command that every mail engineer types works on each listener with each mechanism.
    """
    swaks = need("swaks")
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    tls = "--tls-on-connect" if security in {"implicit", "auto-first"} else "--tls"
    port = relay.port(security.removesuffix("-first"))
    said = run(
        swaks, "--server", "127.0.0.1", "--port", str(port), tls, "--auth", mechanism,
        "--auth-user", "lettermint", "--auth-password", relay.token,
        "--from", SENDER, "--to", to, "--h-Subject", "from swaks", "--body", "one line",
    )  # fmt: skip
    assert "nice to meet you" in said
    taken = mx.wait()[0]
    assert taken.recipients == (to,)
    assert taken.head("Subject") == ["from swaks"]
    assert b"one line" in taken.body


@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5"])
@pytest.mark.parametrize("security", ["starttls", "implicit"])
def test_msmtp(world: World, relay: Relay, security: str, mechanism: str, tmp_path: Path) -> None:
    """
    The sendmail of small servers hands a message over, octet for octet.
    """
    msmtp = need("msmtp")
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    content = message(to, "A dot:\r\n.\r\n..two\r\n").replace(b"\r\n", b"\n")
    settings = {
        "host": "127.0.0.1", "port": relay.port(security), "from": SENDER, "auth": mechanism,
        "user": "lettermint", "password": relay.token, "tls": "on", "tls_certcheck": "off",
        "tls_starttls": "on" if security == "starttls" else "off",
    }  # fmt: skip
    file = tmp_path / "msmtprc"
    file.write_text("account default\n" + "".join(f"{name} {value}\n" for name, value in settings.items()))
    file.chmod(0o600)
    run(msmtp, "-C", str(file), to, stdin=content)
    assert mx.wait()[0].body.startswith(b"A dot:\r\n.\r\n..two\r\n")


SCRIPT = """
const nodemailer = require('nodemailer');
const job = JSON.parse(process.argv[2]);
nodemailer.createTransport(job.transport).sendMail(job.mail).then(
  (done) => { console.log(done.response); },
  (error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("security", ["starttls", "implicit", "auto"])
def test_nodemailer(
    world: World, relay: Relay, nodemailer: Path, tmp_path: Path, security: str, mechanism: str
) -> None:
    """
    The client of Node's world sends, tags in its headers included, and the tag stays with the relay.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    job = {
        "transport": {
            "host": "127.0.0.1",
            "port": relay.port(security),
            "secure": security == "implicit",
            "requireTLS": True,
            "authMethod": mechanism,
            "auth": {"user": "lettermint", "pass": relay.token},
            "tls": {"rejectUnauthorized": False},
        },
        "mail": {
            "from": f"Ünïcode Äpp <{SENDER}>",
            "to": to,
            "subject": "Grüße",
            "text": "Grüße aus node",
        },
    }
    script = tmp_path / "send.js"
    script.write_text(SCRIPT)
    said = run("env", f"NODE_PATH={nodemailer}", need("node"), str(script), json.dumps(job))
    assert "250 2.0.0 OK id=" in said
    taken = mx.wait()[0]
    assert taken.reverse_path.endswith(DOMAIN)
