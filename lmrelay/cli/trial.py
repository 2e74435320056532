"""
The folder of C{lmrelay quickstart}: a whole relay in one place, made once and found again.

In comes a folder; out goes a L{Trial}. A folder with anything of somebody else's in it
is refused, and what is there of ours is never overwritten.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lmrelay.config.values import Listener
from lmrelay.config.words import Security

PROJECT = "demo"
MARK = "# Made by `lmrelay quickstart`."
IPV4, IPV6 = "127.0.0.1", "::1"
SECURITIES = (Security.STARTTLS, Security.STARTTLS, Security.AUTO)
DEFAULT_PORTS = (2525, 2587, 2465)

_CONFIG = f"""\
{MARK} Change what you like; it is not written again.
# Its listeners, and unless --live also the receiver it delivers to, are set by the command.

[server]
hostname = "relay.example"
state_dir = "state"

[tls]
certificate = "certificate.pem"
private_key = "private-key.pem"
"""

_PROJECT = f"""\
{MARK}
smtp = true          # false, then a reload: its logins are refused
domains = ["*"]      # who it may send as; a real project names its domains here
"""


@frozen
class Trial:
    """
    The files of a quickstart.
    """

    folder: Path

    @property
    def config(self) -> Path:
        """
        The configuration; its first line marks the folder as ours.
        """
        return self.folder / "lmrelay.toml"

    @property
    def project(self) -> Path:
        """
        The file of the project C{demo}.
        """
        return self.folder / "projects.d" / f"{PROJECT}.toml"

    @property
    def certificate(self) -> Path:
        """
        The relay's certificate, for clients to trust.
        """
        return self.folder / "certificate.pem"

    @property
    def private_key(self) -> Path:
        """
        Its key.
        """
        return self.folder / "private-key.pem"

    @property
    def token(self) -> Path:
        """
        The project's token in clear: for this folder alone, so that a second start can print it again.
        """
        return self.folder / "token"


def prepare(folder: Path, make_token: Callable[[Path], str]) -> tuple[Trial, str]:
    """
    The trial in C{folder} and its token, made where they are missing.

    @param make_token: makes a token for the project and writes it into the given configuration's project
    @raise click.ClickException: the folder holds other things, or cannot be used
    """
    trial = Trial(folder.absolute())
    try:
        _claim(trial)
        _write_new(trial.project, _PROJECT)
        if not (trial.certificate.exists() and trial.private_key.exists()):
            _make_certificate(trial)
        (trial.folder / "state").mkdir(mode=0o700, exist_ok=True)
        if not trial.token.exists():
            _write_new(trial.token, make_token(trial.config) + "\n", 0o600)
        return trial, trial.token.read_text().strip()
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror}") from error


def _claim(trial: Trial) -> None:
    if trial.config.exists():
        if not trial.config.read_text().startswith(MARK):
            raise click.ClickException(
                f"{trial.config} was not made by quickstart; name a new or empty folder with --dir"
            )
        return
    if trial.folder.exists() and any(trial.folder.iterdir()):
        raise click.ClickException(f"{trial.folder} is not empty; name a new or empty folder with --dir")
    trial.folder.mkdir(parents=True, exist_ok=True)
    # First of all, so that a start that was cut off here is gone on with by the next.
    _write_new(trial.config, _CONFIG)


def _write_new(path: Path, text: str, mode: int = 0o644) -> None:
    """
    Write the file unless it is there.
    """
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    # Whole or not at all: a start may be cut off in the middle.
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def _make_certificate(trial: Trial) -> None:
    trial.certificate.unlink(missing_ok=True)
    trial.private_key.unlink(missing_ok=True)
    certificate, key = self_signed("localhost", "relay.example", addresses=(IPV4, IPV6))
    _write_new(trial.private_key, key.decode("ascii"), 0o600)
    _write_new(trial.certificate, certificate.decode("ascii"))


def self_signed(*names: str, addresses: Sequence[str] = ()) -> tuple[bytes, bytes]:
    """
    A certificate for these host names and addresses, good for ten years, and its P-256 key; both PEM.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def parse_ports(text: str) -> tuple[int, ...]:
    """
    Three port numbers separated by commas; 0 stands for any free one.

    @raise click.BadParameter: it is something else
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != len(SECURITIES) or not all(part.isdecimal() and int(part) < 65536 for part in parts):
        raise click.BadParameter("three port numbers separated by commas, such as 2525,2587,2465")
    ports = tuple(map(int, parts))
    if len({port for port in ports if port}) != len([port for port in ports if port]):
        raise click.BadParameter("three different ports")
    return ports


def find_listeners(ports: Sequence[int]) -> tuple[Listener, ...]:
    """
    The listeners for these ports on 127.0.0.1, and on ::1 where the machine has it.

    @raise click.ClickException: some of the ports cannot be had; a line each
    """
    interfaces = (IPV4, IPV6) if _can_bind(IPV6, 0) else (IPV4,)
    problems: list[str] = []
    listeners: list[Listener] = []
    for wanted, security in zip(ports, SECURITIES, strict=True):
        port = wanted or _free_port(interfaces)
        problems += [
            f"port {port} on {interface} is in use or not allowed; choose others with --ports"
            for interface in interfaces
            if not _can_bind(interface, port)
        ]
        listeners += [Listener(port, security, interface) for interface in interfaces]
    if problems:
        raise click.ClickException("\n".join(problems))
    return tuple(listeners)


def _can_bind(interface: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((interface, port))
            probe.listen(1)
    except OSError:
        return False
    return True


def _free_port(interfaces: Sequence[str]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((IPV4, 0))
            port: int = probe.getsockname()[1]
        if all(_can_bind(interface, port) for interface in interfaces):
            return port
