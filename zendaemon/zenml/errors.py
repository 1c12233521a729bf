"""The one boundary between what httpx and the server say and our tree of errors.

What a failure means depends on what was asked. After a lost answer to a start a run may exist; a lost answer to a
question or a login costs nothing.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import httpx

from zendaemon.core.errors import NameTaken, Rejected, ServerError, Stale, Unauthorized, Unavailable, Uncertain

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TEXT = 400
_LONGEST_WAIT = 3600.0
_FOR_NOW = (302, 303, 307)
"""Redirects that say nothing of the future: a page of maintenance, or a login of a proxy that has lost its way."""
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_CANNOT_RUN = re.compile(
    r"can ?not be run|not runnable|template deployment|has been updated since|without associated|Unable to run",
    re.IGNORECASE,
)
_BAD_PLACEHOLDER = re.compile(r"Could not format|^\w+$")  # all that 0.62 says is the placeholder's name
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\s]+")


class Answer(Protocol):
    """What we need of an answer; httpx.Response is one. Names of headers are asked for in lower case."""

    @property
    def url(self) -> httpx.URL: ...

    @property
    def status_code(self) -> int: ...

    @property
    def reason_phrase(self) -> str: ...

    @property
    def is_redirect(self) -> bool: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """An answer as it came over the wire, its body decoded."""

    url: httpx.URL
    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def reason_phrase(self) -> str:
        return httpx.codes.get_reason_phrase(self.status_code)

    @property
    def is_redirect(self) -> bool:
        return httpx.codes.is_redirect(self.status_code)


class Purpose(StrEnum):
    """What a request was for."""

    READ = "read"
    LOGIN = "login"
    START = "start"
    STOP = "stop"


_HINTS = {
    402: "the server's subscription has reached a limit; an administrator must raise it",
    403: "the service account needs the right to read the target and to create pipeline runs and snapshots",
    405: "the server has no workload manager (running over REST is a ZenML Pro feature), or is of another generation",
}
_STOP_HINTS = {
    403: "the service account needs the right to update pipeline runs",
    405: "this server cannot stop runs: ZenML can from 0.85 on",
    500: "the ZenML server needs the integration of the run's orchestrator, and a way to it",
    501: "the run's orchestrator cannot stop runs",
}
_NOT_TAKEN = re.compile(r"no orchestrator run id", re.IGNORECASE)


def from_transport(error: Exception, purpose: Purpose, where: str) -> ServerError:
    """For what httpx raises instead of an answer, and for TimeoutError when the whole call took too long."""
    what = f"{_transport_text(error)} ({where})"
    if isinstance(error, httpx.UnsupportedProtocol):
        return Rejected(what, hint="the server URL must begin with http:// or https://")
    if purpose is Purpose.START and not isinstance(error, _NEVER_SENT):
        return Uncertain(what)
    return Unavailable(what, hint=_transport_hint(error), reached=not isinstance(error, _NEVER_SENT))


def from_answer(answer: Answer, purpose: Purpose, now: datetime) -> ServerError:
    """For an answer that is not a 200."""
    status, (kind, text) = answer.status_code, read_failure(answer)
    message = f"{status} {text}"
    if status in _FOR_NOW:
        return Unavailable(f"{status} redirect to {_origin(answer)}", hint="is it in maintenance?", status=status)
    if 300 <= status < 400:
        return Rejected(f"{status} redirect to {_origin(answer)}", hint="set the server URL to that", status=status)
    if status < 300:
        return unreadable(answer, purpose)
    match purpose:
        case Purpose.LOGIN:
            return _login_failure(status, message, wait(answer, now))
        case Purpose.READ:
            return _read_failure(status, kind, message, wait(answer, now))
        case Purpose.START:
            return _start_failure(status, kind, message, wait(answer, now))
        case Purpose.STOP:
            return _stop_failure(status, kind, message, wait(answer, now))


def unreadable(answer: Answer, purpose: Purpose) -> ServerError:
    """For a success whose body is not what was asked for."""
    what = f"{answer.status_code} with a body that is not understood: {read_failure(answer)[1]}"
    if purpose is Purpose.START:
        return Uncertain(what, status=answer.status_code)
    return Unavailable(what, hint="is there something between us and the ZenML server?", status=answer.status_code)


def _login_failure(status: int, message: str, retry_after: float | None) -> ServerError:
    if status >= 500 or status == 408:
        return Unavailable(f"login: {message}", status=status, retry_after=retry_after)
    if status == 429:
        hint = "too many failed logins from this address; they are spaced, so wait"
        return Unauthorized(f"login: {message}", hint=hint, status=status)
    if status in (404, 405):
        return Unauthorized(f"login: {message}", hint="is the server URL that of a ZenML server?", status=status)
    return Unauthorized(f"login: {message}", hint="check the API key, token or password", status=status)


def _read_failure(status: int, kind: str, message: str, retry_after: float | None) -> ServerError:
    if status >= 500 or status in (408, 425, 429):
        return Unavailable(message, status=status, retry_after=retry_after, busy=status in (429, 503))
    if status == 401:
        return Unauthorized(message, hint="check the API key, token or password", status=status)
    if status == 404 and not kind:  # ZenML names the class of its error; a proxy that has lost the server does not
        return Unavailable(message, hint="is there something between us and the ZenML server?", status=status)
    if status == 404:
        return Stale(message, status=status)
    return Rejected(message, hint=_HINTS.get(status, ""), status=status)


def _start_failure(status: int, kind: str, message: str, retry_after: float | None) -> ServerError:
    permanent = status == 500 and "Replacement index" in message
    if status == 429 and kind == "MaxConcurrentTasksError":
        return Unavailable(message, status=status, retry_after=retry_after, busy=True)
    if (status >= 500 and not permanent) or status in (408, 429):
        return Uncertain(message, status=status, retry_after=retry_after)
    if status == 401:
        return Unauthorized(message, hint="check the API key, token or password", status=status)
    if status == 409:
        return NameTaken(message, status=status)
    return _refusal(status, kind, message)


def _stop_failure(status: int, kind: str, message: str, retry_after: float | None) -> ServerError:
    """A run that is not stopped. What its orchestrator says (500, 501) it will say again."""
    if status > 501 or status in (408, 425, 429) or _NOT_TAKEN.search(message):
        return Unavailable(message, status=status, retry_after=retry_after)
    if status == 404 and not kind:
        return Unavailable(message, hint="is there something between us and the ZenML server?", status=status)
    if status == 401:
        return Unauthorized(message, hint="check the API key, token or password", status=status)
    if status == 404:
        return Stale(message, status=status)
    return Rejected(message, hint=_STOP_HINTS.get(status, ""), status=status)


def _refusal(status: int, kind: str, message: str) -> ServerError:
    """A start that the server understood and refuses: the target, or what is said of it."""
    text = message.partition(" ")[2]
    placeholder = status == 404 and kind == "KeyError" and _BAD_PLACEHOLDER.search(text)
    if placeholder or status == 500:
        return Rejected(message, hint="run_name must have no braces", status=status)
    if status == 404 or (status == 400 and _CANNOT_RUN.search(text)):
        return Stale(message, status=status)
    return Rejected(message, hint=_HINTS.get(status, ""), status=status)


def read_failure(answer: Answer) -> tuple[str, str]:
    """The class and the text of an error, whatever its shape; the text is one line, cut to a sane length."""
    try:
        kind, text = _from_json(json.loads(answer.content))
    except (ValueError, RecursionError):
        kind, text = "", _from_text(answer)
    return kind, one_line(text) or answer.reason_phrase or "no text"


def one_line(text: str, limit: int = MAX_TEXT) -> str:
    """The text without control characters and line ends, cut."""
    text = _UNPRINTABLE.sub(" ", text).strip()
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _from_json(body: object) -> tuple[str, str]:
    if isinstance(body, dict):
        for key in ("detail", "error", "message"):
            if body.get(key):
                return _from_json(body[key])
        return "", json.dumps(body)[: 2 * MAX_TEXT]
    if isinstance(body, list):
        if len(body) > 1 and all(isinstance(part, str) for part in body):
            return body[0], _validation(" ".join(body[1:]))
        return "", "; ".join(_complaint(part) for part in body)
    return "", "" if body is None else _validation(str(body))


def _validation(text: str) -> str:
    """The list of complaints that ZenML sends as Python text, made readable; a KeyError's quotes removed."""
    if not text.startswith(("[{", '"', "'")) or len(text) > 20_000:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return "; ".join(_complaint(part) for part in value) if isinstance(value, list) else str(value)


def _complaint(part: object) -> str:
    """A single complaint of pydantic, without the input that it repeats."""
    if not isinstance(part, dict) or "msg" not in part:
        return str(part)
    loc = part.get("loc")
    place = ".".join(str(step) for step in loc if step != "body") if isinstance(loc, list | tuple) else ""
    return f"{place}: {part['msg']}" if place else str(part["msg"])


def _from_text(answer: Answer) -> str:
    text = answer.content[:20_000].decode("utf-8", "replace")
    if is_html(answer):
        title = _TITLE.search(text)
        return f"an HTML page ({one_line(title[1], 80)})" if title else "an HTML page"
    return text


def is_html(answer: Answer) -> bool:
    start = answer.content[:200].lstrip().lower()
    return "html" in answer.headers.get("content-type", "") or start.startswith((b"<!doctype", b"<html"))


def wait(answer: Answer, now: datetime) -> float | None:
    """Seconds of a Retry-After header, given as a number or as a date."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return min(float(value[:9]), _LONGEST_WAIT)
    until, at = http_date(value), http_date(answer.headers.get("date", "")) or now
    return None if until is None else min(max(0.0, (until - at) / timedelta(seconds=1)), _LONGEST_WAIT)


@lru_cache(maxsize=64)
def http_date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return found.replace(tzinfo=found.tzinfo or UTC)


def _origin(answer: Answer) -> str:
    """Where a redirect leads, without what a query could carry."""
    try:
        url = answer.url.join(answer.headers.get("location", ""))
    except (httpx.InvalidURL, ValueError):
        return "an address that is none"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return one_line(f"{url.scheme}://{host}{f':{url.port}' if url.port else ''}{url.path}", 200)


def _transport_text(error: Exception) -> str:
    name = type(error).__name__
    reason = one_line(str(error), 200)
    if isinstance(error, TimeoutError) or not reason:
        return "no answer in time" if isinstance(error, TimeoutError | httpx.TimeoutException) else name
    return f"{name}: {reason}"


def _transport_hint(error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "if a private authority signed the server's certificate, give its file as the CA file"
    if "WRONG_VERSION_NUMBER" in text or "record layer" in text:
        return "does the server speak https on this port?"
    return "is the proxy right?" if isinstance(error, httpx.ProxyError) else ""
