"""
The operator's command: its frame, which every subcommand plugs into.

A subcommand is a click command in a module of its own, named in L{COMMANDS} and
imported only when it is asked for. It gets an L{Invocation} by C{@pass_invocation},
prints through its C{output}, and raises L{LmrelayError} or L{click.ClickException}
for what goes wrong: that is one line on standard error and exit code 1 (2: wrong usage).
C{--json} needs no option of its own: the frame adds it to every subcommand.
"""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from attrs import Factory, define

from lmrelay.cli.identity import take_identity
from lmrelay.cli.output import Output, printable
from lmrelay.errors import ConfigError, LmrelayError

if TYPE_CHECKING:
    from lmrelay.cli.desk import Desk, OpenDesk
    from lmrelay.config.values import Config

DEFAULT_CONFIG = Path("/etc/lmrelay/lmrelay.toml")
WHOLE_SENTENCE = 1000
AS_WHOM = "run this as root (sudo lmrelay …) or as the user that runs lmrelay"

COMMANDS: Mapping[str, tuple[str, str]] = {
    "quickstart": ("lmrelay.cli.quickstart:quickstart", "Try it: a relay, a token and a stand-in receiver, at once."),
    "check": ("lmrelay.cli.check:check", "Check the configuration, certificate, ports and DNS."),
    "project": ("lmrelay.cli.project:project", "List, add, enable and disable projects."),
    "route": ("lmrelay.cli.route:route", "List and add routes, and show the keys of their links."),
    "token": ("lmrelay.cli.token:token", "Create, import, list and revoke API tokens."),
    "dkim": ("lmrelay.cli.dkim:dkim", "Make, publish, check and rotate the keys that sign mail."),
    "domain": ("lmrelay.cli.domain:domain", "Check what the DNS says of a sending domain, and what to add."),
    "queue": ("lmrelay.cli.queue:queue", "See and change what waits for delivery."),
    "messages": ("lmrelay.cli.messages:messages", "Find any message that is kept, and tell its story."),
    "sites": ("lmrelay.cli.sites:sites", "See the sites that mail goes to, and suspend one."),
    "webhooks": ("lmrelay.cli.webhooks:webhooks", "Add and try endpoints, see how they took events, tell them again."),
    "status": ("lmrelay.cli.status:status", "Set up the status page."),
    "suppressions": ("lmrelay.cli.suppressions:suppressions", "See and change to whom mail is not sent."),
    "explain": ("lmrelay.cli.explain:explain", "Tell the whole story of a message."),
}
"""
Each subcommand: where it lives (C{module:attribute}), and what C{--help} says of it.
"""


def _read(path: Path) -> Config:
    from lmrelay.config.load import load

    return load(path)


def _open_desk(config: Config, wall: Callable[[], float]) -> AbstractContextManager[Desk]:
    from lmrelay.queue.operations import open_desk

    return open_desk(config, wall)


@define(eq=False)
class Invocation:
    """
    One run of the command: which configuration, and where the output goes.
    """

    config_path: Path = DEFAULT_CONFIG
    output: Output = Factory(Output)
    wall: Callable[[], float] = time.time
    read: Callable[[Path], Config] = _read
    desk: OpenDesk = _open_desk
    sleep: Callable[[float], None] = time.sleep

    def load(self) -> Config:
        """
        The configuration, read afresh.

        @raise ConfigError: all that is wrong with it
        """
        return self.read(self.config_path)

    def load_as_owner(self) -> Config:
        """
        L{load}, then become the owner of the state folder if this is root: to be called by
        whatever touches the store or makes a file in the state folder.
        """
        config = self.load()
        take_identity(config.server.state_dir)
        return config

    def open_desk(self) -> AbstractContextManager[Desk]:
        """
        The queue of the configuration, opened as the owner of the store.
        """
        # Imported while this may still be root: the owner of the store need not be able to read the program's files.
        for name in ("lmrelay.queue.operations", "sqlalchemy.dialects.sqlite", "rich.table"):
            importlib.import_module(name)
        return self.desk(self.load_as_owner(), self.wall)


pass_invocation = click.make_pass_decorator(Invocation)


class Problems(click.ClickException):
    """
    Several errors, a line each.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines

    def show(self, file: IO[Any] | None = None) -> None:
        """
        Print them on standard error.
        """
        for line in self.lines:
            click.echo(f"lmrelay: {printable(line)}", file=file, err=True)


class Frame(click.Group):
    """
    A group whose commands are imported when they are run, and whose errors are lines.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """
        Their names, in the order they were given.
        """
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """
        The command of that name, or None.
        """
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        _accept_json(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """
        List them without importing one.
        """
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.lazy.items()])

    def invoke(self, ctx: click.Context) -> object:
        """
        Run, and turn what may go wrong into lines.
        """
        try:
            return super().invoke(ctx)
        except (click.UsageError, Problems):
            raise
        except click.ClickException as error:
            raise Problems(*error.message.splitlines()) from error
        except ConfigError as error:
            lines = [str(problem) for problem in error.problems]
            raise Problems(*lines, *([AS_WHOM] if any(map(_is_denial, lines)) else [])) from error
        except LmrelayError as error:
            raise Problems(str(error)) from error
        except PermissionError as error:
            raise Problems(_denied(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            raise Problems(_describe(error)) from error


def _is_denial(line: str) -> bool:
    return line.endswith(os.strerror(errno.EACCES))


def _denied(error: PermissionError) -> str:
    what = error.filename or "the store"
    return f"{what}: permission denied; {AS_WHOM}"


def _describe(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _accept_json(command: click.Command) -> None:
    """
    Give C{command} and those below it C{--json}, so that it is understood at any place, and these a whole sentence in
    its list.
    """
    if not any(parameter.name == "json" for parameter in command.params):
        command.params.append(_json_option())
    if isinstance(command, click.Group):
        for child in command.commands.values():
            # Else a listing cuts the sentence where the line ends.
            child.short_help = child.get_short_help_str(WHOLE_SENTENCE)
            _accept_json(child)


def _json_option() -> click.Option:
    return click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_ask_for_json, help="Print JSON instead of text."
    )


def _ask_for_json(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.ensure_object(Invocation).output.json = True


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        try:
            version = importlib.metadata.version("lmrelay")
        except importlib.metadata.PackageNotFoundError:
            version = "(run from its source, not installed)"
        click.echo(f"lmrelay {version}")
        ctx.exit()


@click.group(
    cls=Frame, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="LMRELAY_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    metavar="FILE",
    help="The configuration file; also by the environment variable LMRELAY_CONFIG.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context, config_path: Path) -> None:
    """
    Run and look after an lmrelay mail relay.
    """
    ctx.ensure_object(Invocation).config_path = config_path


cli.params.append(_json_option())


def main() -> None:
    """
    The C{lmrelay} command.
    """
    cli(prog_name="lmrelay")
