"""
Rules for receivers: those of the operator's file first, then those that are shipped with lmrelay.

What is shipped never raises what C{[delivery]} allows; what the operator wrote of a receiver holds as it stands.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from lmrelay.config.reader import Reader
from lmrelay.config.values import Delivery, Receiver
from lmrelay.errors import ConfigError, Problem

SHIPPED = Path(__file__).parent / "receivers.toml"


@frozen
class _Rules:
    """
    The file: C{[[receivers]]}, one a rule.
    """

    receivers: tuple[Receiver, ...] = ()


def read_toml(path: Path) -> dict[str, Any]:
    """
    @raise ConfigError: it cannot be read, or is not TOML
    """
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read: {error.strerror}")) from error
    except UnicodeDecodeError as error:
        raise ConfigError(Problem(str(path), "", "is not UTF-8")) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(Problem(str(path), "", f"is not TOML: {error}")) from error


def read_receivers(path: Path) -> tuple[Receiver, ...]:
    """
    The rules in the file at C{path}.

    @raise ConfigError: all that is wrong with it
    """
    reader = Reader(str(path), path.parent)
    rules = reader.table(_Rules, read_toml(path))
    found = rules.receivers if rules is not None else ()
    _refuse_twins(reader, found)
    if reader.problems:
        raise ConfigError(*reader.problems)
    return found


def _refuse_twins(reader: Reader, rules: tuple[Receiver, ...]) -> None:
    """
    Two rules of one name are most often a copy that was not finished.
    """
    numbers: dict[str, int] = {}
    for number, rule in enumerate(rules):
        if rule.name in numbers:
            reader.complain(f"receivers[{number}].name", f"is that of receivers[{numbers[rule.name]}] too")
        numbers.setdefault(rule.name, number)


def all_receivers(delivery: Delivery) -> tuple[Receiver, ...]:
    """
    The rules that are in force, the first that fits first.

    @raise ConfigError: all that is wrong with the operator's file
    """
    own = read_receivers(delivery.receivers) if delivery.receivers is not None else ()
    return (*own, *(_capped(rule, delivery) for rule in read_receivers(SHIPPED)))


def _capped(rule: Receiver, delivery: Delivery) -> Receiver:
    ceilings: Mapping[str, int] = {
        "connections": delivery.connections_per_site,
        "messages_per_connection": delivery.messages_per_connection,
    }
    said = {name: (getattr(rule, name), ceiling) for name, ceiling in ceilings.items()}
    return evolve(rule, **{name: min(value, ceiling) for name, (value, ceiling) in said.items() if value is not None})
