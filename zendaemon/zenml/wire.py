"""HTTP to one server: the pool, its limits, TLS, and every failure turned into one of ours."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from json import JSONEncoder
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from urllib.request import getproxies, proxy_bypass

import httpx

from zendaemon import __version__
from zendaemon.core.errors import SettingsError
from zendaemon.zenml.errors import PlainAnswer, Purpose, from_transport, http_date
from zendaemon.zenml.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pydantic import JsonValue

    from zendaemon.zenml.auth import Secret
    from zendaemon.zenml.errors import Answer

API = "/api/v1"
_KEEPALIVE_SECONDS = 3  # less than the 5 s after which a server's uvicorn closes an idle connection
_HEADERS = {
    "User-Agent": f"zendaemon/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
}
_JSON = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_CLOCK_GRAIN = timedelta(seconds=0.5)
_BROKEN = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, in seconds, and how many calls may be under way at once.

    `start` is the wait for the answer to a start: servers up to 0.75 have no limit of their own, and need 30 s to say
    that their pool of connections is exhausted. `call` bounds a whole call once it has begun.
    """

    connect: float = 10.0
    read: float = 30.0
    start: float = 75.0
    call: float = 120.0
    concurrency: int = 8


def normal_url(url: str) -> str:
    """The server's base URL without trailing slash and `/api/v1`. Raises SettingsError, never repeating a password."""
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, ValueError, TypeError):
        parsed = None
    spaced = any(letter.isspace() for letter in url.strip())
    if parsed is None or spaced or parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError("the server URL is none", hint="write it as https://zenml.example.com")
    if parsed.userinfo:
        raise SettingsError(
            "the server URL has a user or password in it", hint="give credentials by their own settings"
        )
    if parsed.query or parsed.fragment:
        raise SettingsError("the server URL has a query or fragment", hint="end it with the host or its path")
    path = parsed.path.rstrip("/").removesuffix(API).rstrip("/")
    return str(parsed.copy_with(path=path or "/")).rstrip("/")


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What decides about the server's certificate: the usual authorities, or those in `ca_file` alone."""
    if ca_file is None:
        return httpx.create_ssl_context()
    failure: SettingsError
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError:
        failure = SettingsError(f"the CA file {ca_file} holds no certificate", hint="it must be in PEM format")
    except OSError as error:
        failure = SettingsError(f"the CA file {ca_file} cannot be read: {error.strerror}")
    raise failure


def _proxy(url: str) -> str | None:
    """The proxy that the environment has for the server."""
    parsed, proxies = httpx.URL(url), getproxies()
    found = proxies.get(parsed.scheme) or proxies.get("all")
    if not found or proxy_bypass(parsed.netloc.decode()):
        return None
    return found if "://" in found else f"http://{found}"


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its token, which is added when it is sent; a start is made some time before.

    `head` is all that comes before `content` as our transport sends it, but the token. `headers` are for httpx's: those
    that are not the same for each request.
    """

    method: str
    url: httpx.URL
    purpose: Purpose
    head: bytes
    headers: Mapping[str, str]
    content: bytes = field(default=b"", repr=False)  # of a login, it is a secret

    def encoded(self, token: Secret | None = None) -> bytes:
        """As it goes over the wire; no secret has a line end."""
        if token is None:
            return b"".join((self.head, b"\r\n\r\n", self.content))
        return b"".join((self.head, b"\r\nAuthorization: Bearer ", token.reveal().encode(), b"\r\n\r\n", self.content))

    def with_headers(self, more: Mapping[str, str]) -> Request:
        return replace(self, head=self.head + lines_of(more), headers={**self.headers, **more})


def first_lines(method: str, url: httpx.URL) -> bytes:
    """What every request of this method to this URL begins with."""
    lines = [f"{method} {url.raw_path.decode('ascii')} HTTP/1.1", f"Host: {url.netloc.decode('ascii')}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in _HEADERS.items())]).encode("ascii")


def lines_of(headers: Mapping[str, str]) -> bytes:
    """Headers as they go over the wire, each after a line end. Raises LocalProtocolError for one with such in it."""
    lines = "".join([f"\r\n{name}: {value}" for name, value in headers.items()]).encode("latin-1")
    if b"\0" in lines or lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        raise httpx.LocalProtocolError("a header with a line end in it")
    return lines


def _place(method: str, url: str) -> tuple[httpx.URL, bytes]:
    parsed = httpx.URL(url)
    return parsed, first_lines(method, parsed)


def _for_httpx(request: Request, token: Secret | None, timeout: httpx.Timeout) -> httpx.Request:
    access = {} if token is None else {"Authorization": f"Bearer {token.reveal()}"}
    return httpx.Request(
        request.method,
        request.url,
        headers={**_HEADERS, **request.headers, **access},
        content=request.content,
        extensions={"timeout": timeout.as_dict()},
    )


class Wire:
    """Sends requests to one server, without a client of httpx's: it would add cookies, redirects, and half the time.

    `elapsed` gives seconds that go on however our wall clock is set; between two answers the server's clock is reckoned
    with them.
    """

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], datetime],
        elapsed: Callable[[], float],
        limits: Limits,
        ca_file: Path | None,
        trust_env: bool,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.url = normal_url(url)
        self._now = now
        self._elapsed = elapsed
        self._server_at: datetime | None = None
        """What the server's clock showed when `elapsed` was 0; None before its first answer."""
        self._within = timedelta()
        self._heard = "", timedelta()
        """The Date that was noted last, and half the length of the call that told it."""
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.concurrency)
        proxy = _proxy(self.url) if trust_env else None
        secure = self.url.startswith("https:") or ca_file is not None or proxy is not None
        context = tls_context(ca_file) if secure else None  # all the usual authorities are 5 MB
        ours = Transport(context, keep=_KEEPALIVE_SECONDS) if transport is None and proxy is None else None
        self._transport = (
            ours
            or transport
            or httpx.AsyncHTTPTransport(
                verify=context or False,
                proxy=proxy,
                limits=httpx.Limits(
                    max_connections=limits.concurrency,
                    max_keepalive_connections=limits.concurrency,
                    keepalive_expiry=_KEEPALIVE_SECONDS,
                ),
            )
        )
        self._place = lru_cache(maxsize=1024)(_place)

    async def close(self) -> None:
        await self._transport.aclose()

    def request(
        self,
        method: str,
        path: str,
        purpose: Purpose,
        *,
        params: Mapping[str, str | int] | None = None,
        json: JsonValue = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        """A request for a path below the server's URL."""
        url, begin = self._place(method, f"{self.url}{path}")
        if params:
            url = url.copy_merge_params(params)
            begin = first_lines(method, url)
        content, kind = b"", ""
        if form is not None:
            content, kind = urlencode(form).encode(), "application/x-www-form-urlencoded"
        elif json is not None:
            content, kind = _JSON.encode(json).encode(), "application/json"
        given = {"Content-Type": kind} if kind else {}
        given.update(headers or {})
        if content or method == "POST":
            given["Content-Length"] = str(len(content))
        return Request(method, url, purpose, begin + lines_of(given), given, content)

    async def warm(self, count: int, seconds: float) -> None:
        """Have connections at hand for so many requests at once, in so many seconds; not where a proxy is between."""
        if isinstance(self._transport, Transport):
            count = min(count, self._limits.concurrency)
            await self._transport.warm(httpx.URL(self.url), count, seconds, self._limits.connect)

    async def send(self, request: Request, token: Secret | None = None) -> Answer:
        """The answer, whatever its status.

        A kept connection may have died meanwhile: what may be asked twice is asked again, once.
        """
        purpose = request.purpose
        again = purpose is not Purpose.START
        async with self._slots:
            while True:
                begin = self._now()
                try:
                    answer = await self._exchange(request, token)
                except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
                    if again and isinstance(error, _BROKEN):
                        again = False
                        continue
                    failure = from_transport(error, purpose, self.url)
                else:
                    self._note_clock(answer, begin, self._now())
                    return answer
                break
        raise failure

    async def _exchange(self, request: Request, token: Secret | None) -> Answer:
        limits = self._limits
        read = limits.start if request.purpose is Purpose.START else limits.read
        if isinstance(self._transport, Transport):
            raw = await self._transport.exchange(
                request.url, lambda: request.encoded(token), connect=limits.connect, read=read, call=limits.call
            )
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw.headers}
            if "content-encoding" not in headers:
                return PlainAnswer(request.url, raw.status, headers, b"".join(raw.body))
            answer = httpx.Response(raw.status, headers=raw.headers, content=b"".join(raw.body))
            answer.request = httpx.Request(request.method, request.url)
            return answer
        async with asyncio.timeout(limits.call):
            asked = _for_httpx(request, token, httpx.Timeout(read, connect=limits.connect, pool=limits.call))
            answer = await self._transport.handle_async_request(asked)
            answer.request = asked
            await answer.aread()
        return answer

    @property
    def skew(self) -> timedelta:
        """The server's clock minus ours, by the Date of its answers; zero until the first."""
        if self._server_at is None:
            return timedelta()
        skew = self._server_at + timedelta(seconds=self._elapsed()) - self._now()
        return skew if abs(skew) > _CLOCK_GRAIN else timedelta()

    @property
    def skew_within(self) -> timedelta:
        """How much `skew` may be out: by the Date's grain, and half the length of the call that told it."""
        return self._within

    def _note_clock(self, answer: Answer, begin: datetime, end: datetime) -> None:
        """Correct `skew` where this answer tells it better than the one before, or contradicts it."""
        text, took = answer.headers.get("date", ""), abs(end - begin) / 2
        if text == self._heard[0] and took >= self._heard[1]:
            return  # another one of the same second, which tells nothing better
        date = http_date(text)
        if date is None or "age" in answer.headers:
            return
        self._heard = text, took
        seen = date + _CLOCK_GRAIN + took - end
        within = _CLOCK_GRAIN + took
        if self._server_at is None or within < self._within or abs(seen - self.skew) > within + self._within:
            self._server_at, self._within = end + seen - timedelta(seconds=self._elapsed()), within
