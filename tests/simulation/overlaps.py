"""Whether `overlap` was followed, by what the server knew at each moment, and in which order runs were stopped for it.

As simulation.oracle, with none of the daemon's code. What was in hand may be older than the policy; so a rule is asked
for only where all that may have been in force since the claim has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulation.policies import bound
from simulation.timeline import COMMIT, GIVEN_UP, IN_HAND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from simulation.server import Made
    from simulation.timeline import Row, Start, Timeline

    from zendaemon.core.schedule import Schedule

_ASKED = 180.0
"""How long it may take in calm until a run is asked to stop that can be stopped."""
_ONE_AT_ONCE = ("skip", "buffer_one", "cancel_running")


def overlaps(timeline: Timeline) -> Iterator[str]:
    """Every breach of `overlap`, in words."""
    for name, rows in list(timeline.by_name.items()):
        yield from _skipped(timeline, name, rows)
        yield from _claimed(timeline, rows)
        yield from _two_at_once(timeline, name)
        yield from _gave_way(timeline, name, rows)
    yield from _stopped(timeline)


def _skipped(timeline: Timeline, name: str, rows: list[Row]) -> Iterator[str]:
    """What was skipped had a cause.

    When it came due: a claim, or a run to follow a failed one; where a schedule goes that buffers, a run that was
    active as far as the daemon could know. When it was about to start: an active run as the server knows, one
    to follow a failed one, or a later fire that took its place.
    """
    for row in rows:
        if (row.state, row.reason) != ("skipped", "overlap"):
            continue
        if row.was_claimed:
            parts = timeline.in_force(name, row.made - COMMIT, row.closed, for_claims=True)
            if not any(_cause(timeline, row, part) for part in parts):
                yield f"{row}: no run was active and no later fire took its place"
            continue
        parts = timeline.in_force(name, row.made - COMMIT, row.made)
        buffers = any(part is not None and part.overlap == "buffer_one" for part in parts)
        known = timeline.held(name) if buffers else timeline.claims(name)
        if not any(held.begin <= row.made and held.end >= row.made - COMMIT for _, held in known):
            yield f"{row}: no claim was open"


def _cause(timeline: Timeline, row: Row, part: Schedule | None) -> bool:
    """Whether a schedule that is so had a cause to skip a claimed fire."""
    if part is None:
        return False
    if part.overlap == "cancel_running":
        others = (other for other in timeline.by_name[row.schedule] if not other.manual)
        later = (it for other in others if other.fire_time > row.fire_time for it in other.claims)
        return any(it.begin <= row.closed and it.end >= row.made for it in later)
    counts = part.overlap_timeout.total_seconds() + timeline.steps
    if part.overlap == "skip" and part.overlap_scope == "pipeline":
        made = timeline.world.server.made
        of_pipeline = (run for run in made if run.id not in row.run_ids and (run.alike or not run.foreign))
        young = row.made - counts - COMMIT  # the clocks of the server and the daemon differ a little
        if any(young < run.at <= row.closed and run.ended >= row.made for run in of_pipeline):
            return True
    others = (other for other in timeline.by_name[row.schedule] if other is not row)
    if any(due.begin <= row.closed and due.end >= row.made for other in others for due in other.retries):
        return part.overlap == "skip"
    return part.overlap == "skip" and any(
        start.row is not row
        and start.claim.end <= row.closed
        and start.run.ended >= row.made
        and row.made - start.claim.end < counts
        for start in timeline.starts(row.schedule)
    )


def _claimed(timeline: Timeline, rows: list[Row]) -> Iterator[str]:
    """Nothing is claimed while there is a claim, or a run to follow a failed one, where all in force forbids it."""
    stages = [(row, stage) for row in rows if not row.manual for stage in (*row.claims, *row.retries)]
    for row in rows:
        parts = timeline.in_force(row.schedule, row.made - COMMIT, row.made)
        if row.manual or not row.was_claimed or not _all(parts, ("skip", "buffer_one")):
            continue
        for other, stage in stages:
            if stage in other.retries and timeline.disk_fails(stage.begin, stage.begin):
                continue  # a disk that took that failure and reported an error told nobody of the run to follow
            if other.id < row.id and stage.begin <= row.made < stage.end:
                yield f"{row} was claimed while there was {other}"


def _all(parts: Iterable[Schedule | None], policies: tuple[str, ...]) -> bool:
    found = list(parts)
    return bool(found) and all(part is not None and part.overlap in policies for part in found)


def _two_at_once(timeline: Timeline, name: str) -> Iterator[str]:
    """Never two active runs; fires by hand are asked for, and runs beyond `overlap_timeout` count no more."""
    starts = [start for start in timeline.starts(name) if not start.row.manual and not start.run.foreign]
    for start in starts:
        parts = timeline.in_force(name, start.claim.begin - COMMIT, start.run.at)
        if not _all(parts, _ONE_AT_ONCE):
            continue
        known = [part for part in parts if part is not None]
        counts = min(GIVEN_UP, *(part.overlap_timeout.total_seconds() for part in known)) - timeline.steps - COMMIT
        for other in starts:
            before = other.run
            if before.at < start.run.at < before.at + counts and before.active(start.run.at):
                yield f"{before.name} was active when {start.run.name} was made"
        if all(part.overlap_scope == "pipeline" for part in known):
            yield from _beside_others(timeline, start, counts)


def _beside_others(timeline: Timeline, start: Start, counts: float) -> Iterator[str]:
    """Of the other runs of its pipeline none was active already when it was asked for them."""
    sent = max((at for at, _, _, run in timeline.world.requests if run == start.run.name and at <= start.run.at))
    for other in timeline.world.server.made:
        before = other.at < sent - IN_HAND and start.run.at - other.at < counts
        if before and (other.alike or not other.foreign) and _active(other, sent - IN_HAND, start.run.at):
            yield f"{other.name} of the same pipeline was active when {start.run.name} was made"


def _active(run: Made, begin: float, end: float) -> bool:
    return run.at <= begin and end <= run.ended


def _gave_way(timeline: Timeline, name: str, rows: list[Row]) -> Iterator[str]:
    """`cancel_running`: nothing is sent while a later fire is in hand."""
    fires = {run: row for row in rows if not row.manual for run in row.names}
    claims = [(row, claim) for row in rows if not row.manual for claim in row.claims]
    for sent, _, _, run in timeline.world.requests:
        row = fires.get(run)
        if row is None or not _all(timeline.in_force(name, row.made - COMMIT, sent), ("cancel_running",)):
            continue
        for other, claim in claims:
            in_hand = claim.begin < sent - IN_HAND and claim.end > sent
            if other.fire_time > row.fire_time and in_hand and not timeline.disk_fails(claim.begin, sent):
                yield f"{run} was sent {sent - claim.begin:.0f} s after {other} was claimed, which takes its place"


def _stopped(timeline: Timeline) -> Iterator[str]:
    """A run is stopped only for a fire of its schedule that is to be started in its place; and none ends otherwise."""
    stops = timeline.world.server.stopped
    first: dict[str, float] = {}
    for at, _, _, sent in timeline.world.requests:
        first.setdefault(sent, at)
    sent_at = sorted(first.values())
    for name, rows in list(timeline.by_name.items()):
        ours = {run for row in rows for run in row.run_ids}
        for at, run in stops:
            if run.id in ours and not any(_stops(timeline, row, run, at) for row in rows):
                yield f"{run.name} was stopped at {timeline.world.instant(at)}, for nothing"
        yield from _asked(timeline, name, sent_at)


def _stops(timeline: Timeline, row: Row, run: Made, at: float) -> bool:
    """Whether this fire may have had a run stopped then."""
    if row.manual or run.id in row.run_ids:
        return False
    for claim in row.claims:
        if claim.begin <= at <= claim.end + COMMIT:
            parts = timeline.in_force(row.schedule, claim.begin - COMMIT, at, for_claims=True)
            return any(part is not None and part.overlap == "cancel_running" for part in parts)
    return False


def _asked(timeline: Timeline, name: str, sent: list[float]) -> Iterator[str]:
    """What was active when a fire was claimed, and had ended when it was made, was asked to stop, if there was time.

    That is asked when it is the fire's turn, which comes later where others are before it in the queue.
    """
    asked = {(run.id, at) for at, run in timeline.world.server.stopped}
    starts = timeline.starts(name)
    for start in starts:
        first = start.claim is start.row.claims[0] and not start.row.manual
        begin, made = start.claim.begin, start.run.at
        parts = timeline.in_force(name, begin - COMMIT, made)
        calm = any(it.begin <= begin and made <= it.end for it in timeline.calms)
        if not first or not calm or not _all(parts, ("cancel_running",)):
            continue
        for other in starts:
            run = other.run
            since = max(begin, run.taken)
            until = since + max(_ASKED, bound(timeline, since, sent))
            known = other.claim.end < begin and until < run.ended <= made
            if known and not any(one == run.id and at <= made for one, at in asked):
                yield f"{run.name} was not asked to stop before {start.run.name} was made"
