"""
C{lmrelay dkim}, over real files and a real name server.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmrelay.cli.lookups import TXT
from lmrelay.config.load import load
from lmrelay.testing.name_server import NameServer, Said, Zone
from tests.cli.home import make_home, refused, run, said
from tests.cli.zone import configure, rdata, serving, texts

NAME = "rsa-20261121._domainkey.acme.example"


@pytest.fixture
def server() -> Iterator[NameServer]:
    with serving(Zone()) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, server: NameServer) -> Path:
    home = make_home(tmp_path)
    configure(home, server.port)
    return home


def create(home: Path, *arguments: str) -> Any:
    return said(home, "dkim", "create", "acme.example", *arguments)


def publish(server: NameServer, made: Any) -> None:
    texts(server.zone, made["record"]["name"], made["record"]["value"])


def keys(home: Path) -> list[tuple[str, str, bool]]:
    """
    What the daemon would read.
    """
    found = load(home / "lmrelay.toml").dkim
    return [(key.selector, key.algorithm, key.active) for of_domain in found.values() for key in of_domain]


def test_create(home: Path) -> None:
    """
    The key is for its owner alone, does not sign yet, and its record is told whole and in strings.
    """
    made = create(home)
    assert [("rsa-20261121", "rsa", False)] == keys(home)
    path = Path(made["file"])
    modes = [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent, path.parent.parent)]
    assert [0o600, 0o700, 0o700] == modes
    assert [path.name] == os.listdir(path.parent)
    record = made["record"]
    assert (NAME, "TXT", record["value"]) == (record["name"], record["type"], "".join(record["strings"]))
    assert 255 == max(map(len, record["strings"]))
    assert record["value"].startswith("v=DKIM1; k=rsa; p=MIIBIjAN")
    assert "PRIVATE" not in json.dumps(made)


def test_create_for_people(home: Path) -> None:
    """
    People get the record to paste, for a form and for a zone file, and the next command.
    """
    told = run(home, "dkim", "create", "acme.example", "--algorithm", "ed25519", "--selector", "s1").stdout
    text = next(line for line in told.splitlines() if line.startswith("    v=DKIM1; k=ed25519; p=")).strip()
    assert "    s1._domainkey.acme.example\n" in told
    assert f'    s1._domainkey.acme.example. IN TXT "{text}"\n' in told
    assert told.endswith("lmrelay dkim activate acme.example s1\n")


def test_create_active(home: Path) -> None:
    """
    A key may sign from the next reload on, where the operator says so.
    """
    create(home, "--activate")
    assert [("rsa-20261121", "rsa", True)] == keys(home)


def test_create_for_a_stranger(home: Path) -> None:
    """
    A key for a domain that no project sends as is made, with a word about it.
    """
    told = run(home, "dkim", "create", "other.example")
    assert (0, True) == (told.exit_code, "no project may send as other.example" in told.stderr)
    assert "no project" not in run(home, "dkim", "create", "acme.example").stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["localhost"], "expected a domain"),
        (["a b.example"], "not a valid name"),
        (["[192.0.2.1]"], "expected a domain"),
        (["acme.example", "--selector", "a_b"], "a selector has"),
        (["acme.example", "--selector", "../x"], "a selector has"),
        (["acme.example", "--selector", ".".join(["a" * 60] * 5)], "too long"),
    ],
)
def test_create_refused(home: Path, arguments: list[str], reason: str) -> None:
    """
    What can be no domain or selector is refused, and no file is made.
    """
    assert reason in refused(home, "dkim", "create", *arguments)
    assert not (home / "state").exists()


def test_create_twice(home: Path) -> None:
    """
    A key is never overwritten, whatever its state.
    """
    create(home)
    before = Path(create(home, "--selector", "s2", "--activate")["file"]).read_bytes()
    assert "--selector" in refused(home, "dkim", "create", "acme.example")
    assert "--selector" in refused(home, "dkim", "create", "acme.example", "--selector", "s2")
    assert "--selector" in refused(home, "dkim", "create", "acme.example", "--selector", "S2")
    assert before == (home / "state" / "dkim" / "acme.example" / "s2.pem").read_bytes()


def test_list(home: Path) -> None:
    """
    The keys of a domain or of all, with what signs.
    """
    assert [] == said(home, "dkim", "list")
    create(home, "--selector", "s1", "--activate")
    create(home, "--selector", "s2")
    said(home, "dkim", "create", "www.acme.example", "--selector", "s3")
    found = [(one["domain"], one["selector"], one["active"]) for one in said(home, "dkim", "list")]
    assert [("acme.example", "s1", True), ("acme.example", "s2", False), ("www.acme.example", "s3", False)] == found
    assert ["s3"] == [one["selector"] for one in said(home, "dkim", "list", "WWW.acme.example")]
    assert "s1        rsa        yes" in run(home, "dkim", "list").stdout


def test_show(home: Path) -> None:
    """
    The record can be told again, of one key or all.
    """
    first, second = create(home, "--selector", "s1"), create(home, "--selector", "s2")
    assert [first, second] == said(home, "dkim", "show", "acme.example")
    assert [second] == said(home, "dkim", "show", "acme.example", "s2")
    assert second["record"]["zone"] in run(home, "dkim", "show", "acme.example").stdout
    assert "no key 's3'" in refused(home, "dkim", "show", "acme.example", "s3")
    assert "lmrelay dkim create b.example" in refused(home, "dkim", "show", "b.example")


def test_check(home: Path, server: NameServer) -> None:
    """
    A published key is right over UDP and TCP; a missing one of an active key is an error, and else a note.
    """
    made = create(home, "--selector", "s1", "--activate")
    create(home, "--selector", "s2")
    told = run(home, "dkim", "check", "acme.example")
    assert (1, "") == (told.exit_code, told.stdout.partition("note")[0])
    assert "s1._domainkey.acme.example: there is no TXT record" in told.stderr
    publish(server, made)
    told = run(home, "dkim", "check")
    assert (0, "") == (told.exit_code, told.stderr)
    assert "ok       s1._domainkey.acme.example is published\n" in told.stdout
    assert "note     s2._domainkey.acme.example: there is no TXT record; the key is not active\n" in told.stdout
    server.zone.say(made["record"]["name"], TXT, Said((rdata(made["record"]["value"] + "; t=y"),), truncated=True))
    (found, _) = said(home, "dkim", "check", "acme.example")
    assert (True, True, "tcp") == (
        found["published"],
        found["testing"],
        next(o[2] for o in server.asked[::-1] if o[0].startswith("s1")),
    )


def test_check_alias(home: Path, server: NameServer) -> None:
    """
    A record behind a CNAME is as good.
    """
    made = create(home, "--activate")
    texts(server.zone, "key.dns.example", made["record"]["value"])
    server.zone.alias(NAME, "key.dns.example")
    assert [True] == [one["published"] for one in said(home, "dkim", "check", "acme.example")]


def test_check_another(home: Path, server: NameServer) -> None:
    """
    The record of another key is told from the right one.
    """
    create(home, "--selector", "s1", "--activate")
    other = create(home, "--selector", "s2")
    texts(server.zone, "s1._domainkey.acme.example", other["record"]["value"])
    result = run(home, "dkim", "check", "acme.example", "--json")
    assert (1, False) == (result.exit_code, json.loads(result.stdout)[0]["published"])
    assert "another key" in result.stderr


def test_check_without_dns(home: Path, server: NameServer) -> None:
    """
    No answer is an error that says so, and is no proof that the record is missing.
    """
    create(home, "--activate")
    server.zone.fault(NAME, Said(rcode=2))
    told = run(home, "dkim", "check")
    assert (1, True) == (told.exit_code, "the DNS gives no answer: SERVFAIL from 127.0.0.1" in told.stderr)


def test_rotation(home: Path, server: NameServer) -> None:
    """
    A key signs once its record is there, and the old one no more once it is retired; the files tell it at once.
    """
    publish(server, create(home, "--selector", "s1", "--activate"))
    made = create(home, "--selector", "s2")
    assert "no TXT record; --force" in refused(home, "dkim", "activate", "acme.example", "s2")
    assert [("s1", "rsa", True), ("s2", "rsa", False)] == keys(home)
    publish(server, made)
    assert said(home, "dkim", "activate", "acme.example", "s2")["changed"]
    assert not said(home, "dkim", "activate", "acme.example", "s2")["changed"]
    assert [("s1", "rsa", True), ("s2", "rsa", True)] == keys(home)
    told = run(home, "dkim", "retire", "acme.example", "s1")
    assert (True, "") == ("Key s1 of acme.example is retired.\nIt takes effect" in told.stdout, told.stderr)
    assert [("s1", "rsa", False), ("s2", "rsa", True)] == keys(home)


def test_retire_the_last(home: Path) -> None:
    """
    Whoever retires the last key is told what follows.
    """
    create(home, "--activate")
    assert "no other active key" in run(home, "dkim", "retire", "acme.example", "rsa-20261121").stderr


def test_force(home: Path) -> None:
    """
    The operator may know better than the DNS.
    """
    create(home)
    assert said(home, "dkim", "activate", "acme.example", "rsa-20261121", "--force")["active"]
    assert [("rsa-20261121", "rsa", True)] == keys(home)


def test_too_many(home: Path) -> None:
    """
    A command never makes what the next reload would refuse.
    """
    other = ("--algorithm", "ed25519")
    for number in range(2):
        create(home, "--selector", f"s{number}", "--activate", *other)
    create(home, "--selector", "s2", *other)
    assert "retire one first" in refused(home, "dkim", "create", "acme.example", "--activate", *other)
    assert "retire one first" in refused(home, "dkim", "activate", "acme.example", "s2", "--force")
    create(home, "--activate")
    assert 4 == len(keys(home))


def test_counted(home: Path) -> None:
    """
    The check of the configuration reads the keys, and says how many there are.
    """
    create(home, "--activate")
    create(home, "--selector", "s2")
    assert "DKIM: 1 of 2 keys active, 1 domains" in run(home, "check", "--configuration-only").stdout
    (home / "state" / "dkim").chmod(0o755)
    assert "others could read it" in run(home, "check", "--configuration-only").stderr
