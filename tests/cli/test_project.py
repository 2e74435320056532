"""
C{lmrelay project} and C{lmrelay token}, over real files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lmrelay.cli.main import Invocation, cli
from lmrelay.cli.projectfile import create, editing
from lmrelay.cli.trial import self_signed
from lmrelay.config.load import load
from lmrelay.config.seals import unseal
from lmrelay.projects.tokens import is_mistyped, make_token

NOON = 1795262400.0  # 2026-11-21
FOREIGN = "foreign-token-of-another-service"

ACME = """\
# Acme, asked for by Ann.
smtp = true   # the switch
domains = ["acme.example"]

# Routes below.
[routes.outgoing]
kind = "transactional"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """
    A configuration with one project, as an operator has it.
    """
    certificate, key = self_signed("relay.test")
    (tmp_path / "certificate.pem").write_bytes(certificate)
    (tmp_path / "private-key.pem").write_bytes(key)
    (tmp_path / "private-key.pem").chmod(0o600)
    (tmp_path / "lmrelay.toml").write_text(
        '[server]\nhostname = "relay.test"\nstate_dir = "state"\n'
        '[tls]\ncertificate = "certificate.pem"\nprivate_key = "private-key.pem"\n'
    )
    (tmp_path / "projects.d").mkdir()
    (tmp_path / "projects.d" / "acme.toml").write_text(ACME)
    return tmp_path


def run(home: Path, *arguments: str, stdin: str = "") -> Result:
    invocation = Invocation(wall=lambda: NOON)
    line = ["--config", str(home / "lmrelay.toml"), *arguments]
    return CliRunner().invoke(cli, line, obj=invocation, input=stdin, catch_exceptions=False)


def said(home: Path, *arguments: str, stdin: str = "") -> Any:
    result = run(home, *arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def acme(home: Path) -> Path:
    return home / "projects.d" / "acme.toml"


def refused(home: Path, *arguments: str, stdin: str = "") -> str:
    """
    The one line of an error; no file changed.
    """
    before = {path: path.read_bytes() for path in (home / "projects.d").iterdir()}
    result = run(home, *arguments, stdin=stdin)
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert before == {path: path.read_bytes() for path in (home / "projects.d").iterdir()}
    return result.stderr


def test_add(home: Path) -> None:
    """
    A project that was added is in the configuration, and the listing, with its domains in A-labels.
    """
    added = run(home, "project", "add", "other", "--domain", "Other.Example", "--domain", ".bücher.example")
    assert added.exit_code == 0
    assert "systemctl reload lmrelay" in added.stdout
    project = load(home / "lmrelay.toml").projects["other"]
    assert (True, ("other.example", ".xn--bcher-kva.example")) == (project.smtp, project.domains)
    assert ["acme", "other"] == [one["slug"] for one in said(home, "project", "list")]
    assert "other.example" in run(home, "project", "list").stdout


def test_first_project_makes_the_folder(home: Path) -> None:
    """
    The projects' folder is made with the first project.
    """
    acme(home).unlink()
    (home / "projects.d").rmdir()
    assert said(home, "project", "add", "first", "--domain", "*")["file"] == str(home / "projects.d" / "first.toml")
    assert ("*",) == load(home / "lmrelay.toml").projects["first"].domains


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("Bad Slug", "--domain", "a.example"), "cannot be a project's slug"),
        (("../../etc/passwd", "--domain", "a.example"), "cannot be a project's slug"),
        ((".hidden", "--domain", "a.example"), "cannot be a project's slug"),
        (("x" * 64, "--domain", "a.example"), "cannot be a project's slug"),
        (("acme", "--domain", "a.example"), "already"),
        (("other", "--domain", "no domain"), "not a valid name"),
        (("other", "--domain", "[192.0.2.1]"), "an address is no domain"),
        (("other", "--domain", "."), "not a valid name"),
        (("other", "--domain", ""), "not a valid name"),
    ],
)
def test_add_refuses(home: Path, arguments: tuple[str, ...], reason: str) -> None:
    """
    A bad slug, a project that is there and a bad domain are told in one line, and nothing is written.
    """
    assert reason in refused(home, "project", "add", *arguments)


def test_switch(home: Path) -> None:
    """
    Disabling and enabling changes the switch alone; doing it again says so.
    """
    assert {"slug": "acme", "smtp": False, "changed": True, "file": str(acme(home))} == said(
        home, "project", "disable", "acme"
    )
    assert acme(home).read_text() == ACME.replace("true", "false")
    assert "SMTP was off for project acme already." in run(home, "project", "disable", "acme").stdout
    assert "SMTP is on" in run(home, "project", "enable", "acme").stdout
    assert acme(home).read_text() == ACME


@pytest.mark.parametrize(
    "arguments",
    [
        ("project", "enable", "nobody"),
        ("token", "create", "nobody", "--name", "x"),
        ("token", "list", "nobody"),
        ("token", "revoke", "nobody", "x"),
    ],
)
def test_unknown_project(home: Path, arguments: tuple[str, ...]) -> None:
    """
    A project that is not there is named in one line.
    """
    assert "there is no project 'nobody'" in refused(home, *arguments)


def test_broken_file_is_not_overwritten(home: Path) -> None:
    """
    What was broken by hand is refused with its error and stays as it is.
    """
    acme(home).write_text("smtp = maybe\n")
    assert "acme.toml" in refused(home, "project", "disable", "acme")
    assert "acme.toml" in refused(home, "token", "create", "acme", "--name", "x")


def test_mode_is_kept_and_a_link_stays(home: Path) -> None:
    """
    An edit keeps the file's mode, leaves no draft, and a link leads to what it led to.
    """
    real = home / "elsewhere.toml"
    acme(home).rename(real)
    real.chmod(0o604)
    acme(home).symlink_to(real)
    run(home, "project", "disable", "acme")
    assert acme(home).is_symlink()
    assert (0o604, False) == (stat.S_IMODE(real.stat().st_mode), load(home / "lmrelay.toml").projects["acme"].smtp)
    assert [] == [path.name for path in (*home.iterdir(), *(home / "projects.d").iterdir()) if ".new" in path.name]


def test_new_file_is_not_for_everybody(home: Path) -> None:
    """
    A new project's file is 0640.
    """
    run(home, "project", "add", "other", "--domain", "a.example")
    assert stat.S_IMODE((home / "projects.d" / "other.toml").stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owners(home: Path, request: pytest.FixtureRequest) -> None:
    """
    Root keeps a file's owner, gives a new one to the daemon's group, and the key to the daemon's user.
    """
    # Somewhere that other users can reach, which the folders of tests are not.
    reachable = Path(tempfile.mkdtemp())
    request.addfinalizer(lambda: shutil.rmtree(reachable))
    reachable.chmod(0o755)
    home = shutil.copytree(home, reachable / "home")
    home.chmod(0o755)
    (home / "state").mkdir()
    os.chown(home / "state", 12345, 12346)
    os.chown(acme(home), 111, 222)
    run(home, "project", "disable", "acme")
    run(home, "project", "add", "other", "--domain", "a.example")
    assert run(home, "token", "create", "acme", "--name", "x").exit_code == 0
    owners = [
        (path.stat().st_uid, path.stat().st_gid)
        for path in (acme(home), home / "projects.d" / "other.toml", home / "state" / "token.key")
    ]
    assert [(111, 222), (0, 12346), (12345, 12346)] == owners
    assert os.geteuid() == 0


EDITOR = """
import sys
from pathlib import Path
from lmrelay.cli.main import main
sys.argv = ["lmrelay", "--config", sys.argv[1], "token", "create", "acme", "--name", sys.argv[2]]
main()
"""


def test_editors_at_once(home: Path) -> None:
    """
    Editors at the same time wait for each other: no edit is lost.
    """
    names = [f"editor {number}" for number in range(6)]
    config = str(home / "lmrelay.toml")
    editors = [
        subprocess.Popen([sys.executable, "-c", EDITOR, config, name], stdout=subprocess.DEVNULL) for name in names
    ]
    assert [0] * len(names) == [editor.wait(60) for editor in editors]
    assert sorted(names) == sorted(one.name for one in load(home / "lmrelay.toml").projects["acme"].tokens)


def test_a_file_that_came_meanwhile(home: Path) -> None:
    """
    A file that is there, by whatever way, is never overwritten by a new project's.
    """
    with editing(Invocation(home / "lmrelay.toml")) as config:
        (home / "projects.d" / "other.toml").write_text("# mine\n")
        with pytest.raises(Exception, match="is there already"):
            create(config, "other", "smtp = true\n")
    assert (home / "projects.d" / "other.toml").read_text() == "# mine\n"


def test_create_token(home: Path) -> None:
    """
    The token is told once; the file has its digest and its sealed copy, and every line that it had.
    """
    made = said(
        home, "token", "create", "acme", "--name", "website", "--expires", "2027-01-01", "--network", "192.0.2.0/24"
    )
    written = acme(home).read_text()
    assert written.startswith(ACME)
    assert made["token"] not in written
    assert not is_mistyped(made["token"], "lmr_")
    token = load(home / "lmrelay.toml").projects["acme"].tokens[0]
    assert (made["id"], "website", hashlib.sha256(made["token"].encode()).hexdigest()) == (
        token.id,
        token.name,
        token.sha256,
    )
    key = (home / "state" / "token.key").read_bytes()
    assert unseal(token.cram, key, "acme", token.id) == made["token"]
    assert ("2026-11-21", "2027-01-01", ["192.0.2.0/24"]) == (made["created"], made["expires"], made["networks"])
    assert ["192.0.2.0/24"] == [str(network) for network in token.networks]


def test_create_token_for_people(home: Path) -> None:
    """
    People get the token on a line of its own and settings to paste, and are told how it takes effect.
    """
    told = run(home, "token", "create", "acme", "--name", "website").stdout
    (token,) = re.findall(r"^ +(lmr_\w+)$", told, re.MULTILINE)
    settings = dict(re.findall(r"^ +(SMTP_\w+)=(.*)$", told, re.MULTILINE))
    assert settings == {
        "SMTP_HOST": "relay.test",
        "SMTP_PORT": "587",
        "SMTP_SECURITY": "starttls",
        "SMTP_USERNAME": "lettermint",
        "SMTP_PASSWORD": token,
    }
    assert "systemctl reload lmrelay" in told


def test_no_cram(home: Path) -> None:
    """
    Without a sealed copy no key is needed, and the listing says so.
    """
    said(home, "token", "create", "acme", "--name", "website", "--no-cram")
    assert not (home / "state").exists()
    assert "cram" not in tomllib.loads(acme(home).read_text())["tokens"][0]
    assert [False] == [one["cram"] for one in said(home, "token", "list", "acme")]


@pytest.mark.parametrize(
    "options",
    [
        ("--name", ""),
        ("--name", "a\nb"),
        ("--name", "x", "--expires", "tomorrow"),
        ("--name", "x", "--expires", "2027-01-01T12:00:00"),
        ("--name", "x", "--network", "192.0.2.1/24"),
        ("--name", "x", "--network", "example.com"),
        (),
    ],
)
def test_bad_options(home: Path, options: tuple[str, ...]) -> None:
    """
    Options that make no sense are wrong usage, and nothing is written.
    """
    result = run(home, "token", "create", "acme", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert acme(home).read_text() == ACME


@pytest.mark.parametrize("ends", ["2026-11-21", "2020-01-01", "2026-11-21T11:59:59Z"])
def test_past_expiry(home: Path, ends: str) -> None:
    """
    A token that would have ended already is not made.
    """
    assert "past" in refused(home, "token", "create", "acme", "--name", "x", "--expires", ends)


def test_names_are_unique(home: Path) -> None:
    """
    Two tokens of a project cannot have the same name.
    """
    run(home, "token", "create", "acme", "--name", "website")
    assert "already" in refused(home, "token", "create", "acme", "--name", "website")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_import(home: Path, ending: str) -> None:
    """
    A foreign token comes in by standard input and is never shown.
    """
    result = run(home, "token", "import", "acme", "--name", "old", stdin=FOREIGN + ending)
    assert (0, False) == (result.exit_code, FOREIGN in result.output)
    token = load(home / "lmrelay.toml").projects["acme"].tokens[0]
    assert hashlib.sha256(FOREIGN.encode()).hexdigest() == token.sha256
    assert unseal(token.cram, (home / "state" / "token.key").read_bytes(), "acme", token.id) == FOREIGN


def test_import_keeps_the_id_of_our_own(home: Path) -> None:
    """
    A token that another lmrelay made keeps its id, which may be a user name.
    """
    token, token_id = make_token("lmr_", os.urandom)
    assert said(home, "token", "import", "acme", "--name", "moved", stdin=token)["id"] == token_id


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "at least 16"),
        ("x" * 15, "at least 16"),
        ("x" * 10 + " " + "y" * 10, "without a space"),
        (f"{FOREIGN}\n{FOREIGN}\n", "on one line"),
        ("é" * 16, "printable ASCII"),
        ("x" * 4097, "more than 4096"),
        ("x" * 100_000, "more than 4096"),
        ("lmr_" + "x" * 53, "mistyped"),
    ],
)
def test_import_refuses(home: Path, text: str, reason: str) -> None:
    """
    What cannot be a token, or is one of ours with a slip, is refused without being repeated.
    """
    told = refused(home, "token", "import", "acme", "--name", "old", stdin=text)
    assert reason in told
    assert not text or text not in told


def test_import_twice(home: Path) -> None:
    """
    One token cannot belong to two projects.
    """
    run(home, "project", "add", "other", "--domain", "a.example")
    run(home, "token", "import", "acme", "--name", "old", stdin=FOREIGN)
    told = refused(home, "token", "import", "other", "--name", "old", stdin=FOREIGN)
    assert "project acme has this token already, as 'old'" in told


def test_a_token_is_no_argument(home: Path) -> None:
    """
    Import takes no token from the command line, where every user of the machine would see it.
    """
    assert run(home, "token", "import", "acme", FOREIGN, "--name", "old").exit_code == 2


def test_list_and_revoke(home: Path) -> None:
    """
    Tokens are listed without a secret; a revoked one is gone, and the file is what it was.
    """
    made = said(home, "token", "create", "acme", "--name", "website")
    listed = said(home, "token", "list", "acme")
    assert [(made["id"], "website", True)] == [(one["id"], one["name"], one["cram"]) for one in listed]
    told = run(home, "token", "list", "acme").stdout
    assert made["id"] in told
    assert not any(secret in told + json.dumps(listed) for secret in (made["token"], made["token"][-40:]))
    assert said(home, "token", "revoke", "acme", made["id"])["revoked"] is True
    assert acme(home).read_text() == ACME
    assert "has no token" in run(home, "token", "list", "acme").stdout


def test_revoke_unknown(home: Path) -> None:
    """
    An id that is not there is refused without repeating it: it may be the token.
    """
    token = make_token("lmr_", os.urandom)[0]
    assert token not in refused(home, "token", "revoke", "acme", token)
