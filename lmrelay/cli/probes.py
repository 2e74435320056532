"""
Short looks at the outside for the check: may we listen there, does this name server answer?

Plain sockets with a short timeout; nothing here is for the daemon.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from lmrelay.config.values import NameServer

TIMEOUT = 2.0
RESOLV_CONF = Path("/etc/resolv.conf")

_HEADER = struct.Struct("!HHHHHH")
_RECURSION_DESIRED, _RESPONSE, _A, _IN = 0x0100, 0x8000, 1, 1


def may_listen(interface: str, port: int) -> None:
    """
    Listen for a moment.

    @raise OSError: the port is in use, not allowed, or no such address is here
    """
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the daemon does: connections of an earlier run that linger are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((interface, port))
        probe.listen(1)


def is_of_this_machine(address: str) -> bool:
    """
    Can a connection come from there?
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def system_servers(path: Path = RESOLV_CONF) -> tuple[NameServer, ...]:
    """
    The name servers of the system (resolv.conf(5)); where it names none, this machine.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found = [words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver"]
    return tuple(map(NameServer, found)) or (NameServer("127.0.0.1"),)


def ask(server: NameServer, name: str, timeout: float = TIMEOUT) -> int | None:
    """
    The response code to a question for the address of C{name} (RFC 1035 §4.1.1); None: no answer in time.
    """
    identity = int.from_bytes(os.urandom(2), "big")
    labels = b"".join(bytes([len(label)]) + label for label in name.encode("ascii").rstrip(b".").split(b"."))
    query = _HEADER.pack(identity, _RECURSION_DESIRED, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", _A, _IN)
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.settimeout(timeout)
            asking.connect((server.host, server.port))
            asking.send(query)
            reply = asking.recv(4096)
    except OSError:
        return None
    if len(reply) < _HEADER.size:
        return None
    answered, flags, *_ = _HEADER.unpack_from(reply)
    return flags & 0xF if answered == identity and flags & _RESPONSE else None
