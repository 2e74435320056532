"""
The keys that sign mail: read with the configuration, or refused by name.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import Thread

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from lmrelay.config.dkim_keys import MOST_ACTIVE, key_path, read_dkim_keys
from lmrelay.config.load import load
from lmrelay.errors import ConfigError
from lmrelay.mail.dkim import hash_body, make_signer, sign
from lmrelay.mail.head import Head
from tests.config.folder import complaints, complete, read, write
from tests.mail.test_dkim import GOLDEN, private_key


def put(state: Path, domain: str, name: str, octets: bytes | None = None, mode: int = 0o600) -> Path:
    """
    Put a key where the daemon looks for it.
    """
    folder = state / "dkim" / domain
    for made in (state, folder.parent, folder):
        made.mkdir(mode=0o700, exist_ok=True)
    path = folder / name
    path.write_bytes((GOLDEN / "ed25519.pem").read_bytes() if octets is None else octets)
    path.chmod(mode)
    return path


def pem(key: object, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, encryption)  # type: ignore[attr-defined]


def refusals(state: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_dkim_keys(state)
    return [str(one).replace(f"{state}/dkim/", "") for one in caught.value.problems]


def test_none(tmp_path: Path) -> None:
    """
    Without a folder there are no keys, and none is made.
    """
    assert {} == read_dkim_keys(tmp_path / "state")
    assert [] == list(tmp_path.iterdir())


def test_read_with_the_configuration(tmp_path: Path) -> None:
    """
    Keys come with the configuration, by domain and selector; the file's name says whether they sign.
    """
    state = tmp_path / "state"
    put(state, "acme.example", "s2.pem", (GOLDEN / "rsa.pem").read_bytes())
    put(state, "acme.example", "s1.inactive")
    put(state, "xn--mller-kva.example", "a.b-c.pem")
    config = read(tmp_path, complete(tmp_path))
    found = {name: [(key.selector, key.algorithm, key.active) for key in keys] for name, keys in config.dkim.items()}
    assert {
        "acme.example": [("s1", "ed25519", False), ("s2", "rsa", True)],
        "xn--mller-kva.example": [("a.b-c", "ed25519", True)],
    } == found
    assert private_key("rsa") == config.dkim["acme.example"][1].private
    assert key_path(state, "acme.example", "s1", active=False).exists()


def test_read_again(tmp_path: Path) -> None:
    """
    The next reading takes what came, went, or was renamed.
    """
    path = write(tmp_path, complete(tmp_path))
    assert {} == load(path).dkim
    file = put(tmp_path / "state", "acme.example", "s1.pem")
    assert [True] == [key.active for key in load(path).dkim["acme.example"]]
    file.rename(file.with_suffix(".inactive"))
    assert [False] == [key.active for key in load(path).dkim["acme.example"]]
    shutil.rmtree(file.parent)
    assert {} == load(path).dkim


def test_other_files(tmp_path: Path) -> None:
    """
    Drafts, notes and what else lies there are no keys.
    """
    for name in (".s1.pem.x7", "record.txt", "s1.pub", "README"):
        put(tmp_path, "acme.example", name, b"x", 0o644)
    (tmp_path / "dkim" / "README").write_bytes(b"x")
    assert {} == read_dkim_keys(tmp_path)


def test_older_forms(tmp_path: Path) -> None:
    """
    A key that openssl or opendkim-genkey wrote is taken, and signs.
    """
    key = load_pem_private_key((GOLDEN / "rsa.pem").read_bytes(), None)
    put(tmp_path, "acme.example", "s1.pem", pem(key, PrivateFormat.TraditionalOpenSSL))
    ((taken,),) = read_dkim_keys(tmp_path).values()
    assert private_key("rsa") == taken.private
    assert sign(Head(), [make_signer("acme.example", "s1", taken.private)], hash_body(b""), 0)


def test_all_that_is_wrong(tmp_path: Path) -> None:
    """
    Every flaw is told at once, together with those of the main file, and names its file.
    """
    state = tmp_path / "state"
    put(state, "acme.example", "s1.pem", b"no key")
    put(state, "acme.example", "s2.pem", mode=0o640)
    put(state, "acme.example", "s_3.pem")
    put(state, "ACME.example", "s1.pem")
    put(state, "localhost", "s1.pem")
    told = complaints(tmp_path, complete(tmp_path, listeners=[{"port": 587}, {"port": 587}]))
    for start in (
        "lmrelay.toml: listeners[1].port: ",
        "state/dkim/acme.example/s1.pem: expected a private key",
        "state/dkim/acme.example/s2.pem: others could read it: expected mode 0600",
        "state/dkim/acme.example/s_3.pem: a selector has",
        "state/dkim/ACME.example: the folder's name is that of a sending domain: is to be written as in the DNS: acme.",
        "state/dkim/localhost: the folder's name",
    ):
        assert [start] == [start for line in told if line.startswith(start)]
    assert 6 == len(told)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_open_keys(tmp_path: Path, mode: int) -> None:
    """
    A key that others could read or use is refused with the way to mend it.
    """
    put(tmp_path, "acme.example", "s1.pem", mode=mode)
    assert ["acme.example/s1.pem: others could read it: expected mode 0600 (chmod 600)"] == refusals(tmp_path)


@pytest.mark.parametrize("folder", ["dkim", "dkim/acme.example"])
def test_open_folders(tmp_path: Path, folder: str) -> None:
    """
    So is a folder in which others could put keys of theirs.
    """
    put(tmp_path, "acme.example", "s1.pem")
    (tmp_path / folder).chmod(0o755)
    (told,) = refusals(tmp_path)
    assert told.endswith("others could read it: expected mode 0700 (chmod 700)")


def damaged() -> object:
    numbers = load_pem_private_key((GOLDEN / "rsa.pem").read_bytes(), None).private_numbers()  # type: ignore[union-attr]
    public = rsa.RSAPublicNumbers(numbers.public_numbers.e, numbers.public_numbers.n)
    wrong = rsa.RSAPrivateNumbers(
        p=numbers.p, q=numbers.q, d=numbers.d, dmp1=numbers.dmp1 ^ 2, dmq1=numbers.dmq1, iqmp=numbers.iqmp,
        public_numbers=public,
    )  # fmt: skip
    return wrong.private_key(unsafe_skip_rsa_key_validation=True)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "expected a private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "expected a private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "expected a key of RSA or Ed25519"),
        (pem(rsa.generate_private_key(65537, 1024)), "not 1024: shorter ones are weak"),
        (pem(rsa.generate_private_key(65537, 3072)), "not 3072: signing with longer ones takes too long"),
        (pem(load_pem_private_key((GOLDEN / "ed25519.pem").read_bytes(), None), password=b"x"), "is encrypted"),
        (pem(damaged()), "damaged"),
    ],
    ids=["empty", "torn", "ec", "short", "long", "encrypted", "damaged"],
)
def test_bad_keys(tmp_path: Path, octets: bytes, reason: str) -> None:
    """
    What cannot sign is refused when it is read, in words, and never when mail is to be signed.
    """
    put(tmp_path, "acme.example", "s1.pem", octets)
    (told,) = refusals(tmp_path)
    assert (True, True) == (told.startswith("acme.example/s1.pem: "), reason in told)


def test_renamed_meanwhile(tmp_path: Path) -> None:
    """
    A key that gets another name while the folder is read, as activate and retire do, is no reason to refuse.
    """
    folder = put(tmp_path, "acme.example", "b.inactive").parent
    os.mkfifo(folder / "a.pem", 0o600)

    def feed() -> None:
        # Once the first is being read, the second has been listed.
        with (folder / "a.pem").open("wb") as first:
            (folder / "a.pem").unlink()
            put(tmp_path, "acme.example", "a.pem")
            (folder / "b.inactive").rename(folder / "b.pem")
            first.write((GOLDEN / "ed25519.pem").read_bytes())

    feeding = Thread(target=feed, daemon=True)
    feeding.start()
    found = read_dkim_keys(tmp_path)["acme.example"]
    feeding.join(10)
    assert [("a", True), ("b", True)] == [(key.selector, key.active) for key in found]


def test_two_of_a_selector(tmp_path: Path) -> None:
    """
    One selector has one key, whatever its state.
    """
    put(tmp_path, "acme.example", "s1.pem")
    put(tmp_path, "acme.example", "s1.inactive")
    assert ["acme.example/s1.pem: there are two keys of selector s1: remove one"] == refusals(tmp_path)


def test_two_of_a_selector_in_other_case(tmp_path: Path) -> None:
    """
    Upper and lower case are one name in the DNS, where each key has its record.
    """
    put(tmp_path, "acme.example", "S1.pem")
    put(tmp_path, "acme.example", "s1.pem")
    assert ["acme.example/s1.pem: there are two keys of selector s1: remove one"] == refusals(tmp_path)


def test_too_many(tmp_path: Path) -> None:
    """
    No domain has more active keys than every message can be signed with.
    """
    for number in range(MOST_ACTIVE):
        put(tmp_path, "acme.example", f"s{number}.pem")
    put(tmp_path, "acme.example", "old.inactive")
    put(tmp_path, "acme.example", "other.pem", (GOLDEN / "rsa.pem").read_bytes())
    assert MOST_ACTIVE + 2 == len(read_dkim_keys(tmp_path)["acme.example"])
    put(tmp_path, "acme.example", "more.pem")
    (told,) = refusals(tmp_path)
    assert "acme.example: more than 2 ed25519 keys are active: every message would be signed with each" == told
