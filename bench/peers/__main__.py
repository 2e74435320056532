"""
C{python -m bench.peers install [FOLDER]}: put the peers there. Run it as root, once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.peers.install import install
from bench.peers.place import INSTALLED


def main() -> int:
    """
    Exit code 1 if something could not be had; the suite leaves it out.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("what", choices=["install"])
    parser.add_argument("folder", type=Path, nargs="?", default=INSTALLED)
    failed = install(parser.parse_args().folder.resolve())
    for name, why in failed.items():
        print(f"without {name}: {why}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
