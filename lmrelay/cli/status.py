"""
C{lmrelay status}: the password of the status page.
"""

from __future__ import annotations

import os
import sys

import click

from lmrelay.cli.main import Invocation, pass_invocation
from lmrelay.web.password import make_hash

LEAST = 8


@click.group()
def status() -> None:
    """
    Set up the status page ([http] status = true).
    """


@status.command()
@pass_invocation
def password(invocation: Invocation) -> None:
    """
    Hash a password for [http] password_hash.

    Asks for it on a terminal, else reads it from standard input. Only the hash is shown; nothing is written.
    """
    chosen = _read_password()
    if len(chosen) < LEAST:
        raise click.ClickException(f"the password is too short: at least {LEAST} characters")
    hashed = make_hash(chosen, os.urandom)
    invocation.output.document({"password_hash": hashed})
    invocation.output.line("[http]")
    invocation.output.line("status = true")
    invocation.output.line(f'password_hash = "{hashed}"')


def _read_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")
