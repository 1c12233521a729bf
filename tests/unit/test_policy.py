"""What may be written of overlap, failures, promises and conditions, and what is refused with which words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from zendaemon.core.aftermath import failed_in_a_row, next_run
from zendaemon.core.errors import Invalid
from zendaemon.core.fire import Fire, FireState, again, not_again, run_name
from zendaemon.core.schedule import Schedule
from zendaemon.loader import load

if TYPE_CHECKING:
    from pathlib import Path

TIME = datetime(2026, 11, 23, 2, tzinfo=UTC)
SCHEDULE = Schedule.model_validate(
    {"name": "a", "template": "t", "every": "1h", "on_run_failure": {"retry_run": 2, "delay": "5m"}}
)


def said(folder: Path, keys: str) -> list[str]:
    file = folder / "a.yaml"
    file.write_text(f"schedules:\n  a:\n    every: 1h\n{keys}\n")
    try:
        load(file, now=TIME)
    except Invalid as error:
        return [f"{problem.line}: {problem.message}; {problem.remedy}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("    template: t\n    overlap: cancel_running", ""),
        ("    pipeline: p\n    version: '1'\n    overlap: cancel_running", "cannot stop runs; use skip or buffer_one"),
        (
            "    template: t\n    overlap: cancel_running\n    overlap_scope: pipeline",
            "would stop runs of other people",
        ),
        (
            "    template: t\n    on_run_failure: {retry_run: 3, dely: 1m}",
            "unknown key 'dely' in on_run_failure; did you mean delay?",
        ),
        ("    template: t\n    on_run_failure: {retry_run: 0}", "on_run_failure.retry_run must be 1 or more"),
        ("    template: t\n    sla: {}", "must promise something; give late_after, max_runtime or"),
        ("    template: t\n    sla: {max_runtme: 1h}", "did you mean max_runtime?"),
        ("    template: t\n    when: {artifact: a, model: b}", "must have exactly one of pipeline, artifact and model"),
        ("    template: t\n    when: [{artifact: a, within: 1h}, {pipeline: p}]", ""),
        ("    template: t\n    depends_on: NOT", "depends_on"),
        ("    template: t\n    notify: [oncall]", ""),
        ("    template: t\n    notify: {oncall: [run_failed, missed]}", ""),
        ("    template: t\n    notify: {oncall: [run_faild]}", "run_failed"),
    ],
)
def test_what_may_be_written(tmp_path: Path, keys: str, expected: str) -> None:
    problems = said(tmp_path, keys)
    assert bool(problems) == bool(expected), problems
    assert expected in " ".join(problems)


def started(**values: Any) -> Fire:  # noqa: ANN401 - fields of a fire
    return Fire(
        schedule="a", fire_time=TIME, state=FireState.STARTED, run_id="r", run_name="a-x", run_status="failed", **values
    )


def test_a_next_run_is_due_after_the_delay_and_no_more_often_than_wanted() -> None:
    fire = next_run(SCHEDULE, started(), TIME)
    assert fire.retry_at == TIME + timedelta(minutes=5)
    claim = again(fire, TIME)
    assert (claim.run_name, claim.run_id, claim.state, claim.retry_at) == ("a-x-r1", None, FireState.CLAIMED, None)
    assert claim.key == fire.key
    assert claim.start_key != fire.start_key == fire.key
    second = again(started(earlier_runs=claim.earlier_runs, attempts=2), TIME)
    assert second.run_name == "a-x-r2"
    assert next_run(SCHEDULE, started(earlier_runs=second.earlier_runs), TIME).retry_at is None


@pytest.mark.parametrize(
    "values", [{"manual": True}, {"run_status": "completed"}, {"run_status": "stopped"}, {"run_status": "cancelled"}]
)
def test_what_is_not_run_again(values: dict[str, Any]) -> None:
    fire = Fire(**{"schedule": "a", "fire_time": TIME, "run_status": "failed", **values})
    assert next_run(SCHEDULE, fire, TIME) == fire


def test_a_claim_that_comes_to_nothing_gives_back_what_was() -> None:
    before = started()
    assert not_again(again(before, TIME), "why") == started(message="why", claimed_at=TIME)


def test_a_run_name_leaves_room_for_the_number_of_the_run() -> None:
    long = SCHEDULE.model_copy(
        update={"config": {"run_name": "x" * 230 + "{{ fire_time | date('%Y%m%dT%H%M%SZ') }}xxxxxxx"}}
    )
    with pytest.raises(ValueError, match="the server takes 251"):
        run_name(long, TIME)


@pytest.mark.parametrize(
    ("statuses", "since", "paused"),
    [
        ("fff", None, True),
        ("ff", None, False),
        ("ffs", None, False),
        ("sff", None, False),
        ("fff", 1, False),
        ("fff", 9, True),
    ],
)
def test_failures_in_a_row(statuses: str, since: int | None, *, paused: bool) -> None:
    """The latest first; `since` in hours before now."""
    words = {"f": "failed", "s": "completed"}
    outcomes = [
        Fire(
            schedule="a",
            fire_time=TIME,
            run_status=words[letter],
            run_name=f"r{index}",
            decided_at=TIME - timedelta(hours=index),
        )
        for index, letter in enumerate(statuses)
    ]
    found = failed_in_a_row(outcomes, 3, None if since is None else TIME - timedelta(hours=since))
    assert (found == "the runs of 3 fires in a row failed, the last one r0") == paused
