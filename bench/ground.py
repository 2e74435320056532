"""
What every measurement stands on: a folder on the disk, a name server, and the sink that it leads to.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from bench.processes import Syncs
from bench.relays import DOMAIN, SINK
from bench.sink import Sink, build
from tests.arguments import existing_folder
from tests.e2e.names import NameServer
from tests.e2e.world import free_port


def add_state(parser: argparse.ArgumentParser) -> None:
    """
    Let it be asked on which disk is measured.
    """
    parser.add_argument(
        "--state",
        type=existing_folder,
        default=Path("/var/tmp"),
        metavar="FOLDER",
        help="on the disk to be measured (/var/tmp)",
    )


@frozen
class Ground:
    """
    C{names}: the name server's address, which knows the way to the C{sink}. C{port}: where the sink listens.
    """

    folder: Path
    names: tuple[str, int]
    port: int
    sink: Sink
    syncs: Syncs


@contextmanager
def laid(state: Path, *, chunking: bool = True) -> Iterator[Ground]:
    """
    Entered when all of it is there; afterwards nothing is.
    """
    build()
    port = free_port()
    with (
        tempfile.TemporaryDirectory(dir=state, prefix="lmrelay-bench-") as folder,
        Syncs() as syncs,
        NameServer() as names,
        Sink(SINK, port, free_port(), chunking) as sink,
    ):
        Path(folder).chmod(0o755)  # most peers' processes do not run as root
        names.mx(f"d0.{DOMAIN}", 10, f"mx.{DOMAIN}")
        names.host(f"mx.{DOMAIN}", SINK)
        yield Ground(Path(folder), names.address, port, sink, syncs)
