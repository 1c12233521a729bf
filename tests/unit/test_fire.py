"""A fire's key, its states, and the name and config of its run."""

# ruff: noqa: FBT001 - columns of tables are flags
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from zendaemon.core.fire import (
    MAX_RUN_NAME,
    TRANSITIONS,
    Fire,
    FireState,
    changed,
    fire_key,
    instant_text,
    lateness,
    names_collide,
    run_config,
    run_name,
)
from zendaemon.core.schedule import Schedule

TIME = datetime(2026, 11, 23, 2, tzinfo=UTC)
FIRE = Fire(schedule="nightly", fire_time=TIME)


def schedule(timezone: str = "UTC", name: str = "nightly", **config: Any) -> Schedule:  # noqa: ANN401 - as in a file
    keys = {"name": name, "snapshot": "prod", "cron": "0 * * * *", "timezone": timezone, "config": config}
    return Schedule.model_validate(keys)


def test_a_changed_fire_is_what_replace_makes_of_it() -> None:
    made = changed(FIRE, state=FireState.STARTED, run_id="1")
    assert made == replace(FIRE, state=FireState.STARTED, run_id="1")
    assert FIRE.state is FireState.CLAIMED
    with pytest.raises(TypeError, match="runid"):
        changed(FIRE, runid="1")


def test_the_key_of_a_fire_never_changes() -> None:
    """Another key for the same fire would be another fire to the journal and to the server."""
    assert fire_key("nightly", TIME) == UUID("81bab7e8-7827-5408-a267-a684a1a5fb39")
    assert fire_key("nightly", TIME, manual=True) == UUID("e8b5e4e1-a23c-5c88-8f4c-c64fa0f1866b")
    assert FIRE.key == fire_key("nightly", TIME)


def test_the_key_is_of_the_instant_not_of_its_zone() -> None:
    assert fire_key("nightly", datetime.fromisoformat("2026-11-23T03:00:00+01:00")) == FIRE.key


def test_different_fires_have_different_keys() -> None:
    others = {fire_key("nightly", TIME + timedelta(seconds=1)), fire_key("nightly2", TIME), FIRE.key}
    assert len(others | {fire_key("nightly", TIME, manual=True)}) == 4


def test_a_claim_is_the_only_state_that_is_not_final() -> None:
    assert set(TRANSITIONS) == set(FireState)
    assert [state for state in FireState if not replace(FIRE, state=state).final] == [FireState.CLAIMED]
    assert TRANSITIONS[FireState.CLAIMED] == set(FireState) - {FireState.CLAIMED}


@pytest.mark.parametrize(
    ("keys", "manual", "expected"),
    [
        pytest.param({}, False, "nightly-20261123T020000Z", id="by default"),
        pytest.param({}, True, "nightly-manual-20261123T020000Z", id="a manual one"),
        pytest.param({"timezone": "Europe/Berlin"}, False, "nightly-20261123T020000Z", id="in UTC in any zone"),
        pytest.param({"run_name": "r {{ fire_time | date('%H') }}"}, False, "r 02", id="the user's own"),
        pytest.param(
            {"run_name": "r {{ fire_time | date('%H') }}", "timezone": "Europe/Berlin"}, False, "r 03", id="in the zone"
        ),
        pytest.param(
            {"run_name": "r {{ fire_time | date('%H') }}"}, True, "r 02-manual-20261123T020000Z", id="own and manual"
        ),
    ],
)
def test_run_name(keys: dict[str, Any], manual: bool, expected: str) -> None:
    assert run_name(schedule(**keys), TIME, manual=manual) == expected


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(" ", "empty", id="blank"),
        pytest.param("{{ '' }}", "empty", id="rendered empty"),
        pytest.param(5, "empty", id="no text"),
        pytest.param("{date}", "braces", id="ZenML's own placeholders"),
        pytest.param("{{ '{' }}", "braces", id="rendered braces"),
        pytest.param("{{ nope }}", "cannot render", id="an unknown variable"),
        pytest.param("{{ 'x' * 256 }}", "256 characters", id="too long"),
    ],
)
def test_a_run_name_that_cannot_be_used(template: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        run_name(schedule(run_name=template), TIME)


def test_the_longest_names_fit() -> None:
    longest = schedule(name="x" * 100)
    assert len(run_name(longest, TIME, manual=True)) <= MAX_RUN_NAME
    assert len(run_name(schedule(run_name="x" * MAX_RUN_NAME), TIME)) == MAX_RUN_NAME
    with pytest.raises(ValueError, match="255"):
        run_name(schedule(run_name="x" * MAX_RUN_NAME), TIME, manual=True)


def test_run_config_is_rendered_and_named() -> None:
    config: dict[str, Any] = {
        "run_name": "r {{ schedule }}",
        "steps": {"a": {"parameters": {"day": "{{ fire_time | date }}", "n": 1}}},
    }
    found = run_config(schedule(**config), TIME, "the name")
    assert found == {"run_name": "the name", "steps": {"a": {"parameters": {"day": "2026-11-23", "n": 1}}}}


def test_run_config_of_no_config_is_the_name_alone() -> None:
    assert run_config(schedule(), TIME, "the name") == {"run_name": "the name"}


@pytest.mark.parametrize(
    ("pattern", "collides"),
    [("%Y%m%dT%H%M%SZ", False), ("%Y-%m-%d", True), ("%H", True)],
)
def test_names_collide(pattern: str, collides: bool) -> None:
    found = names_collide(schedule(run_name=f"r {{{{ fire_time | date('{pattern}') }}}}"), TIME)
    assert (found is not None) is collides


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [pytest.param(2.5, 2.5, id="late"), pytest.param(0, 0, id="on time"), pytest.param(-3, 0, id="clock set back")],
)
def test_lateness(seconds: float, expected: float) -> None:
    assert lateness(TIME, TIME + timedelta(seconds=seconds)) == expected


def test_instants_are_shown_in_utc() -> None:
    assert instant_text(datetime.fromisoformat("2026-11-23T03:00:00+01:00")) == "2026-11-23T02:00:00Z"
    assert instant_text(TIME + timedelta(microseconds=500_000)) == "2026-11-23T02:00:00.500000Z"
