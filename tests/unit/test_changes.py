"""What a reload changes."""

# ruff: noqa: FBT001 - columns of tables are flags
from __future__ import annotations

from typing import Any

import pytest

from zendaemon.core.changes import Changes, changes
from zendaemon.core.schedule import Place, Schedule, ScheduleSet

BASE: dict[str, Any] = {"snapshot": "prod", "cron": "0 2 * * *"}


def loaded(**schedules: dict[str, Any]) -> ScheduleSet:
    found = {name: Schedule.model_validate({"name": name, **BASE, **keys}) for name, keys in schedules.items()}
    return ScheduleSet(found, {name: Place("a.yaml", line) for line, name in enumerate(found, 1)})


def test_each_name_is_in_one_list() -> None:
    found = changes(loaded(a={}, b={}, c={}), loaded(b={}, c={"priority": 1}, d={}))
    assert found == Changes(added=("d",), changed=("c",), removed=("a",), unchanged=("b",))
    assert found.counts() == {"added": 1, "changed": 1, "removed": 1, "unchanged": 1}


@pytest.mark.parametrize(
    ("before", "after", "restarted"),
    [
        pytest.param({}, {"cron": "0 3 * * *"}, True, id="another expression"),
        pytest.param({}, {"timezone": "Europe/Berlin"}, True, id="another zone"),
        pytest.param({}, {"start_time": "2027-01-01"}, True, id="another start"),
        pytest.param({}, {"end_time": "2027-01-01"}, True, id="another end"),
        pytest.param({"enabled": False}, {}, True, id="enabled again"),
        pytest.param({}, {"enabled": False}, False, id="disabled"),
        pytest.param({}, {"enabled": False, "cron": "0 3 * * *"}, False, id="disabled, with another trigger"),
        pytest.param({}, {"jitter": "5m"}, False, id="jitter is no part of the trigger"),
        pytest.param({}, {"exclude": "2026-12-24"}, False, id="exclude is no part of the trigger"),
        pytest.param({}, {"config": {"enable_cache": False}}, False, id="another config"),
        pytest.param({}, {"snapshot": "staging"}, False, id="another target"),
    ],
)
def test_fires_begin_anew_where_the_trigger_is_another_one(
    before: dict[str, Any], after: dict[str, Any], restarted: bool
) -> None:
    found = changes(loaded(a=before), loaded(a=after))
    assert found.changed == ("a",)
    assert found.restarted == (("a",) if restarted else ())


def test_a_schedule_that_moved_to_another_file_is_unchanged() -> None:
    here = loaded(a={})
    assert changes(here, ScheduleSet(here.schedules, {"a": Place("b.yaml", 9)})).unchanged == ("a",)


def test_equal_files_change_nothing() -> None:
    assert changes(loaded(a={"tags": ["x"]}), loaded(a={"tags": ["x"]})) == Changes(unchanged=("a",))
