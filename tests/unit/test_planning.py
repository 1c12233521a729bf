"""Planning as tables: what becomes of each due fire time, and that every one gets exactly one row."""

# ruff: noqa: E501, FBT001 - a case of a table is a line, and some columns are flags
from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.core.pause import Pause
from zendaemon.core.planning import Standing, plan, rule_text, trigger_of, unfold, unfolded
from zendaemon.core.schedule import Overlap, Schedule
from zendaemon.core.trigger import Trigger

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY = datetime(2026, 11, 23, tzinfo=UTC)  # a Monday
HOURLY: dict[str, Any] = {"cron": "0 * * * *"}


def at(text: str) -> datetime:
    """`02:00` on the day of these tests, `+1 02:00` on the next."""
    days, _, clock = text.rpartition(" ")
    moment = datetime.fromisoformat(f"2026-11-23T{clock}").replace(tzinfo=UTC)
    return moment + timedelta(days=int(days or 0))


def schedule(name: str = "nightly", **keys: Any) -> Schedule:  # noqa: ANN401 - as in a file
    return Schedule.model_validate({"name": name, "snapshot": "prod", **keys})


def told(fires: Iterable[Fire]) -> list[str]:
    """`02:00 claimed`, `03:00-05:00 missed catchup_window`."""
    found = []
    for fire in fires:
        clock = f"{fire.fire_time:%H:%M}" + (f"-{fire.through:%H:%M}" if fire.through else "")
        found.append(" ".join(filter(None, (clock, fire.state, fire.reason))))
    return found


def case(title: str, *values: object) -> object:
    return pytest.param(*values, id=title)


def decided(keys: dict[str, Any], watermark: str, now: str, **standing: Any) -> list[str]:  # noqa: ANN401
    return told(plan(schedule(**keys), Standing(watermark=at(watermark), **standing), at(now)).fires)


@pytest.mark.parametrize(
    ("keys", "watermark", "now", "expected"),
    [
        case("nothing is due before the fire time", HOURLY, "01:00", "01:59:59.999", ""),
        case("due at the very instant", HOURLY, "01:00", "02:00", "02:00 claimed"),
        case("late while awake is on time, however late", HOURLY | {"catchup_window": "1m"}, "01:00", "02:59", "02:00 claimed"),
        case("several while awake are all started", HOURLY | {"catchup": "none"}, "01:00", "04:10", "02:00 claimed, 03:00 claimed, 04:00 claimed"),
        case("an excluded time is skipped", HOURLY | {"exclude": ["0 3 * * *"]}, "01:00", "04:10", "02:00 claimed, 03:00 skipped excluded, 04:00 claimed"),
        case("an excluded day is skipped", {"cron": "0 2 * * *", "exclude": ["2026-11-23"]}, "-1 02:00", "02:00", "02:00 skipped excluded"),
        case("a clock set back fires nothing twice", HOURLY, "03:00", "01:30", ""),
        case("a clock set back and on again fires nothing twice", HOURLY, "03:00", "03:59", ""),
        case("an `at` that is decided is over", {"at": "2026-11-23T02:00:00"}, "02:00", "+1 02:00", ""),
        case("an `at` that is due", {"at": "2026-11-23T02:00:00"}, "01:00", "02:00", "02:00 claimed"),
        case("nothing at or after end_time", HOURLY | {"end_time": "2026-11-23T03:00:00"}, "01:00", "05:00", "02:00 claimed"),
        case("nothing before start_time", HOURLY | {"start_time": "2026-11-23T03:00:00"}, "01:00", "03:00", "03:00 claimed"),
        case("overlap allow starts all", HOURLY | {"overlap": "allow"}, "01:00", "03:00", "02:00 claimed, 03:00 claimed"),
        case("overlap skip starts the first", HOURLY | {"overlap": "skip"}, "01:00", "04:00", "02:00 claimed, 03:00 skipped overlap, 04:00 skipped overlap"),
    ],
)  # fmt: skip
def test_awake(keys: dict[str, Any], watermark: str, now: str, expected: str) -> None:
    assert ", ".join(decided(keys, watermark, now)) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        case("none: all are missed, in one row", {"catchup": "none"}, "02:00-05:00 missed catchup_none"),
        case("latest: the latest within the window", {"catchup_window": "1h"}, "02:00-04:00 missed catchup_window, 05:00 claimed"),
        case("latest: those before it within the window", {"catchup_window": "3h"}, "02:00 missed catchup_window, 03:00-04:00 missed catchup_latest, 05:00 claimed"),
        case("latest: the window's edge is inside", {"catchup_window": "30m"}, "02:00-04:00 missed catchup_window, 05:00 claimed"),
        case("latest: outside the window nothing is started", {"catchup_window": "29m"}, "02:00-05:00 missed catchup_window"),
        case("latest: a wide window", {"catchup_window": "9h"}, "02:00-04:00 missed catchup_latest, 05:00 claimed"),
        case("latest: the latest that is not excluded", {"catchup_window": "3h", "exclude": ["0 5 * * *"]}, "02:00 missed catchup_window, 03:00 missed catchup_latest, 04:00 claimed, 05:00 skipped excluded"),
        case("all: those within the window", {"catchup": "all", "catchup_window": "2h"}, "02:00-03:00 missed catchup_window, 04:00 claimed, 05:00 claimed"),
        case("all: an excluded one is skipped", {"catchup": "all", "catchup_window": "2h", "exclude": ["0 5 * * *"]}, "02:00-03:00 missed catchup_window, 04:00 claimed, 05:00 skipped excluded"),
        case("all: with overlap skip only the first", {"catchup": "all", "catchup_window": "9h", "overlap": "skip"}, "02:00 claimed, 03:00 skipped overlap, 04:00 skipped overlap, 05:00 skipped overlap"),
        case("all are excluded: that is why, not the catch-up", {"catchup": "none", "exclude": ["2026-11-23"]}, "02:00-05:00 skipped excluded"),
    ],
)  # fmt: skip
def test_misfires_after_sleep_from_one_to_half_past_five(keys: dict[str, Any], expected: str) -> None:
    assert ", ".join(decided(HOURLY | keys, "01:00", "05:30", awake_since=at("05:30"))) == expected


def test_what_came_due_after_waking_is_on_time_and_what_came_before_is_a_misfire() -> None:
    found = decided(HOURLY | {"catchup": "none"}, "01:00", "05:30", awake_since=at("04:00"))
    assert found == ["02:00-03:00 missed catchup_none", "04:00 claimed", "05:00 claimed"]


def test_a_window_that_opens_after_waking_takes_nothing_from_what_is_on_time() -> None:
    keys = HOURLY | {"catchup": "all", "catchup_window": "1m"}
    assert decided(keys, "01:00", "03:30", awake_since=at("02:30")) == ["02:00 missed catchup_window", "03:00 claimed"]


def test_latest_looks_past_an_excluded_day_of_seconds() -> None:
    keys: dict[str, Any] = {"every": "1s", "exclude": ["2026-11-23"], "catchup_window": "12h"}
    found = plan(schedule(**keys), Standing(watermark=at("-1 23:00"), awake_since=at("02:00")), at("02:00")).fires
    assert [fire.state for fire in found] == [FireState.MISSED, FireState.CLAIMED, FireState.SKIPPED, FireState.SKIPPED]
    assert found[1].fire_time == at("-1 23:59:59")


def test_jitter_delays_the_wake_and_not_the_fire_time() -> None:
    jittered = schedule(**HOURLY, jitter="30m")
    assert timedelta() < jittered.delay < timedelta(minutes=30)
    due = at("02:00") + jittered.delay
    standing = Standing(watermark=at("01:00"))
    assert plan(jittered, standing, due - timedelta(seconds=1)).fires == ()
    assert told(plan(jittered, standing, due).fires) == ["02:00 claimed"]


def test_jitter_delays_the_edge_of_misfires_too() -> None:
    jittered = schedule(**HOURLY, jitter="30m", catchup="none")
    due = at("02:00") + jittered.delay
    slept = Standing(watermark=at("01:00"), awake_since=due + timedelta(seconds=1))
    assert told(plan(jittered, slept, at("02:40")).fires) == ["02:00 missed catchup_none"]
    awake = Standing(watermark=at("01:00"), awake_since=due)
    assert told(plan(jittered, awake, at("02:40")).fires) == ["02:00 claimed"]


def test_buffer_one_holds_the_due_fire_until_the_run_ends() -> None:
    buffered = schedule(**HOURLY, overlap="buffer_one")
    held = plan(buffered, Standing(watermark=at("01:00"), claimed=True), at("03:10"))
    assert (held.fires, held.held, held.watermark) == ((), True, at("01:00"))
    released = plan(buffered, Standing(watermark=at("01:00")), at("03:10"))
    assert told(released.fires) == ["02:00 claimed", "03:00 skipped overlap"]
    assert not released.held


def test_nothing_waits_when_the_trigger_goes() -> None:
    standing = Standing(watermark=at("01:00"), claimed=True)
    buffered = plan(schedule(**HOURLY, overlap="buffer_one"), standing, at("02:00"), closing=True)
    assert told(buffered.fires) == ["02:00 skipped overlap"]
    jittered = plan(schedule(**HOURLY, jitter="30m"), standing, at("02:00"), closing=True)
    assert told(jittered.fires) == ["02:00 claimed"]


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        case("allow", "allow", "02:00 claimed"),
        case("skip", "skip", "02:00 skipped overlap"),
        case("buffer_one", "buffer_one", ""),
    ],
)
def test_a_fire_while_a_run_is_active(overlap: str, expected: str) -> None:
    assert ", ".join(decided(HOURLY | {"overlap": overlap}, "01:00", "02:00", claimed=True)) == expected


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        case("room for all", 0, "02:00 claimed, 03:00 claimed, 04:00 skipped max_runs"),
        case("room for one", 1, "02:00 claimed, 03:00 skipped max_runs, 04:00 skipped max_runs"),
        case("none", 2, "02:00 skipped max_runs, 03:00 skipped max_runs, 04:00 skipped max_runs"),
    ],
)
def test_max_runs(runs: int, expected: str) -> None:
    assert ", ".join(decided(HOURLY | {"max_runs": 2}, "01:00", "04:00", runs=runs)) == expected


def test_an_excluded_fire_is_no_run_for_max_runs_and_overlap() -> None:
    keys = HOURLY | {"max_runs": 1, "overlap": "skip", "exclude": ["0 2 * * *"]}
    assert decided(keys, "01:00", "03:00") == ["02:00 skipped excluded", "03:00 claimed"]


def test_a_claim_has_all_that_the_journal_needs() -> None:
    found = plan(schedule(**HOURLY, project="vision"), Standing(watermark=at("01:00")), at("02:00:03")).fires
    assert found == (
        Fire(
            schedule="nightly",
            fire_time=at("02:00"),
            run_name="nightly-20261123T020000Z",
            project="vision",
            claimed_at=at("02:00:03"),
        ),
    )


def test_what_is_not_started_is_decided_now_and_names_no_run() -> None:
    keys = HOURLY | {"overlap": "skip"}
    (fire,) = plan(schedule(**keys), Standing(watermark=at("01:00"), claimed=True), at("02:00:03")).fires
    assert (fire.decided_at, fire.run_name, fire.claimed_at) == (at("02:00:03"), None, None)


def test_a_run_name_that_cannot_be_rendered_fails_the_fire_and_no_other() -> None:
    keys = HOURLY | {"config": {"run_name": "{{ 1 // (fire_time.hour - 2) }}-{{ fire_time | date('%H') }}"}}
    found = plan(schedule(**keys), Standing(watermark=at("01:00")), at("03:00")).fires
    assert told(found) == ["02:00 failed rejected", "03:00 claimed"]
    assert "cannot render" in (found[0].message or "")
    assert found[0].decided_at == at("03:00")


@pytest.mark.parametrize(
    ("keys", "standing", "expected"),
    [
        case("stays when nothing is due", {}, {"watermark": at("05:00")}, at("05:00")),
        case("to the last fire time", {}, {"watermark": at("01:00")}, at("05:00")),
        case("to the end of a range", {"catchup": "none"}, {"watermark": at("01:00"), "awake_since": at("05:30")}, at("05:00")),
        case("over excluded ones", {"exclude": ["2026-11-23"]}, {"watermark": at("01:00")}, at("05:00")),
    ],
)  # fmt: skip
def test_watermark_moves(keys: dict[str, Any], standing: dict[str, Any], expected: datetime) -> None:
    assert plan(schedule(**HOURLY, **keys), Standing(**standing), at("05:30")).watermark == expected


def paused(since: str, until: str | None = None) -> Pause:
    return Pause(schedule="nightly", since=at(since), until=at(until) if until else None)


@pytest.mark.parametrize(
    ("keys", "pause", "standing", "expected"),
    [
        case("what would start from its beginning on is skipped", {}, paused("03:00"), {}, "02:00 claimed, 03:00-05:00 skipped paused"),
        case("just before it, all is as ever", {}, paused("03:00:00.000001"), {}, "02:00 claimed, 03:00 claimed, 04:00-05:00 skipped paused"),
        case("its end is not part of it", {}, paused("02:30", "05:00"), {}, "02:00 claimed, 03:00-04:00 skipped paused, 05:00 claimed"),
        case("a single one", {}, paused("02:30", "03:30"), {}, "02:00 claimed, 03:00 skipped paused, 04:00 claimed, 05:00 claimed"),
        case("between two fire times nothing is skipped", {}, paused("02:10", "02:50"), {}, "02:00 claimed, 03:00 claimed, 04:00 claimed, 05:00 claimed"),
        case("one that was over before", {}, paused("00:10", "00:50"), {}, "02:00 claimed, 03:00 claimed, 04:00 claimed, 05:00 claimed"),
        case("one that begins later, the clock was set back", {}, paused("09:00"), {}, "02:00 claimed, 03:00 claimed, 04:00 claimed, 05:00 claimed"),
        case("one that ended before it began", {}, paused("04:30", "02:30"), {}, "02:00 claimed, 03:00 claimed, 04:00 claimed, 05:00 claimed"),
        case("paused comes before excluded", {"exclude": ["2026-11-23"]}, paused("04:00"), {}, "02:00 skipped excluded, 03:00 skipped excluded, 04:00-05:00 skipped paused"),
        case("a paused fire is no run for overlap", {"overlap": "skip"}, paused("02:00", "04:00"), {}, "02:00-03:00 skipped paused, 04:00 claimed, 05:00 skipped overlap"),
        case("nor for max_runs", {"max_runs": 1}, paused("02:00", "04:00"), {}, "02:00-03:00 skipped paused, 04:00 claimed, 05:00 skipped max_runs"),
        case("down, none: the pause is the reason while it lasted", {"catchup": "none"}, paused("01:30", "03:30"), {"awake_since": at("05:30")}, "02:00-03:00 skipped paused, 04:00-05:00 missed catchup_none"),
        case("down, latest: after its end the latest is started", {"catchup_window": "9h"}, paused("01:30", "03:30"), {"awake_since": at("05:30")}, "02:00-03:00 skipped paused, 04:00 missed catchup_latest, 05:00 claimed"),
        case("down, latest: nothing was missed but what is paused", {"catchup_window": "9h"}, paused("01:30"), {"awake_since": at("05:30")}, "02:00-05:00 skipped paused"),
        case("down, all: what came after its end", {"catchup": "all", "catchup_window": "9h"}, paused("01:30", "03:30"), {"awake_since": at("05:30")}, "02:00-03:00 skipped paused, 04:00 claimed, 05:00 claimed"),
        case("down, all: in the window only", {"catchup": "all", "catchup_window": "1h"}, paused("01:30", "02:30"), {"awake_since": at("05:30")}, "02:00 skipped paused, 03:00-04:00 missed catchup_window, 05:00 claimed"),
        case("down in the middle of it and up before its end", {"catchup": "all", "catchup_window": "9h"}, paused("01:30", "04:30"), {"awake_since": at("03:30")}, "02:00-04:00 skipped paused, 05:00 claimed"),
        case("buffer_one: what waits goes on waiting", {"overlap": "buffer_one"}, paused("02:30"), {"claimed": True}, ""),
        case("buffer_one: what is paused waits for no run", {"overlap": "buffer_one"}, paused("01:30", "03:30"), {"claimed": True}, "02:00-03:00 skipped paused"),
        case("buffer_one: released in a pause", {"overlap": "buffer_one"}, paused("02:30"), {}, "02:00 claimed, 03:00-05:00 skipped paused"),
        case("buffer_one: released after a pause", {"overlap": "buffer_one"}, paused("02:30", "03:30"), {}, "02:00 claimed, 03:00 skipped paused, 04:00 skipped overlap, 05:00 skipped overlap"),
    ],
)  # fmt: skip
def test_paused_from_one_to_half_past_five(
    keys: dict[str, Any], pause: Pause, standing: dict[str, Any], expected: str
) -> None:
    assert ", ".join(decided(HOURLY | keys, "01:00", "05:30", pause=pause, **standing)) == expected


def test_it_is_the_start_that_is_paused_so_jitter_counts() -> None:
    jittered = schedule(**HOURLY, jitter="30m")
    start = at("02:00") + jittered.delay
    for pause, expected in (
        (Pause(schedule="nightly", since=start), "02:00 skipped paused"),
        (Pause(schedule="nightly", since=start + timedelta(microseconds=1)), "02:00 claimed"),
        (Pause(schedule="nightly", since=at("01:30"), until=start), "02:00 claimed"),
        (Pause(schedule="nightly", since=at("01:30"), until=start + timedelta(microseconds=1)), "02:00 skipped paused"),
    ):
        assert told(plan(jittered, Standing(watermark=at("01:00"), pause=pause), at("02:40")).fires) == [expected]


def test_a_paused_fire_is_due_when_it_would_start() -> None:
    jittered = schedule(**HOURLY, jitter="30m")
    standing = Standing(watermark=at("01:00"), pause=paused("01:30"))
    assert plan(jittered, standing, at("02:00") + jittered.delay - timedelta(seconds=1)).fires == ()


@pytest.mark.parametrize("overlap", ["allow", "buffer_one"])
def test_what_is_paused_when_its_trigger_goes_is_skipped(overlap: str) -> None:
    standing = Standing(watermark=at("01:00"), claimed=True, pause=paused("01:30"))
    found = plan(schedule(**HOURLY, jitter="30m", overlap=overlap), standing, at("03:00"), closing=True)
    assert told(found.fires) == ["02:00-03:00 skipped paused"]


TRIGGERS: list[dict[str, Any]] = [
    {"cron": "0 * * * *"},
    {"cron": ["*/7 * * * *", "30 2 * * *"], "timezone": "Europe/Berlin"},
    {"cron": "30 2 * * *", "timezone": "Europe/Berlin"},
    {"cron": "H H(0-3) * * *"},
    {"every": "17m"},
    {"every": "90m", "start_time": "2026-10-24T22:10:30", "end_time": "2026-10-25T20:00:00"},
    {"at": ["2026-10-25T01:00:00", "2026-10-25T01:00:01", "2026-10-24T22:00:00"]},
]


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    excluded = [[], ["2026-10-25"], ["* 1 * * *"], ["2026-10-24", "*/2 * * * *"], ["* * * * *"]]
    return schedule(
        draw(st.sampled_from(["a", "nightly-training", "x.y_z"])),
        **draw(st.sampled_from(TRIGGERS)),
        exclude=draw(st.sampled_from(excluded)),
        overlap=draw(st.sampled_from(["allow", "skip", "buffer_one"])),
        catchup=draw(st.sampled_from(["none", "latest", "all"])),
        catchup_window=draw(st.sampled_from(["1s", "10m", "1h", "5h"])),
        jitter=draw(st.sampled_from(["0s", "1m", "2h"])),
        max_runs=draw(st.sampled_from([None, 1, 3])),
    )


@settings(deadline=None)
@given(
    schedules(),
    st.integers(0, 30 * 3600),
    st.integers(0, 12 * 3600),
    st.integers(-3600, 12 * 3600),
    st.booleans(),
    st.integers(0, 3),
    st.none() | st.tuples(st.integers(-3600, 12 * 3600), st.none() | st.integers(-3600, 12 * 3600)),
)
def test_every_due_fire_time_is_in_exactly_one_row(
    planned: Schedule, mark: int, gap: int, awake: int, active: bool, runs: int, pause: tuple[int, int | None] | None
) -> None:
    watermark = datetime(2026, 10, 24, 18, tzinfo=UTC) + timedelta(seconds=mark)
    now = watermark + timedelta(seconds=gap)
    given = pause_at(watermark, *pause) if pause else None
    awake_since = watermark + timedelta(seconds=awake)
    standing = Standing(watermark, awake_since, claimed=active, runs=runs, pause=given)
    found = plan(planned, standing, now)
    if found.held:
        assert (found.fires, found.watermark, active) == ((), watermark, True)
        return
    expected = []
    instant = planned.trigger.next_after(watermark)
    while instant is not None and instant <= now - planned.delay:
        expected.append(instant)
        instant = planned.trigger.next_after(instant)
    if active and planned.overlap is Overlap.BUFFER_ONE and expected:  # what comes after the pause waits for the run
        assert covers(given, expected[0] + planned.delay)
        expected = list(takewhile(lambda instant: covers(given, instant + planned.delay), expected))
    rows = [fire for row in found.fires for fire in sorted(unfold(row), key=lambda fire: fire.fire_time)]
    assert [fire.fire_time for fire in rows] == expected
    assert found.watermark == (expected[-1] if expected else watermark)
    assert all((fire.state is FireState.CLAIMED) == (fire.claimed_at is not None) for fire in rows)
    assert all((fire.state is FireState.CLAIMED) == (fire.decided_at is None) for fire in rows)
    assert not any(planned.excludes(fire.fire_time) for fire in rows if fire.state is FireState.CLAIMED)
    counts = Counter(fire.state for fire in rows)
    if planned.max_runs is not None:
        assert counts[FireState.CLAIMED] <= max(0, planned.max_runs - runs)
    for fire in rows:
        assert (fire.reason is Reason.PAUSED) == covers(given, fire.fire_time + planned.delay)
    again = plan(planned, Standing(found.watermark, awake_since, claimed=active, runs=runs, pause=given), now)
    assert again.fires == ()


def pause_at(watermark: datetime, since: int, lasts: int | None) -> Pause:
    begin = watermark + timedelta(seconds=since)
    return Pause(schedule="a", since=begin, until=None if lasts is None else begin + timedelta(seconds=lasts))


def covers(pause: Pause | None, start: datetime) -> bool:
    return pause is not None and pause.since <= start and (pause.until is None or start < pause.until)


@pytest.mark.parametrize("keys", TRIGGERS, ids=str)
def test_rule_text_and_trigger_of_are_inverse(keys: dict[str, Any]) -> None:
    trigger = schedule(**keys).trigger
    assert trigger_of(rule_text(trigger)) == trigger
    assert rule_text(trigger_of(rule_text(trigger))) == rule_text(trigger)


def test_rule_text_tells_triggers_apart() -> None:
    texts = {rule_text(schedule(**keys).trigger) for keys in TRIGGERS}
    assert len(texts) == len(TRIGGERS)


def test_rule_text_is_stable() -> None:
    """Another text for the same trigger would restart every schedule at an upgrade."""
    trigger = Trigger(timezone="Europe/Berlin", cron=("0 2 * * *",), start=at("02:00"))
    expected = '{"cron": ["0 2 * * *"], "start": "2026-11-23T02:00:00+00:00", "timezone": "Europe/Berlin"}'
    assert rule_text(trigger) == expected


def ranged(name: str, first: str, last: str, **keys: Any) -> Fire:  # noqa: ANN401
    rule = rule_text(schedule(name, **(keys or HOURLY)).trigger)
    return Fire(
        schedule=name,
        fire_time=at(first),
        through=at(last),
        rule=rule,
        state=FireState.MISSED,
        reason=Reason.CATCHUP_NONE,
    )


def test_unfold_gives_the_latest_first_and_single_rows_as_they_are() -> None:
    single = Fire(schedule="a", fire_time=at("02:00"))
    assert list(unfold(single)) == [single]
    assert told(unfold(ranged("a", "02:00", "04:00"))) == [f"0{hour}:00 missed catchup_none" for hour in (4, 3, 2)]
    assert all(fire.rule is None for fire in unfold(ranged("a", "02:00", "04:00")))


def test_unfold_of_a_long_range_of_seconds_is_cheap_at_its_end() -> None:
    year = ranged("a", "-365 00:00", "00:00", every="1s")
    assert [fire.fire_time for fire in islice(unfold(year), 2)] == [at("00:00"), at("-1 23:59:59")]


def test_unfold_of_a_rare_rule_over_decades_is_cheap() -> None:
    rule = rule_text(Trigger(cron=("0 0 29 2 *",)))
    first, last = datetime(2028, 2, 29, tzinfo=UTC), datetime(2096, 2, 29, tzinfo=UTC)
    row = Fire(schedule="a", fire_time=first, through=last, rule=rule, state=FireState.MISSED)
    assert [fire.fire_time.date() for fire in unfold(row)] == [date(year, 2, 29) for year in range(2096, 2027, -4)]


def test_unfolded_merges_the_rows_of_many_schedules_by_time() -> None:
    rows = [
        Fire(schedule="c", fire_time=at("06:00")),
        ranged("a", "02:00", "05:00"),
        Fire(schedule="c", fire_time=at("04:30")),
        ranged("b", "03:15", "04:15", cron="15 * * * *"),
        Fire(schedule="c", fire_time=at("01:00")),
    ]
    found = [f"{fire.schedule} {fire.fire_time:%H:%M}" for fire in unfolded(rows)]
    assert found == [
        "c 06:00", "a 05:00", "c 04:30", "b 04:15", "a 04:00", "b 03:15", "a 03:00", "a 02:00", "c 01:00",
    ]  # fmt: skip
