"""
The files of the keys that sign mail, made and renamed: whole or not at all, for the daemon's user alone.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lmrelay.cli.identity import as_owner
from lmrelay.cli.main import Invocation
from lmrelay.cli.serverkey import state_folder
from lmrelay.config.dkim_keys import RSA_BITS, key_path, read_key
from lmrelay.config.values import Config, DkimKey
from lmrelay.mail.dkim import RSA

_EXPONENT = 65537


def make_key(
    invocation: Invocation, config: Config, domain: str, selector: str, algorithm: str, *, active: bool
) -> tuple[DkimKey, Path]:
    """
    A new key and its file, made as the owner of the state folder.
    """
    path = key_path(config.server.state_dir, domain, selector, active=active)
    key = generate_private_key(_EXPONENT, RSA_BITS) if algorithm == RSA else Ed25519PrivateKey.generate()
    octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with as_owner(state_folder(invocation, config)):
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        try:
            _write(path, octets)
        except FileExistsError:
            raise click.ClickException(f"{path} is there already") from None
        return read_key(path, domain, selector, active=active), path


def switch_key(config: Config, key: DkimKey, *, active: bool) -> Path:
    """
    Let a key sign, or no longer; its file now.
    """
    state = config.server.state_dir
    old = key_path(state, key.domain, key.selector, active=key.active)
    new = key_path(state, key.domain, key.selector, active=active)
    with as_owner(state):
        old.rename(new)
        _sync(new.parent)
    return new


def _write(path: Path, octets: bytes) -> None:
    # Hidden, so that a draft that a power cut left behind is no key.
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(octets)
            stream.flush()
            os.fsync(stream.fileno())
        # A link appears whole, and fails if the name is taken.
        os.link(draft, path)
    finally:
        os.unlink(draft)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
