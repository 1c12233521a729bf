"""Whether fires that depend on other schedules waited for them, and were skipped only for what had not succeeded.

As simulation.oracle, with none of the daemon's code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.timeline import COMMIT, GIVEN_UP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.timeline import Row, Timeline

    from zendaemon.core.schedule import Schedule

_STATES = ("started", "failed", "missed")


def dependencies(timeline: Timeline) -> Iterator[str]:
    """Every fire that did not wait, or did not begin for no reason, in words."""
    first: dict[str, float] = {}
    for at, _, _, run in timeline.world.requests:
        first.setdefault(run, at)
    for rows in list(timeline.by_name.values()):
        for row in rows:
            if row.manual or not row.was_claimed:
                continue
            sent = first.get(row.names[0]) if row.names else None
            if sent is not None:
                yield from _waited(timeline, row, sent)
            if (row.state, row.reason) == ("skipped", "dependency"):
                yield from _skipped(timeline, row)


def _always(timeline: Timeline, row: Row, until: float) -> tuple[list[Schedule], set[str]]:
    """What the schedule may have been since the claim, and on what all of that depends; nothing if perhaps gone."""
    parts = timeline.in_force(row.schedule, row.made - COMMIT, until)
    found = [part for part in parts if part is not None]
    if not found or len(found) < len(parts):
        return [], set()
    return found, set.intersection(*(set(part.depends_on) for part in found))


def _waited(timeline: Timeline, row: Row, sent: float) -> Iterator[str]:
    """Whatever the others began no later than this had ended when it was sent, and the last of it had succeeded."""
    parts, names = _always(timeline, row, sent)
    for name in sorted(names):
        begun = [it for it in timeline.by_name[name] if it.fire_time <= row.fire_time and it.made < row.made]
        for other in begun:
            stage = next((it for it in (*other.claims, *other.retries) if it.begin <= row.made and it.end > sent), None)
            runs = [start for start in timeline.starts(name) if start.row is other and start.claim.end <= row.made]
            active = [it.run for it in runs if it.run.active(sent) and sent - it.claim.end < GIVEN_UP - timeline.steps]
            if stage is not None or active:
                yield f"{row} was sent at {timeline.world.instant(sent)}, and {other} of {name} had not ended"
        if all(part.only_if_last_succeeded for part in parts):
            yield from _succeeded(timeline, row, name, sent)


def _succeeded(timeline: Timeline, row: Row, name: str, sent: float) -> Iterator[str]:
    """The last fire that was to be started, where that was the same all the time, has a run that succeeded."""
    found = {_last(timeline, name, at) for at in _moments(timeline, row, name, sent)}
    if all(last is None or last[1] != "completed" for last in found):
        yield f"{row} was sent, and the last fires of {name} were {[str(last and last[0]) for last in found]}"


def _skipped(timeline: Timeline, row: Row) -> Iterator[str]:
    """One of those it may have depended on had not succeeded."""
    in_force = timeline.in_force(row.schedule, row.made - COMMIT, row.closed, for_claims=True)
    parts = [it for it in in_force if it is not None]
    names = {name for part in parts if part.only_if_last_succeeded for name in part.depends_on}
    for name in names:
        for at in _moments(timeline, row, name, row.closed):
            last = _last(timeline, name, at)
            if last is None or last[1] in ("failed", "stopped", "deleted", None):
                return
    yield f"{row}: all that it depends on had succeeded ({row.message})"


def _moments(timeline: Timeline, row: Row, name: str, until: float) -> list[float]:
    """When it may have been asked what the last fire of another schedule came to."""
    changes = {it.at for other in timeline.by_name[name] for it in other.seen if row.made <= it.at <= until}
    return sorted({row.made, until, *changes, *(at - 1e-4 for at in changes)})


def _last(timeline: Timeline, name: str, at: float) -> tuple[Row, str | None] | None:
    """The latest fire of a schedule that was to be started and is over, as the disk had it then; its run's status."""
    found = None
    for other in timeline.by_name[name]:
        seen = next((it for it in reversed(other.seen) if it.at <= at), None)
        over = seen is not None and seen.state in _STATES and not seen.followed and not seen.due
        if seen is not None and over and (found is None or other.last >= found[0].last):
            found = other, seen.run_status
    return found
