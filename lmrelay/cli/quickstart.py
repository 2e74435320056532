"""
C{lmrelay quickstart}: a whole relay to try, with a stand-in for the internet, at once.

Makes (or finds) the folder, starts the relay's own service in this process and beside it
an MX to which every domain leads, prints what to paste, and tells what happens until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import define, evolve

from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.cli.output import Output
from lmrelay.cli.trial import DEFAULT_PORTS, IPV4, PROJECT, Trial, find_listeners, parse_ports, prepare, self_signed
from lmrelay.errors import ConfigError

if TYPE_CHECKING:
    from lmrelay.cli.journey import Journey
    from lmrelay.config.values import Config, Listener
    from lmrelay.interfaces import IResolver

FOLDER = Path("lmrelay-quickstart")
SENDER = "hello@demo.example"
RECIPIENT = "you@anywhere.example"
USERNAME = "lettermint"


def _ports(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, ...]:
    return parse_ports(text)


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=FOLDER,
    show_default=True,
    help="Where to keep its files: a new or empty folder, or that of an earlier start.",
)
@click.option(
    "--ports",
    default=",".join(map(str, DEFAULT_PORTS)),
    show_default=True,
    callback=_ports,
    help="The three ports: STARTTLS, STARTTLS, and either way of TLS. 0 is any free one.",
)
@click.option("--live", is_flag=True, help="Deliver to the real MX hosts instead of the stand-in.")
@pass_invocation
def quickstart(invocation: Invocation, folder: Path, ports: tuple[int, ...], live: bool) -> None:
    """
    Try it: a relay, a token and a stand-in receiver, at once.

    Needs no root, no DNS and no settings. Ctrl-C ends it; the next start in the same folder goes on
    with the same token and queue.
    """
    listeners = find_listeners(ports)
    trial, token = prepare(folder, _make_token)

    def fit(config: Config) -> Config:
        name = _own_name(config.server.hostname) if live else config.server.hostname
        return evolve(config, listeners=listeners, server=evolve(config.server, hostname=name))

    config = Invocation(trial.config).load()
    sys.exit(perform(config, fit, trial, token, invocation.output, live))


def _make_token(config: Path) -> str:
    """
    A token for the demo project, made as the operator would make it.
    """
    from lmrelay.cli.token import token

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        token.main(
            ["create", PROJECT, "--name", "quickstart"],
            obj=Invocation(config, Output(json=True)),
            standalone_mode=False,
        )
    return str(json.loads(printed.getvalue())["token"])


def _own_name(otherwise: str) -> str:
    """
    What real receivers are told in EHLO: this machine's name, if it has a full one.
    """
    name = socket.getfqdn()
    return name if "." in name and not name.endswith((".localdomain", ".arpa")) else otherwise


def guide(trial: Trial, token: str, listeners: Sequence[Listener], live: bool) -> list[str]:
    """
    What to paste, and what will be seen.
    """
    port = listeners[0].port
    ports = ", ".join(f"{one.port} ({one.security.value})" for one in listeners if one.interface == IPV4)
    swaks = [
        "swaks", "--server", IPV4, "--port", str(port), "-tls",
        "--auth", "PLAIN", "--auth-user", USERNAME, "--auth-password", token,
        "--from", SENDER, "--to", RECIPIENT,
        "--header", "Subject: Hello from lmrelay", "--header", "X-LM-Tag: quickstart",
    ]  # fmt: skip
    head = (f"From: {SENDER}", f"To: {RECIPIENT}", "Subject: Hello from lmrelay", "X-LM-Tag: quickstart")
    content = "\\r\\n".join((*head, "", "Hello!", ""))
    script = (
        f'import smtplib, ssl; s = smtplib.SMTP("{IPV4}", {port}); '
        f"s.starttls(context=ssl.create_default_context(cafile={json.dumps(str(trial.certificate))})); "
        f's.login("{USERNAME}", "{token}"); '
        f'print(s.sendmail("{SENDER}", ["{RECIPIENT}"], "{content}") or "accepted"); s.quit()'
    )
    command = f"{_program()} --config {shlex.quote(str(trial.config))}"
    way = (
        "Mail goes to the REAL MX hosts of its recipients (--live): put addresses of your own in the commands below."
        if live
        else "Every recipient's domain leads to a stand-in receiver on this machine: nothing leaves it."
    )
    return [
        f"lmrelay runs on {IPV4}, ports {ports}, in {trial.folder}.",
        way,
        "",
        "Send a message: paste this into another terminal,",
        "",
        f"  {shlex.join(swaks)}",
        "",
        "or, without swaks:",
        "",
        f"  python3 -c {shlex.quote(script)}",
        "",
        f"User name {USERNAME}, password (the token of the project {PROJECT}): {token}",
        f"Then, with a message's id:  {command} explain ID",
        f"To be told of events:  {command} webhooks add {PROJECT} app http://127.0.0.1:8000/",
        f"(it counts from the next reload on: kill -HUP {os.getpid()})",
        "",
        "Ctrl-C ends it. What happens:",
        "",
    ]


def _program() -> str:
    """
    The operator's command as a shell finds it: by its name, or beside this Python (an environment that is not active).
    """
    return "lmrelay" if shutil.which("lmrelay") else shlex.quote(str(Path(sys.executable).with_name("lmrelay")))


def perform(
    config: Config, fit: Callable[[Config], Config], trial: Trial, token: str, output: Output, live: bool
) -> int:
    """
    Run until Ctrl-C; the answer is the exit code.
    """
    # Here and not above: importing it installs a reactor, which only this command needs.
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from lmrelay.daemon import count_on, mind_signals

    count_on(reactor)
    stage = Stage(config, fit, trial, token, output, live, reactor)
    running: Any = reactor
    running.callWhenRunning(mind_signals, reactor)
    running.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stage.stop()))
    running.callWhenRunning(lambda: Deferred.fromCoroutine(stage.start()))
    running.run()
    return stage.exit_code


@define(eq=False)
class Stage:
    """
    The relay and the stand-in, while they run. C{fit} sets in a configuration what is quickstart's and not the files'.
    """

    config: Config
    fit: Callable[[Config], Config]
    trial: Trial
    token: str
    output: Output
    live: bool
    reactor: Any
    exit_code: int = 0
    relay: Any = None
    stand_in: Any = None

    async def start(self) -> None:
        """
        Start both and say what to paste; what goes wrong is said and ends the reactor.
        """
        from twisted.internet.defer import maybeDeferred
        from twisted.logger import globalLogBeginner

        from lmrelay.cli.journey import Journey
        from lmrelay.service import Relay

        journey = Journey(click.echo)
        globalLogBeginner.beginLoggingTo([journey], redirectStandardIO=False, discardBuffer=True)
        try:
            resolver = None if self.live else await self._raise_stand_in(journey)
            self.config = self._fit(self.config)
            self.relay = Relay(self.config, self.reactor, resolver=resolver, fit=self._fit)
            await maybeDeferred(self.relay.startService)
        except (ConfigError, OSError) as error:
            self._give_up(str(error))
            return
        # What the operator's commands say after a change: by itself the signal would end the process.
        signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self.relay.reload))
        for line in guide(self.trial, self.token, self.config.listeners, self.live):
            self.output.line(line)

    async def stop(self) -> None:
        """
        Drain the relay, and only then let the stand-in go.
        """
        from twisted.internet.defer import maybeDeferred

        if self.relay is not None and self.relay.running:
            if self.exit_code == 0:
                self.output.line("Finishing what is in flight …")
            await maybeDeferred(self.relay.stopService)
        if self.stand_in is not None:
            await maybeDeferred(self.stand_in.stopListening)
        if self.exit_code == 0:
            self.output.line(f"Ended. The same command goes on in {self.trial.folder}.")

    async def _raise_stand_in(self, journey: Journey) -> IResolver:
        """
        Start the stand-in, and answer the resolver that leads there.
        """
        from twisted.internet.endpoints import TCP4ServerEndpoint
        from twisted.internet.ssl import PrivateCertificate

        from lmrelay.cli.stand_in import ADDRESS, HOST, StandIn, StandInResolver

        certificate, key = self_signed(HOST)
        options = PrivateCertificate.loadPEM(certificate + key).options()
        factory = StandIn(options, lambda arrival: journey.arrived(time.time(), arrival))
        self.stand_in = await TCP4ServerEndpoint(self.reactor, 0, interface=ADDRESS).listen(factory)
        return StandInResolver()

    def _fit(self, config: Config) -> Config:
        from lmrelay.cli.stand_in import NETWORK

        config = self.fit(config)
        # An endpoint to try is on this machine.
        config = evolve(config, webhooks=evolve(config.webhooks, allow_networks=(NETWORK,)))
        if self.stand_in is None:
            return config
        port = self.stand_in.getHost().port
        return evolve(config, delivery=evolve(config.delivery, port=port, allow_networks=(NETWORK,)))

    def _give_up(self, reason: str) -> None:
        self.exit_code = 1
        for line in reason.splitlines():
            self.output.warn(f"lmrelay: {line}")
        self.reactor.stop()
