"""The timeline as a picture: a row for each hour, a column for each minute, so that crowded minutes stand out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from zendaemon.core.fire import FireState, instant_text
from zendaemon.web.words import MARKS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from zendaemon.core.shown import Minute, Timeline

_LEFT, _TOP, _CELL, _ROW, _BAR = 66, 24, 13, 12, 150
_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)
_LEASTS = (2, 10, 30, 100)
CROWDS = ("1", "2 to 9", "10 to 29", "30 to 99", "100 or more")
"""What each of the five sizes of a cell means, in fires a minute."""


def crowd(count: int) -> int:
    """How crowded a minute is, from 1 to 5. A real server starts 10 to 30 runs a second at best."""
    return 1 + sum(count >= least for least in _LEASTS)


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of the timeline, from `start` (UTC) on. `trouble` of its fires failed or were missed."""

    start: datetime
    count: int
    trouble: int
    busiest: Minute | None


def hours(timeline: Timeline) -> list[Hour]:
    """Every hour that the timeline touches, also those without a fire."""
    first = _floor(timeline.now - 24 * _HOUR)
    count = (_floor(timeline.now + 24 * _HOUR) - first) // _HOUR + 1
    minutes: dict[datetime, list[Minute]] = {first + index * _HOUR: [] for index in range(count)}
    for minute in (*timeline.past, *timeline.future):
        minutes.setdefault(_floor(minute.minute), []).append(minute)
    return [
        Hour(
            start,
            sum(minute.count for minute in some),
            sum(trouble(minute) for minute in some),
            max(some, key=lambda minute: minute.count, default=None),
        )
        for start, some in sorted(minutes.items())
    ]


def trouble(minute: Minute) -> int:
    """How many fires of a minute failed or were missed."""
    states: Mapping[FireState, int] = minute.states
    return states.get(FireState.FAILED, 0) + states.get(FireState.MISSED, 0)


def crowded(timeline: Timeline, count: int) -> list[Minute]:
    """The most crowded minutes to come, those with more than one fire, the most crowded first."""
    busy = [minute for minute in timeline.future if minute.count > 1 and minute.minute > timeline.now]
    return sorted(busy, key=lambda minute: (-minute.count, minute.minute))[:count]


def picture(timeline: Timeline) -> Markup:
    """The timeline as SVG."""
    rows = hours(timeline)
    first, most = rows[0].start, max(1, *(row.count for row in rows))
    width, height = _LEFT + 60 * _CELL + _BAR, _TOP + len(rows) * _ROW + 6
    parts = [_axis(height), *(_row(row, index, most) for index, row in enumerate(rows))]
    parts += [_cell(minute, first, past=True) for minute in timeline.past]
    parts += [_cell(minute, first, past=False) for minute in timeline.future]
    parts.append(_now(timeline.now, first, width))
    total = sum(minute.count for minute in timeline.past), sum(minute.count for minute in timeline.future)
    label = f"{total[0]} fires in the last 24 hours, {total[1]} in the next 24; the table below has the numbers"
    return Markup(  # noqa: S704 - numbers, and text that was escaped where it was made
        f'<svg class="timeline" role="img" aria-label="{label}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    )


def _axis(height: int) -> str:
    return "".join(
        f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP - 4}" y2="{height - 6}"/>'
        f'<text class="axis" x="{x + 2}" y="14">+{minute} min</text>'
        for minute in range(0, 60, 15)
        for x in (_LEFT + minute * _CELL,)
    )


def _row(hour: Hour, index: int, most: int) -> str:
    y = _TOP + index * _ROW
    x = _LEFT + 60 * _CELL + 8
    label = ""
    if index % 3 == 0:
        machine = instant_text(hour.start)
        label = f'<text class="axis end" x="{_LEFT - 8}" y="{y + 10}" data-hour="{machine}">{hour.start:%H:%M}</text>'
    if not hour.count:
        return label
    long = max(1, round(hour.count / most * (_BAR - 94), 1))
    bar = f'<rect class="sum" x="{x}" y="{y + 3}" width="{long}" height="{_ROW - 5}"/>'
    return f'{label}{bar}<text class="count" x="{x + long + 4}" y="{y + 10}">{hour.count:,}</text>'


def _cell(minute: Minute, first: datetime, *, past: bool) -> str:
    index, column = divmod((minute.minute - first) // _MINUTE, 60)
    level = crowd(minute.count)
    x, y = _LEFT + column * _CELL, _TOP + index * _ROW
    failed = trouble(minute)
    size = 3 + 2 * level if not failed else 11
    inset = (_CELL - size) / 2
    high = min(size, _ROW - 1)
    when = "past" if past else "future"
    names = ", ".join(minute.schedules[:5])
    told = ", ".join(f"{count} {MARKS.get(state, state)}" for state, count in minute.states.items() if count)
    title = f"{minute.minute:%H:%M} UTC: {minute.count} {'fire' if minute.count == 1 else 'fires'}"
    title += f" ({told})" if told else ""
    if minute.count < 6 or failed:
        title += f": {names}" if names else ""
    shape = (
        f'<rect class="c{level} {when}{" trouble" if failed else ""}" x="{x + inset:g}" '
        f'y="{y + (_ROW - high) / 2:g}" width="{size}" height="{high}"><title>{escape(title)}</title></rect>'
    )
    cross = f'<path class="cross" d="M{x + 4} {y + 3}l5 6m0-6l-5 6"/>' if failed else ""
    return shape + cross


def _now(now: datetime, first: datetime, width: int) -> str:
    index, within = divmod(now - first, _HOUR)
    y = _TOP + index * _ROW
    x = round(_LEFT + within / _MINUTE * _CELL, 1)
    end = _LEFT + 60 * _CELL
    line = f"M{_LEFT} {y + _ROW}H{x}V{y}H{end}"
    return f'<path class="now" d="{line}"/><text class="now-word end" x="{width - 2}" y="{y + 10}">now</text>'


def _floor(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
