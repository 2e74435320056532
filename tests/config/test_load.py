"""
Configuration files: good and bad values, all problems at once, what depends on what.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lmrelay.config.load import KEY_LENGTH, TOKEN_KEY, ensure_token_key, load
from lmrelay.config.values import Config
from lmrelay.errors import ConfigError

GOOD = {
    "server": ['hostname = "relay.example"', 'state_dir = "state"'],
    "tls": ['certificate = "relay.crt"', 'private_key = "relay.key"'],
}
TOKEN = '[[tokens]]\nname = "web"\nid = "abcdefghijkl"\nsha256 = "' + "0" * 64 + '"\n'


def write(folder: Path, extra: str = "", **projects: str) -> Path:
    """
    A configuration with C{extra} after the least that it needs, and a file a project.
    """
    tables = {name: list(lines) for name, lines in GOOD.items()}
    name = ""
    rest: list[str] = []
    for line in extra.splitlines():
        header = re.fullmatch(r"\[(\w+)\]", line)
        name = header[1] if header else ("" if line.startswith("[") else name)
        if name in tables and not header:
            key = line.partition("=")[0].strip()
            tables[name] = [one for one in tables[name] if one.partition("=")[0].strip() != key] + [line]
        elif name not in tables:
            rest.append(line)
    text = "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in tables.items())
    path = folder / "lmrelay.toml"
    path.write_text(text + "\n".join(rest))
    (folder / "projects.d").mkdir(exist_ok=True)
    for slug, content in projects.items():
        (folder / "projects.d" / f"{slug}.toml").write_text(content)
    return path


def problems(path: Path) -> list[tuple[str, str, str]]:
    """
    What L{load} says is wrong: the file's name, the key and the reason.
    """
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [(Path(one.file).name, one.key, one.reason) for one in caught.value.problems]


@pytest.mark.parametrize(
    ("extra", "path", "expected"),
    [
        ('[server]\ndrain = "5m"', "server.drain", 300.0),
        ("[server]\nworkers = 1", "server.workers", 1),
        ('[server]\nhostname = "Relay.Example"', "server.hostname", "relay.example"),
        ('[limits]\nmessage_size = "1MiB"', "limits.message_size", 1024 * 1024),
        ("[limits]\nrecipients = 5", "limits.recipients", 5),
        ('[timeouts]\nsession = "28d"', "timeouts.session", 28 * 86400.0),
        ('[delivery]\nretry = ["1m", 5]', "delivery.retry", (60.0, 5.0)),
        ('[queue]\nretention = "48h"', "queue.retention", 48 * 3600.0),
        ("[auth]\nmax_failures = 1", "auth.max_failures", 1),
        ('[auth]\ntoken_prefix = "lttr_"', "auth.token_prefix", "lttr_"),
        ('[log]\nlevel = "debug"', "log.level", "debug"),
    ],
)
def test_a_good_value_is_taken(tmp_path: Path, extra: str, path: str, expected: object) -> None:
    """
    A value of the documented form arrives as the value that the rooms read.
    """
    actual: object = load(write(tmp_path, extra))
    for name in path.split("."):
        actual = getattr(actual, name)
    assert expected == actual


@pytest.mark.parametrize(
    ("extra", "key", "word"),
    [
        ("[server]\nhostname = 5", "server.hostname", "expected"),
        ("[server]\nworkers = 2", "server.workers", "expected 1"),
        ("[server]\nworkers = true", "server.workers", "expected"),
        ('[server]\ndrain = "5 minutes"', "server.drain", "expected"),
        ("[server]\ndrain = -1", "server.drain", "expected"),
        ('[server]\nhostnam = "x"', "server.hostnam", "hostname"),
        ('[tls]\nminimum = "TLSv1.0"', "tls.minimum", "TLSv1.2"),
        ("[[listeners]]\nport = 65536", "listeners[0].port", "65535"),
        ("[[listeners]]\nport = 25\ninterface = 'eth0'", "listeners[0].interface", "IP address"),
        ('[[listeners]]\nport = 25\nsecurity = "plain"', "listeners[0].security", "loopback"),
        ('[[listeners]]\nport = 25\nsecurity = "ssl"', "listeners[0].security", "starttls"),
        ("[[listeners]]\nport = 25\n[[listeners]]\nport = 25", "listeners[1].port", "listeners[0]"),
        ("[auth]\nusernames = []", "auth.usernames", "at least one"),
        ("[auth]\nusernames = [5]", "auth.usernames[0]", "expected a string"),
        ('[auth]\nusernames = ["a b"]', "auth.usernames[0]", "printable"),
        ('[server]\nstate_dir = "a\\u0000b"', "server.state_dir", "a path"),
        ('[auth]\nforms = ["shard"]', "auth.forms[0]", "shared"),
        ('[auth]\ntoken_prefix = "a b"', "auth.token_prefix", "letters"),
        ('[auth]\ncram_md5 = "maybe"', "auth.cram_md5", "auto"),
        ("[limits]\nconnections = 0", "limits.connections", "expected"),
        ('[limits]\nmessage_size = "50 MB"', "limits.message_size", "50MiB"),
        ('[submission]\nbare_newlines = "keep"', "submission.bare_newlines", "normalize"),
        ('[submission]\ndialects = ["gmail"]', "submission.dialects[0]", "lettermint"),
        ('[queue]\nurl = "postgresql://db/x"', "queue.url", "not carried out"),
        ("[delivery]\nretry = []", "delivery.retry", "at least one"),
        ("[delivery]\nport = 0", "delivery.port", "65535"),
        ('[delivery]\ntls = "maybe"', "delivery.tls", "opportunistic"),
        ('[delivery]\nallow_networks = ["10.0.0.0/33"]', "delivery.allow_networks[0]", "expected"),
        ('[delivery.domains."b..example"]\ntls = "none"', 'delivery.domains."b..example"', ""),
        ('[dns]\nservers = ["ns.example"]', "dns.servers[0]", "expected an address"),
        ('[webhooks]\ntimeout = "0s"', "webhooks.timeout", "more than 0"),
        ('[http]\nlisten = "9100"', "http.listen", "expected"),
        ('[log]\nformat = "xml"', "log.format", "json"),
        ("[sever]\nx = 1", "sever", "server"),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, extra: str, key: str, word: str) -> None:
    """
    A key that is unknown, of a wrong type or impossible is told with what was expected, and nothing else is.
    """
    [(file, actual, reason)] = problems(write(tmp_path, extra))
    assert ("lmrelay.toml", key) == (file, actual)
    assert word in reason


@pytest.mark.parametrize(
    ("content", "key", "word"),
    [
        ('smtp = "yes"', "smtp", "expected"),
        ('domains = ["a..example"]', "domains[0]", ""),
        ('domains = ["."]', "domains[0]", ""),
        ('default_route = "news"', "default_route", "no route"),
        ('mode = "sandbox"', "mode", "not carried out"),
        ("max_messages_per_hour = 5", "max_messages_per_hour", "not carried out"),
        ('[routes.news]\nreturn_path = "b.example"', "routes.news.return_path", "not carried out"),
        ("[routes.news]\nredact = true", "routes.news.redact", "not carried out"),
        ('[routes.news]\nkind = "bulk"', "routes.news.kind", "broadcast"),
        ('[routes."No Slug"]', "routes.No Slug", "slug"),
        (TOKEN.replace("0" * 64, "0" * 63), "tokens[0].sha256", "64"),
        (TOKEN.replace("ijkl", "ijk"), "tokens[0].id", "12"),
        (TOKEN + 'networks = ["x"]', "tokens[0].networks[0]", "expected"),
        (TOKEN + 'expires = "soon"', "tokens[0].expires", "expected"),
        (TOKEN + 'token = "lmr_x"', "tokens[0].token", ""),
    ],
)
def test_a_bad_value_of_a_project_is_named(tmp_path: Path, content: str, key: str, word: str) -> None:
    """
    A project's file is held to the same: file, key, and what was expected.
    """
    [(file, actual, reason)] = problems(write(tmp_path, acme=content))
    assert ("acme.toml", key) == (file, actual)
    assert word in reason


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """
    One run tells what is wrong in every table and every file.
    """
    path = write(
        tmp_path, "[limits]\nrecipients = 0\n[[listeners]]\nport = -1", acme="smtp = 1", beta='mode = "sandbox"'
    )
    assert [
        ("acme.toml", "smtp"),
        ("beta.toml", "mode"),
        ("lmrelay.toml", "limits.recipients"),
        ("lmrelay.toml", "listeners[0].port"),
    ] == sorted((file, key) for file, key, _ in problems(path))


def test_a_listener_that_is_off_does_not_take_its_port(tmp_path: Path) -> None:
    """
    A port is free for another listener while the first is switched off, in either order.
    """
    off, on = "[[listeners]]\nport = 25\nenabled = false\n", "[[listeners]]\nport = 25\n"
    for extra in (off + on, on + off):
        assert 2 == len(load(write(tmp_path, extra)).listeners)


def test_one_token_is_of_one_project(tmp_path: Path) -> None:
    """
    Two projects with the same token are refused: whose mail it is would hang on the order of files.
    """
    other = TOKEN.replace("abcdefghijkl", "mnopqrstuvwx")
    found = problems(write(tmp_path, acme=TOKEN, beta=other))
    assert [("beta.toml", "tokens[0].sha256")] == [(file, key) for file, key, _ in found]
    assert "acme" in found[0][2]


def test_a_token_id_is_used_once(tmp_path: Path) -> None:
    """
    Two tokens with one id are refused.
    """
    found = problems(write(tmp_path, acme=TOKEN, beta=TOKEN.replace("0" * 64, "1" * 64)))
    assert [("beta.toml", "tokens[0].id")] == [(file, key) for file, key, _ in found]


def test_tls_files_are_needed_by_listeners_with_tls_only(tmp_path: Path) -> None:
    """
    Without a certificate a listener in clear on loopback runs, and one with TLS does not.
    """
    path = tmp_path / "lmrelay.toml"
    start = (
        '[server]\nhostname = "relay.example"\nstate_dir = "state"\n[[listeners]]\nport = 25\ninterface = "127.0.0.1"\n'
    )
    path.write_text(start + 'security = "plain"\n')
    assert 1 == len(load(path).listeners)
    path.write_text(start)
    assert ["tls.certificate", "tls.private_key"] == [key for _, key, _ in problems(path)]


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    """
    Wherever the daemon is started, the same files are meant.
    """
    config: Config = load(write(tmp_path))
    assert (tmp_path / "state", tmp_path / "relay.crt") == (config.server.state_dir, config.tls.certificate)


def test_a_harmless_key_of_later_is_a_warning(tmp_path: Path) -> None:
    """
    What nothing of security hangs on is taken, and told.
    """
    config = load(write(tmp_path, '[http]\nlisten = "127.0.0.1:9100"'))
    assert ["http.listen"] == [one.key for one in config.warnings]


@pytest.mark.parametrize("octets", [b"\xff", b"[server", b"a = 1\na = 2", b"a = " + b"[" * 5000])
def test_what_is_no_toml_is_one_problem(tmp_path: Path, octets: bytes) -> None:
    """
    A file that cannot be read as TOML is named, and no more is guessed of it.
    """
    path = tmp_path / "lmrelay.toml"
    path.write_bytes(octets)
    assert [("lmrelay.toml", "")] == [found[:2] for found in problems(path)]


def test_the_token_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    """
    The key file is made on first use, is its owner's alone, and stays; one that others can read is refused.
    """
    path = write(tmp_path)
    assert b"" == load(path).token_key
    key = ensure_token_key(tmp_path / "state")
    file = tmp_path / "state" / TOKEN_KEY
    assert (KEY_LENGTH, 0o600) == (len(key), file.stat().st_mode & 0o777)
    assert (key, key) == (ensure_token_key(tmp_path / "state"), load(path).token_key)
    file.chmod(0o640)
    assert [(TOKEN_KEY, "")] == [found[:2] for found in problems(path)]
