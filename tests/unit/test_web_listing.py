"""Which schedules are wanted, and in what order: the same for the HTTP API and for the addresses of the pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zendaemon.core.fire import FireState
from zendaemon.core.schedule import Schedule
from zendaemon.core.shown import ScheduleState
from zendaemon.journal import Last
from zendaemon.operations import Brief
from zendaemon.web.listing import select, tags
from zendaemon.web.table import PAGE, Page, Query
from zendaemon.web.wire import LastFire, SchedulesWanted

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def brief(
    name: str,
    state: ScheduleState = ScheduleState.ACTIVE,
    hours: int | None = 1,
    *,
    breaks: bool = False,
    **keys: object,
) -> Brief:
    schedule = Schedule.model_validate({"name": name, "snapshot": "prod", "every": "1h", **keys})
    return Brief(schedule, state, None if hours is None else NOW + timedelta(hours=hours), breaks)


BRIEFS = [
    brief("c", hours=3, tags=["x", "y"], description="Retrain Ranking"),
    brief("a", ScheduleState.PAUSED, hours=2, tags=["x"], breaks=True),
    brief("d", ScheduleState.FINISHED, hours=None, description="STRASSE"),
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
        pytest.param({"sort": "next_fire_time"}, "bacd", id="next first, those that never fire at the end"),
        pytest.param({"sort": "-next_fire_time"}, "cabd", id="next last, those that never fire at the end"),
        pytest.param({"sort": "last_fire_time"}, "cabd", id="the earliest first, those without a fire at the end"),
        pytest.param({"sort": "-last_fire_time"}, "bacd", id="the latest first, those without a fire at the end"),
        pytest.param({"sort": "state"}, "bacd", id="the worst first"),
        pytest.param({"sort": "-state"}, "dcab", id="the best first"),
        pytest.param({"state": "paused"}, "a", id="of a state"),
        pytest.param({"last": "trouble"}, "ab", id="missed, or its run failed"),
        pytest.param({"last": "started"}, "bc", id="last fire started"),
        pytest.param({"last": "none"}, "d", id="never fired"),
        pytest.param({"promises": "broken"}, "a", id="that break a promise"),
        pytest.param({"tag": "x"}, "ac", id="of a tag"),
        pytest.param({"tag": "x", "state": "active"}, "c", id="both"),
        pytest.param({"search": "RETRAIN rank"}, "c", id="words of the description, in any case"),
        pytest.param({"search": "rank x"}, "c", id="words of the description and of a tag"),
        pytest.param({"search": "billing"}, "b", id="of the target"),
        pytest.param({"search": "straße"}, "d", id="as other letters in another case"),
        pytest.param({"search": "  "}, "abcd", id="no word"),
        pytest.param({"search": "nothing"}, "", id="none"),
    ],
)
def test_what_is_wanted(asked: dict[str, str], names: str) -> None:
    wanted = SchedulesWanted.model_validate(asked)
    assert "".join(select(BRIEFS, wanted, LAST)) == names
    assert Query.of(asked).wanted == wanted, "an address of a page says it in the same words"
    assert wanted.needs_last or select(BRIEFS, wanted, {}) == list(names)


def test_equals_are_sorted_by_name_either_way() -> None:
    same = [brief(name) for name in "cab"]
    for sort in ("next_fire_time", "-next_fire_time", "state", "-state", "last_fire_time", "-last_fire_time"):
        assert select(same, SchedulesWanted(sort=sort), {}) == list("abc"), sort


def test_every_state_of_a_fire_can_be_asked_for() -> None:
    assert set(LastFire) == {*FireState, "trouble", "none"}


@pytest.mark.parametrize(
    "asked",
    [{"sort": "up"}, {"state": "no"}, {"last": "x"}, {"promises": "kept"}, {"page": "-1"}, {"page": "9" * 400},
     {"page": "²"}, {"search": "x" * 201}, {"tag": ""}, {"offset": "5"}, {"limit": "5"}, {"nonsense": "x"}],
    ids=lambda asked: next(iter(asked)),
)  # fmt: skip
def test_of_an_address_what_has_no_meaning_is_left_out(asked: dict[str, str]) -> None:
    assert Query.of(asked) == Query()
    assert Query.of({**asked, "tag": "x"}).wanted.tag == "x"


def test_pages() -> None:
    names = [f"s{number:03}" for number in range(2 * PAGE + 5)]
    last = Page.of(names, 3)
    assert (last.names, last.first, last.end) == ([f"s{n}" for n in range(200, 205)], 201, 205)
    assert Page.of(names, 99) == last, "past the end is the end"
    nothing = Page.of([], 1)
    assert (nothing.first, nothing.end, nothing.pages) == (0, 0, 1)


def test_links_keep_what_was_asked() -> None:
    query = Query.of({"search": "a b&c", "tag": "<x>", "sort": "-next_fire_time", "page": "2"})
    assert query.link(page=3) == "/?search=a+b%26c&tag=%3Cx%3E&sort=-next_fire_time&page=3"
    assert query.link(search="", tag="", sort="name") == "/"
    assert Query.of({"promises": "broken", "page": "2"}).link() == "/?promises=broken"
    assert Query.of({"last": "trouble", "state": "paused"}).link() == "/?state=paused&last=trouble"


def test_tags_by_use() -> None:
    assert tags(BRIEFS) == ["x", "y"]
