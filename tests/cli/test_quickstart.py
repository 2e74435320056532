"""
What the quickstart prints: the guide, and the journey of each message.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from twisted.logger import Logger

from lmrelay.cli.journey import Journey
from lmrelay.cli.quickstart import guide
from lmrelay.cli.stand_in import Arrival
from lmrelay.cli.trial import Trial
from lmrelay.config.values import Listener
from lmrelay.config.words import Security

LISTENERS = (Listener(2525, Security.STARTTLS, "127.0.0.1"), Listener(2525, Security.STARTTLS, "::1"))
MESSAGE = "01jd3k8t5v0000000000000abc"


@pytest.mark.parametrize("folder", ["/tmp/plain", '/tmp/it\'s a "folder"'])
def test_what_is_printed_can_be_pasted(folder: str) -> None:
    """
    Each command is one line that a shell reads as meant, wherever the folder is; the script is Python.
    """
    lines = [line for line in guide(Trial(Path(folder)), "lmr_a_b", LISTENERS, live=False) if line.startswith("  ")]
    swaks, python = map(shlex.split, lines)
    options = dict(zip(swaks[6::2], swaks[7::2], strict=True))
    assert swaks[:6] == ["swaks", "--server", "127.0.0.1", "--port", "2525", "-tls"]
    assert (options["--auth-user"], options["--auth-password"]) == ("lettermint", "lmr_a_b")
    assert python[:2] == ["python3", "-c"]
    script = compile(python[2], "printed", "exec")
    assert f"{folder}/certificate.pem" in script.co_consts


def test_the_command_that_explains_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is named as the shell finds it: by its name where that is on the path, else by where it is.
    """
    (tmp_path / "lmrelay").touch(0o755)
    found = []
    for path in (tmp_path, tmp_path / "empty"):
        monkeypatch.setenv("PATH", str(path))
        (line,) = [line for line in guide(Trial(Path("/x")), "lmr_a_b", LISTENERS, live=False) if "explain ID" in line]
        found.append(shlex.split(line.partition("id:  ")[2])[0])
    assert ["lmrelay", str(Path(sys.executable).with_name("lmrelay"))] == found


def test_live_is_said() -> None:
    """
    Delivery to the real world is said in so many words, and only then.
    """
    texts = ["\n".join(guide(Trial(Path("/x")), "lmr_a_b", LISTENERS, live)) for live in (True, False)]
    assert ["REAL MX" in text for text in texts] == [True, False]


def test_the_journey() -> None:
    """
    Facts about messages and troubles are told, aligned, harmless to the terminal; all else is not.
    """
    said: list[str] = []
    journey = Journey(said.append)
    log = Logger("lmrelay.inbound", observer=journey)
    log.info("message accepted", message=MESSAGE, project="demo", tags=(), subject="x\x1b[2J")
    log.info("session opened", address="127.0.0.1")
    log.debug("step", message=MESSAGE)
    log.warn("disk nearly full")
    log.info("login failed", peer="127.0.0.1", reply="535 5.7.8 Authentication credentials invalid")
    Logger("twisted.internet", observer=journey).info("Starting factory")
    journey.arrived(0.0, Arrival("a@b.example", ("c@d.example", "e@d.example"), "TLSv1.3 X", 2048, "Hello"))
    journey.arrived(0.0, Arrival("", ("c@d.example",), None, 10, ""))
    assert [line[14:] for line in said] == [
        rf"00000abc  message accepted   id={MESSAGE}  project=demo  subject=x\x1b[2J",
        "          disk nearly full   ",
        "          login failed       peer=127.0.0.1  reply=535 5.7.8 Authentication credentials invalid",
        '          arrived            to c@d.example, e@d.example over TLSv1.3 X, 2 KiB, "Hello"',
        '          arrived            to c@d.example in plaintext, 10 B, ""',
    ]


def test_an_attempt_is_told_by_its_outcome() -> None:
    """
    Whom, where, how, and the remote's words; without a host, the reason.
    """
    said: list[str] = []
    log = Logger("lmrelay.outbound", observer=Journey(said.append))
    common = {"message": MESSAGE, "recipient": "c@d.example"}
    reached = {"host": "mx.d.example", "address": "192.0.2.1", "tls": "TLSv1.3", "reply": "250 2.0.0 OK"}
    log.info("attempt ended", outcome="delivered", **reached, **common)
    log.info("attempt ended", outcome="delayed", host="", tls="", status="4.4.3", reason="no answer", **common)
    assert [line[24:] for line in said] == [
        "delivered          c@d.example at mx.d.example [192.0.2.1] over TLSv1.3: 250 2.0.0 OK",
        "delayed            c@d.example (no host reached): 4.4.3 no answer",
    ]
