"""Grouping: which alerts become which messages, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from pydantic import TypeAdapter

from zendaemon.core.alert import Alert, AlertKind
from zendaemon.core.alerting import Grouping, State
from zendaemon.core.fire import Fire, FireState, Reason

if TYPE_CHECKING:
    from zendaemon.core.message import Message

BEGIN = datetime(2026, 11, 23, 2, tzinfo=UTC)
ALL = frozenset(AlertKind)
STATE = TypeAdapter(State)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def grouping(*kinds: AlertKind, state: State | None = None) -> Grouping:
    numbers = count(1)
    return Grouping("oncall", frozenset(kinds) or ALL, state, lambda: UUID(int=next(numbers)))


def alert(
    kind: str, seconds: float, schedule: str | None = "nightly", text: str = "it is so", fire: Fire | None = None
) -> Alert:
    """`recovered run_failed` is a recovery."""
    first, _, of = kind.partition(" ")
    ends = AlertKind(of) if of else None
    return Alert(kind=AlertKind(first), of=ends, at=at(seconds), schedule=schedule, text=text, fire=fire)


def fire(
    seconds: float, state: FireState, reason: Reason | None = None, *, ended: float, name: str = "nightly"
) -> Fire:
    return Fire(schedule=name, fire_time=at(seconds), state=state, reason=reason, decided_at=at(ended))


def play(told: Grouping, alerts: list[Alert], until: float, *, step: float = 1) -> list[tuple[float, Message]]:
    """The messages, with the seconds at which each went out, when somebody looks every second."""
    found, left, seconds = [], sorted(alerts, key=lambda each: each.at), 0.0
    while seconds <= until:
        while left and left[0].at <= at(seconds):
            each = left.pop(0)
            told.tell(each, each.at)
        found += [(seconds, message) for message in told.due(at(seconds))]
        seconds += step
    return found


def short(messages: list[tuple[float, Message]]) -> list[tuple[float, str]]:
    return [(seconds, f"{message.kind}: {message.title}") for seconds, message in messages]


HOUR = 3600
CASES: dict[str, tuple[list[Alert], float, list[tuple[float, str]]]] = {
    "nothing": ([], 60, []),
    "one": ([alert("run_failed", 1)], 7200, [(6, "run_failed: 1 run failed: nightly")]),
    "what comes at once is one message": (
        [alert("failed", 1, f"s{number}") for number in range(50)],
        290,
        [(6, "failed: 50 fires failed: s0, s1, s10 and 47 more")],
    ),
    "kinds are told apart": (
        [alert("failed", 1), alert("missed", 1)],
        60,
        [(6, "failed: 1 fire failed: nightly"), (6, "missed: 1 fire was missed: nightly")],
    ),
    "what goes on is a digest, less and less often": (
        [alert("run_failed", 10 * number, "often") for number in range(1080)],
        3 * HOUR,
        [
            (5, "run_failed: 1 run failed: often"),
            (305, "run_failed: 30 runs failed: often"),
            (1205, "run_failed: 90 runs failed: often"),
            (3905, "run_failed: 270 runs failed: often"),
        ],
    ),
    "after some quiet the next one goes out soon": (
        [alert("run_failed", 0), alert("run_failed", 60), alert("run_failed", 3 * HOUR)],
        3 * HOUR + 60,
        [
            (5, "run_failed: 1 run failed: nightly"),
            (305, "run_failed: 1 run failed: nightly"),
            (3 * HOUR + 5, "run_failed: 1 run failed: nightly"),
        ],
    ),
    "it recovers": (
        [alert("run_failed", 0), alert("run_failed", 1), alert("recovered run_failed", 100)],
        HOUR,
        [(5, "run_failed: 2 runs failed: nightly"), (105, "recovered: well again: nightly (2 runs failed)")],
    ),
    "it recovers before the digest is due": (
        [alert("run_failed", 0), alert("run_failed", 20), alert("recovered run_failed", 100)],
        HOUR,
        [(5, "run_failed: 1 run failed: nightly"), (105, "recovered: well again: nightly (2 runs failed)")],
    ),
    "all of them must recover": (
        [
            alert("unresolved", 0, "a"),
            alert("unresolved", 0, "b"),
            alert("recovered unresolved", 50, "a"),
            alert("recovered unresolved", 200, "b"),
        ],
        HOUR,
        [
            (5, "unresolved: 2 targets lead to nothing: a, b"),
            (205, "recovered: well again: a, b (2 targets lead to nothing)"),
        ],
    ),
    "what was well before anybody was told is one message": (
        [alert("unresolved", 0), alert("recovered unresolved", 2)],
        HOUR,
        [(5, "unresolved: 1 target leads to nothing: nightly")],
    ),
    "what nobody was told of does not recover": ([alert("recovered run_failed", 0)], 60, []),
    "what lasts is not told again": (
        [alert("paused", 0), alert("paused", 1000), alert("paused", 2000)],
        HOUR,
        [(5, "paused: 1 schedule was paused after failures: nightly")],
    ),
    "what comes and goes makes few messages": (
        [alert(kind, 60 * n) for n in range(60) for kind in (("run_failed", "recovered run_failed")[n % 2],)],
        2 * HOUR,
        [
            (5, "run_failed: 1 run failed: nightly"),
            (65, "recovered: well again: nightly (1 run failed)"),
            (305, "run_failed: 2 runs failed: nightly"),
        ],
    ),
    "of the daemon": (
        [alert("reload_refused", 0, None), alert("recovered reload_refused", 60, None)],
        HOUR,
        [(5, "reload_refused: 1 reload was refused"), (65, "recovered: well again (1 reload was refused)")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_alerts_become_messages(name: str) -> None:
    alerts, until, expected = CASES[name]
    found = short(play(grouping(), alerts, until))
    if name == "what comes and goes makes few messages":
        assert found[:2] == expected[:2]
        assert len(found) <= 6, found
    else:
        assert found == expected


def test_a_message_says_whom_when_and_how_many() -> None:
    alerts = [alert("run_failed", 1, f"s{number:02}", text=f"why {number}") for number in range(30)]
    ((_, message),) = play(grouping(), alerts, 10)
    assert message.counts == {"run_failed": 30}
    assert message.since == at(1)
    assert len(message.items) == 20
    lines = message.text.splitlines()
    assert lines[0] == "s00: why 0"
    assert lines[-2:] == ["... and 10 more", "(since 2026-11-23T02:00:01Z)"]


def test_a_channel_without_recovered_gets_none() -> None:
    alerts = [alert("run_failed", 0), alert("recovered run_failed", 100)]
    found = play(grouping(AlertKind.RUN_FAILED), alerts, HOUR)
    assert [message.kind for _, message in found] == ["run_failed"]


def outage(
    told: Grouping, *, back: float, waiting: dict[float, int], closed: list[Fire], until: float = 900
) -> list[tuple[float, Message]]:
    """The messages of an outage that begins at 0."""
    told.tell(alert("unavailable", 0, None, text="refused"), at(0))
    found: list[tuple[float, Message]] = []
    left = sorted(closed, key=lambda each: each.decided_at or at(0))
    for seconds in range(int(until)):
        if seconds == back:
            told.tell(alert("recovered unavailable", seconds, None), at(seconds))
        while left and (left[0].decided_at or at(0)) <= at(seconds):
            each = left.pop(0)
            told.closed(each)
            if each.state is not FireState.STARTED:
                told.tell(alert(each.state.value, seconds, each.schedule, fire=each), at(seconds))
            elif each.fire_time < (each.decided_at or at(0)):
                told.tell(alert("late_start", seconds, each.schedule, fire=each), at(seconds))
        left_over = max((count for second, count in waiting.items() if seconds < second), default=0)
        found += [(seconds, message) for message in told.due(at(seconds), left_over)]
    return found


def test_an_outage_is_one_message_at_its_beginning_and_one_when_all_is_through() -> None:
    closed = [fire(n / 10, FireState.STARTED, ended=200 + n / 10, name=f"s{n}") for n in range(480)]
    closed += [fire(n, FireState.MISSED, Reason.CATCHUP_WINDOW, ended=100 + n, name=f"m{n}") for n in range(15)]
    closed += [fire(n, FireState.FAILED, Reason.RETRIES_EXHAUSTED, ended=100 + n, name=f"f{n}") for n in range(5)]
    closed += [fire(220, FireState.STARTED, ended=220, name="on-time")]
    found = outage(grouping(), back=180, waiting={250: 480}, closed=closed)
    assert [(seconds, message.kind, message.of) for seconds, message in found] == [
        (5, "unavailable", None),
        (250, "recovered", "unavailable"),
    ]
    end = found[1][1]
    assert end.counts == {"late": 480, "missed": 15, "failed": 5, "waiting": 0}
    assert "480 were started late, 15 were missed, 5 failed" in end.text
    assert "for 3m" in end.text


def test_a_blink_of_the_server_is_no_message() -> None:
    assert outage(grouping(), back=2, waiting={}, closed=[]) == []


def test_a_short_outage_that_cost_a_fire_is_told_at_its_end() -> None:
    closed = [fire(1, FireState.MISSED, Reason.CATCHUP_WINDOW, ended=2)]
    ((_, message),) = outage(grouping(), back=3, waiting={}, closed=closed)
    assert message.kind == "recovered"
    assert message.counts["missed"] == 1


def test_what_the_outage_is_not_to_blame_for_is_told_as_ever() -> None:
    closed = [fire(1, FireState.FAILED, Reason.REJECTED, ended=60, name="wrong")]
    found = outage(grouping(), back=100, waiting={}, closed=closed)
    assert [message.kind for _, message in found] == ["unavailable", "failed", "recovered"]


def test_the_end_of_an_outage_waits_an_hour_at_most() -> None:
    found = outage(grouping(), back=100, waiting={99_999: 3}, closed=[], until=4000)
    assert [(seconds, message.kind) for seconds, message in found] == [(5, "unavailable"), (3700, "recovered")]
    assert "3 still wait" in found[1][1].text


def test_a_channel_without_outages_gets_what_follows_from_them() -> None:
    told = grouping(AlertKind.MISSED)
    told.tell(alert("missed", 0, fire=fire(0, FireState.MISSED, Reason.CATCHUP_WINDOW, ended=0)), at(0))
    assert [message.kind for message in told.due(at(5))] == ["missed"]


@pytest.mark.parametrize("kind", ["run_stuck", "no_success", "late_finish"])
def test_what_may_only_seem_so_is_told_after_the_outage(kind: str) -> None:
    told = grouping()
    told.tell(alert("unavailable", 0, None), at(0))
    for name in ("a", "b"):
        told.tell(alert(kind, 20, name), at(20))
    found = told.due(at(80))
    told.tell(alert(f"recovered {kind}", 90, "a"), at(90))
    told.tell(alert("recovered unavailable", 100, None), at(100))
    found += [message for seconds in range(100, 300) for message in told.due(at(seconds))]
    assert [message.kind for message in found] == ["unavailable", "recovered", kind]
    assert found[-1].schedules == ("b",)


def reborn(told: Grouping) -> Grouping:
    """As the next process has it."""
    return grouping(state=STATE.validate_json(STATE.dump_json(told.state)))


def test_a_restart_tells_nothing_again() -> None:
    told = grouping()
    told.tell(alert("unavailable", 0, None), at(0))
    told.tell(alert("unresolved", 0), at(0))
    assert len(told.due(at(5))) == 2
    told = reborn(told)
    told.tell(alert("unavailable", 60, None), at(60))
    told.tell(alert("unresolved", 60), at(60))
    assert not [message for seconds in range(60, 1000) for message in told.due(at(seconds))]
    told.tell(alert("recovered unavailable", 1000, None), at(1000))
    told.tell(alert("recovered unresolved", 1000), at(1000))
    assert [message.kind for message in told.due(at(1005))] == ["recovered", "recovered"]


def test_an_outage_that_ended_while_no_daemon_ran_is_told_to_be_over() -> None:
    told = grouping()
    told.tell(alert("unavailable", 0, None), at(0))
    told.due(at(5))
    told = reborn(told)
    told.closed(fire(50, FireState.STARTED, ended=100))
    (message,) = told.due(at(200))
    assert (message.of, message.counts["late"]) == ("unavailable", 1)


def test_what_was_gathered_is_told_after_a_restart() -> None:
    told = grouping()
    told.tell(alert("run_failed", 0), at(0))
    assert [message.title for message in reborn(told).due(at(60))] == ["1 run failed: nightly"]


def test_a_clock_that_is_set_back_holds_no_message_up() -> None:
    told = grouping()
    told.tell(alert("run_failed", 0), at(0))
    assert len(told.due(at(-7200))) == 1


def test_what_is_over_is_forgotten() -> None:
    told = grouping()
    play(told, [alert("run_failed", 0), alert("recovered run_failed", 60), alert("failed", 0)], 100)
    assert told.busy
    for hours in (2, 24 * 8):
        told.due(at(hours * HOUR))
    assert not told.busy


def test_a_run_that_is_stuck_is_told_once_though_its_text_changes() -> None:
    told = grouping()
    stuck = replace(fire(0, FireState.STARTED, ended=0), run_id="r1")
    for seconds in (0, 600):
        told.tell(alert("run_stuck", seconds, text=f"for {seconds} s", fire=stuck), at(seconds))
    assert [message.title for message in told.due(at(700))] == ["1 run is stuck: nightly"]
