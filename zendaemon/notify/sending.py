"""One try to deliver: a request to a web server, or a message through apprise in a process of its own.

Whatever fails is told in words that hold no address and no secret.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx

from zendaemon import __version__
from zendaemon.core.alert import AlertKind
from zendaemon.core.errors import SettingsError
from zendaemon.log import without_secrets
from zendaemon.references import secret_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from zendaemon.core.channel import Channel
    from zendaemon.core.message import Message

SECONDS = 10.0
"""How long a web server may take to answer."""
_APPRISE_SECONDS = 45.0
_APPRISE = (sys.executable, "-P", "-m", "zendaemon.notify.apprised")
_PREFIX = "whsec_"
_SHORTEST = 16
_MOOD = {AlertKind.RECOVERED: "success", AlertKind.LATE_START: "warning", AlertKind.LATE_FINISH: "warning"}


class Undelivered(Exception):
    """It did not arrive, or nobody can tell; to be tried again. The message may be shown."""


Send = "Callable[[Message], Awaitable[None]]"


class Web:
    """Requests to servers that are not ZenML's. The client is made with the first: most daemons need none."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, *, content: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Raises Undelivered unless the answer is 2xx."""
        if self._client is None:
            agent = {"User-Agent": f"zendaemon/{__version__}"}
            self._client = httpx.AsyncClient(timeout=SECONDS, headers=agent, follow_redirects=False)
        try:
            async with asyncio.timeout(2 * SECONDS):
                answer = await self._client.post(url, content=content, headers=headers)
        except (httpx.TimeoutException, TimeoutError):
            raise Undelivered(f"no answer within {SECONDS:.0f} s") from None
        except httpx.ConnectError:
            raise Undelivered("no connection") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            raise Undelivered(f"the request failed ({type(error).__name__})") from None
        if not answer.is_success:
            raise Undelivered(f"the answer was {answer.status_code}")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def signing_key(secret: str) -> bytes:
    """The bytes of a secret as Standard Webhooks write it. Raises SettingsError, which does not repeat it."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < _SHORTEST:
        hint = 'make one with `echo "whsec_$(openssl rand -base64 32)"`'
        raise SettingsError(f"a webhook's secret is no base64 of {_SHORTEST} bytes or more", hint=hint)
    return key


def signature(key: bytes, message_id: str, timestamp: int, content: bytes) -> str:
    """The header webhook-signature of Standard Webhooks."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), content))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def sender(
    name: str, channel: Channel, web: Web, now: Callable[[], datetime], who: Mapping[str, str]
) -> Callable[[Message], Awaitable[None]]:
    """What tries once to deliver a message to this channel, and raises Undelivered or SettingsError."""
    secret = secret_of(name, channel)

    async def post(message: Message) -> None:
        content = without_secrets(json.dumps(message.payload(who))).encode()
        sent_at = int(now().timestamp())
        headers = {
            "content-type": "application/json",
            "webhook-id": str(message.id),
            "webhook-timestamp": str(sent_at),
        }
        if (text := secret()) is not None:
            headers["webhook-signature"] = signature(signing_key(text), str(message.id), sent_at, content)
        await web.post(channel.webhook or "", content=content, headers=headers)

    async def apprise(message: Message) -> None:
        about = ", ".join(f"{key} {value}" for key, value in who.items())
        await through_apprise(
            {
                "url": secret(),
                "title": without_secrets(f"[zendaemon] {message.title}"),
                "body": without_secrets(f"{message.text}\n\n({about}; message {message.id})"),
                "type": _MOOD.get(message.kind, "failure"),
            }
        )

    return post if channel.webhook is not None else apprise


async def through_apprise(order: Mapping[str, str | None]) -> None:
    """Deliver in another process, which is killed when it takes too long: apprise has no time-out that always holds,
    costs 40 MB, and its import would stop the fires for 0.2 s. What is secret goes to its stdin.
    """
    ours = ("ZENDAEMON_", "ZENML_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    process = await asyncio.create_subprocess_exec(
        *_APPRISE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    try:
        async with asyncio.timeout(_APPRISE_SECONDS):
            said, _ = await process.communicate(json.dumps(order).encode())
    except TimeoutError:
        raise Undelivered(f"not delivered within {_APPRISE_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Undelivered(said.decode(errors="replace").strip()[:500] or "apprise failed without a word")
