"""
C{lmrelay check}.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lmrelay.cli.main import Invocation, cli
from lmrelay.cli.probes import ask, may_listen, system_servers
from lmrelay.cli.trial import self_signed
from lmrelay.config.values import NameServer


@contextmanager
def name_server(code: int, *, other_identity: bool = False) -> Iterator[int]:
    """
    A name server that answers one question with that response code; its port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)

        def answer() -> None:
            try:
                query, client = server.recvfrom(512)
            except OSError:
                return
            identity = struct.unpack_from("!H", query)[0] ^ other_identity
            server.sendto(struct.pack("!HHHHHH", identity, 0x8180 | code, 1, 0, 0, 0) + query[12:], client)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def silent_port() -> int:
    """
    A UDP port that nothing listens on.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    certificate, key = self_signed("relay.test")
    (tmp_path / "certificate.pem").write_bytes(certificate)
    (tmp_path / "private-key.pem").write_bytes(key)
    (tmp_path / "private-key.pem").chmod(0o600)
    (tmp_path / "projects.d").mkdir()
    (tmp_path / "projects.d" / "acme.toml").write_text('domains = ["acme.example"]\n')
    (tmp_path / "state").mkdir(0o700)
    configure(tmp_path)
    return tmp_path


def configure(home: Path, dns: int = 53, port: int = 0, extra: str = "", delivery: str = "") -> None:
    (home / "lmrelay.toml").write_text(
        f'[server]\nhostname = "relay.test"\nstate_dir = "state"\n{extra}\n'
        '[tls]\ncertificate = "certificate.pem"\nprivate_key = "private-key.pem"\n'
        f'[[listeners]]\nport = {port}\ninterface = "127.0.0.1"\n'
        f'[dns]\nservers = ["127.0.0.1:{dns}"]\n[delivery]\n{delivery}\n'
    )


FAR_AHEAD = 4102444800.0  # 2100


def check(home: Path, *arguments: str, wall: float | None = None) -> Result:
    line = ["--config", str(home / "lmrelay.toml"), "check", *arguments]
    invocation = Invocation() if wall is None else Invocation(wall=lambda: wall)
    return CliRunner().invoke(cli, line, obj=invocation, catch_exceptions=False)


def test_all_is_well(home: Path) -> None:
    """
    A good configuration exits 0 and says what was looked at.
    """
    with name_server(0) as port:
        configure(home, port)
        result = check(home)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "configuration" in result.stdout
    assert "certificate" in result.stdout
    assert f"name server 127.0.0.1 port {port} answers" in result.stdout


def test_json(home: Path) -> None:
    """
    The report is one document; a server that the DNS does not know is a warning.
    """
    with name_server(3) as port:
        configure(home, port)
        result = check(home, "--json")
    report = json.loads(result.stdout)
    assert (0, True, []) == (result.exit_code, report["ok"], report["problems"])
    assert any("does not know" in text for text in report["warnings"])


def test_all_problems_at_once(home: Path) -> None:
    """
    A taken port, an expired certificate and a silent DNS are told together, with exit code 1.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        configure(home, silent_port(), taken.getsockname()[1])
        result = check(home, "--json", wall=FAR_AHEAD)
    keys = [one["key"] for one in json.loads(result.stdout)["problems"]]
    assert (1, ["tls.certificate", "listeners[0]", "dns.servers"]) == (result.exit_code, keys)
    assert len(result.stderr.splitlines()) == 3


def test_the_port_for_people(home: Path) -> None:
    """
    It is tried like those of mail, and told by its key.
    """
    with name_server(0) as dns, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        configure(home, dns, delivery=f'[http]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"')
        problems = json.loads(check(home, "--json").stdout)["problems"]
    with name_server(0) as dns:
        configure(home, dns, delivery=f'[http]\nlisten = "127.0.0.1:{taken_port(problems)}"')
        report = json.loads(check(home, "--json").stdout)
    assert ["http.listen"] == [one["key"] for one in problems]
    assert f"port {taken_port(problems)} on 127.0.0.1 is free" in report["passed"]


def taken_port(problems: list[dict[str, str]]) -> int:
    """
    The one that a problem names.
    """
    return int(problems[0]["reason"].split()[1])


def test_source_addresses(home: Path) -> None:
    """
    Those of this machine are good; any other is told with its file and key, for mail would wait.
    """
    (home / "projects.d" / "acme.toml").write_text('[routes.news]\nsource_address = ["127.0.0.2", "2001:db8::1"]\n')
    with name_server(0) as port:
        configure(home, port, delivery='source_address = ["127.0.0.1", "192.0.2.1"]')
        report = json.loads(check(home, "--json").stdout)
    assert [
        ("delivery.source_address[1]", "192.0.2.1 is not an address of this machine"),
        ("routes.news.source_address[1]", "2001:db8::1 is not an address of this machine"),
    ] == [(one["key"], one["reason"]) for one in report["problems"]]
    assert {"source address 127.0.0.1", "source address 127.0.0.2"} <= set(report["passed"])


def test_configuration_only(home: Path) -> None:
    """
    Before a reload nothing but the configuration and the certificate counts.
    """
    configure(home, silent_port())
    assert check(home, "--configuration-only").exit_code == 0
    (home / "state").rmdir()
    assert check(home, "--configuration-only").exit_code == 0


def test_bad_configuration(home: Path) -> None:
    """
    All mistakes of the configuration are told, in both forms of output.
    """
    configure(home, extra="colour = 1\nworkers = 'many'")
    for arguments in ((), ("--configuration-only",)):
        result = check(home, *arguments)
        assert result.exit_code == 1
        assert "server.colour" in result.stderr
        assert "server.workers" in result.stderr
    report = json.loads(check(home, "--json").stdout)
    assert (False, 2) == (report["ok"], len(report["problems"]))


def test_wrong_key(home: Path) -> None:
    """
    A key that is not the certificate's is a problem.
    """
    (home / "private-key.pem").write_bytes(self_signed("other.test")[1])
    assert check(home, "--configuration-only").exit_code == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("certificate.pem", ""),
        ("certificate.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("private-key.pem", "nonsense"),
        ("private-key.pem", None),
        ("certificate.pem", None),
    ],
)
def test_bad_certificate(home: Path, name: str, text: str | None) -> None:
    """
    A file that is missing, or not what it should be, is a problem of its key.
    """
    (home / name).unlink()
    if text is not None:
        (home / name).write_text(text)
    result = check(home, "--configuration-only", "--json")
    keys = [one["key"] for one in json.loads(result.stdout)["problems"]]
    assert (1, ["tls." + name.removesuffix(".pem").replace("-", "_")]) == (result.exit_code, keys)


def test_expired_is_no_reason_not_to_reload(home: Path) -> None:
    """
    Before a reload an expired certificate is a warning: what else changed may be urgent.
    """
    result = check(home, "--configuration-only", wall=FAR_AHEAD)
    assert (0, True) == (result.exit_code, "expired on" in result.stdout)


def test_doubts(home: Path) -> None:
    """
    A certificate for another name and a key that all can read are warnings.
    """
    certificate, key = self_signed("other.test")
    (home / "certificate.pem").write_bytes(certificate)
    (home / "private-key.pem").write_bytes(key)
    (home / "private-key.pem").chmod(0o644)
    warnings = "\n".join(json.loads(check(home, "--configuration-only", "--json").stdout)["warnings"])
    assert "is not for the name relay.test" in warnings
    assert "open to every user" in warnings


def test_no_state_folder_yet(home: Path) -> None:
    """
    A state folder that is not there yet is a warning, for the daemon makes it; the check does not.
    """
    (home / "state").rmdir()
    warnings = json.loads(check(home, "--json").stdout)["warnings"]
    assert any("the daemon makes it" in text for text in warnings)
    assert not (home / "state").exists()


def test_missing_configuration(tmp_path: Path) -> None:
    """
    No file: one line that names it.
    """
    result = check(tmp_path)
    assert (1, 1) == (result.exit_code, len(result.stderr.splitlines()))
    assert "lmrelay.toml" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_state_folder_of_somebody_else(home: Path) -> None:
    """
    A state folder that cannot be written is a problem.
    """
    (home / "state").chmod(0o500)
    assert "server.state_dir" in check(home).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what others cannot open")
def test_what_root_left(home: Path) -> None:
    """
    A file that root left in the state folder of the daemon's user is a problem: the daemon would not start.
    """
    command = [sys.executable, "-c", "from lmrelay.cli.main import main; main()"]
    with tempfile.TemporaryDirectory() as open_to_all:
        os.chmod(open_to_all, 0o755)
        folder = Path(shutil.copytree(home, Path(open_to_all) / "home"))
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
        store = folder / "state" / "queue.sqlite"
        store.touch(0o600)
        line = [*command, "--config", str(folder / "lmrelay.toml"), "check"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert f"server.state_dir: {store} cannot be read and written by" in done.stderr


@pytest.mark.parametrize("code", [0, 2, 3, 5])
def test_ask(code: int) -> None:
    """
    A question gives the response code.
    """
    with name_server(code) as port:
        assert ask(NameServer("127.0.0.1", port), "relay.test") == code


def test_ask_in_vain() -> None:
    """
    A closed port, an answer to another question and a bad address are no answer.
    """
    with name_server(0, other_identity=True) as port:
        assert ask(NameServer("127.0.0.1", port), "relay.test") is None
    assert ask(NameServer("127.0.0.1", silent_port()), "relay.test") is None
    assert ask(NameServer("no address"), "relay.test", 0.1) is None


def test_may_listen() -> None:
    """
    A port that somebody listens on cannot be had, a free one can.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            may_listen("127.0.0.1", port)
    may_listen("127.0.0.1", 0)


def test_system_servers(tmp_path: Path) -> None:
    """
    The system's name servers are read; where none is named it is this machine.
    """
    path = tmp_path / "resolv.conf"
    path.write_text("# nameserver 192.0.2.9\nsearch a.example\nnameserver 192.0.2.1\nnameserver\nnameserver ::1\n")
    assert (NameServer("192.0.2.1"), NameServer("::1")) == system_servers(path)
    assert (NameServer("127.0.0.1"),) == system_servers(tmp_path / "none")
