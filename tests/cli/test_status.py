"""
C{lmrelay status password}: a password in, its hash out, and nothing else of it anywhere.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from lmrelay.config.load import load
from lmrelay.web.password import is_password
from tests.cli.home import make_home, run, said

PASSWORD = 'pässword "with" quotes'


def test_it_fits_the_configuration(tmp_path: Path) -> None:
    """
    What is printed is what the file needs, and the hash is that of the password.
    """
    home = make_home(tmp_path)
    result = run(home, "status", "password", stdin=f"{PASSWORD}\n")
    assert 0 == result.exit_code
    assert PASSWORD not in result.output
    written = home / "lmrelay.toml"
    written.write_text(written.read_text() + result.output + 'listen = "192.0.2.1:9125"\n')
    http = load(written).http
    assert (True, True) == (http.status, is_password(PASSWORD.encode(), http.password_hash))
    assert {"status", "password_hash"} == set(tomllib.loads(result.output)["http"])


def test_json(tmp_path: Path) -> None:
    """
    The hash alone, with a salt of its own each time.
    """
    home = make_home(tmp_path)
    first, second = (said(home, "status", "password", stdin=f"{PASSWORD}\r\n") for _ in range(2))
    assert ["password_hash"] == list(first)
    assert first != second
    assert is_password(PASSWORD.encode(), first["password_hash"])


def test_too_short(tmp_path: Path) -> None:
    """
    A password that is soon guessed, or none, is refused.
    """
    home = make_home(tmp_path)
    for typed in ("", "\n", "1234567\n"):
        result = run(home, "status", "password", stdin=typed)
        assert 1 == result.exit_code
        assert "at least 8 characters" in result.output
        assert "scrypt" not in result.output
