"""
What is shipped beside the code: the unit, the plugin, the list of packages.
"""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lmrelay

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "systemd" / "lmrelay.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_exposure_of_the_unit() -> None:
    """
    The sandbox stays as tight as the documentation says: below 2.0.
    """
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    level = re.search(r"exposure level for lmrelay\.service: ([0-9.]+)", printed)
    assert level is not None, printed
    assert float(level[1]) < 2.0
    assert f"**{level[1]}**" in (ROOT / "docs" / "systemd.md").read_text()


def test_unit_checks_before_reload() -> None:
    """
    A reload checks first, then signals.
    """
    reloads = re.findall(r"^ExecReload=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert len(reloads) == 2
    assert " check " in reloads[0]
    assert "-HUP" in reloads[1]


def test_every_package_is_shipped() -> None:
    """
    A folder of the package that setup.cfg forgot would be missing from the wheel.
    """
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    listed = set(parser["options"]["packages"].split())
    package = Path(lmrelay.__file__).resolve().parent
    present = {".".join(path.parent.relative_to(package.parent).parts) for path in package.rglob("*.py")}
    assert listed == present | {"twisted.plugins"}


def test_plugin_is_found() -> None:
    """
    twistd lists the plugin without installing a reactor for it, and shows its options.
    """
    code = (
        "import sys; from twisted.plugin import getPlugins; from twisted.application.service import IServiceMaker\n"
        "maker = next(m for m in getPlugins(IServiceMaker) if m.tapname == 'lmrelay')\n"
        "print(maker.options().getSynopsis()); print('twisted.internet.reactor' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT).stdout
    assert "--config FILE" in printed
    assert printed.strip().endswith("False")


def test_wheel_has_the_rules(tmp_path: Path) -> None:
    """
    What setuptools puts into a wheel has the rules for receivers beside the code that reads them, as they are in etc,
    and the status page with its stylesheet.
    """
    source, built = tmp_path / "source", tmp_path / "built"
    for folder in ("lmrelay", "twisted"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # The step of a build that gathers the files, which needs no network and no other package.
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build_py", "-d", str(built)]
    subprocess.run(command, capture_output=True, timeout=120, check=True, cwd=source)
    assert (ROOT / "etc" / "receivers.toml").read_bytes() == (built / "lmrelay/config/receivers.toml").read_bytes()
    for page in (ROOT / "lmrelay/web/style.css", *(ROOT / "lmrelay/web/templates").iterdir()):
        assert page.read_bytes() == (built / page.relative_to(ROOT)).read_bytes()
    for name in (
        "lmrelay/web/style.css",
        "lmrelay/web/templates/base.html",
        "lmrelay/config/receivers.py",
        "lmrelay/py.typed",
        "twisted/plugins/lmrelay_plugin.py",
    ):
        assert (built / name).is_file()
