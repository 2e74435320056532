"""
What the peers share: where they are installed, how they log in, and files of their own in the place of the system's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

INSTALLED = Path("/var/tmp/lmrelay-peers")
"""
Where C{python -m bench.peers install} puts them where no other folder is named.
"""

SINK = "127.0.0.2"
DOMAIN = "bench.test"
USER, PASSWORD = "bench", "secret"

LOADERS = ("127.0.0.10", "127.0.0.29")
"""
The first and the last address that idle sessions come from: a limit of connections by address is not what is measured.
"""

NAMES = ("Debian-exim", "opensmtpd", "opensmtpq")
FIRST_ID = 64801


def identity(name: str) -> int:
    """
    The user and group id of a peer's user, who exists for its own processes alone.
    """
    return FIRST_ID + NAMES.index(name)


def give(path: Path, name: str) -> None:
    """
    Make this user of a peer the owner.
    """
    os.chown(path, identity(name), identity(name))


def system_files(folder: Path) -> Mapping[str, Path]:
    """
    Users and groups with those of the peers, and names without the world's name servers: no packet leaves for one.
    """
    folder.mkdir()
    texts = {
        "passwd": [
            *others("passwd"),
            *(f"{name}:x:{identity(name)}:{identity(name)}::/nonexistent:/usr/sbin/nologin" for name in NAMES),
        ],
        "group": [*others("group"), *(f"{name}:x:{identity(name)}:" for name in NAMES)],
        "hosts": ["127.0.0.1 localhost relay.bench.test", f"{SINK} sink.bench.test", *loader_hosts()],
        "resolv.conf": ["nameserver 127.0.0.1", "options timeout:1 attempts:1", "lookup file bind"],
        "mailname": ["relay.bench.test"],
    }
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return {f"/etc/{name}": folder / name for name in texts if Path(f"/etc/{name}").exists()}


def others(file: str) -> Iterator[str]:
    """
    The system's lines of C{passwd} or C{group} that are not of a peer's user.
    """
    return (line for line in Path("/etc", file).read_text().splitlines() if line.partition(":")[0] not in NAMES)


def loader_hosts() -> Iterator[str]:
    """
    A line of C{/etc/hosts} for each address that sessions come from.
    """
    first, last = (int(address.rpartition(".")[2]) for address in LOADERS)
    return (f"127.0.0.{number} client{number}.{DOMAIN}" for number in range(first, last + 1))


def why_not(program: Path) -> str:
    """
    Why what is installed there cannot run here; empty if it can.
    """
    if not program.exists():
        return f"{program.name} is not installed (python -m bench.peers install)"
    return "" if os.geteuid() == 0 else "it starts only as root"


def installed_version(installed: Path, name: str) -> str:
    """
    What the installation wrote down of that peer.
    """
    file = installed / "versions.json"
    return str(json.loads(file.read_text()).get(name, "")) if file.exists() else ""
