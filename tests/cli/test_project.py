"""
C{lmrelay project}, over real files.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lmrelay.cli.main import Invocation
from lmrelay.cli.projectfile import create, editing
from lmrelay.config.load import load
from lmrelay.config.values import MIB
from tests.cli.home import ACME, acme, make_home, refused, run, said


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path)


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


def test_list_tells_limits(home: Path) -> None:
    """
    The listing tells how many routes a project has, and every limit: a number for programs, short for people.
    """
    limits = "max_messages_per_hour = 10\nmax_recipients = 50\nmax_size = '10MiB'\nmax_connections = 20\n"
    acme(home).write_text(limits + ACME + "[routes.news]\n")
    run(home, "project", "add", "other", "--domain", "*")
    assert [(2, 10, None, 50, 10 * MIB, 20), (1, None, None, None, None, None)] == [
        tuple(one[key] for key in ("routes", "max_messages_per_hour", "max_messages_per_day", "max_recipients",
                                   "max_size", "max_connections"))
        for one in said(home, "project", "list")
    ]  # fmt: skip
    titles, *rows = run(home, "project", "list").stdout.splitlines()
    assert ["ROUTES", "LIMITS"] == titles.split()[-2:]
    assert [True, True] == [
        row.endswith(f"  {end}")
        for row, end in zip(rows, ["10/h, 50 recipients, 10 MiB, 20 sessions", "-"], strict=True)
    ]


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
