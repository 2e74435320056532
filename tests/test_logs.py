"""
The log: its lines, its escapes, its silence.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Application
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.failure import Failure

from lmrelay.config.values import Log
from lmrelay.config.words import LogFormat, Security
from lmrelay.errors import ConfigError
from lmrelay.lines import _remembered, format_json, format_text, redact
from lmrelay.logs import FileSink, LogObserver, StreamSink, install, open_log

NOON = 1795262400.1234
TOKEN = "lmr_abcDEF012345_" + "s3cr3tS3cr3t" * 3 + "abcd"


def event(fact: str, level: LogLevel = LogLevel.info, namespace: str = "lmrelay.inbound", **fields: object) -> Any:
    return {"log_time": NOON, "log_level": level, "log_namespace": namespace, "log_format": fact, **fields}


@pytest.fixture
def lines() -> tuple[LogObserver, io.StringIO]:
    stream = io.StringIO()
    return LogObserver(StreamSink(stream)), stream


def test_text_line() -> None:
    """
    A fact is one line: time in UTC with milliseconds, level, fact, then the fields in their order.
    """
    expected = (
        "2026-11-21T12:00:00.123Z info message accepted "
        "message=01jd project=acme size=4096 tls=yes seconds=0.25 security=starttls"
    )
    fields = {"message": "01jd", "project": "acme", "size": 4096, "tls": True, "seconds": 0.25}
    assert expected == format_text(event("message accepted", **fields, security=Security.STARTTLS))


def test_json_line() -> None:
    """
    The same as JSON keeps numbers, booleans, lists and nothing as what they are.
    """
    line = format_json(event("message accepted", message="01jd", size=4096, tls=True, tags=("a", "b"), route=None))
    assert json.loads(line) == {
        "time": "2026-11-21T12:00:00.123Z",
        "level": "info",
        "fact": "message accepted",
        "message": "01jd",
        "size": 4096,
        "tls": True,
        "tags": ["a", "b"],
        "route": None,
    }


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("a=b", '"a=b"'),
        ("grüße", "grüße"),
        (b"octets \xff", r'"octets \\xff"'),
        (("a", "b"), "a,b"),
        ({"k": "v"}, "k:v"),
        (Path("/var/lib"), "/var/lib"),
        (ValueError("bad"), '"ValueError: bad"'),
    ],
)
def test_text_values(value: object, written: str) -> None:
    """
    A value is quoted where it must be, and only there.
    """
    assert f"x={written}" == format_text(event("f", x=value)).split(" f ")[1]


@pytest.mark.parametrize(
    "evil",
    [
        "x\n2026-11-21T12:00:00.123Z info forged",
        "x\r\n2026-11-21T12:00:00.123Z info forged",
        "x\x1b[2J",
        "x\x85y",
        "x\u2028y",
        "x\u202ey",
        "x\x00y",
        "x\x7fy",
        "x\ud800y",
        '" fact="forged',
        "\\",
    ],
)
def test_no_value_forges_a_line(evil: str) -> None:
    """
    Whatever a stranger puts into a value, the line stays one line of printable text.
    """
    for form in (format_text, format_json):
        for line in (form(event("f", x=evil)), form(event("f", x=Failure(ValueError(evil)))), form(event(evil))):
            assert [line] == line.splitlines()
            assert line.isprintable()
    start, quoted = format_text(event("f", x=evil)).split(" x=", 1)
    assert (start, json.loads(quoted)) == ("2026-11-21T12:00:00.123Z info f", evil)


def test_a_failure_is_told_with_its_traceback() -> None:
    """
    The line names the error; the traceback follows indented, none of its lines looking like a fact.
    """
    try:
        raise ValueError("first\nlevel=info fact=forged")
    except ValueError:
        failure = Failure()
    first, *rest = format_text(event("session failed", LogLevel.critical, log_failure=failure)).splitlines()
    assert first.endswith(r'critical session failed error="ValueError: first\nlevel=info fact=forged"')
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)
    record = json.loads(format_json(event("session failed", log_failure=failure)))
    assert "ValueError: first" in record["traceback"]


def test_a_value_that_cannot_be_written_costs_no_line() -> None:
    """
    An object whose text raises is named by its type.
    """

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert format_text(event("f", x=Broken())).endswith('x="(unprintable Broken: RuntimeError)"')


def test_long_values_are_not_remembered() -> None:
    """
    What receivers say at length is written and forgotten: else a thousand such texts would stay in memory.
    """
    format_text(event("f", x="short, and said often"))
    known = _remembered.cache_info().currsize
    for length in (257, 5000):
        assert "yyyy" in format_text(event("f", x="y" * length))
    assert known == _remembered.cache_info().currsize


def test_long_values_are_cut() -> None:
    """
    One value cannot fill the disk.
    """
    assert len(format_text(event("f", x="y" * 1_000_000))) < 5000
    many = {f"key{number}": "y" * 1000 for number in range(50)}
    for value in (many, list(many.values())):
        assert len(format_text(event("f", x=value))) < 5000
        assert len(format_json(event("f", x=value))) < 5000


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"x {TOKEN} y", "x lmr_abcDEF012345_*** y"),
        (f"foo{TOKEN}", "foolmr_abcDEF012345_***"),
        (TOKEN.replace("lmr_", "lttr_"), "lttr_abcDEF012345_***"),
        ("lmr_abc_short", "lmr_abc_***"),
        ("whsec_abcDEF123", "whsec_***"),
        ("AUTH PLAIN AGxldHRlcm1pbnQAcGFzcw==", "AUTH PLAIN ***"),
        ("auth login dXNlcg==", "auth login ***"),
        ("message=01jd3k8t5v subject=hello_world_again", "message=01jd3k8t5v subject=hello_world_again"),
        ("Authentication successful", "Authentication successful"),
    ],
)
def test_secrets_are_masked(text: str, left: str) -> None:
    """
    What looks like a token, a webhook's secret or an AUTH response does not get through; ids do.
    """
    assert left == redact(text)


@pytest.mark.parametrize("form", [format_text, format_json])
def test_no_secret_in_any_place(form: Any) -> None:
    """
    Neither a field, a key, a fact, a nested value nor a traceback gives a token away.
    """
    try:
        raise ValueError(TOKEN)
    except ValueError:
        failure = Failure()
    fields = {TOKEN: 1, "a": TOKEN, "b": [TOKEN], "c": {TOKEN: TOKEN}, "d": TOKEN.encode(), "log_failure": failure}
    assert TOKEN[17:] not in form(event(f"fact {TOKEN}", **fields))


def test_twisteds_chatter_is_left_out(lines: tuple[LogObserver, io.StringIO]) -> None:
    """
    Of Twisted's own events only warnings and worse are written, as text without their objects.
    """
    observer, stream = lines
    observer(event("Starting factory {factory!r}", namespace="twisted.internet.protocol.Factory", factory=object()))
    assert stream.getvalue() == ""
    observer(event("Could not {what}", LogLevel.warn, "twisted.internet.tcp", what="accept\n"))
    assert stream.getvalue().endswith('warn library speaks source=twisted.internet.tcp text="Could not accept"\n')


@pytest.mark.parametrize(
    ("setting", "written"),
    [("debug", ["a", "b", "c"]), ("info", ["b", "c"]), ("warn", ["c"]), ("error", [])],
)
def test_levels(lines: tuple[LogObserver, io.StringIO], setting: str, written: list[str]) -> None:
    """
    Facts below the level in force are left out.
    """
    observer, stream = lines
    observer.change(Log(level=setting))
    logger = Logger("lmrelay.test", observer=observer)
    logger.debug("a")
    logger.info("b")
    logger.warn("c")
    assert written == [line.split(" ")[-1] for line in stream.getvalue().splitlines()]


def test_a_reload_changes_the_format(lines: tuple[LogObserver, io.StringIO]) -> None:
    """
    From one line to the next the format can be another.
    """
    observer, stream = lines
    observer(event("a"))
    observer.change(Log(LogFormat.JSON))
    observer(event("b"))
    first, second = stream.getvalue().splitlines()
    assert (first.endswith(" a"), json.loads(second)["fact"]) == (True, "b")


def test_a_reload_lets_go_of_the_file(tmp_path: Path) -> None:
    """
    After a rotation and a reload the log goes on in a new file of the old name.
    """
    observer = LogObserver(FileSink(tmp_path / "relay.log"))
    observer(event("a"))
    (tmp_path / "relay.log").rename(tmp_path / "relay.log.1")
    observer.change(Log())
    observer(event("b"))
    observer.sink.reopen()
    assert [(tmp_path / name).read_text().split()[-1] for name in ("relay.log.1", "relay.log")] == ["a", "b"]


def test_a_field_cannot_pose_as_the_level() -> None:
    """
    A field with the name of one of the line's own keys is told apart.
    """
    assert format_text({**event("f"), "level": "x"}).endswith("info f level_=x")


def test_twistd_uses_it() -> None:
    """
    An application that it was installed in gives it to twistd.
    """
    application = Application("lmrelay")
    observer = open_log(Log(), logfile="-")
    install(application, observer)
    assert observer is ILogObserver(application)


def test_where_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a file a process in the foreground logs to standard output and a daemon to twistd.log.
    """
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_log(Log()).sink, StreamSink)
    daemons = open_log(Log(), daemon=True).sink
    assert isinstance(daemons, FileSink)
    assert tmp_path / "twistd.log" == daemons.path
    with pytest.raises(ConfigError):
        open_log(Log(), logfile="-", daemon=True)


def test_tags_and_metadata() -> None:
    """
    Tags and metadata stay on their line, where grep finds them, whatever a client put into them.
    """
    metadata = {"order": "7", "note": "a\nforged=yes"}
    written = format_text(event("attempt ended", tags=("welcome", "eu"), metadata=metadata))
    assert " tags=welcome,eu " in written
    assert "\n" not in written
    assert metadata == json.loads(format_json(event("attempt ended", metadata=metadata)))["metadata"]
