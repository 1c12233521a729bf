"""Conditions as a table: what the server says, the schedule's last success, and now."""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

from datetime import UTC, datetime

import pytest

from zendaemon.core.condition import Newest, unmet
from zendaemon.core.policy import Condition
from zendaemon.core.run import SUCCEEDED, TERMINAL


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-23T{text}").replace(tzinfo=UTC)


NOW = at("12:00")
DATA = Condition(artifact="data")
MODEL = Condition(model="churn")
LOAD = Condition(pipeline="load")
FRESH = Condition.model_validate({"artifact": "data", "within": "6h"})
LOADED = Condition.model_validate({"pipeline": "load", "within": "6h"})


def version(when: str | None, name: str = "12") -> Newest:
    return Newest(name, at(when) if when else None)


def run(ended: str | None, status: str = "completed") -> Newest:
    return Newest("load-7", at(ended) if ended else None, status)


def case(title: str, *values: object) -> object:
    return pytest.param(*values, id=title)


@pytest.mark.parametrize(
    ("condition", "newest", "since", "expected"),
    [
        case("newer than our last success", DATA, version("03:00"), "02:00", None),
        case("older than our last success", DATA, version("01:00"), "02:00", "artifact 'data': the newest version '12' is of 2026-11-23T01:00:00Z, before our last success, which began at 2026-11-23T02:00:00Z"),
        case("of the very instant at which it began: that run may have read it", DATA, version("02:00"), "02:00", "artifact 'data': the newest version '12' is of 2026-11-23T02:00:00Z, before our last success, which began at 2026-11-23T02:00:00Z"),
        case("no success yet: any version will do", DATA, version("01:00"), None, None),
        case("no success yet, and the server tells no time", DATA, version(None), None, None),
        case("no time told", DATA, version(None), "02:00", "artifact 'data': the server does not tell of when the version '12' is"),
        case("no artifact", DATA, None, None, "artifact 'data': no version of it; not found or not permitted"),
        case("no model", MODEL, None, "02:00", "model 'churn': no version of it; not found or not permitted"),
        case("model, newer", MODEL, version("02:00:00.000001", "v3"), "02:00", None),
        case("model, older", MODEL, version("01:59", "v3"), "02:00", "model 'churn': the newest version 'v3' is of 2026-11-23T01:59:00Z, before our last success, which began at 2026-11-23T02:00:00Z"),
        case("within: to the instant", FRESH, version("06:00"), None, None),
        case("within: too old", FRESH, version("05:59:59"), None, "artifact 'data': the newest version '12' is of 2026-11-23T05:59:59Z, longer than 6h ago"),
        case("within takes the place of our last success", FRESH, version("07:00"), "11:00", None),
        case("within: no time told", FRESH, version(None), None, "artifact 'data': the server does not tell of when the version '12' is"),
        case("within: of the future, after a clock was set back", FRESH, version("12:01"), None, None),
        case("pipeline: ended since", LOAD, run("03:00"), "02:00", None),
        case("pipeline: cached is a success", LOAD, run("03:00", "cached"), "02:00", None),
        case("pipeline: ended before", LOAD, run("01:00"), "02:00", "pipeline 'load': the last run 'load-7' ended at 2026-11-23T01:00:00Z, before our last success, which began at 2026-11-23T02:00:00Z"),
        case("pipeline: failed", LOAD, run("03:00", "failed"), "02:00", "pipeline 'load': the last run 'load-7' ended as failed"),
        case("pipeline: stopped is no success", LOAD, run("03:00", "stopped"), None, "pipeline 'load': the last run 'load-7' ended as stopped"),
        case("pipeline: active", LOAD, run(None, "running"), None, "pipeline 'load': the last run 'load-7' has not ended, it is running"),
        case("pipeline: a status of a version to come", LOAD, run(None, "thawing"), None, "pipeline 'load': the last run 'load-7' has not ended, it is thawing"),
        case("pipeline: never ran", LOAD, None, None, "pipeline 'load': no run of it; not found or not permitted"),
        case("pipeline: no success of ours yet", LOAD, run("01:00"), None, None),
        case("pipeline: the end is not told", LOAD, run(None), "02:00", "pipeline 'load': the server does not tell of when the run 'load-7' is"),
        case("pipeline within: ended in time", LOADED, run("06:00"), "11:00", None),
        case("pipeline within: ended too long ago", LOADED, run("05:00"), None, "pipeline 'load': the last run 'load-7' ended at 2026-11-23T05:00:00Z, longer than 6h ago"),
        case("pipeline within: failed", LOADED, run("11:00", "failed"), None, "pipeline 'load': the last run 'load-7' ended as failed"),
    ],
)  # fmt: skip
def test_unmet(condition: Condition, newest: Newest | None, since: str | None, expected: str | None) -> None:
    assert unmet(condition, newest, at(since) if since else None, NOW) == expected


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_every_end_of_a_run_is_a_success_or_none(status: str) -> None:
    assert (unmet(LOAD, run("03:00", status), None, NOW) is None) is (status in SUCCEEDED)
