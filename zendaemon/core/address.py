"""Where the status page and the HTTP API listen, and which names lead there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:/@\s]+)):(?P<port>\d{1,5})")
_REMEDY = "write host:port, such as 127.0.0.1:8787, 0.0.0.0:8787 or [::1]:8787, or off"


@dataclass(frozen=True, slots=True)
class Address:
    """A host (an IP address or a name) and a port; port 0 lets the system choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """`host:port`; None for `off`. Raises ValueError with the remedy."""
        if text.strip().lower() == "off":
            return None
        found = _ADDRESS.fullmatch(text.strip())
        if found is None or int(found["port"]) > 65535:
            raise ValueError(f"{text!r} is no address; {_REMEDY}")
        if found["six"] and not isinstance(ip(found["six"]), IPv6Address):
            raise ValueError(f"{found['six']!r} is no IPv6 address; {_REMEDY}")
        return cls((found["six"] or found["host"]).lower(), int(found["port"]))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than `localhost` may lead anywhere."""
        found = ip(self.host)
        return self.host == "localhost" if found is None else found.is_loopback

    @property
    def everywhere(self) -> bool:
        """Whether it is each address of the machine."""
        found = ip(self.host)
        return found is not None and found.is_unspecified

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def ip(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, None for what is none."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def host_of(authority: str) -> str | None:
    """The host in `host[:port]`, as a Host header has it, in lower case and without brackets; None for nonsense."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?", authority)
    return None if found is None else (found[1] or found[2]).lower()
