"""
The keys to sign mail with, from C{state_dir/dkim/DOMAIN}: C{SELECTOR.pem} signs, C{SELECTOR.inactive} does not.

Whether a key signs is said by the file's name, so that it changes at one stroke, key and state can never disagree,
and a look into the folder tells. All that is wrong is told at once (L{ConfigError}); other files are left alone.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from lmrelay.config.values import DkimKey
from lmrelay.errors import ConfigError, Problem, SyntaxRefused
from lmrelay.mail.address import ascii_domain
from lmrelay.mail.dkim import ED25519, RSA, make_signer
from lmrelay.mail.dkim_record import record_name

FOLDER = "dkim"
ACTIVE, INACTIVE = ".pem", ".inactive"
SUFFIXES = {True: ACTIVE, False: INACTIVE}

RSA_BITS = 2048
MOST_ACTIVE = 2
"""
Keys of one algorithm: the old one and the next. Each costs every message of the domain a signature, all of them at one
stroke.
"""

MAX_READS = 5
"""
Times that a folder is read which changes meanwhile.
"""

MAX_NAME = 253
_SELECTOR = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def read_dkim_keys(state_dir: Path) -> dict[str, tuple[DkimKey, ...]]:
    """
    The keys of all sending domains, each domain's by selector.

    @raise ConfigError: all that is wrong with them
    """
    found: dict[str, tuple[DkimKey, ...]] = {}
    problems: list[Problem] = []
    folder = state_dir / FOLDER
    for path in _list(folder, problems):
        keys = _read_domain(path, problems)
        if keys:
            found[path.name] = keys
    if problems:
        raise ConfigError(*problems)
    _warm_up(found)
    return found


def key_path(state_dir: Path, domain: str, selector: str, *, active: bool) -> Path:
    """
    The file of a key.
    """
    return state_dir / FOLDER / domain / (selector + SUFFIXES[active])


def check_domain(text: str) -> str:
    """
    A domain that can sign, in A-labels.

    @raise SyntaxRefused: it is none
    """
    domain = ascii_domain(text)
    if domain.startswith("[") or "." not in domain:
        raise SyntaxRefused('expected a domain such as "example.com"')
    return domain


def check_selector(selector: str, domain: str) -> None:
    """
    @raise SyntaxRefused: it cannot be a selector of that domain (RFC 6376 §3.1)
    """
    if not _SELECTOR.fullmatch(selector):
        raise SyntaxRefused("a selector has letters, digits and hyphens, at most 63 between two dots")
    if len(record_name(domain, selector)) > MAX_NAME:
        raise SyntaxRefused("the name of its record would be too long for the DNS")


def count_active(keys: Iterable[DkimKey], algorithm: str) -> int:
    """
    How many of the keys sign by that algorithm; L{MOST_ACTIVE} of a domain may.
    """
    return sum(key.active and key.algorithm == algorithm for key in keys)


def read_key(path: Path, domain: str, selector: str, *, active: bool) -> DkimKey:
    """
    The key in a file.

    @raise ConfigError: others could read it, or it is no key to sign with
    """
    try:
        check_selector(selector, domain)
        return _parse(_read_private(path), domain, selector, active)
    except (SyntaxRefused, ValueError, OSError) as error:
        reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise ConfigError(Problem(str(path), "", reason)) from error


def _list(folder: Path, problems: list[Problem]) -> list[Path]:
    """
    What is in it, less what is hidden; nothing where it is not there.
    """
    try:
        _check_mode(folder, "700")
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except ValueError as error:
        problems.append(Problem(str(folder), "", str(error)))
    except OSError as error:
        problems.append(Problem(str(folder), "", f"cannot be read: {error.strerror}"))
    return []


def _read_domain(folder: Path, problems: list[Problem]) -> tuple[DkimKey, ...]:
    if not folder.is_dir():
        return ()
    try:
        if check_domain(folder.name) != folder.name:
            raise SyntaxRefused(f"is to be written as in the DNS: {check_domain(folder.name)}")
    except SyntaxRefused as error:
        problems.append(Problem(str(folder), "", f"the folder's name is that of a sending domain: {error}"))
        return ()
    for _ in range(MAX_READS):
        found: list[Problem] = []
        paths = _list(folder, found)
        keys = _read_keys(folder.name, paths, found)
        # One that is activated or retired meanwhile has another name now: it would be missing, or there twice.
        if not found or paths == _list(folder, []):
            break
    problems += found
    for algorithm in (RSA, ED25519):
        if count_active(keys, algorithm) > MOST_ACTIVE:
            reason = f"more than {MOST_ACTIVE} {algorithm} keys are active: every message would be signed with each"
            problems.append(Problem(str(folder), "", reason))
    return keys


def _read_keys(domain: str, paths: list[Path], problems: list[Problem]) -> tuple[DkimKey, ...]:
    keys: dict[str, DkimKey] = {}
    for path, active in _key_files(paths):
        try:
            key = read_key(path, domain, path.stem, active=active)
        except ConfigError as error:
            problems += error.problems
            continue
        # In the DNS upper and lower case are one name, so both would have the same record.
        if key.selector.lower() in keys:
            problems.append(Problem(str(path), "", f"there are two keys of selector {key.selector}: remove one"))
        keys[key.selector.lower()] = key
    return tuple(keys.values())


def _key_files(paths: list[Path]) -> Iterator[tuple[Path, bool]]:
    for path in paths:
        if path.suffix in (ACTIVE, INACTIVE):
            yield path, path.suffix == ACTIVE


def _check_mode(path: Path, expected: str) -> None:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ValueError(f"others could read it: expected mode 0{expected} (chmod {expected})")


def _read_private(path: Path) -> bytes:
    _check_mode(path, "600")
    return path.read_bytes()


def _parse(octets: bytes, domain: str, selector: str, active: bool) -> DkimKey:
    try:
        # Tests of the primes would take a second for thirty keys.
        key = load_pem_private_key(octets, None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:
        raise ValueError("the key is encrypted: nobody would be there to give the password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("expected a private key in PEM") from error
    if isinstance(key, RSAPrivateKey):
        _check_rsa(key)
    elif not isinstance(key, Ed25519PrivateKey):
        raise ValueError("expected a key of RSA or Ed25519")
    algorithm = RSA if isinstance(key, RSAPrivateKey) else ED25519
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return DkimKey(domain, selector, algorithm, private, active)


def _check_rsa(key: RSAPrivateKey) -> None:
    if key.key_size != RSA_BITS:
        why = (
            "shorter ones are weak (RFC 8301)" if key.key_size < RSA_BITS else "signing with longer ones takes too long"
        )
        raise ValueError(f"expected an RSA key of {RSA_BITS} bits, not {key.key_size}: {why}")
    numbers = key.private_numbers()
    p, q, e = numbers.p, numbers.q, numbers.public_numbers.e
    fits = p * q == numbers.public_numbers.n and e * numbers.d % (p - 1) == 1 and e * numbers.d % (q - 1) == 1
    parts = (numbers.d % (p - 1), numbers.d % (q - 1), 1)
    if not fits or (numbers.dmp1, numbers.dmq1, numbers.iqmp * q % p) != parts:
        raise ValueError("the RSA key's numbers do not fit each other: it is damaged")


def _warm_up(found: Mapping[str, tuple[DkimKey, ...]]) -> None:
    """
    Sign once: the first signature of a process takes ten times as long as others, and here nothing waits for it.
    """
    for algorithm in (RSA, ED25519):
        key = next((key for keys in found.values() for key in keys if key.algorithm == algorithm), None)
        if key is not None:
            make_signer(key.domain, key.selector, key.private).seal(b"")
