"""What stands between a client and a server: TLS with a private authority, and a line that is cut."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


def private_ca(folder: Path) -> tuple[Path, Path, Path]:
    """A new authority and a certificate of it for localhost: (authority, certificate, key)."""
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    certificate, key, request = folder / "server.pem", folder / "server.key", folder / "server.csr"
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    commands: list[list[str | Path]] = [
        ["req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=zendaemon test CA"],
        ["req", *new_key, "-keyout", key, "-out", request, "-subj", "/CN=localhost"],
        [
            *("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial"),
            *("-out", certificate, "-days", "1", "-extfile", extensions),
        ],
    ]
    for command in commands:
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return ca, certificate, key


@asynccontextmanager
async def front(
    port: int,
    *,
    tls: tuple[Path, Path] | None = None,
    cut: Callable[[bytes], bool] = lambda _: False,
) -> AsyncIterator[int]:
    """A port that leads to `port` on this machine, over TLS if wanted.

    `cut` looks at each piece of a request: the server gets it and answers, and the client sees a reset in place of
    the answer.
    """
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with suppress(OSError, asyncio.CancelledError):
            await _relay(port, reader, writer, cut)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _relay(
    port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: Callable[[bytes], bool]
) -> None:
    upstream, onward = await asyncio.open_connection("127.0.0.1", port)
    cutting = False

    async def back() -> None:
        while data := await upstream.read(65_536):
            if cutting:
                writer.transport.abort()
                return
            writer.write(data)
            await writer.drain()
        writer.close()

    task = asyncio.create_task(back())
    try:
        while data := await reader.read(65_536):
            cutting = cutting or cut(data)
            onward.write(data)
            await onward.drain()
    finally:
        onward.close()
        task.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await task
