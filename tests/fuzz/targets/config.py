"""
Any file as a configuration, as a project's and as rules for receivers: it is one, or there is an error that names file
and reason.

The part of the data before C{####} is the main file, the next a project's, the last the rules.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import define
from hypothesis import strategies as st

from lmrelay.config.load import load, read_project
from lmrelay.config.project import Project
from lmrelay.config.receivers import read_receivers
from lmrelay.config.values import Config
from lmrelay.errors import ConfigError
from tests.fuzz.shared import sentences
from tests.fuzz.trees import tables, to_toml

BETWEEN = b"####"

WORDS = (
    b"[server]\n",
    b'hostname = "relay.example"\n',
    b"####",
    b"[[listeners]]\n",
    b"port = 25\n",
    b'security = "plain"\n',
    b"=",
    b'"',
    b"[delivery]\n",
    b'expire = "48h"\n',
    b'[delivery.domains."b.example"]\n',
    b'tls = "enforced"\n',
    b"[routes.x]\n",
    b"\n",
    b'domains = ["acme.example"]\n',
    b"[[tokens]]\n",
    b'sha256 = "',
    b"[[webhooks]]\n",
    b'url = "https://a.example/"\n',
    b"{}",
    b"[]",
    b"enabled = false\n",
    b"interface = ",
    b"'127.0.0.1'\n",
    b"nan",
    b"inf",
    b"1979-05-27",
    b"9999-12-31T23:59:59-12:00",
    b'"""',
    b"\xff",
    b"[[receivers]]\n",
    b'name = "x"\n',
    b'mx = ["*.b.example"]\n',
    b"0x",
    b"1e999",
    b"\\u0000",
    b"[http]\n",
    b"[auth]\n",
    b"a.b.c = 1\n",
)

_MAIN = tables(Config).map(to_toml)
_PROJECT = tables(Project).map(to_toml)
_WELL = (
    b'[server]\nhostname = "relay.example"\n[[listeners]]\nport = 2525\nsecurity = "plain"\ninterface = "127.0.0.1"\n'
)
examples = st.one_of(
    sentences(WORDS, 16),
    st.tuples(_MAIN, _PROJECT).map(BETWEEN.join),
    _PROJECT.map(lambda text: _WELL + BETWEEN + text),
)


@define(eq=False)
class _Folder:
    holder: TemporaryDirectory[str]

    @property
    def path(self) -> Path:
        """
        Where the files are.
        """
        return Path(self.holder.name)


@cache
def _folder() -> _Folder:
    folder = _Folder(TemporaryDirectory(prefix="lmrelay-fuzz-"))
    (folder.path / "projects.d").mkdir()
    return folder


def target(data: bytes) -> None:
    """
    Loaded as files.
    """
    main, project, rules = (*data.split(BETWEEN, 2), b"", b"")[:3]
    folder = _folder().path
    path, project_path, rules_path = folder / "lmrelay.toml", folder / "projects.d" / "acme.toml", folder / "rules.toml"
    path.write_bytes(main)
    project_path.write_bytes(project)
    rules_path.write_bytes(rules)
    for read, of in ((load, path), (read_project, project_path), (read_receivers, rules_path)):
        _check(read, of)


def _check(read: object, path: Path) -> None:
    try:
        found = read(path)  # type: ignore[operator]
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.file
            assert problem.reason
            assert "Error" not in problem.reason
        return
    # Nothing of it hangs on chance, and what has to be a key of something is.
    assert found == read(path)  # type: ignore[operator]
    hash(found.server if isinstance(found, Config) else repr(found))
