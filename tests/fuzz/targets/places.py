"""
Where the relay may be sent: URLs of webhooks, and addresses that the DNS or a URL names.

Held against a table of the networks that are nobody's on the internet, written from IANA's registries.
"""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from twisted.web.client import URI

from lmrelay.config.urls import check_unsubscribe_url, check_url
from lmrelay.mail.unsubscribe import make_link, unsubscribe_fields
from lmrelay.reach import is_allowed, order_addresses
from tests.fuzz.shared import sentences

WORDS = (
    b"http://",
    b"https://",
    b"127.0.0.1",
    b"[::1]",
    b"[::ffff:127.0.0.1]",
    b"localhost",
    b"0x7f.1",
    b"2130706433",
    b"@",
    b":",
    b"/",
    b"?",
    b"#",
    b"\\",
    b"%00",
    b"{token}",
    b"example.com",
    b"token=",
    b"//",
    b".",
    b"[fe80::1%eth0]",
    b"%25",
    b"0177.0.0.1",
    b"HTTPS://",
    b"\t",
    b"\r\n",
    b"u:p@",
    b":80",
    b":0",
    b":99999",
    b"::",
    b"fe80::1",
    b"64:ff9b::a00:1",
    b"2002:a00:1::",
    b"\xe3\x80\x82",
    b"::ffff:10.0.0.1",
    b"10.0.0.1",
    b"169.254.169.254",
    b"8.8.8.8",
    b"2001:4860::8888",
    b"%",
    b"\xc2\xad",
    b"1.1.1.1",
    b"[",
    b"]",
)

examples = sentences(WORDS, 8)

_NOT_PUBLIC = [
    ip_network(one)
    for one in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24"),
        *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
        *(
            "::/8",
            "100::/64",
            "fc00::/7",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
            "2001:db8::/32",
            "5f00::/16",
            "3fff::/20",
        ),
    )
]
_NAT64 = ip_network("64:ff9b::/96")


def target(data: bytes) -> None:
    """
    The data as a URL, as the text of an address, and as the octets of one.
    """
    text = data.decode("utf-8", "replace")
    _check_url(text)
    _check_link(text)
    is_allowed(text)
    for address in _addresses(data, text):
        _check_reach(address)


def _check_url(text: str) -> None:
    try:
        url = check_url(text)
    except ValueError as error:
        assert str(error).isprintable()
        return
    assert text == url
    parts = urlsplit(url)
    uri = URI.fromBytes(url.encode())
    # Who looks the host up, and who writes the request, must mean the same.
    assert parts.username is not None or (parts.hostname or "") == uri.host.decode().lower().strip("[]")
    assert parts.username is not None or (parts.port or {"http": 80, "https": 443}[parts.scheme]) == uri.port
    assert not set(url) & set("\r\n\t \\#")


def _check_link(text: str) -> None:
    try:
        template = check_unsubscribe_url(text)
    except ValueError as error:
        assert str(error).isprintable()
        return
    link = make_link(template, "t0ken.x")
    assert urlsplit(link).hostname == urlsplit(template).hostname
    assert urlsplit(link).scheme == "https"
    assert 1 == link.count("t0ken.x")
    fields = unsubscribe_fields(link)
    assert 2 == fields.count(b"\r\n") == len(fields.split(b"\r\n")) - 1
    assert f"<{link}>".encode() in fields


def _addresses(data: bytes, text: str) -> list[IPv4Address | IPv6Address]:
    found: list[IPv4Address | IPv6Address] = []
    if len(data) >= 4:
        found.append(IPv4Address(data[:4]))
    if len(data) >= 16:
        found.append(IPv6Address(data[:16]))
    with contextlib.suppress(ValueError):
        found.append(ip_address(text.partition("%")[0]))
    return found


def _check_reach(address: IPv4Address | IPv6Address) -> None:
    allowed = is_allowed(str(address))
    if allowed:
        for form in _forms(address):
            assert not any(form in network for network in _NOT_PUBLIC if network.version == form.version), address
    assert is_allowed(str(address), [ip_network(f"{_forms(address)[-1]}/{_forms(address)[-1].max_prefixlen}")])
    assert allowed == (order_addresses([str(address)], []) == [str(address)] and is_allowed(f"{address}%eth0"))


def _forms(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """
    Itself, or the IPv4 address within that it leads to.
    """
    if isinstance(address, IPv4Address):
        return [address]
    octets = address.packed
    if octets[:12] == b"\0" * 10 + b"\xff\xff" or address in _NAT64:
        return [IPv4Address(octets[12:])]
    if octets[:2] == b"\x20\x02":
        return [IPv4Address(octets[2:6])]
    if octets[:4] == b"\x20\x01\0\0":
        return [IPv4Address(octets[4:8]), IPv4Address(bytes(one ^ 255 for one in octets[12:]))]
    if octets[8:12] in (b"\0\0\x5e\xfe", b"\x02\0\x5e\xfe"):
        return [address, IPv4Address(octets[12:])]
    return [address]
