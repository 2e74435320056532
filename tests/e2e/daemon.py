"""
A real daemon in a folder of its own, on loopback and ports that the system chose.

It is started as an operator starts it (twistd, or the C{lmrelay} command), from the installed package where
there is one, else from the source tree; what it has to say is read from its log. Most are started from a process that
has loaded what they need (L{tests.e2e.nursery}).
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from attrs import define, field
from click.testing import CliRunner

from lmrelay.cli.main import cli
from tests.e2e.nursery import Birth, Child, Nursery

ROOT = Path(__file__).resolve().parents[2]
TWISTD = "from twisted.scripts.twistd import run; run()"
COMMAND = "from lmrelay.cli.main import main; main()"

PATIENCE = 30.0
"""
Seconds that a start, a stop or a fact in the log may take on a machine that is busy.
"""

PROJECT = "acme"
DOMAIN = "acme.example"

LISTENERS = tuple(
    {"port": 0, "interface": "127.0.0.1", "security": security}
    for security in ("starttls", "implicit", "auto", "plain")
)


@functools.cache
def environment() -> Mapping[str, str]:
    """
    What child processes get: the source tree on their path only where nothing is installed.

    @raise RuntimeError: what is installed is other code than that of the tree, and would be tested, or measured, in its
        place
    """
    inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "NOTIFY_SOCKET"}}
    probe = [sys.executable, "-c", "import lmrelay; print(*lmrelay.__path__)"]
    found = subprocess.run(probe, cwd="/", env=inherited, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        inherited["PYTHONPATH"] = str(ROOT)
    elif odd := find_odd(Path(found.stdout.strip()), ROOT / "lmrelay"):
        raise RuntimeError(
            f"the lmrelay that is installed for {sys.executable} is not the one in {ROOT} ({odd[0]} differs): "
            f"install that one (pip install {ROOT}), or none"
        )
    return inherited | {"PYTHONUNBUFFERED": "1"}


def find_odd(installed: Path, tree: Path) -> list[str]:
    """
    The modules that two packages do not have alike.
    """
    one, other = ({path.relative_to(top): path for path in top.rglob("*.py")} for top in (installed, tree))
    alike = {name for name in one.keys() & other.keys() if one[name].read_bytes() == other[name].read_bytes()}
    return sorted(str(name) for name in (one.keys() | other.keys()) - alike)


@functools.cache
def nursery() -> Nursery:
    """
    That of this test process.
    """
    made = Nursery(environment())
    atexit.register(made.close)
    return made


def lmrelay(config: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """
    Run the operator's command.
    """
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "--config", str(config), *arguments],
        cwd=config.parent,
        env=environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def make_certificate(folder: Path, name: str = "relay.test", stem: str = "relay") -> tuple[Path, Path]:
    """
    A self-signed certificate and its key, as files.
    """
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{stem}.crt", folder / f"{stem}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_file.chmod(0o600)
    return certificate_file, key_file


@define(eq=False)
class Relay:
    """
    The daemon and its folder. C{settings} is its configuration, to be changed before L{start} or L{reload}.
    """

    folder: Path
    settings: dict[str, Any]
    token: str = ""
    token_id: str = ""
    process: subprocess.Popen[bytes] | Child | None = None
    _starts: list[int] = field(factory=list)

    @property
    def config(self) -> Path:
        """
        The configuration file.
        """
        return self.folder / "lmrelay.toml"

    @property
    def log_file(self) -> Path:
        """
        All that the daemon printed, over all its starts.
        """
        return self.folder / "log"

    @property
    def pid(self) -> int:
        """
        The running daemon's process id.
        """
        if self.process is None:
            raise AssertionError("the daemon is not running")
        return self.process.pid

    def write(self) -> None:
        """
        Write the settings as they are now.
        """
        self.config.write_text(tomlkit.dumps(self.settings))

    def project_file(self, slug: str = PROJECT) -> Path:
        """
        A project's file.
        """
        return self.folder / "projects.d" / f"{slug}.toml"

    def change_project(self, slug: str = PROJECT, **keys: Any) -> None:
        """
        Lay C{keys} over a project's file, made where there is none; it counts from the next start or reload on.
        """
        file = self.project_file(slug)
        text = tomlkit.parse(file.read_text()) if file.exists() else tomlkit.document()
        text.update(keys)
        file.write_text(tomlkit.dumps(text))

    def add_project(self, slug: str, domain: str = DOMAIN, **keys: Any) -> str:
        """
        A project with a token, which is the answer; both count from the next start or reload on.
        """
        self.change_project(slug, domains=[domain], **keys)
        return str(self.ask("token", "create", slug, "--name", "e2e")["token"])

    def command(self, *arguments: str, stdin: str = "") -> Any:
        """
        What the operator's command says with C{--json}.
        """
        done = lmrelay(self.config, *arguments, "--json", stdin=stdin)
        if done.returncode != 0:
            raise AssertionError(f"lmrelay {' '.join(arguments)}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return json.loads(done.stdout)

    def ask(self, *arguments: str, stdin: str = "") -> Any:
        """
        What the operator's command says with C{--json}, run in this process: for what is asked again and again.
        """
        done = CliRunner().invoke(cli, ["--config", str(self.config), *arguments, "--json"], input=stdin)
        if done.exit_code != 0:
            raise AssertionError(
                f"lmrelay {' '.join(arguments)}: exit {done.exit_code}: {done.output}{done.exception!r}"
            )
        return json.loads(done.stdout)

    def launch(self, preexec: Any = None, *, afresh: bool = False) -> None:
        """
        Start without waiting for anything; C{afresh}: in a process that has loaded nothing, as from a shell.
        """
        self.write()
        self._starts.append(len(self.log()))
        arguments = ["-n", "--pidfile=", "lmrelay", "--config", str(self.config)]
        if preexec is None and not afresh:
            self.process = nursery().start(Birth(arguments, str(self.folder), str(self.log_file)))
            return
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", TWISTD, *arguments],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=preexec,
            )

    def start(self, preexec: Any = None, *, afresh: bool = False) -> Relay:
        """
        Start, and wait until it is ready.
        """
        self.launch(preexec, afresh=afresh)
        self.await_fact("ready")
        return self

    def port(self, security: str = "starttls", interface: str = "127.0.0.1") -> int:
        """
        The port that the listener of that kind got at the last start.
        """
        for fact in self.facts("listening"):
            if fact["security"] == security and fact["interface"] == interface:
                return int(fact["port"])
        raise AssertionError(f"no {security} listener on {interface} in the log:\n{self.log()}")

    def log(self) -> str:
        """
        The log so far.
        """
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def facts(self, text: str, since: int | None = None) -> list[dict[str, str]]:
        """
        The fields of each fact of that text in the log: since the last start, or since a length of the log.
        """
        start = since if since is not None else (self._starts[-1] if self._starts else 0)
        return facts_in(self.log()[start:], text)

    def await_fact(self, text: str, since: int | None = None, timeout: float = PATIENCE) -> dict[str, str]:
        """
        The first such fact, once it is there.
        """
        end = time.monotonic() + timeout
        while True:
            if found := self.facts(text, since):
                return found[0]
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > end:
                raise AssertionError(f"no {text!r} in {timeout} s:\n{self.log()[-20000:]}")
            pause()

    def reload(self) -> bool:
        """
        SIGHUP; was the configuration taken?
        """
        since = len(self.log())
        self.signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.facts("reloaded", since):
                return True
            if self.facts("reload refused, the old configuration stays", since):
                return False
            pause()
        raise AssertionError(f"nothing about a reload in the log:\n{self.log()[since:]}")

    def signal(self, number: int) -> None:
        """
        Send the daemon a signal.
        """
        os.kill(self.pid, number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """
        Its exit code, once it has ended by itself.
        """
        if self.process is None:
            raise AssertionError("the daemon is not running")
        code = self.process.wait(timeout)
        self.process = None
        return code

    def stop(self) -> int:
        """
        SIGTERM, and the exit code.
        """
        self.signal(signal.SIGTERM)
        try:
            return self.wait(PATIENCE + 30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """
        kill -9, as a power cut of the process.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            self.process = None


FIELD = re.compile(r' (\w+)=("(?:[^"\\]|\\.)*"|\S*)')


def facts_in(log: str, text: str) -> list[dict[str, str]]:
    """
    The fields of each line whose fact is exactly C{text}.
    """
    found = []
    line_form = re.compile(rf"(?:^|[\]\s]){re.escape(text)}((?: \w+=(?:\"(?:[^\"\\]|\\.)*\"|\S*))*)\s*$", re.MULTILINE)
    for match in line_form.finditer(log):
        fields = {}
        for name, value in FIELD.findall(match.group(1)):
            fields[name] = json.loads(value) if value.startswith('"') else value
        found.append(fields)
    return found


def pause(seconds: float = 0.02) -> None:
    """
    Let another process go on; what is waited for is always checked again, never assumed.
    """
    time.sleep(seconds)


def settings_for(
    folder: Path,
    dns: tuple[str, int],
    delivery_port: int,
    listeners: Sequence[Mapping[str, Any]] = LISTENERS,
    **tables: Mapping[str, Any],
) -> dict[str, Any]:
    """
    A configuration for loopback: short retries, the given name server, and C{tables} laid over it.
    """
    settings: dict[str, Any] = {
        "server": {"hostname": "relay.test", "state_dir": str(folder / "state"), "drain": "10s"},
        "tls": {"certificate": "relay.crt", "private_key": "relay.key"},
        "listeners": [dict(listener) for listener in listeners],
        "delivery": {
            "port": delivery_port,
            "allow_networks": ["127.0.0.0/8", "::1/128"],
            "retry": ["1s"],
            "expire": "48h",
            "timeouts": {"connect": "5s", "command": "10s", "data": "20s"},
        },
        "dns": {"servers": [f"{dns[0]}:{dns[1]}"]},
    }
    for table, keys in tables.items():
        settings.setdefault(table, {}).update(keys)
    return settings
