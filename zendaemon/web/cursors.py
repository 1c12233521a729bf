"""Where a page of fires ended. Fires are ordered by a key of their own, so that new ones move no page."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import TYPE_CHECKING

from zendaemon.core.fire import instant_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zendaemon.core.shown import ShownFire

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last fire of a page."""

    fire_time: datetime
    schedule: str
    manual: bool

    @classmethod
    def of(cls, fire: ShownFire) -> Cursor:
        return cls(fire.fire_time, fire.schedule, fire.manual)

    @classmethod
    def read(cls, text: str) -> Cursor:
        """What `str` wrote. Raises ValueError."""
        try:
            time, schedule, manual = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            fire_time = datetime.fromisoformat(time)
            known = fire_time.tzinfo is not None and isinstance(schedule, str) and isinstance(manual, bool)
            fire_time = fire_time.astimezone(UTC) + _TICK - _TICK  # neither end of time has a next page
        except (ValueError, TypeError, RecursionError, OverflowError):
            known = False
        if not known:
            raise ValueError("is no cursor; take it from `next_cursor`, or leave it away for the first page")
        return cls(fire_time, schedule, manual)

    def __str__(self) -> str:
        shown = json.dumps([instant_text(self.fire_time), self.schedule, self.manual], separators=(",", ":"))
        return urlsafe_b64encode(shown.encode()).rstrip(b"=").decode()

    @property
    def until(self) -> datetime:
        """Before when the fires of the next page are, with some of this page among them."""
        return self.fire_time + _TICK

    def before(self, fire: ShownFire) -> bool:
        """Whether a fire comes after this one in the order of `page`."""
        if fire.fire_time != self.fire_time:
            return fire.fire_time < self.fire_time
        return (fire.schedule, fire.manual) > (self.schedule, self.manual)


def page(fires: Iterable[ShownFire], limit: int, after: Cursor | None) -> tuple[list[ShownFire], Cursor | None]:
    """A page of fires that come the latest first, those of one instant by name; and the cursor if there are more."""
    rest = _ordered(fires)
    found = list(islice((fire for fire in rest if after is None or after.before(fire)), limit + 1))
    shown = found[:limit]
    return shown, Cursor.of(shown[-1]) if len(found) > limit else None


def _ordered(fires: Iterable[ShownFire]) -> Iterator[ShownFire]:
    for _, together in groupby(fires, key=lambda fire: fire.fire_time):
        yield from sorted(together, key=lambda fire: (fire.schedule, fire.manual))
