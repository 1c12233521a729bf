"""What the status page says, and what it draws."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from zendaemon.core.fire import Fire, FireState, Reason
from zendaemon.core.shown import (
    Minute,
    Replica,
    ShownAttempts,
    ShownChannel,
    ShownReload,
    ShownServer,
    Status,
    Timeline,
)
from zendaemon.web import charts, picture, words
from zendaemon.web.concerns import concerns
from zendaemon.web.trouble import grouped

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WORKING = ShownChannel(channel="oncall", kind="webhook", waiting=0, delivered_at=NOW, failing_since=None, error=None)
FAILING = WORKING.model_copy(update={"waiting": 2, "failing_since": NOW, "error": "no connection"})
LATE = {"promise": "late_after", "since": NOW, "text": "it is late"}
NASTY = "</title><script>alert(1)</script>"


def fire(minutes: int = 0, state: FireState = FireState.STARTED, **values: object) -> Fire:
    return Fire(**{"schedule": "nightly", "fire_time": NOW - minutes * MINUTE, "state": state, **values})  # type: ignore[arg-type]


def test_every_reason_has_its_words() -> None:
    assert set(words.REASONS) == set(Reason)
    assert set(words.MARKS) == {*FireState, words.RUN_FAILED}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0, "0.00 s"), (0.123, "0.12 s"), (9.994, "9.99 s"), (59.6, "1 min"), (185, "3 min 5 s"),
     (3600, "1 h"), (7800, "2 h 10 min"), (90_000, "1 d 1 h")],
)  # fmt: skip
def test_durations(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://zenml.example/", "https://zenml.example/runs/r1"),
        ("javascript:alert(1)//", None),
        ("", None),
        (None, None),
    ],
)
def test_links_to_runs(url: str | None, link: str | None) -> None:
    assert words.run_link(url, "r1") == link
    assert words.run_link(url, None) is None


def test_why_a_fire_became_nothing() -> None:
    assert words.because(fire()) == ""
    assert words.because(fire(state=FireState.SKIPPED, reason=Reason.OVERLAP)) == "a run of the schedule was active"
    rejected = fire(state=FireState.FAILED, reason=Reason.REJECTED, message="400")
    assert words.because(rejected) == "the server refuses the start: 400"
    assert words.because(fire(run_status="failed", message="137")) == "the run was created, and failed: 137"


def test_instants_are_for_people_and_for_the_script() -> None:
    shown = words.when(NOW + timedelta(microseconds=5), '"><b>', "both")
    assert 'datetime="2026-11-23T12:30:00Z"' in shown
    assert ">2026-11-23 12:30:00Z</time>" in shown
    assert "<b>" not in shown


def test_a_strip_has_its_newest_mark_at_the_right() -> None:
    fires = [fire(0, FireState.FAILED, reason=Reason.REJECTED), fire(1, run_status="failed"), fire(2)]
    strip = ET.fromstring(charts.strip(fires))  # noqa: S314 - ours
    assert [use.get("class") for use in strip] == ["started", "run-failed", "failed"]
    assert strip.get("aria-label") == "last 3: 1 started, 1 run failed, 1 failed; newest failed"
    assert strip[-1][0].text == "2026-11-23 12:30:00Z failed (rejected)"
    assert len(ET.fromstring(charts.strip([fire(n) for n in range(50)]))) == charts.STRIP  # noqa: S314


@pytest.mark.parametrize("late", [[0.0], [0.05] * 3, [0.001, 1e6], [12.0, 14.0]])
def test_a_chart_keeps_within_its_frame(late: list[float]) -> None:
    points = charts.lateness([fire(n, lateness_seconds=value) for n, value in enumerate(late)] + [fire(99)])
    assert [point.seconds for point in points] == late[::-1]
    chart = ET.fromstring(charts.durations(points, NASTY))  # noqa: S314
    uses = list(chart.iter("use"))
    assert len(uses) == len(late)
    assert all(0 <= float(use.get("y", "nan")) <= 190 and 0 <= float(use.get("x", "nan")) <= 720 for use in uses)
    assert charts.durations([], "lateness") == ""


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("started", "ended", "took"),
    [(NOW, NOW + 90 * SECOND, 90.0), (NOW, NOW, 0.0), (NOW, NOW - SECOND, 0.0), (NOW, None, None), (None, NOW, None),
     (None, None, None)],
)  # fmt: skip
def test_how_long_a_run_took(started: datetime | None, ended: datetime | None, took: float | None) -> None:
    assert words.run_seconds(fire(run_started_at=started, run_ended_at=ended)) == took


def test_the_durations_of_runs_are_drawn_by_what_became_of_them() -> None:
    def ran(minutes: int, seconds: float, status: str) -> Fire:
        return fire(minutes, run_status=status, run_started_at=NOW, run_ended_at=NOW + seconds * SECOND)

    running = fire(0, run_status="running", run_started_at=NOW)
    unstarted = fire(4, FireState.FAILED, reason=Reason.REJECTED, lateness_seconds=1.0)
    fires = [running, ran(1, 200, "completed"), ran(2, 0, "failed"), ran(3, 7000, "cancelled"), unstarted]
    points = charts.run_durations(fires)
    assert [(point.seconds, point.kind) for point in points] == [
        (7000, "started"),
        (0, "run-failed"),
        (200, "started"),
    ]
    chart = ET.fromstring(charts.durations(points, "run durations"))  # noqa: S314 - ours
    assert chart.get("role") == "img"
    assert chart.get("aria-label") == "run durations of the latest 3 fires: median 3 min 20 s, most 1 h 56 min"
    uses = list(chart.iter("use"))
    assert [use.get("class") for use in uses] == ["started", "run-failed", "started"]
    heights = [float(use.get("y", "nan")) for use in uses]
    assert heights[0] < heights[2] < heights[1]
    assert uses[1][0].text == "2026-11-23 12:28:00Z run failed: 0.00 s"
    assert charts.durations(charts.run_durations([running, unstarted]), "run durations") == ""


def minute(ago: int, count: int, names: tuple[str, ...] = ("a",), **states: int) -> Minute:
    by_state = {FireState(state): many for state, many in states.items()}
    return Minute(minute=NOW - ago * MINUTE, count=count, states=by_state, schedules=names)


def test_the_picture_of_a_timeline() -> None:
    past = (minute(1440, 1, started=1), minute(30, 3, (NASTY,), started=2, failed=1))
    future = (minute(-1, 1), minute(-30, 250), minute(-1440, 12))
    timeline = Timeline(now=NOW, past=past, future=future, complete=True, counted_until=NOW)
    hours = picture.hours(timeline)
    assert len(hours) == 49
    assert (hours[0].start.hour, hours[0].count, sum(hour.count for hour in hours), hours[24].trouble) == (
        12,
        1,
        267,
        1,
    )
    drawn = ET.fromstring(picture.picture(timeline))  # noqa: S314
    cells = [cell.get("class") for cell in drawn.iter("rect") if cell.get("class") != "sum"]
    assert cells == ["c1 past", "c2 past trouble", "c1 future", "c5 future", "c3 future"]
    assert drawn.get("aria-label", "").startswith("4 fires in the last 24 hours, 263 in the next 24")
    assert [minute.count for minute in picture.crowded(timeline, 5)] == [250, 12]
    empty = Timeline(now=NOW, past=(), future=(), complete=True, counted_until=NOW)
    assert len(list(ET.fromstring(picture.picture(empty)).iter("rect"))) == 0  # noqa: S314


def test_trouble_of_one_cause_is_one() -> None:
    failed = [fire(n, FireState.FAILED, reason=Reason.REJECTED) for n in (0, 2, 4)]
    missed = fire(1, FireState.MISSED, reason=Reason.CATCHUP_NONE)
    one, other = grouped([failed[0], missed, *failed[1:]])
    assert (one.fire, one.count, one.first) == (failed[0], 3, failed[2])
    assert (other.fire, other.count) == (missed, 1)


def status(**values: object) -> Status:
    server = ShownServer(
        url="http://zenml",
        dashboard_url=None,
        version=None,
        available=True,
        unavailable_since=None,
        token_valid_until=None,
    )
    known = {
        "state": "running",
        "healthy": True,
        "version": "1",
        "pid": 1,
        "started_at": NOW,
        "now": NOW,
        "server": server.model_copy(update=values.pop("server", {})),  # type: ignore[call-overload]
        "reload": None,
        "attempts": ShownAttempts(in_flight=0, waiting=0, limit=4),
        "counts": {},
        "unresolved": {},
        "broken": {},
        "replicas": (Replica(host="h", pid=1, started_at=NOW),),
    }
    return Status.model_validate(known | values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({}, [], id="well"),
        pytest.param({"healthy": False}, ["engine does not turn"], id="hung"),
        pytest.param(
            {"server": {"available": False, "unavailable_since": NOW}}, ["since 2026-11-23 12:30:00Z"], id="server away"
        ),
        pytest.param({"started_at": NOW - MINUTE}, ["http://zenml has not answered"], id="server never heard of"),
        pytest.param({"started_at": NOW - MINUTE, "server": {"version": "0.98.0"}}, [], id="server heard of"),
        pytest.param({"server": {"token_valid_until": NOW - MINUTE}}, ["token"], id="token ended"),
        pytest.param({"server": {"token_valid_until": NOW + MINUTE}}, [], id="token that is renewed"),
        pytest.param({"reload": ShownReload(at=NOW, applied=False, error="x")}, ["refused (x)"], id="refused"),
        pytest.param({"reload": ShownReload(at=NOW, applied=True)}, [], id="applied"),
        pytest.param({"channels": (FAILING,)}, ["oncall takes no alerts"], id="a channel that fails"),
        pytest.param({"channels": (WORKING,)}, [], id="a channel that works"),
        pytest.param({"unresolved": {"a": "?"}}, ["a does not resolve"], id="one unresolved"),
        pytest.param({"unresolved": dict.fromkeys("abcde", "?")}, ["a, b, c and 2 more do not"], id="five unresolved"),
        pytest.param({"broken": {"a": (LATE,)}}, ["a: it is late"], id="one breaks a promise"),
        pytest.param({"broken": dict.fromkeys("ab", (LATE,))}, ["a, b: promises are not kept"], id="two do"),
    ],
)
def test_what_is_not_well(values: dict[str, object], said: list[str]) -> None:
    found = concerns(status(**values))
    assert len(found) == len(said)
    assert all(part in concern.text for part, concern in zip(said, found, strict=True))
    assert len(concerns(status(), "disk I/O error")) == 1
    assert "is stopping" in concerns(status(), phase="stopping")[0].text


def test_one_that_does_not_resolve_is_shown_by_itself() -> None:
    """A paused one would not be among those of state `unresolved`."""
    assert concerns(status(unresolved={"a": "?"}))[0].link == "/schedules/a"
    assert concerns(status(unresolved={"a": "?", "b": "?"}))[0].link == "/?state=unresolved"
    assert concerns(status(broken={"a": (LATE,)}))[0].link == "/schedules/a"
    assert concerns(status(broken={"a": (LATE,), "b": (LATE,)}))[0].link == "/?promises=broken"
