"""Where alerts and pings arrive: a mail server and a web server, real ones, with ports of their own."""

from __future__ import annotations

import asyncio
import email.policy
import threading
import time
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self, cast

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from email.message import EmailMessage

    from aiosmtpd.smtp import Envelope, Session


class Mailbox:
    """A mail server that takes everything; a context manager."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        """For apprise."""
        return f"mailto://127.0.0.1:{self.port}/?from=zendaemon@example.org&to=oncall@example.org"

    @property
    def subjects(self) -> list[str]:
        return [str(mail["subject"]) for mail in self.mails]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        parsed = message_from_bytes(cast("bytes", envelope.content), policy=email.policy.default)
        self.mails.append(parsed)
        return "250 OK"

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.get_running_loop().create_server(lambda: SMTP(self), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            self._listening.set()
            await self._stop.wait()


@dataclass(frozen=True, slots=True)
class Post:
    """A request that arrived, and what was answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    at: float = field(default_factory=time.monotonic)


class Hook:
    """A web server that takes every POST and answers 204, or the next of `answers`; a context manager.

    The answer 0 never comes.
    """

    def __init__(self, *answers: int, otherwise: int = 204) -> None:
        self.posts: list[Post] = []
        self.answers = list(answers)
        self.otherwise = otherwise
        self._closed = threading.Event()
        handler = type("Handler", (_Handler,), {"hook": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def taken(self) -> list[Post]:
        return [post for post in self.posts if 200 <= post.status < 300]

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> int:
        status = self.answers.pop(0) if self.answers else self.otherwise
        self.posts.append(Post(path, headers, body, status))
        if status == 0:
            self._closed.wait()
        return status


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Whoever asked is gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hook: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status = self.hook.answer(self.path, headers, body)
        if status:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
