"""
Where an example of the clients' guide is run as it stands, and what came of it is looked at.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from attrs import define

from tests.e2e.daemon import Relay, make_certificate
from tests.e2e.guide import Example
from tests.e2e.receiver import Receiver, Taken
from tests.e2e.story import await_states, events, stored

TO = "someone@b.example"
CUSTOMER = "Zoë Müller"


@define(eq=False)
class Desk:
    """
    Where an example is run, and what came of it looked at.
    """

    relay: Relay
    mx: Receiver
    folder: Path
    examples: Mapping[str, Example]

    def place(self, name: str, path: str = "") -> Path:
        """
        Write an example into the folder, exactly as the guide has it.
        """
        file = self.folder / (path or name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.examples[name].text, "utf-8")
        return file

    def run(self, *command: str, stdin: str = "", **more: str) -> str:
        """
        Run a client with the settings of the guide in its environment; the answer is what it printed.
        """
        code, said = self.attempt(*command, stdin=stdin, **more)
        assert code == 0, said
        return said

    def attempt(self, *command: str, stdin: str = "", **more: str) -> tuple[int, str]:
        """
        The same, with the exit code.
        """
        done = subprocess.run(
            command,
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
            cwd=self.folder,
            env={**os.environ, **self.settings(), **more},
        )
        said = done.stdout.decode(errors="replace")
        print(said)  # captured, and shown only on failure
        return done.returncode, said

    def verify(self, *command: str, stdin: str = "", authority: str, **more: str) -> str:
        """
        The same twice: first with an authority that did not sign the relay's certificate, at which the client must
        leave without a login; then with the right one. C{authority} is the variable or argument that tells of it.
        """
        (self.folder / "other").mkdir(exist_ok=True)
        wrong, _ = make_certificate(self.folder / "other")
        logins = len(self.relay.facts("login"))
        code, said = self.attempt(
            *told_of(command, authority, wrong), stdin=stdin, **more, **in_environment(authority, wrong)
        )
        assert code != 0, said
        assert re.search("certificate|verif|authority", said, re.IGNORECASE), said
        assert logins == len(self.relay.facts("login"))
        right = self.relay.folder / "relay.crt"
        return self.run(*told_of(command, authority, right), stdin=stdin, **more, **in_environment(authority, right))

    def settings(self) -> Mapping[str, str]:
        """
        The variables of the guide, and a home of the example's own.
        """
        return {
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(self.relay.port()),
            "SMTP_USERNAME": "lettermint",
            "SMTP_PASSWORD": self.relay.token,
            "HOME": str(self.folder),
        }

    def php(self, script: Path, **more: str) -> str:
        """
        Run a PHP script.
        """
        return self.verify(
            need("php", "php-cli"), "-d", "openssl.cafile=AUTHORITY", str(script), authority="AUTHORITY", **more
        )

    def autoload(self, library: Path, package: str) -> None:
        """
        What composer makes: here of Debian's library.
        """
        if not library.exists():
            pytest.skip(f"{library} is not there (Debian: {package})")
        file = self.folder / "vendor" / "autoload.php"
        file.parent.mkdir()
        file.write_text(f"<?php\nrequire_once '{library}';\n")

    def dsn(self) -> str:
        """
        The guide's MAILER_DSN with this relay's name, port and token.
        """
        form = self.examples["symfony.env"].text.strip().removeprefix('MAILER_DSN="').removesuffix('"')
        [token] = re.findall(r":(lmr_.*)@relay.example:465$", form)
        port = self.relay.port("implicit")
        return form.replace(token, self.relay.token).replace("relay.example:465", f"localhost:{port}")

    def arrived(self, order: int) -> Taken:
        """
        The receipt of that order as its receiver got it: nothing of what was for the relay is left.
        """
        [identity] = stored(self.relay, f"Receipt for order {order}")
        await_states(self.relay, identity, {TO: "delivered"})
        [taken] = [one for one in self.mx.taken if one.head("Subject") == [f"Receipt for order {order}"]]
        assert (taken.reverse_path, taken.recipients) == ("app@acme.example", (TO,))
        assert b"Thank you." in taken.body
        names = re.findall(rb"^([!-9;-~]+):", taken.content.partition(b"\r\n\r\n")[0], re.MULTILINE)
        assert {b"from", b"to", b"date", b"message-id"} <= {name.lower() for name in names}
        assert [] == [name for name in names if re.match(rb"x-l|x-tag|x-metadata|idempotency", name, re.IGNORECASE)]
        return taken

    def check(self, order: int, metadata: Mapping[str, str] | None = None) -> Taken:
        """
        All that the guide promises of an example: route, tag and metadata with the relay, in the store and in every
        event, and nothing of them with the receiver.
        """
        taken = self.arrived(order)
        [identity] = stored(self.relay, f"Receipt for order {order}")
        metadata = metadata or {"order_id": str(order), "customer": CUSTOMER}
        story = self.relay.ask("explain", identity)
        assert ("receipts", ["receipt"], metadata) == (story["route"], story["tags"], story["metadata"])
        written = events(self.relay, identity)
        assert {"message.created", "message.delivered"} <= {kind for kind, _, _ in written}
        for _, route, document in written:
            assert ("receipts", "receipt", metadata) == (route, document["tag"], document["metadata"])
        return taken


def told_of(command: Sequence[str], authority: str, file: Path) -> list[str]:
    """
    The command with the file of an authority where it says so.
    """
    return [word.replace(authority, str(file)) for word in command]


def in_environment(authority: str, file: Path) -> Mapping[str, str]:
    """
    The same for a variable.
    """
    return {authority: str(file)}


def need(program: str, package: str = "") -> str:
    """
    The program's path, or a skip that says what to install.
    """
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian: {package or program})")
    return found
