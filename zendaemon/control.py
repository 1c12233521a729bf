"""The control socket: commands to the running daemon, one JSON object a line each way.

The socket lies in the state folder with mode 0600: file permission is the authentication.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

from zendaemon.core.errors import Invalid, ZendaemonError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

log = structlog.get_logger()

NAME = "control.sock"
_LIMIT = 1 << 20


class NotRunning(ZendaemonError):
    """No daemon listens in this state folder."""


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """A path to the socket that fits into a socket address (108 bytes) however deep the folder lies."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{NAME}"
    finally:
        os.close(fd)


class Control:
    """Serves commands. A handler takes the command's arguments and returns what is sent back."""

    def __init__(
        self, folder: Path, handlers: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]]
    ) -> None:
        self._folder = folder
        self._handlers = handlers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; a socket that a killed daemon left is replaced, since the journal's lock tells that it is dead."""
        path = self._folder / NAME
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            path.unlink(missing_ok=True)
            with _address(self._folder) as address:
                listener.bind(address)
        except OSError as error:
            listener.close()
            raise ZendaemonError(
                f"the control socket {path} cannot be made: {error.strerror}", hint="give another folder with --state"
            ) from None
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LIMIT)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            (self._folder / NAME).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            writer.write(json.dumps(await self._answer(line), default=str).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError) as error:
            log.debug("control.error", error=str(error))
        except asyncio.CancelledError:  # the daemon ends; Python 3.11 would print a traceback for each waiting client
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers[request.pop("command")]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {"ok": False, "error": "not understood; is the command of another version than the daemon?"}
        try:
            return {"ok": True} | await handler(request)
        except Invalid as error:
            return {"ok": False, "error": str(error), "problems": [str(problem) for problem in error.problems]}
        except ZendaemonError as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:
            log.exception("control.error")
            return {"ok": False, "error": f"the daemon failed: {type(error).__name__}; its log tells more"}


def ask(folder: Path, command: str, timeout: float | None = 60.0, **arguments: object) -> dict[str, Any]:
    """Send a command to the daemon of a state folder. Raises NotRunning when there is none."""
    try:
        with _address(folder) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as to:
            to.settimeout(timeout)
            to.connect(address)
            to.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            with to.makefile("rb") as lines:
                answer = lines.readline()
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NotRunning(
            f"no daemon runs with the state folder {folder}", hint="start it with `zendaemon run`, or give --state"
        ) from None
    except PermissionError:
        raise ZendaemonError(f"no permission to reach the daemon in {folder}", hint="run as its user") from None
    except OSError as error:
        raise ZendaemonError(f"the daemon in {folder} does not answer: {error}") from None
    if not answer:
        raise ZendaemonError(f"the daemon in {folder} closed the connection without an answer")
    try:
        return dict(json.loads(answer))
    except ValueError:
        raise ZendaemonError(f"the daemon in {folder} ended in the middle of its answer") from None
