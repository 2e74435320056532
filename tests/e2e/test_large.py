"""
Large messages: whole, and in little memory.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from tests.e2e.daemon import Relay
from tests.e2e.mail import login, message, send, submit
from tests.e2e.world import World

MIB = 1024 * 1024
ALLOWED_GROWTH = 20 * MIB


def peak(relay: Relay) -> int:
    """
    The most memory the daemon ever held, in octets.
    """
    for line in Path(f"/proc/{relay.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def large_text(octets: int) -> bytes:
    """
    Lines of all lengths up to 998, dots and octets beyond ASCII among them, that no compression can shrink.
    """
    source = random.Random(2026)
    lines, size = [], 0
    alphabet = bytes(octet for octet in range(256) if octet not in b"\0\r\n")
    block = bytes(source.choices(alphabet, k=65536))
    while size < octets:
        start, length = source.randrange(64000), source.choice((0, 1, 76, 300, 998))
        line = source.choice((b"", b".", b"..")) + block[start : start + length]
        lines.append(line[:998] + b"\r\n")
        size += len(lines[-1])
    return b"".join(lines)


def test_fifty_mebibytes_in_little_memory(world: World) -> None:
    """
    The largest message that is allowed costs the daemon less than 20 MiB at its peak, in and out,
    and arrives octet for octet.
    """
    relay = world.relay().start(afresh=True)
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    with login(relay) as client:
        for _ in range(20):
            submit(client, [to], message(to, "warm\r\n" * 8192))
    mx.wait(20)
    before = peak(relay)
    head = message(to, "")
    body = large_text(50 * MIB - len(head) - 2048)
    send(relay, to, head + body, mail_options=["BODY=8BITMIME", f"SIZE={len(head) + len(body)}"])
    taken = mx.wait(21, timeout=120)[20]
    grown = peak(relay) - before
    assert hashlib.sha256(taken.body).hexdigest() == hashlib.sha256(body).hexdigest()
    assert grown < ALLOWED_GROWTH, f"{grown / MIB:.1f} MiB"
    assert relay.stop() == 0


def test_too_large_is_refused_by_size_and_by_octets(world: World, relay: Relay) -> None:
    """
    552 to a declared size over the limit; the session goes on, and the same size is not declared to get around it.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    with login(relay) as client:
        assert client.mail("app@acme.example", [f"SIZE={50 * MIB + 1}"])[0] == 552
        client.mail("app@acme.example")
        client.rcpt(to)
        assert client.data(message(to, "x" * 76 + "\r\n") + b"y" * 76 + (b"\r\n" + b"z" * 998) * 53000)[0] == 552
        submit(client, [to])
    assert len(mx.wait()) == 1
