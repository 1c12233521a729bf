"""The transport: what comes over the wire, and what breaks, as httpx's answers and errors."""

from __future__ import annotations

import asyncio
import gc
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from zendaemon.zenml.errors import Purpose
from zendaemon.zenml.transport import Transport
from zendaemon.zenml.wire import Request, first_lines, lines_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CUT, SILENT = b"<cut>", b"<silent>"


class Asked(httpx.AsyncBaseTransport):
    """The transport as a client of httpx's asks it."""

    def __init__(self) -> None:
        self._transport = Transport(ssl.create_default_context(), keep=3)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        if request.content:
            headers["Content-Length"] = str(len(request.content))
        head = first_lines(request.method, request.url) + lines_of(headers)
        asked = Request(request.method, request.url, Purpose.READ, head, headers, request.content)
        limits = request.extensions["timeout"]
        answer = await self._transport.exchange(
            request.url, asked.encoded, connect=limits["connect"], read=limits["read"], call=60
        )
        return httpx.Response(answer.status, headers=answer.headers, content=b"".join(answer.body))

    async def aclose(self) -> None:
        await self._transport.aclose()


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[httpx.AsyncClient, list[bytes]]]:
    """A client of a server that gives these answers, one for each request, and the requests as they came in."""
    left, seen, tasks = list(answers), [], []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        with suppress(ConnectionError):
            await talk(reader, writer)
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            seen.append(data)
            answer = left.pop(0)
            writer.write(answer.removesuffix(CUT).removesuffix(SILENT))
            await writer.drain()
            if answer.endswith(CUT):
                break

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(transport=Asked(), base_url=f"http://127.0.0.1:{port}") as client:
        yield client, seen
    server.close()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(OK, "hi", id="length"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nto the end" + CUT, "to the end", id="end of the connection"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nold" + CUT, "old", id="HTTP/1.0"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n",
            "abcde",
            id="chunks",
        ),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, "hi", id="an interim answer before"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", "", id="no content"),
    ],
)
async def test_answers(raw: bytes, text: str) -> None:
    async with answering(raw) as (client, _):
        answer = await client.get("/", timeout=5)
        assert (answer.text, "link" in answer.headers) == (text, False)


async def test_a_connection_is_kept() -> None:
    async with answering(OK, OK) as (client, seen):
        first = await client.post("/a?b=c%20d", json={"x": "ü"})
        await client.get("/")
        assert first.status_code == 200
        assert seen[0].startswith(b"POST /a?b=c%20d HTTP/1.1\r\nHost: 127.0.0.1:")
        assert seen[0].endswith('\r\n\r\n{"x":"ü"}'.encode())


@pytest.mark.parametrize(
    "first",
    [OK + CUT, OK + b"more", OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")],
    ids=["closed", "unasked bytes", "said to close"],
)
async def test_a_connection_of_doubt_is_not_used_again(first: bytes) -> None:
    async with answering(first, OK) as (client, _):
        assert [(await client.post("/")).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        pytest.param(CUT, httpx.RemoteProtocolError, id="nothing"),
        pytest.param(OK[:-1] + CUT, httpx.RemoteProtocolError, id="half a body"),
        pytest.param(OK[:20] + CUT, httpx.RemoteProtocolError, id="half a head"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", httpx.RemoteProtocolError, id="no HTTP"),
        pytest.param(OK[:-1] + SILENT, httpx.ReadTimeout, id="silence within"),
        pytest.param(SILENT, httpx.ReadTimeout, id="silence"),
    ],
)
async def test_what_may_have_been_sent(raw: bytes, error: type[Exception]) -> None:
    async with answering(raw) as (client, _):
        with pytest.raises(error):
            await client.post("/", timeout=0.2)


async def test_what_was_never_sent() -> None:
    async with httpx.AsyncClient(transport=Asked()) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:1/")
        with pytest.raises(httpx.ConnectError):
            await client.get("http://a.invalid/")


async def test_a_header_with_a_line_end() -> None:
    async with answering(OK) as (client, seen):
        with pytest.raises(httpx.LocalProtocolError):
            await client.get("/", headers={"X": "a\r\nY: b"})
        assert (await client.get("/")).status_code == 200
        assert len(seen) == 1


async def test_an_answer_that_takes_too_long_altogether() -> None:
    """Though something comes all the time; and what an exchange leaves behind does not disturb the next one."""
    tasks = []

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = httpx.URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    transport = Transport(ssl.create_default_context(), keep=3)
    asked = Request("GET", url, Purpose.READ, first_lines("GET", url), {})
    assert (await transport.exchange(url, asked.encoded, connect=1, read=5, call=5)).status == 200
    with pytest.raises(TimeoutError):
        await transport.exchange(url, asked.encoded, connect=1, read=0.2, call=0.4)
    await transport.aclose()
    server.close()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)


async def test_connections_are_made_before_they_are_wanted() -> None:
    """As many as are missing; and those that nobody used are closed again."""
    made, closed = [], []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(asyncio.current_task())
        while await reader.read(65536):
            writer.write(OK)
        closed.append(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = httpx.URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    transport = Transport(None, keep=0.4)
    asked = Request("GET", url, Purpose.READ, first_lines("GET", url), {})
    await transport.warm(url, 3, 0.1, 1)
    await transport.warm(url, 3, 0.1, 1)
    answers = await asyncio.gather(*(transport.exchange(url, asked.encoded, connect=1, read=1, call=1) for _ in "abc"))
    assert [answer.status for answer in answers] == [200] * 3
    assert len(made) == 3
    await asyncio.sleep(0.2)
    await transport.warm(url, 3, 0.3, 1)  # those at hand would be too old by then
    assert len(made) == 6
    async with asyncio.timeout(2):
        while len(closed) < 6:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
    assert not transport._idle
    await transport.aclose()
    server.close()
    await asyncio.gather(*made)


async def test_connections_that_cannot_be_made_before_are_nobodys_trouble() -> None:
    transport = Transport(None, keep=3)
    await transport.warm(httpx.URL("http://127.0.0.1:1/"), 2, 0.1, 1)
    assert not transport._idle
    await transport.aclose()


async def test_a_connection_that_is_cut_before_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop may hear of the cut before whoever asked for the connection has it."""
    connect = Transport._connect

    async def late(self: Transport, url: httpx.URL, limit: float) -> Any:  # noqa: ANN401
        connection = await connect(self, url, limit)
        while connection.open:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.01)
        return connection

    monkeypatch.setattr(Transport, "_connect", late)
    server = await asyncio.start_server(lambda _, writer: writer.transport.abort(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(transport=Asked()) as client:
        with pytest.raises(httpx.ConnectError):
            await client.post(f"http://127.0.0.1:{port}/", timeout=2)
    server.close()


async def test_no_tls_where_it_is_wanted() -> None:
    async with answering(b"no TLS\r\n") as (client, _):
        with pytest.raises(httpx.ConnectError, match="SSL"):
            await client.get(str(client.base_url.copy_with(scheme="https")))


@pytest.mark.parametrize("turns", range(16))
async def test_who_goes_while_connecting_leaves_nothing_open(turns: int) -> None:
    """At whatever turn of the loop: a socket that is left open is a warning, and those are errors."""
    async with answering(OK) as (client, _):
        asking = asyncio.create_task(client.get("/"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        del asking
        gc.collect()
