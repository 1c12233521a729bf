"""What followed runs that failed: the next runs of their fires, and the pause after many failures in a row.

As simulation.oracle, with none of the daemon's code: which runs failed, and when, is told by the server, and what the
daemon has seen of it by when the disk had it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.pausing import learned, may_hold
from simulation.policies import QUIET, bound
from simulation.timeline import COMMIT, GIVEN_UP, LOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from simulation.pausing import Known
    from simulation.server import Made
    from simulation.timeline import Calm, Row, Seen, Stage, Timeline

_GRAIN = 0.01
_RECORDED = 60.0
_ENDS = ("completed", "failed", "stopped")
_AGAIN = "not run again: "


def follow_ups(timeline: Timeline) -> Iterator[str]:
    """Every run that followed wrongly, or did not, and every pause, in words."""
    sent: dict[str, list[float]] = {}
    for at, _, _, run in timeline.world.requests:
        sent.setdefault(run, []).append(at)
    first = sorted(times[0] for times in sent.values())
    for name, rows in list(timeline.by_name.items()):
        known: list[Known] = learned(timeline, name)
        for row in rows:
            yield from _statuses(timeline, row)
            yield from _next_runs(timeline, row)
            yield from _not_again(timeline, row, known)
            yield from _overdue(timeline, row)
            yield from _in_calm(timeline, row, known)
            yield from _sent_in_calm(timeline, row, known, sent, first)
        yield from _justified(timeline, name, rows)
        yield from _paused_in_calm(timeline, name, rows, known)


def _statuses(timeline: Timeline, row: Row) -> Iterator[str]:
    """What is on record of a run is what it was."""
    for seen in row.seen:
        run = timeline.runs.get(seen.run_id or "")
        if run is None or seen.state != "started":
            continue
        if seen.run_status in _ENDS and run.status(seen.at) != seen.run_status:
            yield f"{row}: {run.name} is {seen.run_status} on disk, and was {run.status(seen.at)}"
        if seen.run_status == "deleted" and run.deleted > seen.at:
            yield f"{row}: {run.name} is deleted on disk, and was not"


def _next_runs(timeline: Timeline, row: Row) -> Iterator[str]:
    """Each next run is claimed after the one before it failed, `delay` later, and there are not more than wanted."""
    for number, name in enumerate(row.names[1:], 1):
        if name != f"{row.names[0]}-r{number}":
            yield f"{row}: its run number {number} is called {name}"
    for number, claim in enumerate(row.claims[1:], 1):
        before = next((it for it in reversed(row.seen) if it.at < claim.begin), None)
        run = timeline.runs.get(before.run_id or "") if before is not None else None
        if run is None or run.status(claim.begin) != "failed":
            yield f"{row} was claimed again, and its run {run and run.name} had not failed"
            continue
        ended = run.ended if run.ended <= claim.begin else _failed_at(run)
        parts = timeline.in_force(row.schedule, ended, claim.begin)
        policies = [part.on_run_failure for part in parts if part is not None and part.on_run_failure is not None]
        if row.manual or not policies or number > max(policy.retry_run for policy in policies):
            yield f"{row} was claimed again for run number {number}, which nobody wants"
        elif not any(ended <= at <= claim.begin for at, _ in timeline.world.offsets):
            delay = min(policy.delay.total_seconds() for policy in policies)
            if claim.begin - ended < delay - _GRAIN:
                yield f"{row} was claimed again {claim.begin - ended:.1f} s after its run failed, and not {delay:.0f}"


def _failed_at(run: Made) -> float:
    return next(at for at, status in run.course if status == "failed")


def _not_again(timeline: Timeline, row: Row, known: list[Known]) -> Iterator[str]:
    """What was to be run again and was not had a cause."""
    for due in row.retries:
        if due.state != "started":
            continue  # it was claimed
        parts = timeline.in_force(row.schedule, due.end - COMMIT, due.end)
        changed = any(part is None or part.on_run_failure is None for part in parts)
        later = any(
            other.fire_time > row.fire_time and other.made <= due.end for other in timeline.by_name[row.schedule]
        )
        replaced = later and any(part is not None and part.overlap == "cancel_running" for part in parts)
        if not changed and not replaced and not may_hold(timeline.world, known, due.end - COMMIT, due.end):
            yield f"{row} was not run again at {timeline.world.instant(due.end)}: {row.message}"
        told = (row.message or "").startswith(_AGAIN)
        if due is row.retries[-1] and not told and not _unknown(timeline, row, due, changed=changed):
            yield f"{row} was not run again, and does not say why: {row.message}"


def _unknown(timeline: Timeline, row: Row, due: Stage, *, changed: bool) -> bool:
    """Whether a disk that did what it reported as failed accounts for a next run that was not made, without a word.

    Either the daemon never knew that another run was to follow, and none was any more when it saw the failure again; or
    it had given the next run up, was told that it had not, and made it when what had kept it from that was over.
    """
    never_known = changed and timeline.disk_fails(due.begin, due.begin)
    made_after_all = any(claim.begin >= due.end for claim in row.claims) and timeline.disk_fails(due.end, due.end)
    return never_known or made_after_all


def _overdue(timeline: Timeline, row: Row) -> Iterator[str]:
    """What is to be run again is so when it is time, also by the next process; or it is said why not."""
    found = (apply.schedules.schedules.get(row.schedule) for apply in timeline.world.applies)
    policies = [it.on_run_failure for it in found if it is not None and it.on_run_failure is not None]
    delay = max((policy.delay.total_seconds() for policy in policies), default=0.0)
    for due in row.retries:
        for calm in timeline.calms:
            late = max(calm.begin, _told(timeline, row, due, calm) + delay + timeline.steps) + LOOKS + _RECORDED
            if late < min(calm.end, due.end):
                yield f"{row} was to be run again since {timeline.world.instant(due.begin)}, and was not in time"
                return


def _told(timeline: Timeline, row: Row, due: Stage, calm: Calm) -> float:
    """When the daemon knew that a run had failed, at the latest: a disk that had it and reported an error told nobody,
    until the run was looked at again.
    """
    if not timeline.disk_fails(due.begin, due.begin):
        return due.begin
    begun = max((claim.end for claim in row.claims if claim.end <= due.begin), default=due.begin)
    again = max(due.begin, calm.begin)
    return again + timeline.seen_within(begun, again)


def _in_calm(timeline: Timeline, row: Row, known: list[Known]) -> Iterator[str]:
    """A run that failed while all was well is followed by another, where the schedule says so."""
    if row.manual:
        return
    for number, claim in enumerate(row.claims):
        run = timeline.runs.get(claim.run_id or "")
        if claim.state != "started" or run is None or run.foreign or run.status(run.ended) != "failed":
            continue
        begin = max(run.ended, claim.end)
        calm = timeline.calm_at(begin)
        schedule = timeline.surely(row.schedule, begin, begin)
        policy = schedule.on_run_failure if schedule is not None else None
        if calm is None or schedule is None or policy is None or number >= policy.retry_run:
            continue
        until = begin + timeline.seen_within(claim.end, begin) + policy.delay.total_seconds() + _RECORDED
        sure = until <= calm.end and timeline.surely(row.schedule, begin, until) is schedule
        if not sure or schedule.overlap == "cancel_running" or begin - claim.end > GIVEN_UP - timeline.steps:
            continue
        again = any(begin <= other.begin <= until for other in row.claims)
        if claim.run_id == (row.claims[number - 1].run_id if number else None):
            continue  # the next run came to nothing
        if not again and not may_hold(timeline.world, known, begin, until):
            yield f"{row}: {run.name} failed at {timeline.world.instant(begin)}, and none followed: {row.message}"


def _sent_in_calm(
    timeline: Timeline, row: Row, known: list[Known], sent: dict[str, list[float]], first: list[float]
) -> Iterator[str]:
    """A next run that is claimed while all has been well is started at once, where it need not wait for others."""
    for number, claim in enumerate(row.claims[1:], 1):
        calm = timeline.calm_at(claim.begin)
        limit = claim.begin + bound(timeline, claim.begin, first)
        if calm is None or not _quiet(timeline, row.schedule, calm, claim.begin, limit):
            continue
        schedule = timeline.surely(row.schedule, claim.begin - COMMIT, limit)
        if schedule is None or schedule.overlap != "allow" or may_hold(timeline.world, known, claim.begin, limit):
            continue
        window = schedule.catchup_window.total_seconds()
        name = f"{row.names[0]}-r{number}"
        if window > limit - claim.begin and not any(claim.begin <= at <= limit for at in sent.get(name, ())):
            yield f"{row}: {name} was claimed at {timeline.world.instant(claim.begin)}, and not sent at once"


def _quiet(timeline: Timeline, name: str, calm: Calm, begin: float, end: float) -> bool:
    return any(since + QUIET <= begin and end <= until for since, until in timeline.calms_of(name, calm))


def _outcomes(rows: list[Row], at: float) -> list[tuple[Row, Seen]]:
    """The fires whose runs have succeeded or failed for good by what the disk had then, the latest first."""
    found = []
    for row in rows:
        seen = next((it for it in reversed(row.seen) if it.at <= at), None)
        if seen is not None and not row.manual and _final(seen) and seen.run_status in ("completed", "failed"):
            found.append((row, seen))
    return sorted(found, key=lambda it: (it[0].last, it[0].id), reverse=True)


def _final(seen: Seen) -> bool:
    return seen.state == "started" and not seen.due and not seen.followed


def _in_a_row(rows: list[Row], at: float, count: int) -> list[tuple[Row, Seen]]:
    """The latest fires that failed, when there are so many in a row."""
    found = _outcomes(rows, at)[:count]
    return found if len(found) == count and all(seen.run_status == "failed" for _, seen in found) else []


def _justified(timeline: Timeline, name: str, rows: list[Row]) -> Iterator[str]:
    """A pause by failures comes after so many, none of which was known before somebody resumed the schedule."""
    known: set[datetime] = set()
    for at, begin in timeline.pauses[name]:
        if begin in known:
            continue  # the same once more, since the disk had failed when it was to end
        known.add(begin)
        parts = timeline.in_force(name, at - COMMIT, at)
        counts = {part.pause_after_failures for part in parts if part is not None and part.pause_after_failures}
        moments = [at, *(it.at + _GRAIN / 100 for row in rows for it in row.seen if at - COMMIT <= it.at <= at)]
        failed = [found for count in counts for moment in moments if (found := _in_a_row(rows, moment, count))]
        if not failed:
            yield f"{name} was paused at {timeline.world.instant(at)}, and no {counts} fires in a row had failed"
            continue
        resumed = [it for it in timeline.world.calls if it.schedule == name and not it.pauses and it.outcome == "done"]
        since = max((call.begun for call in resumed if call.done < at), default=0.0)
        if timeline.steps == 0 and not any(all(seen.at >= since for _, seen in found) for found in failed):
            yield f"{name} was paused at {timeline.world.instant(at)} for what had failed before it was resumed"


def _paused_in_calm(timeline: Timeline, name: str, rows: list[Row], known: list[Known]) -> Iterator[str]:
    """After so many failures in a row while all was well there is a pause."""
    if timeline.steps:
        return  # when a pause was over is told by one clock, and when a run ended by another
    world = timeline.world
    for row in rows:
        for seen in row.seen:
            at, until = seen.at, seen.at + _RECORDED
            if row.manual or not _final(seen) or seen.run_status != "failed":
                continue
            calm, schedule = timeline.calm_at(at), timeline.surely(name, at, until)
            if calm is None or until > calm.end or schedule is None or not schedule.pause_after_failures:
                continue
            failed = _in_a_row(rows, at, schedule.pause_after_failures)
            begun = [timeline.runs[it.run_id].at for _, it in failed if it.run_id in timeline.runs]
            if not failed or len(begun) < len(failed):
                continue
            stretches = [it.stretch for it in known if it.begin <= until and it.end >= min(begun)]
            if any(it is not None and it.until[1] >= world.instant(min(begun)) for it in stretches):
                continue  # there is one, or there was one after the first of them was started: it does not count
            if not any(at <= pause <= until for pause, _ in timeline.pauses[name]):
                yield f"{name} is not paused, though {len(failed)} fires in a row failed by {world.instant(at)}"
