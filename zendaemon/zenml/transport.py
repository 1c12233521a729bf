"""HTTP/1.1 without a proxy, beside httpx: kept connections, httptools' parser, and httpx's own errors.

httpx's transport takes 1 to 2 ms of a core for a request, most of it in layers that serve what we do not need (other
event loops, HTTP/2, streams). This one takes 0.05 ms. What it raises says whether the request may have been sent, as
wire.py and errors.py count on: ConnectError and ConnectTimeout before anything was, all else after.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, cast

import httptools
import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_DUAL_STACK_DELAY = 0.25  # seconds before the next address is tried beside the first (RFC 8305)
_LATE = 30.0  # seconds for a connection that nobody waits for to be made or refused; then it is cancelled
_LAST = 0.5  # seconds for connections that nobody waits for any more, when all is closed
_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})


class Transport:
    """Connections to one server, each for one request at a time, kept for `keep` seconds after it.

    How many there are is the caller's to bound.
    """

    def __init__(self, context: ssl.SSLContext | None, *, keep: float) -> None:
        self._context = context
        self._keep = keep
        self._idle: list[_Connection] = []
        self._making: set[asyncio.Task[_Connection]] = set()

    async def exchange(
        self, url: httpx.URL, encoded: Callable[[], bytes], *, connect: float, read: float, call: float
    ) -> RawAnswer:
        """The answer to what `encoded` gives: some of it must come every `read` seconds, all within `call` seconds.

        Raises the leaves of httpx.TransportError, and TimeoutError after `call`.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + call
        connection = self._kept() or await self._connect(url, min(connect, call))
        try:
            answer = await connection.exchange(encoded(), read, until)
        except BaseException:
            connection.abort()
            raise
        if answer.keeps_alive and connection.open:
            connection.free_since = loop.time()
            self._idle.append(connection)
        else:
            connection.abort()
        return answer

    async def warm(self, url: httpx.URL, count: int, seconds: float, limit: float) -> None:
        """Have so many connections at hand in so many seconds, fewer than `keep`; one may take `limit` to be made.

        Whoever wants one that could not be made meets why.
        """
        self._drop_old(seconds)
        wanted = (self._connect_idle(url, limit) for _ in range(count - len(self._idle)))
        try:
            await asyncio.gather(*wanted, return_exceptions=True)
        finally:
            asyncio.get_running_loop().call_later(self._keep, self._drop_old)

    async def _connect_idle(self, url: httpx.URL, limit: float) -> None:
        connection = await self._connect(url, limit)
        connection.free_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def _drop_old(self, seconds: float = 0.0) -> None:
        """Close those that will be too old in so many seconds."""
        oldest = asyncio.get_running_loop().time() + seconds - self._keep
        kept = [connection for connection in self._idle if connection.free_since > oldest and connection.open]
        for connection in self._idle:
            if connection not in kept:
                connection.abort()
        self._idle = kept

    def _kept(self) -> _Connection | None:
        """The connection used last that lives still; the others go when they are too old."""
        oldest = asyncio.get_running_loop().time() - self._keep
        while self._idle:
            connection = self._idle.pop()
            if connection.free_since > oldest and connection.is_idle():
                return connection
            connection.abort()
        return None

    async def _connect(self, url: httpx.URL, limit: float) -> _Connection:
        """A new connection, made beside whoever wants it: cancelled in a bad moment, asyncio would leave it open."""
        making = asyncio.get_running_loop().create_task(self._made(url))
        self._making.add(making)
        making.add_done_callback(self._making.discard)
        try:
            async with asyncio.timeout(limit):
                return await asyncio.shield(making)
        except TimeoutError as error:
            _leave(making)
            raise httpx.ConnectTimeout(str(error)) from error
        except asyncio.CancelledError:
            _leave(making)
            raise

    async def _made(self, url: httpx.URL) -> _Connection:
        secure = url.scheme == "https"
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                _Connection,
                url.host,
                url.port or (443 if secure else 80),
                ssl=self._context if secure else None,
                server_hostname=url.host if secure else None,
                happy_eyeballs_delay=_DUAL_STACK_DELAY,
            )
        except (OSError, UnicodeError) as error:  # the latter for a host that cannot be a name
            raise httpx.ConnectError(str(error)) from error
        return connection

    async def aclose(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._idle.clear()
        if self._making:
            _, late = await asyncio.wait(self._making, timeout=_LAST)
            for making in late:
                making.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.sleep(0)  # what is aborted is closed in the next turn of the loop


def _leave(making: asyncio.Task[_Connection]) -> None:
    """Nobody waits for this connection any more. It is given the time to be there after all, and then aborted."""
    making.add_done_callback(_unwanted)
    asyncio.get_running_loop().call_later(_LATE, making.cancel)


def _unwanted(making: asyncio.Task[_Connection]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().abort()


class RawAnswer:
    """An answer as it comes in; the methods are called by its parser."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.headed = self.complete = self.keeps_alive = False

    def on_message_begin(self) -> None:
        if self.complete:  # more than was asked for
            self.keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.headed:  # those after the body are nothing to us
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        self.headed = True

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200:  # the answer proper comes after it
            self.headers.clear()
            self.headed = False
            return
        self.complete = True
        self.keeps_alive = self.parser.should_keep_alive()

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body has no other end."""
        return self.headed and not any(name.lower() in _LENGTHS for name, _ in self.headers)


class _Connection(asyncio.Protocol):
    """A connection, for one exchange after the other."""

    def __init__(self) -> None:
        self.open = True
        self.free_since = 0.0
        self._answer: RawAnswer | None = None
        self._done: asyncio.Future[None] | None = None
        self._heard = self._read = self._until = 0.0
        self._watch: asyncio.TimerHandle | None = None

    async def exchange(self, data: bytes, read: float, until: float) -> RawAnswer:
        """Send a request and return its answer, of which something must come every `read` seconds."""
        if not self.open or self._transport.is_closing():  # nobody will tell again
            del data
            raise httpx.ConnectError("the connection was cut before anything was sent")
        loop = asyncio.get_running_loop()
        self._answer = answer = RawAnswer()
        self._done = done = loop.create_future()
        self._heard, self._read, self._until = loop.time(), read, until
        self._transport.write(data)
        del data
        self._watch_till(min(self._heard + read, until))
        try:
            await done
        finally:
            self._answer = self._done = None
        return answer

    def _watch_till(self, at: float) -> None:
        """Look at the time by then. A timer that an earlier exchange left does, unless it comes later."""
        if self._watch is None or self._watch.when() > at:
            self._forget_watch()
            self._watch = asyncio.get_running_loop().call_at(at, self._listen)

    def _listen(self) -> None:
        """Fail after too long a silence, or altogether too long a time."""
        self._watch = None
        if self._done is None:
            return
        now, silent = asyncio.get_running_loop().time(), self._heard + self._read
        if now >= self._until:
            self._fail(TimeoutError())
        elif now >= silent:
            self._fail(httpx.ReadTimeout(""))
        else:
            self._watch_till(min(silent, self._until))

    def _forget_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _fail(self, error: httpx.TransportError | TimeoutError) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def is_idle(self) -> bool:
        """Whether it lives and the server has said nothing, as far as the system knows: the loop may not know yet."""
        if not self.open:
            return False
        return not self._poll.poll(0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._done is None:  # nobody asked
            self.abort()
            return
        self._heard = asyncio.get_running_loop().time()
        try:
            self._answer.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._answer.keeps_alive = False
            if not self._answer.complete:
                self._fail(httpx.RemoteProtocolError(str(error)))
        if self._answer.complete and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._forget_watch()
        if self._answer is None or self._done is None or self._done.done():
            return
        if error is not None:
            self._fail(httpx.ReadError(str(error)))
        elif self._answer.ends_with_connection:
            self._done.set_result(None)
        else:
            what = "complete message body" if self._answer.headed else "response"
            self._fail(httpx.RemoteProtocolError(f"Server disconnected without sending a {what}."))

    def abort(self) -> None:
        self.open = False
        self._transport.abort()
