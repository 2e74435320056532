"""
Which addresses may be connected to, and in which order.
"""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from lmrelay.reach import is_allowed, order_addresses


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2a00:1450::5efe:8.8.8.8", "2002:808:808::1"],
)
def test_public_address(address: str) -> None:
    """
    A public address is connected to, whatever the form.
    """
    assert is_allowed(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "::ffff:168.63.129.16",
        "64:ff9b::a83f:8110",
        "224.0.0.1",
        "239.1.1.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "::ffff:0:10.0.0.1",
        "::ffff:0:8.8.8.8",
        "2001:4860:1::5efe:10.0.0.1",
        "2001:4860:1::200:5efe:127.0.0.1",
        "3fff::1",
        "5f00::1",
        "4000::1",
        "2002:7f00:1::1",
        "2002:a00:1::",
        "2001:0:808:808:0:0:80ff:fffe",
        "not an address",
        "",
    ],
)
def test_address_that_is_not_public(address: str) -> None:
    """
    Nothing inside is connected to, nor through a translator or a tunnel.
    """
    assert not is_allowed(address)


@pytest.mark.parametrize(
    ("address", "network", "expected"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("127.0.0.1", "127.0.0.0/8", True),
        ("fd12::1", "fd00::/8", True),
        ("192.168.1.1", "10.0.0.0/8", False),
    ],
)
def test_allowed_network(address: str, network: str, expected: bool) -> None:
    """
    A listed network is connected to, and no other.
    """
    assert expected == is_allowed(address, [ip_network(network)])


@pytest.mark.parametrize(
    ("ipv6", "ipv4", "last", "expected"),
    [
        (["a6", "b6"], ["a4", "b4"], False, ["a6", "a4", "b6", "b4"]),
        (["a6"], ["a4", "b4"], True, ["a4", "b4", "a6"]),
        ([], ["a4"], False, ["a4"]),
        (["a6"], [], True, ["a6"]),
        ([str(number) for number in range(9)], [], False, ["0", "1", "2", "3", "4", "5"]),
    ],
)
def test_address_order(ipv6: list[str], ipv4: list[str], last: bool, expected: list[str]) -> None:
    """
    The families take turns, or IPv6 comes last; the number is bounded.
    """
    assert expected == order_addresses(ipv6, ipv4, ipv6_last=last)
