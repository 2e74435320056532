"""
A configuration with one project, as an operator has it, and the command run on it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from lmrelay.cli.main import Invocation, cli
from lmrelay.cli.trial import self_signed

NOON = 1795262400.0  # 2026-11-21

ACME = """\
# Acme, asked for by Ann.
smtp = true   # the switch
domains = ["acme.example"]

# Routes below.
[routes.outgoing]
kind = "transactional"
"""


def make_home(folder: Path) -> Path:
    certificate, key = self_signed("relay.test")
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "private-key.pem").write_bytes(key)
    (folder / "private-key.pem").chmod(0o600)
    (folder / "lmrelay.toml").write_text(
        '[server]\nhostname = "relay.test"\nstate_dir = "state"\n'
        '[tls]\ncertificate = "certificate.pem"\nprivate_key = "private-key.pem"\n'
    )
    (folder / "projects.d").mkdir()
    (folder / "projects.d" / "acme.toml").write_text(ACME)
    return folder


def acme(home: Path) -> Path:
    return home / "projects.d" / "acme.toml"


def run(home: Path, *arguments: str, stdin: str = "", **changes: Any) -> Result:
    """
    @param changes: of the invocation
    """
    invocation = Invocation(wall=lambda: NOON, **changes)
    line = ["--config", str(home / "lmrelay.toml"), *arguments]
    return CliRunner().invoke(cli, line, obj=invocation, input=stdin, catch_exceptions=False)


def said(home: Path, *arguments: str, stdin: str = "", **changes: Any) -> Any:
    """
    What it prints with --json.
    """
    result = run(home, *arguments, "--json", stdin=stdin, **changes)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(home: Path, *arguments: str, stdin: str = "") -> str:
    """
    The one line of an error; no file changed.
    """
    before = {path: path.read_bytes() for path in (home / "projects.d").iterdir()}
    result = run(home, *arguments, stdin=stdin)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert before == {path: path.read_bytes() for path in (home / "projects.d").iterdir()}
    return result.stderr
