"""The gate before the application: checks, bounds and headers, as plain ASGI, so that nothing passes beside it."""

from __future__ import annotations

import asyncio
from email.utils import format_datetime
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import MutableHeaders

from zendaemon import clock
from zendaemon.web.refusals import Refused
from zendaemon.web.security import HEADERS, READS, WrongToken

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from zendaemon.web.security import Access

log = structlog.get_logger()

BODY_BYTES = 64 * 1024
BODY_SECONDS = 10.0


class Guard:
    """Lets in what `access` allows, reads its body within bounds, and answers for what fails unforeseen."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)  # a lifespan; uvicorn is told to speak no WebSocket
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Date", format_datetime(clock.now(), usegmt=True))
            await send(message)

        try:
            await self._app(scope, await self._admit(scope, receive), guarded)
        except Refused as refused:
            if isinstance(refused, WrongToken) and refused.worth_saying:
                log.warning("http.refused", sender=refused.sender, reason=refused.message)
            await refused.answer()(scope, receive, guarded)
        except Exception:
            log.exception("http.error", method=scope["method"], path=scope["path"])
            if not begun:
                answer = Refused(500, "the daemon failed at this", "its log tells more; please report it").answer()
                await answer(scope, receive, guarded)

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        """Raises Refused. Returns where the application gets the body from."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        once = [name for name, _ in scope["headers"] if name.lower() in (b"host", b"authorization", b"origin")]
        if len(set(once)) < len(once):
            raise Refused(400, "a header that must be there once is there twice")
        self._access.check(scope["method"], scope["path"], headers, (scope.get("client") or ("", 0))[0])
        if scope["method"] in READS:
            return receive
        body = await _body(receive)
        if body and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "the body is no JSON by its Content-Type", "send `Content-Type: application/json`")
        return _replay(body, receive)


async def _body(receive: Receive) -> bytes:
    """The whole body, within bounds of size and time."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if message["type"] == "http.disconnect":
                    raise Refused(400, "the body broke off")
                if len(body) > BODY_BYTES:
                    raise Refused(413, f"the body is longer than {BODY_BYTES} bytes", headers={"Connection": "close"})
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise Refused(
            408, f"the body did not come within {BODY_SECONDS:.0f} s", headers={"Connection": "close"}
        ) from None


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
