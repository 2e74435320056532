"""
A full disk: mail is refused for now, the daemon goes on, nothing accepted is lost, and it recovers.
"""

from __future__ import annotations

import os
import resource
import shutil
import smtplib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Relay
from tests.e2e.mail import SENDER, login, message, send, submit
from tests.e2e.story import await_states
from tests.e2e.test_stop import holding
from tests.e2e.world import World

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """
    A file system of 160 MiB.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount") or "/bin/mount"
    command = [mount, "-t", "tmpfs", "-o", "size=160m,mode=0700", "lmrelay-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small file system here: {done.stderr.strip()}; see the test with a file size limit")
    yield folder
    subprocess.run([shutil.which("umount") or "/bin/umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def relay(world: World, disk: Path) -> Iterator[Relay]:
    """
    A relay whose state is on that file system.
    """
    own = world.relay()
    shutil.copytree(own.folder / "state", disk / "state")
    own.settings["server"]["state_dir"] = str(disk / "state")
    own.start()
    yield own
    print(own.log())  # captured, and shown only on failure
    own.kill()


def leave(disk: Path, free: int) -> None:
    """
    Fill the disk until only so much is free.
    """
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb") as file:
        while (room := available(disk) - free) > 0:
            try:
                file.write(bytes(min(room, MIB)))
                file.flush()
            except OSError:
                return


def available(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def recover(disk: Path) -> None:
    (disk / "ballast").unlink()


def refusal(client: smtplib.SMTP, to: str, content: bytes) -> tuple[int, bytes | str]:
    """
    The reply that refused the message.
    """
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        submit(client, [to], content)
    client.rset()
    return refused.value.smtp_code, refused.value.smtp_error


def test_mail_is_refused_before_the_disk_is_full(world: World, disk: Path, relay: Relay) -> None:
    """
    While less than the reserve is free, 452; deliveries are still recorded; with room again, 250 in the same session.
    """
    gate, reached = threading.Event(), threading.Event()
    mx = world.receiver(script=holding("CONTENT", gate, reached))
    to = f"someone@{world.domain(mx)}"
    earlier = send(relay, to)
    assert reached.wait(20)
    leave(disk, 32 * MIB)
    with login(relay) as client:
        code, text = refusal(client, to, message(to))
        assert (code, text[:5]) == (452, b"4.3.1")
        gate.set()
        await_states(relay, earlier, {to: "delivered"})
        recover(disk)
        submit(client, [to])
    mx.wait(2)


def test_a_disk_that_fills_up_in_the_data(world: World, disk: Path, relay: Relay) -> None:
    """
    A message that no longer fits is refused for now and leaves nothing behind; the session and the daemon go on.
    """
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    text = ("z" * 76 + "\r\n") * 40000
    with login(relay) as client:
        client.mail(SENDER)
        client.rcpt(to)
        client.putcmd("data")
        assert client.getreply()[0] == 354
        client.send(message(to, text))
        leave(disk, 0)
        client.send(text + ".\r\n")
        assert client.getreply()[0] in {451, 452}
        recover(disk)
        second = submit(client, [to], message(to, text))
    await_states(relay, second, {to: "delivered"})
    assert len(mx.taken) == 1
    assert relay.ask("queue", "list") == []


def test_a_delivery_that_cannot_be_recorded(world: World, disk: Path, relay: Relay) -> None:
    """
    An outcome that finds no room is kept and recorded when there is some; the receiver gets the message once.
    """
    gate, reached = threading.Event(), threading.Event()
    mx = world.receiver(script=holding("CONTENT", gate, reached))
    to = f"someone@{world.domain(mx)}"
    identity = send(relay, to)
    assert reached.wait(20)
    leave(disk, 0)
    gate.set()
    mx.wait()
    recover(disk)
    await_states(relay, identity, {to: "delivered"})
    assert len(mx.taken) == 1
    assert relay.stop() == 0


def test_writes_that_fail(world: World) -> None:
    """
    With a limit on the size of its files, as any user can set, no large message gets in, none is lost, and the
    daemon is well when the limit is gone.
    """
    relay = world.relay().start()
    mx = world.receiver()
    to = f"someone@{world.domain(mx)}"
    content = message(to, ("z" * 76 + "\r\n") * 3000)
    first = send(relay, to, content)
    await_states(relay, first, {to: "delivered"})
    limits = resource.prlimit(relay.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, (128 * 1024, limits[1]))
    with login(relay) as client:
        assert refusal(client, to, content)[0] in {451, 452}
        resource.prlimit(relay.pid, resource.RLIMIT_FSIZE, limits)
        second = submit(client, [to], content)
    await_states(relay, second, {to: "delivered"})
    assert len(mx.taken) == 2
    assert relay.stop() == 0
