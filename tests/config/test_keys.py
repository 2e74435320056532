"""
Every key of every table: what it takes and becomes, and what it refuses in which words.
"""

from __future__ import annotations

import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest

from lmrelay.config import values as v
from lmrelay.config.project import Project, Route, Token, Webhook
from lmrelay.config.words import BareNewlines, Dialect, Form, Kind, LogFormat, Mode, Switch, TlsPolicy
from lmrelay.mail.unsubscribe import MAX_TEMPLATE
from tests.config.folder import complaints, complete, read, token

HOUR = v.HOUR

HASHED = "scrypt$16384$8$1$c2FsdHNhbHRzYWx0c2FsdA==$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g="

GOOD: list[tuple[str, object, object]] = [
    ("server.hostname", "Mail.Example.COM.", "mail.example.com"),
    ("server.hostname", "bücher.example", "xn--bcher-kva.example"),
    ("server.workers", 1, 1),
    ("server.drain", "1m", 60.0),
    ("server.drain", 0, 0.0),
    ("tls.minimum", "TLSv1.3", "TLSv1.3"),
    ("auth.usernames", ["lettr", "Any"], ("lettr", "Any")),
    ("auth.forms", ["token", "project"], (Form.TOKEN, Form.PROJECT)),
    ("auth.token_prefix", "lttr_", "lttr_"),
    ("auth.cram_md5", "off", Switch.OFF),
    ("auth.max_failures", 1, 1),
    ("limits.message_size", "1KiB", 1024),
    ("limits.message_size", 7, 7),
    ("limits.recipients", 1, 1),
    ("limits.connections", 1000000, 1000000),
    ("limits.connections_per_address", 3, 3),
    ("limits.received_headers", 5, 5),
    ("timeouts.command", "30s", 30.0),
    ("timeouts.data", 0.5, 0.5),
    ("timeouts.session", "1h", 3600.0),
    ("submission.bare_newlines", "reject", BareNewlines.REJECT),
    ("submission.hide_client", False, False),
    ("submission.require_to", True, True),
    ("submission.dialects", ["ses", "postal"], (Dialect.SES, Dialect.POSTAL)),
    ("submission.dialects", [], ()),
    ("queue.url", "sqlite", "sqlite"),
    ("queue.retention", "7d", 7 * v.DAY),
    ("delivery.tls", "none", TlsPolicy.NONE),
    ("delivery.retry", ["1m", 5], (60.0, 5.0)),
    ("delivery.expire", "5d", 5 * v.DAY),
    ("delivery.connections_per_site", 1, 1),
    ("delivery.messages_per_connection", 1, 1),
    ("delivery.port", 2525, 2525),
    ("delivery.allow_networks", ["10.0.0.0/8", "::1/128"], (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
    ("delivery.bounce_from", "Postmaster", "Postmaster"),
    ("delivery.bounce_from", "bounces@b.example", "bounces@b.example"),
    ("delivery.source_address", ["192.0.2.1", "2001:DB8::1"], ("192.0.2.1", "2001:db8::1")),
    ("delivery.source_address", [], ()),
    ("delivery.ehlo_name", "Out.Example.COM", "out.example.com"),
    ("delivery.mta_sts", False, False),
    ("delivery.dane", "off", Switch.OFF),
    ("delivery.tls_reports", False, False),
    ("delivery.timeouts.connect", "5s", 5.0),
    ("delivery.timeouts.command", "5s", 5.0),
    ("delivery.timeouts.data", "5s", 5.0),
    ("bounces.message_size", "64KiB", 65536),
    ("bounces.connections", 1, 1),
    ("bounces.messages_per_minute", 1000000, 1000000),
    ("dns.servers", ["127.0.0.1:5353", "::1", "[::1]:54"],
     (v.NameServer("127.0.0.1", 5353), v.NameServer("::1", 53), v.NameServer("::1", 54))),
    ("dns.validating", True, True),
    ("webhooks.retry", ["10s"], (10.0,)),
    ("webhooks.timeout", 5, 5.0),
    ("webhooks.header_prefix", "X-Acme", "X-Acme"),
    ("webhooks.allow_networks", ["127.0.0.0/8"], (ip_network("127.0.0.0/8"),)),
    ("http.listen", "127.0.0.1:9100", "127.0.0.1:9100"),
    ("http.listen", "[::1]:9100", "[::1]:9100"),
    ("http.status", False, False),
    ("http.password_hash", HASHED, HASHED),
    ("log.format", "json", LogFormat.JSON),
    ("log.level", "debug", "debug"),
]  # fmt: skip

NO_TEXT = "expected a string, not a number"
NO_COUNT = "expected a number from 1 to 1000000"
NO_MESSAGES = "expected a number from 1 to 1000000000"
NO_WHOLE = "expected a whole number, not a string"
NO_TIME = "expected a number of seconds"
ABOVE = "expected more than 0"
NO_FLAG = "expected true or false, not a string"
NO_LIST = "expected a list, not a string"
TOKEN_ID = "expected one of 'shared', 'token', 'token-id', 'project'; did you mean 'token-id'?"
NO_NETWORK = "expected a network such as"

BAD: list[tuple[str, object, str]] = [
    ("server.hostname", 5, NO_TEXT),
    ("server.hostname", "a b", "expected a host name"),
    ("server.hostname", "", "expected a host name"),
    ("server.hostname", "[192.0.2.1]", "expected a host name such as"),
    ("server.state_dir", 5, NO_TEXT),
    ("server.state_dir", "a\0b", "expected a path"),
    ("server.workers", 2, "expected 1: more workers are not carried out by this version"),
    ("server.workers", True, "expected a whole number, not a boolean"),
    ("server.drain", "1 m", NO_TIME),
    ("server.drain", -1, NO_TIME),
    ("server.read_projects", 5, NO_TEXT),
    ("server.hostnam", "x", "unknown key; did you mean 'hostname'?"),
    ("tls.certificate", 5, NO_TEXT),
    ("tls.private_key", [], "expected a string, not a list"),
    ("tls.minimum", "TLSv1.1", "expected one of 'TLSv1.2', 'TLSv1.3'"),
    ("auth.usernames", [], "expected at least one"),
    ("auth.usernames", "lettermint", NO_LIST),
    ("auth.usernames[0]", ["a b"], "expected a word of printable characters"),
    ("auth.usernames[1]", ["a", 5], NO_TEXT),
    ("auth.forms", [], "expected at least one"),
    ("auth.forms[0]", ["tokenid"], TOKEN_ID),
    ("auth.forms[0]", [["token"]], "expected one of"),
    ("auth.token_prefix", "a b", "expected 1 to 32 letters"),
    ("auth.token_prefix", "", "expected 1 to 32 letters"),
    ("auth.cram_md5", True, "expected one of 'auto', 'on', 'off'"),
    ("auth.max_failures", 0, "expected a number from 1 to 1000"),
    ("limits.message_size", "50 MB", "expected a number of octets"),
    ("limits.message_size", 0, "expected more than 0 octets"),
    ("limits.message_size", True, "expected a number of octets"),
    ("limits.recipients", 0, NO_COUNT),
    ("limits.connections", "many", NO_WHOLE),
    ("limits.connections_per_address", -5, NO_COUNT),
    ("limits.received_headers", 1.5, "expected a whole number"),
    ("timeouts.command", 0, ABOVE),
    ("timeouts.data", "forever", NO_TIME),
    ("timeouts.session", False, NO_TIME),
    ("timeouts.session", float("nan"), NO_TIME),
    ("submission.bare_newlines", "keep", "expected one of 'normalize', 'reject'"),
    ("submission.hide_client", "yes", NO_FLAG),
    ("submission.require_to", "no", NO_FLAG),
    ("submission.dialects", "ses", NO_LIST),
    ("submission.dialects[0]", ["sendgrid"], "expected one of"),
    ("queue.url", "postgresql://db/mail", 'expected "sqlite": PostgreSQL is not carried out by this version'),
    ("queue.url", "mysql", "expected one of 'sqlite'"),
    ("queue.retention", 0, ABOVE),
    ("delivery.tls", "require", "expected one of 'none', 'opportunistic', 'enforced'"),
    ("delivery.retry", [], "expected at least one"),
    ("delivery.retry", ["0s"], ABOVE),
    ("delivery.retry[1]", ["1m", "x"], NO_TIME),
    ("delivery.expire", 0, ABOVE),
    ("delivery.connections_per_site", 0, NO_COUNT),
    ("delivery.messages_per_connection", 0, NO_COUNT),
    ("delivery.port", 0, "expected a number from 1 to 65535"),
    ("delivery.port", 70000, "expected a number from 1 to 65535"),
    ("delivery.ca_file", 5, NO_TEXT),
    ("delivery.allow_networks[0]", ["10.0.0.1/8"], NO_NETWORK),
    ("delivery.allow_networks[0]", ["all"], NO_NETWORK),
    ("delivery.allow_networks[0]", [5], NO_NETWORK),
    ("delivery.bounce_from", "a b@c", "expected an address"),
    ("delivery.bounce_from", "a@b c", "expected an address"),
    ("delivery.source_address", "192.0.2.1", NO_LIST),
    ("delivery.source_address[0]", ["out.example"], "expected an IP address of this machine such as"),
    ("delivery.source_address[0]", ["::"], "expected an address that a connection can come from"),
    ("delivery.ehlo_name", "a b", "expected a host name"),
    ("delivery.mta_sts", "yes", NO_FLAG),
    ("delivery.dane", True, "expected one of 'auto', 'on', 'off'"),
    ("delivery.tls_reports", "no", NO_FLAG),
    ("delivery.receivers", 5, NO_TEXT),
    ("delivery.timeouts.connect", 0, ABOVE),
    ("delivery.timeouts.command", "x", NO_TIME),
    ("delivery.timeouts.data", [], NO_TIME),
    ("delivery.timeouts", 5, "expected a table, not a number"),
    ("delivery.domains", [], "expected a table"),
    ("bounces.message_size", 0, "expected more than 0 octets"),
    ("bounces.connections", 0, NO_COUNT),
    ("bounces.messages_per_minute", "many", NO_WHOLE),
    ("dns.servers", "127.0.0.1", NO_LIST),
    ("dns.servers[0]", ["localhost"], "expected an address such as"),
    ("dns.servers[0]", ["127.0.0.1:0"], "expected an address such as"),
    ("dns.servers[0]", ["127.0.0.1:99999"], "expected an address such as"),
    ("dns.servers[0]", ["127.0.0.1:"], "expected an address such as"),
    ("dns.servers[0]", [53], "expected an address such as"),
    ("dns.validating", "yes", NO_FLAG),
    ("webhooks.retry", [], "expected at least one"),
    ("webhooks.timeout", 0, ABOVE),
    ("webhooks.header_prefix", "X Acme", "expected the beginning of a header name"),
    ("webhooks.allow_networks[0]", ["x"], NO_NETWORK),
    ("webhooks.ca_file", 5, NO_TEXT),
    ("http.listen", "127.0.0.1", "expected an address and a port"),
    ("http.listen", "localhost:80", "expected an address and a port"),
    ("http.listen", 80, NO_TEXT),
    ("http.status", "yes", "expected true or false"),
    ("http.status", True, "expected listen to be set too"),
    ("http.password_hash", "secret", "expected what `lmrelay status password` makes"),
    ("http.password_hash", "scrypt$x$8$1$c2FsdA==$aGFzaA==", "expected three numbers"),
    ("http.password_hash", "scrypt$16383$8$1$c2FsdA==$aGFzaA==", "expected a power of two"),
    ("http.password_hash", "scrypt$16384$8$1$c2FsdA==$aGFzaA==", "expected a salt, and a hash of 16 octets"),
    ("log.format", "xml", "expected one of 'text', 'json'"),
    ("log.level", "verbose", "expected one of 'debug', 'info', 'warn', 'error', 'critical'"),
]  # fmt: skip


def nested(key: str, value: object) -> dict[str, Any]:
    """
    C{a.b[0]} and a value as the tables they stand in.
    """
    *tables, name = key.partition("[")[0].split(".")
    found: dict[str, Any] = {name: value}
    for table in reversed(tables):
        found = {table: found}
    return found


@pytest.mark.parametrize(("key", "written", "kept"), GOOD)
def test_good(tmp_path: Path, key: str, written: object, kept: object) -> None:
    """
    The value is kept as the rest of the relay wants it.
    """
    found: object = read(tmp_path, complete(tmp_path, **nested(key, written)))
    for name in key.split("."):
        found = getattr(found, name)
    assert kept == found


@pytest.mark.parametrize(("key", "written", "words"), BAD)
def test_bad(tmp_path: Path, key: str, written: object, words: str) -> None:
    """
    One complaint, which names file and key and says what was expected.
    """
    found = complaints(tmp_path, complete(tmp_path, **nested(key, written)))
    assert 1 == len(found), found
    assert found[0].startswith(f"lmrelay.toml: {key}: {words}")


def test_every_key_is_tried() -> None:
    """
    The tables above leave no key of a table of the main file out.
    """
    tried = {key.partition("[")[0] for key, _, _ in BAD}
    tables = [one.name for one in attrs.fields(v.Config) if attrs.has(getattr(v.Config("", None), one.name).__class__)]
    keys = {f"{table}.{one.name}" for table in tables for one in attrs.fields(type(getattr(v.Config("", None), table)))}
    keys |= {f"server.{one.name}" for one in attrs.fields(v.Server)}
    keys |= {f"delivery.timeouts.{one.name}" for one in attrs.fields(v.DeliveryTimeouts)}
    assert set() == keys - tried


IN_CLEAR = 'listeners[0].security: "plain" would send tokens in clear'
LISTENERS: list[tuple[object, list[str]]] = [
    ([], []),
    ([{"port": 0}], []),
    ([{"port": 25, "interface": "::1", "security": "plain"}], []),
    ([{"port": 25, "interface": "127.9.9.9", "security": "plain"}], []),
    ([{"port": 25, "interface": "::", "security": "plain"}], [IN_CLEAR]),
    ([{"port": 25, "security": "plain"}], [IN_CLEAR]),
    ([{}], ["listeners[0].port: is required"]),
    ([{"port": 65536}], ["listeners[0].port: expected a number from 0 to 65535"]),
    ([{"port": "smtp"}], ["listeners[0].port: expected a whole number, not a string"]),
    ([{"port": 25, "interface": "localhost"}], ["listeners[0].interface: expected an IP address"]),
    ([{"port": 25, "security": "tls"}], ["listeners[0].security: expected one of"]),
    ([{"port": 25, "enabled": 1}], ["listeners[0].enabled: expected true or false"]),
    ([{"port": 25, "bounces": "no"}], ["listeners[0].bounces: expected true or false"]),
    ([{"port": 25, "hostname": "x"}], ["listeners[0].hostname: unknown key"]),
    ([{"port": 25}, {"port": 25}], ["listeners[1].port: is that of listeners[0] too"]),
    ([{"port": 25}, {"port": 25, "enabled": False}], []),
    ([{"port": 25, "enabled": False}, {"port": 25}], []),
    ([{"port": 25, "enabled": False}, {"port": 25}, {"port": 25}], ["listeners[2].port: is that of listeners[1] too"]),
    ([{"port": 0}, {"port": 0}], []),
    ([{"port": 25, "interface": "127.0.0.1"}, {"port": 25, "interface": "127.0.0.2"}], []),
    ([{"port": 25, "interface": "::1"}, {"port": 25, "interface": "0:0::1"}], ["listeners[1].port: is that of"]),
    ({"port": 25}, ["listeners: expected a list, not a table"]),
    ([5], ["listeners[0]: expected a table, not a number"]),
]  # fmt: skip


@pytest.mark.parametrize(("written", "words"), LISTENERS)
def test_listeners(tmp_path: Path, written: object, words: list[str]) -> None:
    """
    Each listener by itself, and no two on one place.
    """
    found = complaints(tmp_path, complete(tmp_path, listeners=written))
    assert len(words) == len(found), found
    for said, word in zip(found, words, strict=True):
        assert said.startswith(f"lmrelay.toml: {word}")


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ({"port": 25}, True),
        ({"port": 2525}, False),
        ({"port": 25, "bounces": False}, False),
        ({"port": 26, "bounces": True}, True),
    ],
)
def test_bounces(tmp_path: Path, written: dict[str, object], taken: bool) -> None:
    """
    What comes back is taken on port 25, unless a listener says otherwise.
    """
    (listener,) = read(tmp_path, complete(tmp_path, listeners=[written])).listeners
    assert taken is listener.takes_bounces


GOOD_PROJECT: list[tuple[str, object, object]] = [
    ("smtp", False, False),
    ("domains", ["Acme.Example", ".sub.example.", "*"], ("acme.example", ".sub.example", "*")),
    ("domains", ["bücher.example", ".bücher.example"], ("xn--bcher-kva.example", ".xn--bcher-kva.example")),
    ("mode", "live", Mode.LIVE),
    ("mode", "sandbox", Mode.SANDBOX),
    ("tls", "enforced", TlsPolicy.ENFORCED),
    ("require_to", True, True),
    ("dialects", [], ()),
    ("dialects", ["mailgun"], (Dialect.MAILGUN,)),
    ("max_messages_per_hour", 1, 1),
    ("max_messages_per_day", 1_000_000_000, 1_000_000_000),
    ("max_recipients", 50, 50),
    ("max_size", "10MiB", 10 * v.MIB),
    ("max_size", 7, 7),
    ("max_connections", 1_000_000, 1_000_000),
]  # fmt: skip


def hook(**keys: object) -> dict[str, object]:
    """
    A webhook as it is written; None leaves a key out.
    """
    written = {"name": "shop", "url": "https://a.example", "secret": "whsec_12345678"} | keys
    return {key: value for key, value in written.items() if value is not None}


BAD_PROJECT: list[tuple[str, object, str]] = [
    ("smtp", "on", "smtp: expected true or false, not a string"),
    ("domains", "acme.example", "domains: expected a list, not a string"),
    ("domains", ["acme"" example"], "domains[0]: expected a host name"),
    ("domains", ["*.acme.example"], "domains[0]: expected a host name"),
    ("domains", ["..acme.example"], "domains[0]: expected a host name"),
    ("domains", ["."], "domains[0]: expected a host name"),
    ("domains", [""], "domains[0]: expected a host name"),
    ("domains", ["user@acme.example"], "domains[0]: expected a host name"),
    ("domains", ["[192.0.2.1]"], "domains[0]: expected a host name"),
    ("domains", [5], "domains[0]: expected a string, not a number"),
    ("default_route", "Outgoing", "default_route: expected a slug"),
    ("default_route", "news", "default_route: there is no route 'news'"),
    ("mode", "test", "mode: expected one of 'live', 'sandbox'"),
    ("tls", "on", "tls: expected one of"),
    ("require_to", 1, "require_to: expected true or false"),
    ("dialects", ["x"], "dialects[0]: expected one of"),
    ("domain", "x", "domain: unknown key; did you mean 'domains'?"),
    ("slug", "x", "slug: unknown key"),
    ("max_messages_per_hour", 0, f"max_messages_per_hour: {NO_MESSAGES}"),
    ("max_messages_per_hour", "5", f"max_messages_per_hour: {NO_WHOLE}"),
    ("max_messages_per_hour", 1.5, "max_messages_per_hour: expected a whole number, not a number"),
    ("max_messages_per_day", 1_000_000_001, f"max_messages_per_day: {NO_MESSAGES}"),
    ("max_messages_per_day", -1, f"max_messages_per_day: {NO_MESSAGES}"),
    ("max_messages_per_day", True, "max_messages_per_day: expected a whole number, not a boolean"),
    ("max_recipients", 0, f"max_recipients: {NO_COUNT}"),
    ("max_recipients", 1_000_001, f"max_recipients: {NO_COUNT}"),
    ("max_recipients", [5], "max_recipients: expected a whole number, not a list"),
    ("max_size", 0, "max_size: expected more than 0 octets"),
    ("max_size", "10 MB", "max_size: expected a number of octets"),
    ("max_size", -1, "max_size: expected a number of octets"),
    ("max_size", 1.5, "max_size: expected a number of octets"),
    ("max_connections", 0, f"max_connections: {NO_COUNT}"),
    ("max_connections", "many", f"max_connections: {NO_WHOLE}"),
    ("max_message_per_hour", 5, "max_message_per_hour: unknown key; did you mean 'max_messages_per_hour'?"),
    ("routes", [], "routes: expected a table of routes"),
    ("routes", {"Bad Slug": {}}, "routes.Bad Slug: expected a slug"),
    ("routes", {"news": 5}, "routes.news: expected a table, not a number"),
    ("routes", {"news": {"kind": "bulk"}}, "routes.news.kind: expected one of 'transactional', 'broadcast'"),
    ("routes", {"news": {"tls": "x"}}, "routes.news.tls: expected one of"),
    ("routes", {"news": {"dsn": "no"}}, "routes.news.dsn: expected true or false"),
    ("routes", {"news": {"slug": "x"}}, "routes.news.slug: unknown key"),
    ("routes", {"news": {"return_path": "a b"}}, "routes.news.return_path: expected a host name"),
    ("routes", {"news": {"source_address": ["x"]}}, "routes.news.source_address[0]: expected an IP address"),
    ("routes", {"news": {"ehlo_name": "a b"}}, "routes.news.ehlo_name: expected a host name"),
    ("routes", {"news": {"redact": "yes"}}, "routes.news.redact: expected true or false, not a string"),
    ("routes", {"news": {"max_messages_per_hour": 0}}, f"routes.news.max_messages_per_hour: {NO_MESSAGES}"),
    ("routes", {"news": {"max_messages_per_day": "5"}}, f"routes.news.max_messages_per_day: {NO_WHOLE}"),
    ("routes", {"news": {"max_recipients": 5}}, "routes.news.max_recipients: is a limit of the whole project"),
    ("routes", {"news": {"max_size": 5}}, "routes.news.max_size: is a limit of the whole project"),
    ("routes", {"news": {"max_connections": 5}}, "routes.news.max_connections: is a limit of the whole project"),
    ("routes", {"news": {"unsubscribe_url": "https://a.example/{token}"}},
     'routes.news.unsubscribe_url: is for routes of kind = "broadcast" alone'),
    ("routes", {"outgoing": {"kind": "transactional", "unsubscribe_url": "https://a.example/{token}"}},
     'routes.outgoing.unsubscribe_url: is for routes of kind = "broadcast" alone'),
    ("tokens", {}, "tokens: expected a list, not a table"),
    ("tokens", [{"name": "x", "id": "aaaaaaaaaaaa"}], "tokens[0].sha256: is required"),
    ("tokens", [token(name="")], "tokens[0].name: expected 1 to 255 printable characters"),
    ("tokens", [token(name="a\nb")], "tokens[0].name: expected 1 to 255 printable characters"),
    ("tokens", [token(id="short")], "tokens[0].id: expected 12 letters and digits"),
    ("tokens", [token(id="aaaaaaaaaaa\n")], "tokens[0].id: expected 12 letters and digits"),
    ("tokens", [{**token(), "sha256": "A" * 64}], "tokens[0].sha256: expected 64 lower-case hexadecimal digits"),
    ("tokens", [token(cram="!")], "tokens[0].cram: expected base64"),
    ("tokens", [token(created="2026-01-01")], "tokens[0].created: expected a date such as 2027-01-01, not a string"),
    ("tokens", [token(expires=5)], "tokens[0].expires: expected a date such as 2027-01-01, not a number"),
    ("tokens", [token(expires=datetime.time(5))], "tokens[0].expires: expected a date such as 2027-01-01"),
    ("tokens", [token(expires=datetime.datetime(2027, 1, 1, 12))], "tokens[0].expires: expected a time with its zone"),
    ("tokens", [token(networks="192.0.2.0/24")], "tokens[0].networks: expected a list"),
    ("tokens", [token(networks=["192.0.2.1/24"])], "tokens[0].networks[0]: expected a network such as"),
    ("tokens", [token(secret="x")], "tokens[0].secret: unknown key"),
    ("tokens", [token(), token("bbbbbbbbbbbb")], "tokens: 2 tokens are named 'web'"),
    ("tokens", [token(), token(name="other")], "tokens[1].id: is that of a token of project acme too"),
    ("webhooks", [hook(secret=None)], "webhooks[0].secret: is required"),
    ("webhooks", [hook(name=None)], "webhooks[0].name: is required"),
    ("webhooks", [hook(name="a b")], "webhooks[0].name: expected a slug"),
    ("webhooks", [hook(), hook()], 'webhooks[1].name: "shop" is used twice'),
    ("webhooks", [hook(url="ftp://a.example")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://[::1")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://a.example[::1]/")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://[::1]a.example/")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://a.example:x")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://a.example:/x")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://a@b@c.example/x")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://a..example/")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://a%2eb.example/")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="http://[fe80::1%25eth0]/")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://b.example\\@a.example/")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://a.example/\n")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://a.example/a b")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://ä.example/")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="https://a.example/#x")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="http://2130706433/")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="http://0x7f.1/")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(url="http://127.0x1./")], "webhooks[0].url: expected a URL"),
    ("webhooks", [hook(secret="x")], "webhooks[0].secret: expected whsec_"),
    ("webhooks", [hook(previous_secret="x")], "webhooks[0].previous_secret: expected whsec_"),
    ("webhooks", [hook(events=[])], "webhooks[0].events: expected at least one"),
    ("webhooks", [hook(events=["a b"])], 'webhooks[0].events[0]: expected "*", an event'),
    ("webhooks", [hook(events=["*", "mesage.*"])], 'webhooks[0].events[1]: expected "*", an event'),
    (
        "webhooks",
        [hook(events=["message.deliverd"])],
        'webhooks[0].events[0]: expected "*", an event such as "message.delivered" or a kind of them such as '
        '"message.*"; did you mean "message.delivered"?',
    ),
    ("webhooks", [hook(routes=["nwes"])], 'webhooks[0].routes[0]: there is no route "nwes" in this project'),
    ("webhooks", [hook(routes=["a b"])], "webhooks[0].routes[0]: expected a slug"),
    ("webhooks", [hook(batch=0)], "webhooks[0].batch: expected a number from 1 to 100"),
    ("webhooks", [hook(batch=101)], "webhooks[0].batch: expected a number from 1 to 100"),
    ("webhooks", [hook(enabled="yes")], "webhooks[0].enabled: expected true or false"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "written", "kept"), GOOD_PROJECT)
def test_good_in_a_project(tmp_path: Path, key: str, written: object, kept: object) -> None:
    """
    The value is kept as the rest of the relay wants it.
    """
    config = read(tmp_path, complete(tmp_path), acme={key: written})
    assert kept == getattr(config.projects["acme"], key)


@pytest.mark.parametrize(("key", "written", "words"), BAD_PROJECT)
def test_bad_in_a_project(tmp_path: Path, key: str, written: object, words: str) -> None:
    """
    One complaint, which names the project's file and the key.
    """
    found = complaints(tmp_path, complete(tmp_path), acme={key: written})
    assert 1 == len(found), found
    assert found[0].startswith(f"projects.d/acme.toml: {words}")


LINKS = [
    "https://acme.example",
    "https://acme.example/unsubscribe",
    "https://acme.example/u/{token}",
    "https://acme.example/u?list=news&t={token}",
    "https://acme.example/u?token={token}",
    "https://acme.example/u?tokens=1",
    "https://acme.example:8443/{token}?a=(b)!$*,;:@/",
    "HTTPS://ACME.example./%7B{token}",
    "https://xn--bcher-kva.example/{token}",
    "https://192.0.2.1/{token}",
    "https://[2001:db8::1]/{token}",
    "https://a.example/".ljust(MAX_TEMPLATE, "x"),
]

NO_LINK = "expected a URL such as"
NO_BRACES = "expected no braces but those of one {token}"
BAD_LINKS: list[tuple[object, str]] = [
    ("", NO_LINK),
    (5, NO_TEXT),
    (["https://a.example/{token}"], "expected a string, not a list"),
    ("http://a.example/{token}", NO_LINK),
    ("mailto:leave@a.example", NO_LINK),
    ("a.example/{token}", NO_LINK),
    ("//a.example/{token}", NO_LINK),
    ("/unsubscribe/{token}", NO_LINK),
    ("https:", NO_LINK),
    ("https:///{token}", NO_LINK),
    ("https://:443/{token}", NO_LINK),
    ("https://[::1/{token}", NO_LINK),
    ("https://a.example[::1]/{token}", NO_LINK),
    ("https://[::1]a.example/{token}", NO_LINK),
    ("https://a..example/{token}", NO_LINK),
    ("https://a.example:x/{token}", NO_LINK),
    ("https://a.example:0/{token}", NO_LINK),
    ("https://a.example:65536/{token}", NO_LINK),
    ("https://{token}.a.example/", NO_LINK),
    ("https://a.example:{token}/", NO_LINK),
    ("https://a.example\\@b.example/{token}", NO_LINK),
    (
        "https://ann@a.example/{token}",
        f'{NO_LINK} "https://example.com/unsubscribe/{{token}}", without user information',
    ),
    ("https://ann:secret@a.example/{token}", NO_LINK),
    ("https://a.example/{token}#top", f'{NO_LINK} "https://example.com/unsubscribe/{{token}}", without a fragment'),
    ("https://a.example/#", NO_LINK),
    ("https://a.example/a b", NO_LINK),
    ("https://a.example/{token}\r\nBcc: x@b.example", NO_LINK),
    ("https://a.example/\t", NO_LINK),
    (" https://a.example/{token}", NO_LINK),
    ("<https://a.example/{token}>", NO_LINK),
    ("https://a.example/{token}>, <https://b.example/", NO_LINK),
    ("https://bücher.example/{token}", NO_LINK),
    ("https://a.example/".ljust(MAX_TEMPLATE + 1, "x"), f"expected at most {MAX_TEMPLATE} characters"),
    ("https://a.example/{token}/{token}", NO_BRACES),
    ("https://a.example/{email}", NO_BRACES),
    ("https://a.example/{TOKEN}", NO_BRACES),
    ("https://a.example/{ token", NO_LINK),
    ("https://a.example/{{token}}", NO_BRACES),
    ("https://a.example/{token", NO_BRACES),
    ("https://a.example/token}", NO_BRACES),
    ("https://a.example/{}", NO_BRACES),
    ("https://a.example/?a=b&token=", "has a parameter token already: expected {token}"),
    ("https://a.example/?%74oken=x", "has a parameter token already: expected {token}"),
]


@pytest.mark.parametrize("link", LINKS)
def test_good_link(tmp_path: Path, link: str) -> None:
    """
    An https address of the project's own, with a place for the token or without, is kept as it was written.
    """
    routes = {"news": {"kind": "broadcast", "unsubscribe_url": link}}
    assert (
        link
        == read(tmp_path, complete(tmp_path), acme={"routes": routes}).projects["acme"].routes["news"].unsubscribe_url
    )


@pytest.mark.parametrize(("link", "words"), BAD_LINKS)
def test_bad_link(tmp_path: Path, link: object, words: str) -> None:
    """
    What mail clients could not open, or could be made to misread, is refused; one complaint says what was expected.
    """
    routes = {"news": {"kind": "broadcast", "unsubscribe_url": link}}
    found = complaints(tmp_path, complete(tmp_path), acme={"routes": routes})
    assert 1 == len(found), found
    assert found[0].startswith(f"projects.d/acme.toml: routes.news.unsubscribe_url: {words}")


def test_every_key_of_a_project_is_tried() -> None:
    """
    The tables above leave no key of a project, nor of a route, out.
    """
    bad = {words.partition(":")[0].partition("[")[0] for _, _, words in BAD_PROJECT} | {"routes.news.unsubscribe_url"}
    keys = {one.name for one in attrs.fields(Project)} - {"routes"}
    assert set() == keys - bad
    assert set() == {f"routes.news.{one.name}" for one in attrs.fields(Route)} - bad


def test_token(tmp_path: Path) -> None:
    """
    Every field of a token, and those of routes and webhooks, as they were written.
    """
    expires = datetime.datetime(2027, 1, 1, 12, tzinfo=datetime.UTC)
    written = token(created=datetime.date(2026, 1, 1), expires=expires, networks=["192.0.2.0/24", "2001:db8::/32"])
    news: dict[str, object] = {
        "dsn": False,
        "unsubscribe_url": "https://a.example/u/{token}",
        "redact": True,
        "max_messages_per_hour": 10,
        "max_messages_per_day": 100,
    }
    project = {
        "default_route": "news",
        "routes": {"news": news | {"kind": "broadcast", "tls": "none"}},
        "tokens": [written],
        "webhooks": [
            {"name": "shop", "url": "https://a.example/x", "secret": "whsec_12345678", "events": ["*", "message.sent"]}
        ],
    }
    acme = read(tmp_path, complete(tmp_path), acme=project).projects["acme"]
    networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    assert (
        Token("web", "aaaaaaaaaaaa", str(written["sha256"]), "", datetime.date(2026, 1, 1), expires, networks),
    ) == acme.tokens
    route = Route("news", Kind.BROADCAST, TlsPolicy.NONE, **news)  # type: ignore[arg-type]
    assert {"outgoing": Route("outgoing"), "news": route} == acme.routes
    assert (Webhook("shop", "https://a.example/x", "whsec_12345678", events=("*", "message.sent")),) == acme.webhooks
