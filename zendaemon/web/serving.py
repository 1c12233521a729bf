"""The web server, inside the daemon's event loop. Firing never depends on it: what goes wrong here is only said."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio.to_thread
import structlog
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from zendaemon.core.address import Address

log = structlog.get_logger()

THREADS = 3
"""For what reads the journal: more would only take turns, and the engine's loop takes turns with them."""
CONNECTIONS = 100
HEAD_BYTES = 16 * 1024
HEAD_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15
GRACE_SECONDS = 2
RETRY_SECONDS = 30.0
STALL_SECONDS = 30.0
"""For which an answer may wait for a client to read on."""
SWITCH_SECONDS = 0.001
"""After which a thread that makes a page lets the engine's loop go on; Python's own 5 ms add up over its many turns."""


class WebServer:
    """Serves an application at an address, from `start` to `stop`; an address in use is tried again and again."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self._app = app
        self._address = address
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        _redirect_log()
        self._task = asyncio.create_task(self._serve(), name="http")

    async def stop(self) -> None:
        """Answer what is being asked, for a moment, and close."""
        if self._task is None:
            return
        if self._server is None:
            self._task.cancel()
        else:
            self._server.end()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _serve(self) -> None:
        said = None
        while True:
            try:
                listener = await asyncio.to_thread(listen, self._address)  # a name may take its time
                await self._serve_on(listener)
            except OSError as error:
                if str(error) != said:
                    said = str(error)
                    _say_unavailable(self._address, error.strerror or str(error))
            except Exception:
                log.exception("http.error")
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _serve_on(self, listener: socket.socket) -> None:
        config = Config(
            self._app,
            http=Connection,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        host, port = listener.getsockname()[:2]
        log.info("http.listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        self._server = _Server(config)
        try:
            await self._server.serve(sockets=[listener])
        finally:
            self._server = None
            listener.close()


def listen(address: Address) -> socket.socket:
    """A socket that listens there. Raises OSError."""
    host = "127.0.0.1" if address.host == "localhost" else address.host
    family, kind, protocol, _, target = socket.getaddrinfo(
        host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(target)
        listener.listen(CONNECTIONS)
        listener.setblocking(False)  # noqa: FBT003 - the only way to say it
    except OSError:
        listener.close()
        raise
    return listener


def _say_unavailable(address: Address, why: str) -> None:
    log.error(
        "http.unavailable",
        address=str(address),
        error=why,
        remedy="set ZENDAEMON_HTTP to another address, or to off; fires go on without the page",
        retry_seconds=RETRY_SECONDS,
    )


class _Server(Server):
    """Leaves the signals to the daemon, and sleeps while nobody asks."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    def end(self) -> None:
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn's looks for that, and renews the Date of its answers, ten times a second."""
        await self._ending.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Connection(H11Protocol):
    """One of a bounded number; a request's head must come, and its answer be read, within a bounded time."""

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        if len(self.connections) >= CONNECTIONS:
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # whatever the system does not take at once counts as waiting
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._read_on()
        super().resume_writing()

    def _read_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_on()
        self._watch(done=True)
        super().connection_lost(exc)

    def _watch(self, *, done: bool = False) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        if self._deadline is not None and (busy or done):
            self._deadline.cancel()
            self._deadline = None
        elif self._deadline is None and not busy and not done:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._expire)

    def _expire(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Forward(logging.Handler):
    """What uvicorn complains about, as an event of ours. What senders do wrong is theirs: only errors are said."""

    def emit(self, record: logging.LogRecord) -> None:
        log.error("http.error", error=record.getMessage(), exc_info=record.exc_info)


def _redirect_log() -> None:
    logger = logging.getLogger("uvicorn")
    logger.handlers[:] = [_Forward(logging.ERROR)]
    logger.propagate = False
    logger.setLevel(logging.ERROR)
