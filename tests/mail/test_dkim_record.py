"""
The records of DKIM keys: written, split, and compared with what the DNS has.
"""

from __future__ import annotations

import pytest

from lmrelay.mail.dkim_record import compare, is_testing, make_record, record_name, split_record, zone_line

PUBLIC = bytes(range(256)) + b"end"
RECORD = make_record("rsa", PUBLIC)


def test_written() -> None:
    """
    The record fits a zone file: strings of at most 255 octets that together are its text.
    """
    assert "s1._domainkey.acme.example" == record_name("acme.example", "s1")
    assert RECORD.startswith("v=DKIM1; k=rsa; p=AAECAwQ")
    strings = split_record(RECORD)
    assert (RECORD, [255, len(RECORD) - 255]) == ("".join(strings), [len(one) for one in strings])
    assert f'a.example. IN TXT "{strings[0]}" "{strings[1]}"' == zone_line("a.example", RECORD)
    assert r'a. IN TXT "x\"y\\z"' == zone_line("a", 'x"y\\z')


@pytest.mark.parametrize(
    "found",
    [
        [RECORD],
        [RECORD + ";"],
        [RECORD.replace("; ", ";")],
        [RECORD.replace("v=DKIM1; ", "")],
        [RECORD.replace("k=rsa; ", "")],
        [RECORD.replace("k=rsa", "k=rsa; t=s; n=ours; s=email; h=sha1:sha256")],
        ["v=spf1 -all", RECORD],
        [RECORD[:100] + " " + RECORD[100:]],
    ],
)
def test_right(found: list[str]) -> None:
    """
    Records that verifiers read as this key are right, however they are spaced.
    """
    assert (True, "") == (compare("rsa", PUBLIC, found).is_right, compare("rsa", PUBLIC, found).reason)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([], "no TXT record"),
        (["v=spf1 -all"], "no record of a key"),
        ([RECORD, RECORD], "2 records"),
        (["v=DKIM1; k=rsa; p="], "revokes"),
        ([make_record("rsa", b"another")], "another key"),
        ([make_record("ed25519", PUBLIC)], "another algorithm"),
        ([RECORD[:255]], "cut"),
        (["v=DKIM1; k=rsa; p=!!"], "no base 64"),
        ([RECORD.replace("DKIM1", "DKIM2")], "v=DKIM1"),
        (["k=rsa; " + RECORD], "v=DKIM1"),
        ([RECORD + "; h=sha1"], "SHA-256"),
        ([RECORD + "; s=tlsrpt"], "not for mail"),
    ],
)
def test_wrong(found: list[str], reason: str) -> None:
    """
    What verifiers would not take is told in words that say what to look at.
    """
    published = compare("rsa", PUBLIC, found)
    assert (False, True) == (published.is_right, reason in published.reason)


def test_testing() -> None:
    """
    A record in test mode is known.
    """
    assert (True, False) == (is_testing(RECORD + "; t=s:y"), is_testing(RECORD + "; t=s"))
