"""
On what it was measured: nothing that names the machine or its folders.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def describe(state: Path) -> dict[str, str]:
    """
    Words of the report; C{state} is on the disk that was measured.
    """
    return {
        "CPU": f"{os.cpu_count()} cores, {_field('/proc/cpuinfo', 'model name')}",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 1024 / 1024:.0f} GiB",
        "disk": _disk(state),
        "system": f"{_release()}, kernel {platform.release()}",
        "Python": platform.python_version(),
    }


def commit() -> str:
    """
    The source tree's commit, with a plus where it was changed since; empty outside of git.
    """
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _field(file: str, name: str) -> str:
    lines = Path(file).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "0 unknown")


def _release() -> str:
    named = platform.freedesktop_os_release()
    return named.get("PRETTY_NAME", "unknown")


def _disk(state: Path) -> str:
    """
    The file system that holds the folder, and the kind of its device.
    """
    asked = ["stat", "--file-system", "--format=%T", str(state)]
    kind = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    number = os.stat(state).st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    virtual = "virtual" if "virtio" in str(device.resolve()) else ""
    return " ".join(word for word in (kind, "on a", virtual, "disk") if word)
