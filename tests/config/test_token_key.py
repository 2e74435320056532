"""
The key under which tokens are sealed: made once, for its owner alone.
"""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lmrelay.config.load import TOKEN_KEY, ensure_token_key, read_token_key
from lmrelay.errors import ConfigError


def test_none_yet(tmp_path: Path) -> None:
    """
    Reading makes nothing.
    """
    assert b"" == read_token_key(tmp_path / "state")
    assert [] == list(tmp_path.iterdir())


def test_made_once(tmp_path: Path) -> None:
    """
    The first use makes it with its folder, for the owner alone; every later one finds it, and no draft is left.
    """
    state = tmp_path / "var" / "state"
    key = ensure_token_key(state)
    assert (32, key, key) == (len(key), ensure_token_key(state), read_token_key(state))
    assert [TOKEN_KEY] == [path.name for path in state.iterdir()]
    assert (0o600, 0o700) == tuple(stat.S_IMODE(path.stat().st_mode) for path in (state / TOKEN_KEY, state))


def test_keys_differ(tmp_path: Path) -> None:
    """
    Two servers have two keys.
    """
    assert ensure_token_key(tmp_path / "a") != ensure_token_key(tmp_path / "b")


def test_made_at_the_same_time(tmp_path: Path) -> None:
    """
    Of many makers one wins, and all get its key: what one sealed the others must open.
    """
    for number in range(20):
        state = tmp_path / str(number)
        with ThreadPoolExecutor(8) as makers:
            keys = set(makers.map(lambda _, state=state: ensure_token_key(state), range(8)))
        assert {read_token_key(state)} == keys
        assert [TOKEN_KEY] == [path.name for path in state.iterdir()]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o700 | 0o010])
def test_open_to_others(tmp_path: Path, mode: int) -> None:
    """
    A key that others could read or use is refused, with the way to mend it.
    """
    ensure_token_key(tmp_path)
    (tmp_path / TOKEN_KEY).chmod(mode)
    for use in (read_token_key, ensure_token_key):
        with pytest.raises(ConfigError, match="expected mode 0600"):
            use(tmp_path)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_no_key(tmp_path: Path, length: int) -> None:
    """
    A file of another length is no key, an empty one included, and is never replaced.
    """
    path = tmp_path / TOKEN_KEY
    path.write_bytes(b"x" * length)
    path.chmod(0o600)
    for use in (read_token_key, ensure_token_key):
        with pytest.raises(ConfigError, match="expected a key of 32 octets"):
            use(tmp_path)
    assert length == path.stat().st_size


def test_not_to_be_made(tmp_path: Path) -> None:
    """
    Where it cannot be made, that is said of the file.
    """
    (tmp_path / "state").touch()
    with pytest.raises(ConfigError, match=TOKEN_KEY):
        ensure_token_key(tmp_path / "state")


def test_no_file(tmp_path: Path) -> None:
    """
    A folder in its place cannot be read.
    """
    (tmp_path / TOKEN_KEY).mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token_key(tmp_path)
