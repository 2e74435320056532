"""
Puts the peers below a folder. Nothing of the system changes and nothing is started: Debian's mail daemons cannot be
installed beside each other, so their packages are fetched and unpacked; Haraka comes from npm. Postfix alone is left
to the operator (C{apt-get install postfix}), for its programs know no other place than the system's.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from bench.peers.place import identity

PACKAGES = {
    "exim": ("exim4-daemon-light", "exim4-base"),
    "opensmtpd": ("opensmtpd",),
    "saslpasswd2": ("sasl2-bin",),
}
"""
What is fetched for each; the first of a peer's packages has its version. (C{saslpasswd2} makes Postfix's passwords.)
"""

HARAKA = "3.3.4"
OVERRIDES = {"encoding-japanese": "2.2.0", "libqp": "2.1.1"}
"""
Versions of what Haraka needs that registries have which lack the newest.
"""


def install(folder: Path) -> dict[str, str]:
    """
    Fetch and unpack all that can be had; the answer is why not, for each that could not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    failed, versions = {}, {}
    for name, packages in PACKAGES.items():
        try:
            versions[name] = unpack(folder, packages)
        except (OSError, subprocess.CalledProcessError) as error:
            failed[name] = tell(error)
    set_modes(folder / "root/usr/sbin")
    try:
        versions["haraka"] = install_haraka(folder / "haraka")
    except (OSError, subprocess.CalledProcessError) as error:
        failed["haraka"] = tell(error)
    (folder / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")
    return failed


def tell(error: Exception) -> str:
    """
    Why something could not be had: what the program said, or that there is no such program.
    """
    return str(getattr(error, "stderr", None) or error).strip()


def set_modes(programs: Path) -> None:
    """
    What the packages' own installation would do, as far as it is needed, for the users that the peers have here.
    """
    exim, smtpctl = programs / "exim4", programs / "smtpctl"
    if exim.exists():
        exim.chmod(0o755)  # set-uid, it would lose the library that counts syncs; it is started as root anyway
    if smtpctl.exists():
        os.chown(smtpctl, 0, identity("opensmtpq"))
        smtpctl.chmod(0o2755)  # else it refuses to start


def unpack(folder: Path, packages: tuple[str, ...]) -> str:
    """
    Fetch Debian's packages and unpack them below C{root}; the answer is the version of the first.
    """
    debs = folder / "debs"
    debs.mkdir(exist_ok=True)
    found = []
    for package in packages:
        for old in debs.glob(f"{package}_*.deb"):
            old.unlink()
        run(["apt-get", "download", package], debs)
        found.append(next(debs.glob(f"{package}_*.deb")))
        run(["dpkg-deb", "-x", found[-1].name, "../root"], debs)
    return run(["dpkg-deb", "-f", found[0].name, "Version"], debs).strip()


def install_haraka(folder: Path) -> str:
    """
    Install it from npm; the answer is its version.
    """
    folder.mkdir(exist_ok=True)
    package = {"name": "bench-haraka", "version": "1.0.0", "private": True, "overrides": OVERRIDES}
    (folder / "package.json").write_text(json.dumps(package))
    run(["npm", "install", "--omit=dev", "--no-audit", "--no-fund", f"Haraka@{HARAKA}"], folder)
    return HARAKA


def run(command: list[str], folder: Path) -> str:
    """
    Run it there; what it printed.
    """
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
