"""Pictures as SVG, for pages whose CSP allows no style in them: classes alone, coloured by the stylesheet. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from zendaemon.web.words import MARKS, mark, plain, run_seconds, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from zendaemon.core.fire import Fire

STRIP = 20
_STEP = 11
_TICKS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0)


def strip(fires: Sequence[Fire]) -> Markup:
    """The latest fires, the newest first, as marks from the oldest on the left to the newest on the right."""
    if not fires:
        return Markup('<span class="none">no fires yet</span>')
    shown = fires[:STRIP][::-1]
    marks = [mark(fire) for fire in shown]
    width = STRIP * _STEP
    left = width - len(shown) * _STEP
    uses = "".join(
        f'<use href="#m-{kind}" class="{kind}" x="{left + index * _STEP}"><title>{escape(tooltip(fire))}</title></use>'
        for index, (fire, kind) in enumerate(zip(shown, marks, strict=True))
    )
    said = ", ".join(f"{marks.count(kind)} {word}" for kind, word in MARKS.items() if kind in marks)
    label = f"last {len(shown)}: {said}; newest {MARKS[marks[-1]]}"
    return Markup(  # noqa: S704 - made of numbers and of what was escaped above
        f'<svg class="strip" role="img" aria-label="{label}" viewBox="0 0 {width} 12">{uses}</svg>'
    )


def tooltip(fire: Fire) -> str:
    """`2026-11-23 02:00:00Z failed (rejected), 0.12 s late`."""
    through = f" to {plain(fire.through)}" if fire.through else ""
    reason = f" ({fire.reason})" if fire.reason else ""
    late = f", {seconds(fire.lateness_seconds)} late" if fire.lateness_seconds is not None else ""
    return f"{plain(fire.fire_time)}{through} {MARKS[mark(fire)]}{reason}{late}"


@dataclass(frozen=True, slots=True)
class Point:
    """A measure of a fire; `seconds` is what is drawn, `kind` one of MARKS."""

    at: datetime
    seconds: float
    kind: str


def lateness(fires: Sequence[Fire]) -> list[Point]:
    """The lateness of those that had an attempt, the oldest first."""
    return [
        Point(fire.fire_time, fire.lateness_seconds, mark(fire))
        for fire in reversed(fires)
        if fire.lateness_seconds is not None
    ]


def run_durations(fires: Sequence[Fire]) -> list[Point]:
    """How long the runs took that have ended, as far as it is known, the oldest fire first."""
    return [
        Point(fire.fire_time, took, mark(fire)) for fire in reversed(fires) if (took := run_seconds(fire)) is not None
    ]


def durations(points: Sequence[Point], what: str) -> Markup:
    """Durations fire by fire, the oldest on the left, on a logarithmic scale. `what` they are is said in the label.

    Empty without points.
    """
    if not points:
        return Markup("")
    width, height, left, bottom = 720, 190, 58, 22
    worst, best = max(point.seconds for point in points), min(point.seconds for point in points)
    top = next((tick for tick in _TICKS[1:] if tick >= worst), _TICKS[-1])
    low = max((tick for tick in _TICKS if tick <= max(best, _TICKS[0]) and tick < top), default=_TICKS[0])

    def y(value: float) -> float:
        share = math.log(min(max(value, low), top) / low) / math.log(top / low)
        return round(height - bottom - share * (height - bottom - 12), 1)

    ticks = [tick for tick in _TICKS if low <= tick <= top]
    grid = "".join(
        f'<line class="grid" x1="{left}" x2="{width}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text class="axis end" x="{left - 8}" y="{y(tick) + 4}">{_tick(tick)}</text>'
        for tick in ticks
    )
    step = (width - left - 12) / max(len(points), 24)
    marks = []
    for index, point in enumerate(points):
        x = round(left + 4 + index * step, 1)
        title = f"{plain(point.at)} {MARKS[point.kind]}: {seconds(point.seconds)}"
        top_of_stem = y(point.seconds)
        marks.append(
            f'<line class="stem" x1="{x + 5}" x2="{x + 5}" y1="{height - bottom}" y2="{top_of_stem}"/>'
            f'<use href="#m-{point.kind}" class="{point.kind}" x="{x}" y="{top_of_stem - 6}">'
            f"<title>{title}</title></use>"
        )
    middle = sorted(point.seconds for point in points)[len(points) // 2]
    fires = "one fire" if len(points) == 1 else f"the latest {len(points)} fires"
    label = f"{what} of {fires}: median {seconds(middle)}, most {seconds(worst)}"
    return Markup(  # noqa: S704 - numbers, and words of ours
        f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}">'
        f"{grid}<g>{''.join(marks)}</g>"
        f'<text class="axis" x="{left}" y="{height - 5}">older</text>'
        f'<text class="axis end" x="{width}" y="{height - 5}">newer</text></svg>'
    )


def _tick(value: float) -> str:
    for size, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g} s"
