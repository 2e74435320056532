"""
C{python -m bench.peers install [FOLDER]}: put the peers there. Run it as root, once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.peers.install import install
from bench.peers.place import INSTALLED
from tests.arguments import make_parser


def main() -> int:
    """
    Exit code 1 if something could not be had; the suite leaves it out.
    """
    parser = make_parser("python -m bench.peers", __doc__)
    parser.add_argument("what", choices=["install"], metavar="install")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=INSTALLED, metavar="FOLDER", help=f"new, or from before ({INSTALLED})"
    )
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root can give the peers' files to their users")
    failed = install(chosen.folder.resolve())
    for name, why in failed.items():
        print(f"without {name}: {why}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
