"""`{{ fire_time }}` and friends in config values: Jinja2, sandboxed, with nothing in reach but the fire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import JsonValue

_MARKS = ("{{", "{%", "{#")
_STAMP = "%Y%m%dT%H%M%SZ"


def _date(instant: datetime, pattern: str = "%Y-%m-%d") -> str:
    return instant.strftime(pattern)


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)


def _zone(instant: datetime, timezone: str) -> datetime:
    return instant.astimezone(ZoneInfo(timezone))


def _shift(instant: datetime, **units: float) -> datetime:
    return instant + timedelta(**units)


_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701 - JSON, not HTML
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
    if not any(mark in text for mark in _MARKS):
        return text
    try:
        return _compiled(text).render(variables)
    except (TemplateError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise ValueError(f"cannot render {text!r}: {error}") from None


def render(value: JsonValue, *, schedule: str, fire_time: datetime, timezone: str) -> JsonValue:
    """`value` with every string in it rendered; keys and other values stay as they are.

    Variables: `fire_time` (in the schedule's zone) and `schedule`. Filters beyond Jinja's: `date(pattern)` (strftime),
    `utc`, `zone(name)`, `shift(days=-1)`. A string without Jinja's marks stays as it is.

    Raises ValueError for a template that is malformed or uses an unknown variable.
    """
    variables: dict[str, object] = {"fire_time": fire_time.astimezone(ZoneInfo(timezone)), "schedule": schedule}

    def walk(node: JsonValue) -> JsonValue:
        match node:
            case str():
                return _render_text(node, variables)
            case list():
                return [walk(item) for item in node]
            case dict():
                return {key: walk(item) for key, item in node.items()}
            case _:
                return node

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
    return fire_time.astimezone(UTC).strftime(_STAMP)
