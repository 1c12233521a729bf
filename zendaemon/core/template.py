"""`{{ fire_time }}` and friends in config values: Jinja2, sandboxed, with nothing in reach but the fire."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from jinja2 import StrictUndefined, Template
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jinja2.runtime import Context
    from pydantic import JsonValue

_MARKS = ("{{", "{%", "{#")
_MAX_LENGTH = 1 << 16
_MAX_BITS = 1024
_WIDE = re.compile(r"\d{4}|\*")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, and no operator whose result is too large: it would take all time or memory of the daemon."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401 - of a template
        if _too_large(operator, left, right):
            raise SecurityError(f"the result of {operator} would be too large")
        return super().call_binop(context, operator, left, right)


def _too_large(operator: str, left: object, right: object) -> bool:
    match operator, left, right:
        case "**", int(), int():
            return right > 0 and left.bit_length() * right > _MAX_BITS
        case "*", int(), int():
            return left.bit_length() + right.bit_length() > _MAX_BITS
        case ("*", str() | list() | tuple() as many, int() as count) | (
            "*",
            int() as count,
            str() | list() | tuple() as many,
        ):
            return len(many) * count > _MAX_LENGTH
        case "%", str(), _:
            return _WIDE.search(left) is not None
        case _:
            return False


def _date(instant: datetime, pattern: str = "%Y-%m-%d") -> str:
    return instant.strftime(pattern)


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)


def _zone(instant: datetime, timezone: str) -> datetime:
    return instant.astimezone(ZoneInfo(timezone))


def _shift(instant: datetime, **units: float) -> datetime:
    return instant + timedelta(**units)


# What is rendered is JSON, not HTML, so nothing is escaped.
_ENVIRONMENT = _Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
_ENVIRONMENT.filters = {
    **_ENVIRONMENT.filters,
    "date": _date,
    "utc": _utc,
    "zone": _zone,
    "shift": _shift,
}


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Template:
    return _ENVIRONMENT.from_string(text)


def _render_text(text: str, variables: dict[str, object]) -> str:
    try:
        return _bounded(_compiled(text).generate(variables))
    except Exception as error:  # noqa: BLE001 - whatever a template trips over is a fault of the template
        reason = str(error) or type(error).__name__
    raise ValueError(f"cannot render {text!r}: {reason}")


def _bounded(pieces: Iterator[str]) -> str:
    found, length = [], 0
    for piece in pieces:
        found.append(piece)
        length += len(piece)
        if length > _MAX_LENGTH:
            raise ValueError(f"the result has more than {_MAX_LENGTH:,} characters")
    text = "".join(found)
    if _UNSTORABLE.search(text):  # no database and no server takes these
        raise ValueError("the result has a NUL or half a character in it")
    return text


def render(value: JsonValue, *, schedule: str, fire_time: datetime, timezone: str) -> JsonValue:
    """`value` with every string in it rendered; keys and other values stay as they are.

    Variables: `fire_time` (in the schedule's zone) and `schedule`. Filters beyond Jinja's: `date(pattern)` (strftime),
    `utc`, `zone(name)`, `shift(days=-1)`. A string without Jinja's marks stays as it is.

    Raises ValueError for a template that is malformed, uses an unknown variable, fails, or grows too large.
    """

    def walk(node: JsonValue) -> JsonValue:
        if isinstance(node, str):
            if not any(mark in node for mark in _MARKS):
                return node
            return _render_text(node, {"fire_time": _zone(fire_time, timezone), "schedule": schedule})
        if isinstance(node, dict):
            return {key: walk(item) for key, item in node.items()}
        return [walk(item) for item in node] if isinstance(node, list) else node

    return walk(value)


def strings(value: JsonValue, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string in `value` with its path."""
    match value:
        case str():
            yield path, value
        case list():
            for index, item in enumerate(value):
                yield from strings(item, (*path, index))
        case dict():
            for key, item in value.items():
                yield from strings(item, (*path, key))
        case _:
            return


def stamp(fire_time: datetime) -> str:
    """A fire time as it stands in run names: 20261123T020000Z."""
    text = fire_time.astimezone(UTC).isoformat(timespec="seconds")
    return f"{text[:19].replace('-', '').replace(':', '')}Z"
