"""
C{twistd lmrelay}: options in, service out; what is wrong is printed, one line each.

Imports nothing that installs a reactor: twistd chooses it after this module is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.python import usage

from lmrelay.errors import ConfigError

if TYPE_CHECKING:
    from twisted.application.service import IService

DEFAULT_CONFIG = "/etc/lmrelay/lmrelay.toml"


class Options(usage.Options):
    """
    The options of C{twistd lmrelay}.
    """

    synopsis = "[--config FILE]"
    longdesc = "Runs the mail relay in the foreground with -n, else as a daemon."
    optParameters = [  # noqa: RUF012 - twisted.python.usage reads it off the class
        ["config", "c", DEFAULT_CONFIG, "The configuration file."],
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})


def makeService(options: Options) -> IService:
    """
    The relay as that configuration says, not started: no thread, socket or database yet.
    """
    from twisted.internet import reactor

    from lmrelay.daemon import build

    parent: Mapping[str, object] = options.parent or {}
    try:
        return build(
            Path(options["config"]),
            reactor,
            logfile=str(parent.get("logfile") or "") or None,
            daemon=not parent.get("nodaemon", True),
            syslog=bool(parent.get("syslog")),
        )
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is no log yet
        raise SystemExit(1) from error
