"""
The page on moving here from other services: its commands run, its configuration loads, and a message that an
application sends as it did before, but for the host, is taken and understood.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from attrs import frozen

from lmrelay.config.load import load
from tests.e2e.daemon import ROOT, Relay
from tests.e2e.guide import Example, read_examples
from tests.e2e.mail import connect, message, submit
from tests.e2e.receiver import Receiver
from tests.e2e.story import await_states
from tests.e2e.world import World

PAGE = ROOT / "docs" / "moving.md"
TO = "someone@c.example"


@frozen
class Service:
    """
    An application's settings and headers with a service, and what becomes of the headers here.

    C{user} None: the token is the user name, too.
    """

    name: str
    user: str | None
    token: str
    fields: tuple[str, ...]
    route: str
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = {}
    sender: str = "acme.example"
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")


SERVICES = (
    Service(
        "lettermint", "lettermint", "lm_0Ab1Cd2Ef3Gh4Ij5Kl6Mn",
        ("X-Lettermint-Route: newsletter", "X-LM-Tag: news", "X-LM-Metadata-issue: 7", "X-Lettermint-Other: x"),
        "newsletter", ["news"], {"issue": "7"}, mechanisms=("PLAIN", "LOGIN", "CRAM-MD5"),
    ),
    Service("lettr", "lettr", "lttr_0Ab1Cd2Ef3Gh4Ij5Kl6Mn", ("X-LM-Tag: news",), "outgoing", ["news"]),
    Service(
        "mailpace", None, "0f1e2d3c-aaaa-bbbb-cccc-000000000001",
        ("X-MailPace-Tags: a, b c", "X-List-Unsubscribe: <mailto:u@acme.example>", "X-MailPace-Other: x"),
        "outgoing", ["a", "b c"],
    ),
    Service(
        "postmark", None, "0f1e2d3c-aaaa-bbbb-cccc-000000000002",
        ("X-PM-Message-Stream: broadcast", "X-PM-Tag: news", "X-PM-Metadata-issue: 7", "X-PM-TrackOpens: true"),
        "broadcast", ["news"], {"issue": "7"},
    ),
    Service(
        "mailgun", "postmaster@mg.acme.example", "0f1e2d3caaaabbbbcccc0000-00000003-00000003",
        ("X-Mailgun-Tag: a", "X-Mailgun-Tag: b", 'X-Mailgun-Variables: {"order_id": "1", "n": 2}', "X-Mailgun-Tls: x"),
        "outgoing", ["a", "b"], {"order_id": "1", "n": "2"}, sender="mg.acme.example",
    ),
    Service(
        "ses", "AKIAIOSFODNN7EXAMPLE", "BM3EXAMPLEEXAMPLEEXAMPLE/EXAMPLE+EXAMPLE0000",
        ("X-SES-CONFIGURATION-SET: marketing", "X-SES-MESSAGE-TAGS: campaign=spring, team=7", "X-SES-SOURCE-ARN: x"),
        "marketing", (), {"campaign": "spring", "team": "7"},
    ),
    Service(
        "postal", "acme/main", "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8", ("X-Postal-Tag: news", "X-Postal-Other: x"),
        "outgoing", ["news"], mechanisms=("PLAIN", "LOGIN", "CRAM-MD5"),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def examples() -> Mapping[str, Example]:
    """
    The page's examples by name.
    """
    return read_examples(PAGE)


@pytest.fixture(scope="module")
def home(world: World, examples: Mapping[str, Example]) -> Iterator[tuple[Relay, Receiver]]:
    """
    A relay with a project for each service, set up as its part of the page says.
    """
    mx = world.receiver()
    world.names.mx("c.example", 10, "mx.c.example")
    world.names.host("mx.c.example", mx.address)
    relay = world.relay()
    servers = [table(examples, f"{one.name}/lmrelay.toml").get("auth", {}) for one in SERVICES]
    names = [name for each in servers for name in each.get("usernames", ())]
    relay.settings["auth"] = {key: value for each in servers for key, value in each.items()}
    relay.settings["auth"]["usernames"] = list(dict.fromkeys(names))
    relay.write()
    for service in SERVICES:
        relay.ask("project", "add", service.name, "--domain", "acme.example")
        file = relay.project_file(service.name)
        text = tomlkit.parse(file.read_text())
        text.update(table(examples, f"{service.name}/acme.toml"))
        file.write_text(tomlkit.dumps(text))
        relay.ask("token", "import", service.name, "--name", "website", stdin=service.token)
    program, *arguments = examples["add-route.sh"].text.split()
    assert (program, arguments[2]) == ("lmrelay", "acme")
    relay.ask(*["lettermint" if word == "acme" else word for word in arguments])
    relay.start()
    yield relay, mx
    assert relay.stop() == 0


def table(examples: Mapping[str, Example], name: str) -> dict[str, Any]:
    """
    The configuration of that example; empty where the page has none.
    """
    return tomlkit.parse(examples[name].text).unwrap() if name in examples else {}


def test_the_configuration_loads_alone(world: World, examples: Mapping[str, Example], tmp_path: Path) -> None:
    """
    Each piece is valid by itself, in the file that the page names.
    """
    pieces = [one for one in examples.values() if one.language == "toml"]
    assert {"lettr", "mailpace", "postmark", "mailgun", "ses", "postal"} == {one.name.split("/")[0] for one in pieces}
    for number, one in enumerate(pieces):
        relay = world.relay()
        kind = one.name.split("/")[1]
        file = {"lmrelay.toml": relay.config, "acme.toml": relay.folder / "projects.d" / f"new{number}.toml"}[kind]
        before = file.read_text() if file.exists() else ""
        file.write_text(one.text + before)
        load(relay.config)


def test_the_commands_run(world: World, examples: Mapping[str, Example]) -> None:
    """
    The commands of the page, in its order, set up a project with two tokens and a route.
    """
    relay = world.relay()
    relay.project_file().unlink()
    (relay.folder / "token.txt").write_text(SERVICES[0].token + "\n")
    for one in examples.values():
        if one.language == "sh":
            program, *arguments = one.text.split()
            assert program == "lmrelay"
            stdin = ""
            if "<" in arguments:
                stdin = (relay.folder / arguments[-1]).read_text()
                arguments = arguments[: arguments.index("<")]
            relay.ask(*arguments, stdin=stdin)
    project = load(relay.config).projects["acme"]
    assert (2, {"outgoing", "newsletter"}) == (len(project.tokens), set(project.routes))


@pytest.mark.parametrize("service", SERVICES, ids=lambda one: one.name)
def test_an_application_moves(home: tuple[Relay, Receiver], service: Service) -> None:
    """
    With user name and token of the old service, by each mechanism that it has, headers do here what the page says,
    and none of them gets out.
    """
    relay, mx = home
    for mechanism in service.mechanisms:
        with connect(relay, "starttls") as client:
            client.ehlo()
            client.user, client.password = service.user or service.token, service.token
            client.auth(mechanism, getattr(client, f"auth_{mechanism.lower().replace('-', '_')}"))
            subject = f"moving {service.name} {mechanism}"
            content = message(TO, "Hello.\r\n", *service.fields, subject=subject)
            content = content.replace(b"app@acme.example", f"app@{service.sender}".encode())
            identity = submit(client, [TO], content, f"app@{service.sender}")
        await_states(relay, identity, {TO: "delivered"})
        story = relay.ask("explain", identity)
        assert (service.name, service.route) == (story["project"], story["route"])
        assert (list(service.tags), dict(service.metadata)) == (story["tags"], story["metadata"])
        [taken] = [one for one in mx.taken if one.head("Subject") == [subject]]
        for name in [field.partition(":")[0] for field in service.fields]:
            assert [] == taken.head(name)
        wanted = ["<mailto:u@acme.example>"] if service.name == "mailpace" else []
        assert wanted == taken.head("List-Unsubscribe")


def test_an_unknown_stream_is_refused(home: tuple[Relay, Receiver]) -> None:
    """
    A configuration set that is no route here is refused in words.
    """
    relay, _ = home
    [ses] = [one for one in SERVICES if one.name == "ses"]
    with connect(relay, "starttls") as client:
        client.login(str(ses.user), ses.token)
        with pytest.raises(smtplib.SMTPResponseException, match='Route "Marketing_2" does not exist in project ses'):
            submit(client, [TO], message(TO, "Hello.\r\n", "X-SES-CONFIGURATION-SET: Marketing_2"))


def test_headers_of_a_dialect_that_is_off_are_sent_on(home: tuple[Relay, Receiver]) -> None:
    """
    As the page warns: what is no control header is like any other.
    """
    relay, mx = home
    [lettr] = [one for one in SERVICES if one.name == "lettr"]
    with connect(relay, "starttls") as client:
        client.login(str(lettr.user), lettr.token)
        fields = ("X-Lettr-Metadata: a", "X-PM-Tag: b")
        identity = submit(client, [TO], message(TO, "Hello.\r\n", *fields, subject="moving off"))
    await_states(relay, identity, {TO: "delivered"})
    [taken] = [one for one in mx.taken if one.head("Subject") == ["moving off"]]
    assert (["a"], ["b"]) == (taken.head("X-Lettr-Metadata"), taken.head("X-PM-Tag"))
