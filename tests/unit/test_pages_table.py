"""The table of schedules: search, filters, order, pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zendaemon.core.fire import FireState
from zendaemon.core.schedule import Schedule
from zendaemon.core.shown import ScheduleState
from zendaemon.journal import Last
from zendaemon.operations import Brief
from zendaemon.web.table import PAGE, Query, select, tags

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def brief(name: str, state: ScheduleState = ScheduleState.ACTIVE, hours: int | None = 1, **keys: object) -> Brief:
    schedule = Schedule.model_validate({"name": name, "snapshot": "prod", "every": "1h", **keys})
    return Brief(schedule, state, None if hours is None else NOW + timedelta(hours=hours))


BRIEFS = [
    brief("c", hours=3, tags=["x", "y"], description="Retrain Ranking"),
    brief("a", ScheduleState.PAUSED, hours=2, tags=["x"]),
    brief("d", ScheduleState.FINISHED, hours=None),
    brief("b", ScheduleState.UNRESOLVED, hours=1, snapshot="Billing"),
]
LAST = {
    "a": Last(NOW - timedelta(hours=2), FireState.MISSED, None),
    "b": Last(NOW - timedelta(hours=1), FireState.STARTED, "failed"),
    "c": Last(NOW - timedelta(hours=3), FireState.STARTED, "completed"),
}


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        pytest.param({}, "abcd", id="all, by name"),
        pytest.param({"sort": "-name"}, "dcba", id="from z"),
        pytest.param({"sort": "next"}, "bacd", id="next first, those that never fire at the end"),
        pytest.param({"sort": "-next"}, "dcab", id="next last"),
        pytest.param({"sort": "last"}, "bacd", id="the latest first, those without a fire at the end"),
        pytest.param({"sort": "state"}, "bacd", id="the worst first"),
        pytest.param({"state": "paused"}, "a", id="of a state"),
        pytest.param({"last": "trouble"}, "ab", id="missed, or its run failed"),
        pytest.param({"last": "started"}, "bc", id="last fire started"),
        pytest.param({"last": "none"}, "d", id="never fired"),
        pytest.param({"tag": "x"}, "ac", id="of a tag"),
        pytest.param({"tag": "x", "state": "active"}, "c", id="both"),
        pytest.param({"q": "RETRAIN rank"}, "c", id="words of the description, in any case"),
        pytest.param({"q": "billing"}, "b", id="of the target"),
        pytest.param({"q": "nothing"}, "", id="none"),
        pytest.param(
            {"sort": "up", "state": "no", "last": "x", "page": "-1"}, "abcd", id="what has no meaning is left out"
        ),
    ],
)
def test_what_is_shown(asked: dict[str, str], names: str) -> None:
    page = select(BRIEFS, LAST, Query.of(asked))
    assert "".join(page.names) == names
    assert page.found == len(names)


def test_pages() -> None:
    many = [brief(f"s{number:03}") for number in range(2 * PAGE + 5)]
    last = select(many, {}, Query.of({"page": "3"}))
    assert (last.names, last.first, last.end) == ([f"s{n}" for n in range(200, 205)], 201, 205)
    assert select(many, {}, Query.of({"page": "99"})) == last, "past the end is the end"
    nothing = select([], {}, Query())
    assert (nothing.first, nothing.end, nothing.pages) == (0, 0, 1)


def test_links_keep_what_was_asked() -> None:
    query = Query.of({"q": "a b&c", "tag": "<x>", "sort": "-next", "page": "2"})
    assert query.link(page=3) == "/?q=a+b%26c&tag=%3Cx%3E&sort=-next&page=3"
    assert query.link(q="", tag="", sort="name") == "/"


def test_tags_by_use() -> None:
    assert tags(BRIEFS) == ["x", "y"]
