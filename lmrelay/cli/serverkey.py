"""
The state folder and the server's key in it, under which tokens are sealed and links signed, for commands.
"""

from __future__ import annotations

import os
from pathlib import Path

from lmrelay.cli.identity import as_owner
from lmrelay.cli.main import Invocation
from lmrelay.config.load import ensure_token_key
from lmrelay.config.values import Config


def state_folder(invocation: Invocation, config: Config) -> Path:
    """
    The state folder, made where there is none.
    """
    folder = config.server.state_dir
    if not folder.exists():
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            invocation.output.warn(f"made {folder}, which is root's; the daemon's user must own it (chown)")
    return folder


def server_key(invocation: Invocation, config: Config) -> bytes:
    """
    The key, made where there is none, as the owner of the state folder.

    @raise ConfigError: it cannot be read or made
    """
    folder = state_folder(invocation, config)
    # As root the key would be root's, and the daemon could not read it.
    with as_owner(folder):
        return ensure_token_key(folder)
