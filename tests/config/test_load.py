"""
Loading: all that is wrong at once and in order, what is between the tables, and several files.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrelay.config import values as v
from lmrelay.config.load import TOKEN_KEY, load
from lmrelay.config.project import Project
from lmrelay.config.seals import seal, unseal
from lmrelay.config.words import Switch, TlsPolicy
from lmrelay.errors import ConfigError, Problem
from tests.config.folder import TLS, complaints, complete, read, token, write

KEY = bytes(range(32))


def test_defaults(tmp_path: Path) -> None:
    """
    A file with what is required gives everything else by default, and no warning.
    """
    path = write(tmp_path, {"server": {"hostname": "relay.example"}, "tls": TLS})
    tls = v.ServerTls(tmp_path / "relay.crt", tmp_path / "relay.key")
    server = v.Server("relay.example", read_projects=tmp_path / "projects.d")
    # The default state folder is the machine's own, and a relay that runs here has its key there.
    assert v.Config(path, server, tls) == attrs.evolve(load(path), token_key=b"", receivers=())


def test_the_documented_listeners() -> None:
    """
    Without a listener in the file there are the six that are documented.
    """
    assert [(25, "starttls"), (587, "starttls"), (2525, "starttls"), (2587, "starttls"), (465, "implicit"),
            (2465, "auto")] == [(one.port, one.security.value) for one in v.DEFAULT_LISTENERS]  # fmt: skip


def test_all_at_once(tmp_path: Path) -> None:
    """
    What is wrong anywhere is told in the order of the tables, then of the files, each thing once.
    """
    main = {
        "serer": {},
        "server": {"hostname": "a b", "workers": "x"},
        "listeners": [{"port": 25}, {"port": 99999}],
        "auth": {"forms": ["x", "y"]},
        "delivery": {"tls": "x", "domains": {"b..example": {}, "c.example": {"tls": 5, "x": 1}}},
    }
    projects: dict[str, Any] = {
        "aa": {"smtp": 1, "tokens": [token(), 5], "routes": {"x": {"kind": 5}}},
        "bb": "smtp = ",
        "cc": {"max_size": 0, "default_route": "gone", "routes": {"x": {"max_size": 1, "max_connections": 1}}},
        "dd": {"default_route": "gone"},
    }
    found = [line.partition(": ")[::2] for line in complaints(tmp_path, main, **projects)]
    assert [
        ("lmrelay.toml", 'delivery.domains."b..example"'),
        ("lmrelay.toml", 'delivery.domains."c.example".x'),
        ("lmrelay.toml", 'delivery.domains."c.example".tls'),
        ("lmrelay.toml", "serer"),
        ("lmrelay.toml", "server.hostname"),
        ("lmrelay.toml", "server.workers"),
        ("lmrelay.toml", "listeners[1].port"),
        ("lmrelay.toml", "auth.forms[0]"),
        ("lmrelay.toml", "auth.forms[1]"),
        ("lmrelay.toml", "delivery.tls"),
        ("projects.d/aa.toml", "routes.x.kind"),
        ("projects.d/aa.toml", "smtp"),
        ("projects.d/aa.toml", "tokens[1]"),
        ("projects.d/bb.toml", "is not TOML"),
        ("projects.d/cc.toml", "routes.x.max_size"),
        ("projects.d/cc.toml", "routes.x.max_connections"),
        ("projects.d/cc.toml", "max_size"),
        ("projects.d/dd.toml", "default_route"),
    ] == [(file, rest.partition(": ")[0]) for file, rest in found]


def test_between_tables_despite_a_broken_one(tmp_path: Path) -> None:
    """
    What is wrong between tables is told even where another table cannot be read.
    """
    main = {"server": {}, "listeners": [{"port": 25}, {"port": 25}]}
    assert [
        "lmrelay.toml: server.hostname: is required",
        "lmrelay.toml: listeners[1].port: is that of listeners[0] too",
        "lmrelay.toml: tls.certificate: is required while a listener with TLS is on",
        "lmrelay.toml: tls.private_key: is required while a listener with TLS is on",
    ] == complaints(tmp_path, main)


@pytest.mark.parametrize(
    ("listeners", "missing"),
    [
        ([{"port": 587}], True),
        ([{"port": 465, "security": "implicit"}], True),
        ([{"port": 465, "security": "implicit", "enabled": False}], False),
        ([{"port": 25, "security": "plain", "interface": "127.0.0.1"}], False),
        ([], False),
    ],
)
def test_certificate_is_needed(tmp_path: Path, listeners: list[dict[str, object]], missing: bool) -> None:
    """
    By a listener with TLS that is on, and by no other.
    """
    found = complaints(tmp_path, {"server": {"hostname": "relay.example"}, "listeners": listeners})
    assert (["lmrelay.toml: tls.certificate", "lmrelay.toml: tls.private_key"] if missing else []) == [
        line.partition(": is required")[0] for line in found
    ]


def test_one_half_of_the_certificate(tmp_path: Path) -> None:
    """
    A certificate without its key is half of what is needed.
    """
    main = {"server": {"hostname": "relay.example"}, "tls": {"certificate": "relay.crt"}}
    assert ["lmrelay.toml: tls.private_key: is required while a listener with TLS is on"] == complaints(tmp_path, main)


def test_paths(tmp_path: Path) -> None:
    """
    A relative path is relative to the file that names it, wherever the process runs.
    """
    tables: Any = {
        "server": {"state_dir": "state", "read_projects": "../tenants"},
        "tls": {"certificate": "/etc/relay.crt", "private_key": "keys/relay.key"},
        "delivery": {"ca_file": "ca.pem"},
        "webhooks": {"ca_file": "../ca.pem"},
    }
    folder = tmp_path / "etc"
    folder.mkdir()
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "acme.toml").write_text('domains = ["acme.example"]')
    config = read(folder, complete(folder, **tables))
    assert (
        folder / "state",
        folder / "../tenants",
        Path("/etc/relay.crt"),
        folder / "keys/relay.key",
        folder / "ca.pem",
        folder / "../ca.pem",
        ["acme"],
    ) == (
        config.server.state_dir,
        config.server.read_projects,
        config.tls.certificate,
        config.tls.private_key,
        config.delivery.ca_file,
        config.webhooks.ca_file,
        list(config.projects),
    )


def test_a_relative_path_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A daemon changes its folder, so that no path may depend on where it was started.
    """
    write(tmp_path, complete(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert tmp_path / "lmrelay.toml" == load(Path("lmrelay.toml")).path


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"\xff", "is not UTF-8"),
        (b"server = ", "is not TOML"),
        (b"[server]\n[server]", "is not TOML"),
        (b"x = " + b"[" * 5000, "is not TOML"),
    ],
)
def test_no_toml(tmp_path: Path, octets: bytes, words: str) -> None:
    """
    What is no TOML is one complaint, about the main file as about a project's.
    """
    path = write(tmp_path, complete(tmp_path))
    project = tmp_path / "projects.d" / "acme.toml"
    project.write_bytes(octets)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [(str(project), "")] == [(one.file, one.key) for one in caught.value.problems]
    assert words in caught.value.problems[0].reason
    project.unlink()
    path.write_bytes(octets)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [(str(path), "")] == [(one.file, one.key) for one in caught.value.problems]


def test_no_file(tmp_path: Path) -> None:
    """
    A file that is not there, or is a folder, is named.
    """
    for path in (tmp_path / "gone.toml", tmp_path):
        with pytest.raises(ConfigError, match=f"{path}: cannot be read: "):
            load(path)


def test_no_projects_folder(tmp_path: Path) -> None:
    """
    It may be missing where it is the default, not where it was asked for; a file in its place is none.
    """
    path = tmp_path / "lmrelay.toml"
    text = '[server]\nhostname = "a.example"\n{}[tls]\ncertificate = "c"\nprivate_key = "k"'
    path.write_text(text.format(""))
    assert {} == load(path).projects
    path.write_text(text.format('read_projects = "tenants"\n'))
    with pytest.raises(ConfigError, match="tenants: there is no such folder"):
        load(path)
    (tmp_path / "tenants").touch()
    with pytest.raises(ConfigError, match="tenants: cannot be read"):
        load(path)


def test_which_files_are_projects(tmp_path: Path) -> None:
    """
    An editor's leavings are no projects; a name that is no slug is wrong.
    """
    path = write(tmp_path, complete(tmp_path), acme={}, Bad_Name={})
    for name in (".acme.toml", "acme.toml~", "acme.toml.bak", ".#acme.toml", "README"):
        (tmp_path / "projects.d" / name).write_text("nonsense =")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert ["Bad_Name.toml"] == [Path(one.file).name for one in caught.value.problems]
    (tmp_path / "projects.d" / "Bad_Name.toml").unlink()
    assert ["acme"] == list(load(path).projects)


@pytest.mark.parametrize("key", ["id", "sha256"])
def test_tokens_over_projects(tmp_path: Path, key: str) -> None:
    """
    A token, and an id, is one project's in the whole relay: a login by it could mean either.
    """
    first, second = token(), token("bbbbbbbbbbbb", "x")
    second[key] = first[key]
    found = complaints(tmp_path, complete(tmp_path), aa={"tokens": [first]}, bb={"tokens": [second]})
    assert [f"projects.d/bb.toml: tokens[0].{key}: is that of a token of project aa too"] == found


def test_token_names_over_projects(tmp_path: Path) -> None:
    """
    A name is one token's in its project only.
    """
    projects = {"aa": {"tokens": [token()]}, "bb": {"tokens": [token("bbbbbbbbbbbb")]}}
    assert [] == complaints(tmp_path, complete(tmp_path), **projects)


def test_recipient_domains(tmp_path: Path) -> None:
    """
    Settings of a recipient domain go by its A-labels, and no two spellings of one may differ.
    """
    domains = {"Bücher.example": {"tls": "enforced"}, "b.example": {}}
    config = read(tmp_path, complete(tmp_path, delivery={"domains": domains}))
    expected = {"xn--bcher-kva.example": v.DomainDelivery(TlsPolicy.ENFORCED), "b.example": v.DomainDelivery()}
    assert expected == config.delivery.domains
    twice = {"B.example": {"tls": "enforced"}, "b.example": {"tls": "none"}}
    assert ['lmrelay.toml: delivery.domains."b.example": is the same domain as "B.example"'] == complaints(
        tmp_path, complete(tmp_path, delivery={"domains": twice})
    )


def test_warnings(tmp_path: Path) -> None:
    """
    What does no harm but is not carried out, or cannot be meant, is a warning.
    """
    hook = {"name": "shop", "url": "https://a.example", "secret": "whsec_12345678"}
    config = read(tmp_path, complete(tmp_path), aa={"webhooks": [hook]}, bb={"domains": ["*"]})
    assert [("aa.toml", "domains")] == [(Path(one.file).name, one.key) for one in config.warnings]


def warned(config: v.Config) -> list[str]:
    return [f"{Path(one.file).name}: {one}".replace(f"{one.file}: ", "") for one in config.warnings]


def test_limits_above_the_server(tmp_path: Path) -> None:
    """
    A project's limit that the server's own keeps from ever being reached is a warning; one as high is none.
    """
    server = {"recipients": 10, "message_size": "1MiB", "connections": 100}
    high = {"domains": ["*"], "max_recipients": 11, "max_size": "2MiB", "max_connections": 101}
    equal = {"domains": ["*"], "max_recipients": 10, "max_size": "1MiB", "max_connections": 100}
    assert [
        "aa.toml: max_recipients: is above the server's own limit, which holds: [limits] recipients = 10",
        "aa.toml: max_size: is above the server's own limit, which holds: [limits] message_size = 1048576",
        "aa.toml: max_connections: is above the server's own limit, which holds: [limits] connections = 100",
    ] == warned(read(tmp_path, complete(tmp_path, limits=server), aa=high, bb=equal))


def test_links_without_key(tmp_path: Path) -> None:
    """
    Links for recipients are signed under the server's key: where there is none, that is a warning for each route.
    """
    link = {"kind": "broadcast", "unsubscribe_url": "https://a.example/{token}"}
    project = {"domains": ["*"], "routes": {"news": link, "offers": link, "plain": {"kind": "broadcast"}}}
    found = warned(read(tmp_path, complete(tmp_path), aa=project))
    assert ["aa.toml: routes.news.unsubscribe_url", "aa.toml: routes.offers.unsubscribe_url"] == [
        line.partition(": its links cannot be signed, so its messages wait: there is no ")[0] for line in found
    ]
    assert f"{TOKEN_KEY}; `lmrelay route key aa news` makes it" in found[0]
    place_key(tmp_path)
    assert [] == warned(read(tmp_path, complete(tmp_path), aa=project))


def test_return_paths_without_key(tmp_path: Path) -> None:
    """
    So with envelope senders for recipients.
    """
    project = {"domains": ["*"], "routes": {"outgoing": {"return_path": "bounce.a.example"}}}
    (found,) = warned(read(tmp_path, complete(tmp_path), aa=project))
    assert found.startswith("aa.toml: routes.outgoing.return_path: its return paths cannot be signed")
    place_key(tmp_path)
    assert [] == warned(read(tmp_path, complete(tmp_path), aa=project))


def test_nobody_takes_bounces(tmp_path: Path) -> None:
    """
    A return path to which nothing can come back is a warning.
    """
    place_key(tmp_path)
    project = {"domains": ["*"], "routes": {"outgoing": {"return_path": "bounce.a.example"}, "other": {}}}
    (found,) = warned(read(tmp_path, complete(tmp_path, listeners=[{"port": 587}]), aa=project))
    assert found.startswith("aa.toml: routes.outgoing: has a return_path, but no listener takes what comes back")
    taking = [{"port": 587}, {"port": 2525, "bounces": True}]
    assert [] == warned(read(tmp_path, complete(tmp_path, listeners=taking), aa=project))


def place_key(folder: Path, key: bytes = KEY) -> None:
    (folder / "state").mkdir(exist_ok=True)
    (folder / "state" / TOKEN_KEY).write_bytes(key)
    (folder / "state" / TOKEN_KEY).chmod(0o600)


def sealed(slug: str, id: str, key: bytes = KEY) -> str:
    return seal("a token of some length", key, slug, id, os.urandom)


def test_seals(tmp_path: Path) -> None:
    """
    Seals that the key opens are kept; the others are a warning by project, and as none.
    """
    place_key(tmp_path)
    good, bad = sealed("aa", "a" * 12), sealed("aa", "b" * 12, bytes(32))
    project = {
        "domains": ["*"],
        "tokens": [token("a" * 12, "good", cram=good), token("b" * 12, "bad", cram=bad), token("c" * 12, "none")],
    }
    elsewhere = {"domains": ["*"], "tokens": [token(f"{n:012}", f"n{n}", cram=good) for n in range(9)]}
    config = read(tmp_path, complete(tmp_path), aa=project, bb=elsewhere)
    assert [good, "", ""] == [one.cram for one in config.projects["aa"].tokens]
    assert unseal(good, config.token_key, "aa", "a" * 12) == "a token of some length"
    assert ["aa.toml: tokens: 'bad'", "bb.toml: tokens: 'n0', 'n1', 'n2' and 6 more"] == [
        f"{Path(one.file).name}: {one.key}: {one.reason.partition(' were sealed under another key than ')[0]}"
        for one in config.warnings
    ]


def test_seals_without_key(tmp_path: Path) -> None:
    """
    With the key gone no seal can be opened, and that is said.
    """
    config = read(
        tmp_path, complete(tmp_path), aa={"domains": ["*"], "tokens": [token(cram=sealed("aa", "aaaaaaaaaaaa"))]}
    )
    assert [""] == [one.cram for one in config.projects["aa"].tokens]
    assert "is sealed, but there is no " in config.warnings[0].reason.replace("are sealed", "is sealed")


WORDS = """
    server hostname state_dir drain tls port interface security auth forms delivery domains retry allow_networks
    timeouts servers tokens url secret name id sha256 cram expires networks kind routes unsubscribe_url redact
    max_messages_per_day outgoing broadcast {token} x b.example
"""
KEYS = st.sampled_from(WORDS.split())
LEAVES = st.one_of(
    st.none().map(lambda _: ""),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["starttls", "*", ".", "::1", "a.example", "5m", "1KiB", "token", "[", "a" * 64, "\0"]),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    st.times(),
)
TOML = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def tables(cls: Any) -> Any:
    return st.dictionaries(st.sampled_from([one.name for one in attrs.fields(cls)]), TOML, max_size=5)


@given(tables(v.Config), tables(Project))
@settings(max_examples=150, deadline=None)
def test_anything(main: dict[str, Any], project: dict[str, Any]) -> None:
    """
    Whatever the tables hold, they are read or complained of; nothing else happens.
    """
    with TemporaryDirectory() as folder:
        path = write(Path(folder), {**complete(Path(folder)), **main}, acme=project)
        problems = refusal(path)
        assert problems is None or (problems and all(problem.reason for problem in problems))


def test_dane_needs_name_servers_that_validate(tmp_path: Path) -> None:
    """
    Asked for, it is refused where nothing could come of it; left to the relay, it goes by the name servers.
    """
    for dane, validating in (("on", True), ("auto", False), ("auto", True), ("off", False)):
        main = complete(tmp_path, delivery={"dane": dane}, dns={"validating": validating})
        assert Switch(dane) is read(tmp_path, main).delivery.dane
    main = complete(tmp_path, delivery={"dane": "on"})
    assert ['lmrelay.toml: delivery.dane: is "on", and needs [dns] validating = true'] == complaints(tmp_path, main)


def refusal(path: Path) -> tuple[Problem, ...] | None:
    """
    What is wrong with it; None if nothing is.
    """
    try:
        load(path)
    except ConfigError as error:
        return error.problems
    return None


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
@settings(max_examples=60, deadline=None)
def test_any_octets(octets: bytes) -> None:
    """
    A file of any octets is read or refused with L{ConfigError}.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.toml"
        path.write_bytes(octets)
        with pytest.raises(ConfigError):
            load(path)
