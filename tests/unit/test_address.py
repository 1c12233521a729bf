"""Where the page listens, and what a Host header means."""

from __future__ import annotations

import pytest

from zendaemon.core.address import Address, host_of


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback", "everywhere"),
    [
        ("127.0.0.1:8787", "127.0.0.1", 8787, True, False),
        ("127.8.8.8:0", "127.8.8.8", 0, True, False),
        ("localhost:80", "localhost", 80, True, False),
        ("LocalHost:80", "localhost", 80, True, False),
        ("[::1]:80", "::1", 80, True, False),
        ("0.0.0.0:80", "0.0.0.0", 80, False, True),  # noqa: S104 - nothing listens
        ("[::]:80", "::", 80, False, True),
        ("192.0.2.1:65535", "192.0.2.1", 65535, False, False),
        ("localhost.example.com:80", "localhost.example.com", 80, False, False),
        ("127.0.0.1.example.com:80", "127.0.0.1.example.com", 80, False, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool, everywhere: bool) -> None:  # noqa: FBT001
    address = Address.parse(text)
    assert address == Address(host, port)
    assert (address.loopback, address.everywhere) == (loopback, everywhere)
    assert str(address) == text.lower()


def test_off() -> None:
    assert Address.parse("off") is Address.parse(" OFF ") is None


@pytest.mark.parametrize(
    "text",
    ["", "8787", ":8787", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "[127.0.0.1]:80", "[::1]", "a b:80"],
)
def test_what_is_no_address_has_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="or off"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:8787", "localhost"),
        ("[::1]:8787", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("", None),
        ("localhost:", None),
        ("user@localhost", None),
        ("localhost/x", None),
        ("localhost:80:80", None),
        ("::1", None),
        ("localhost\n", None),
        ("localhost, evil.example", None),
    ],
)
def test_hosts(header: str, host: str | None) -> None:
    assert host_of(header) == host
