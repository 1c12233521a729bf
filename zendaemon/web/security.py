"""Who may do what: decided from a request's method, path, headers and sender, before anything else looks at it."""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections import OrderedDict
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_network
from math import ceil
from typing import TYPE_CHECKING

from zendaemon.core.address import Address, host_of, ip
from zendaemon.core.errors import SettingsError
from zendaemon.web.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""With every answer."""
PROBES = frozenset({"/healthz", "/readyz"})
READS = frozenset({"GET", "HEAD"})
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HOW = "set ZENDAEMON_HTTP_TOKEN_FILE to a file with a token (docs/http-api.md), or use the commands of `zendaemon`"


@dataclass(slots=True)
class Failures:
    """Wrong tokens by sender. After `limit` of them within `window` seconds no token of the sender is looked at.

    At most `senders` are remembered, those that failed last.
    """

    limit: int = 10
    window: float = 60.0
    senders: int = 1024
    _known: OrderedDict[str, list[float]] = field(default_factory=OrderedDict)

    def wait(self, sender: str, now: float) -> float:
        """How many seconds the sender must wait; 0 when it need not. `now` is in monotonic seconds."""
        recent = [at for at in self._known.get(sender, ()) if now - at < self.window]
        return self.window - (now - recent[0]) if len(recent) >= self.limit else 0.0

    def add(self, sender: str, now: float) -> None:
        recent = [at for at in self._known.pop(sender, ()) if now - at < self.window]
        self._known[sender] = [*recent, now][-self.limit :]
        while len(self._known) > self.senders:
            self._known.popitem(last=False)


class WrongToken(Refused):
    """A token that was refused; `worth_saying` tells whether the log is to have it, of all that `sender` tries."""

    def __init__(self, refused: Refused, sender: str, *, worth_saying: bool) -> None:
        super().__init__(refused.status, refused.message, refused.remedy, refused.headers)
        self.sender = sender
        self.worth_saying = worth_saying


@dataclass(slots=True)
class Complaints:
    """Which refused tokens are said: one of each sender within `window` seconds, and `most` of all senders together.

    No more senders than that are remembered, so that nobody can fill the log or the memory.
    """

    window: float = 60.0
    most: int = 60
    _said: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def due(self, sender: str, now: float) -> bool:
        """Whether to say this one, which counts as said then. `now` is in monotonic seconds."""
        while self._said and now - next(iter(self._said.values())) >= self.window:
            self._said.popitem(last=False)
        if sender in self._said or len(self._said) >= self.most:
            return False
        self._said[sender] = now
        return True


@dataclass(frozen=True, slots=True)
class Access:
    """The rules. `token` reads the token, anew at each call; None where none is configured.

    `hosts` are names under which others reach us, such as that of a proxy, in lower case.
    """

    address: Address
    token: Callable[[], str] | None
    monotonic: Callable[[], float]
    hosts: frozenset[str] = frozenset()
    failures: Failures = field(default_factory=Failures)
    complaints: Complaints = field(default_factory=Complaints)

    @property
    def open(self) -> bool:
        """Whether reading needs no token."""
        return self.address.loopback

    def check(self, method: str, path: str, headers: Mapping[str, str], sender: str) -> None:
        """Raises Refused. Header names are in lower case; `sender` is the address of the client."""
        if path in PROBES and method in READS:
            return
        host = headers.get("host", "")
        if not self._known_host(host_of(host)):
            raise Refused(
                421,
                "the Host of this request is not one of this daemon's",
                "use its address, or name the host in ZENDAEMON_HTTP_HOSTS",
            )
        if not _same_origin(host, headers):
            raise Refused(403, "the request comes from another site's page")
        if method not in READS:
            if self.token is None:
                raise Refused(403, "nothing may be changed over HTTP, since no token is configured", _HOW)
            self._authenticate(self.token, headers.get("authorization", ""), sender, basic=False)
        elif not self.open and self.token is not None:
            self._authenticate(self.token, headers.get("authorization", ""), sender, basic=True)

    def _known_host(self, host: str | None) -> bool:
        """A page of another site that had its name led here (DNS rebinding) says that name, never an IP address."""
        if host is None:
            return False
        if host in self.hosts or host == self.address.host:
            return True
        if self.address.everywhere:
            return host == "localhost" or ip(host) is not None
        return self.address.loopback and host in _LOOPBACK_NAMES

    def _authenticate(self, token: Callable[[], str], given: str, sender: str, *, basic: bool) -> None:
        now, sender = self.monotonic(), _network(sender)
        challenge = {"WWW-Authenticate": 'Bearer realm="zendaemon"' + (', Basic realm="zendaemon"' if basic else "")}
        if not given:
            raise Refused(401, "this needs the daemon's token", "send it as `Authorization: Bearer ...`", challenge)
        if wait := self.failures.wait(sender, now):
            headers = {"Retry-After": str(ceil(wait))}
            refused = Refused(429, "too many wrong tokens came from this address", f"wait {ceil(wait)} s", headers)
            raise WrongToken(refused, sender, worth_saying=self.complaints.due(sender, now))
        try:
            wanted = token()
        except SettingsError:
            raise Refused(503, "the daemon cannot read its token", "its file must be readable for its user") from None
        if not hmac.compare_digest(_token(given, basic=basic), wanted.encode()):
            self.failures.add(sender, now)
            refused = Refused(401, "the token is wrong", "compare it with that of ZENDAEMON_HTTP_TOKEN", challenge)
            raise WrongToken(refused, sender, worth_saying=self.complaints.due(sender, now))


def _token(authorization: str, *, basic: bool) -> bytes:
    """The token of an Authorization header: `Bearer ...`, or the password of `Basic`, which browsers can ask for.

    Browsers send `Basic` along on their own, so it never serves for a change.
    """
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer":
            return value.encode("latin-1", "replace")  # the bytes that were sent
        case "basic" if basic:
            try:
                return b64decode(value, validate=True).partition(b":")[2]
            except ValueError:
                return b""
    return b""


def _same_origin(host: str, headers: Mapping[str, str]) -> bool:
    """Whether a browser, if it is one, sends this from a page of ours or by its user's own hand."""
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        return False
    by_link = headers.get("sec-fetch-mode") == "navigate"  # to read a page; a form's POST lacks the token
    return by_link or headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _network(sender: str) -> str:
    """Whom failures are counted for: an IPv4 address, or an IPv6 network, which is one customer's."""
    found = ip(sender)
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
    return sender
