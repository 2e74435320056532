"""
The frame of the operator's command.
"""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lmrelay.cli.main import COMMANDS, Frame, Invocation, cli, pass_invocation
from lmrelay.errors import ConfigError, Problem, StoreError

ERRORS: dict[str, Exception] = {
    "config": ConfigError(Problem("a.toml", "server.hostname", "is missing"), Problem("a.toml", "x", "is unknown")),
    "unreadable": ConfigError(Problem("a.toml", "", "cannot be read: Permission denied")),
    "store": StoreError("the database is\x1b[2J locked"),
    "denied": PermissionError(errno.EACCES, "Permission denied", "/var/lib/lmrelay/queue.sqlite"),
    "missing": FileNotFoundError(errno.ENOENT, "No such file or directory", "/etc/lmrelay/lmrelay.toml"),
    "click": click.ClickException("one\ntwo"),
}


@click.command()
@click.argument("kind")
def fail(kind: str) -> None:
    """
    Raise one of the errors.
    """
    raise ERRORS[kind]


@click.group()
def things() -> None:
    """
    Commands below a command.
    """


@things.command("list")
@pass_invocation
def list_things(invocation: Invocation) -> None:
    """
    A listing of one thing.
    """
    invocation.output.listing({"path": "PATH"}, [{"path": str(invocation.config_path)}])


HERE = "tests.cli.test_main"
frame = Frame(
    "lmrelay",
    callback=cli.callback,
    params=cli.params,
    lazy={
        "fail": (f"{HERE}:fail", "Fail."),
        "things": (f"{HERE}:things", "Things."),
        "gone": ("no.such:thing", "Gone."),
    },
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(frame, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("config", ["lmrelay: a.toml: server.hostname: is missing", "lmrelay: a.toml: x: is unknown"]),
        ("store", [r"lmrelay: the database is\x1b[2J locked"]),
        ("missing", ["lmrelay: /etc/lmrelay/lmrelay.toml: No such file or directory"]),
        ("click", ["lmrelay: one", "lmrelay: two"]),
    ],
)
def test_an_error_is_a_line(kind: str, lines: list[str]) -> None:
    """
    What goes wrong is told on standard error, a line for each problem, and exit code 1.
    """
    result = run("fail", kind)
    assert (result.exit_code, result.stdout, result.stderr.splitlines()) == (1, "", lines)


def test_permission_denied_says_what_to_do() -> None:
    """
    Who may not is told who may.
    """
    result = run("fail", "denied")
    assert result.exit_code == 1
    assert result.stderr.startswith("lmrelay: /var/lib/lmrelay/queue.sqlite: permission denied; run this as root")
    first, last = run("fail", "unreadable").stderr.splitlines()
    assert ("lmrelay: a.toml: cannot be read: Permission denied", True) == (first, "run this as root" in last)


@pytest.mark.parametrize("arguments", [["nothing"], ["fail"], ["things", "list", "--nothing"], ["--nothing"]])
def test_wrong_usage(arguments: list[str]) -> None:
    """
    Wrong usage is exit code 2.
    """
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments", [["--json", "things", "list"], ["things", "--json", "list"], ["things", "list", "--json"]]
)
def test_json_at_any_place(arguments: list[str]) -> None:
    """
    --json is understood before, between and after.
    """
    result = run("--config", "x.toml", *arguments)
    assert (result.exit_code, json.loads(result.stdout)) == (0, [{"path": "x.toml"}])


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_tells_whole_sentences(name: str) -> None:
    """
    The list of a group's commands says of each what it does, to the end, and every option is explained.
    """
    context, command = click.Context(cli), cli.get_command(click.Context(cli), name)
    assert command is not None
    assert [] == [line for line in command.get_help(context).splitlines()[1:] if line.endswith("...")]
    for one in (command, *getattr(command, "commands", {}).values()):
        options = [parameter for parameter in one.params if isinstance(parameter, click.Option)]
        assert [] == [option.name for option in options if not option.help]


def test_config_by_environment() -> None:
    """
    LMRELAY_CONFIG names the file, and --config wins over it.
    """
    environment = {"LMRELAY_CONFIG": "env.toml"}
    by_environment = CliRunner().invoke(frame, ["things", "list", "--json"], env=environment)
    by_option = CliRunner().invoke(frame, ["--config", "opt.toml", "things", "list", "--json"], env=environment)
    assert [json.loads(one.stdout)[0]["path"] for one in (by_environment, by_option)] == ["env.toml", "opt.toml"]


def test_help_imports_no_command() -> None:
    """
    The list of commands is there even for one whose module is not.
    """
    result = run("--help")
    assert result.exit_code == 0
    assert "Gone." in result.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_nothing_heavy_for_help(arguments: list[str]) -> None:
    """
    Help and version load neither Twisted nor the database library.
    """
    script = (
        "import sys\nfrom lmrelay.cli.main import cli\n"
        f"cli({arguments!r}, standalone_mode=False)\n"
        "print(sorted({'twisted', 'sqlalchemy', 'rich', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_command_installs_a_reactor() -> None:
    """
    Every command loads, knows --json, and but for the quickstart none has a reactor.
    """
    names = [name for name in COMMANDS if name != "quickstart"]
    script = (
        "import sys\nfrom lmrelay.cli.main import cli\n"
        f"for name in {names!r}:\n"
        "    cli([name, '--help'], standalone_mode=False)\n"
        "    print(f'{name}:', 'twisted.internet.reactor' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [f"{name}: False" for name in names] == [line for line in lines if line.endswith((": False", ": True"))]
    assert len(names) == sum(line.lstrip().startswith("--json ") for line in lines)


def test_the_reader_may_go(tmp_path: Path) -> None:
    """
    Output into a pipe that is closed ends the command without a traceback.
    """
    script = "from lmrelay.cli.main import main; import sys; sys.argv[1:] = ['--help']; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == ""
