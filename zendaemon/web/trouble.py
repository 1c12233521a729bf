"""Fires that want somebody's attention, those of one schedule and one cause as one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zendaemon.web.words import mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zendaemon.core.fire import Fire


@dataclass(slots=True)
class Trouble:
    """The latest fire of a schedule with one cause, how many rows there are of it (`count`), and the first of them."""

    fire: Fire
    count: int
    first: Fire


def grouped(fires: Sequence[Fire]) -> list[Trouble]:
    """Of fires, the latest first, one for each schedule and cause, the latest first."""
    found: dict[tuple[object, ...], Trouble] = {}
    for fire in fires:
        group = found.setdefault((fire.schedule, mark(fire), fire.reason), Trouble(fire, 0, fire))
        group.count += 1
        group.first = fire
    return list(found.values())
