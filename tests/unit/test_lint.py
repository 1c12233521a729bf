"""Findings in valid schedules: a table of what is said, and of what is not."""

# ruff: noqa: E501 - a case of a table is a line
from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from structlog.testing import capture_logs

from zendaemon.cli.version import zone_data
from zendaemon.core.lint import CODES, lint
from zendaemon.core.schedule import Place, Schedule, ScheduleSet
from zendaemon.core.zones import RENAMED
from zendaemon.daemon import Said, say_findings
from zendaemon.loader import load
from zendaemon.loader.places import Places

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN = "Europe/Berlin"
OTHER = "choose another time, or timezone: UTC"
EITHER = "are both given, and one of them is enough: at 00:00 on day 13 of the month or on Friday (either is enough); write one of them as *, unless that is meant"


def schedule(keys: dict[str, Any]) -> Schedule:
    return Schedule.model_validate({"name": "nightly", "snapshot": "prod", **keys})


def found(keys: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(finding.code, finding.key, finding.message) for finding in lint(schedule(keys), NOW)]


@pytest.mark.parametrize(
    ("keys", "code", "key", "message"),
    [
        ({"cron": "0 0 13 * fri"}, "both-day-fields", "cron", f'day-of-month "13" and day-of-week "fri" {EITHER}'),
        (
            {"cron": "*/7 * * * *"},
            "uneven-step",
            "cron",
            'minute "*/7" begins anew every hour: the last step is 4 instead of 7',
        ),
        (
            {"cron": "*/40 * * * *"},
            "uneven-step",
            "cron",
            'minute "*/40" begins anew every hour: the last step is 20 instead of 40',
        ),
        ({"cron": "*/90 * * * *"}, "uneven-step", "cron", 'minute "*/90" is minute 0 alone: the field has 60 values'),
        (
            {"cron": "0 */5 * * *"},
            "uneven-step",
            "cron",
            'hour "*/5" begins anew every day: the last step is 4 instead of 5',
        ),
        ({"cron": "0 */24 * * *"}, "uneven-step", "cron", 'hour "*/24" is hour 0 alone: the field has 24 values'),
        (
            {"cron": "0 0 */2 * *"},
            "uneven-step",
            "cron",
            'day-of-month "*/2" begins anew every month: the last step is 1 to 2 instead of 2',
        ),
        (
            {"cron": "0 0 */7 * *"},
            "uneven-step",
            "cron",
            'day-of-month "*/7" begins anew every month: the last step is 1 to 7 instead of 7',
        ),
        (
            {"cron": "0 0 */31 * *"},
            "uneven-step",
            "cron",
            'day-of-month "*/31" is day 1 alone: the field has 31 values',
        ),
        (
            {"cron": "0 0 1 */5 *"},
            "uneven-step",
            "cron",
            'month "*/5" begins anew every year: the last step is 2 instead of 5',
        ),
        (
            {"cron": "0 0 * * */2"},
            "uneven-step",
            "cron",
            'day-of-week "*/2" begins anew every Sunday: the last step is 1 instead of 2',
        ),
        (
            {"cron": "30 2 * * sun", "timezone": BERLIN, "ignore": ["dst-overlap"]},
            "dst-gap",
            "cron",
            f"02:30 does not exist on 2027-03-28, when the clock is set forward: it fires at 03:00; {OTHER}",
        ),
        (
            {"cron": "0,30 2 28 3 *", "timezone": BERLIN},
            "dst-gap",
            "cron",
            f"02:00 and 02:30 do not exist on 2027-03-28, when the clock is set forward: they fire once at 03:00; {OTHER}",
        ),
        (
            {"cron": "*/30 2 28 3 *", "timezone": BERLIN},
            "dst-gap",
            "cron",
            f"02:00 and 02:30 do not exist on 2027-03-28, when the clock is set forward: no fire then; {OTHER}",
        ),
        (
            {"cron": "15 2 * 10 *", "timezone": "Australia/Lord_Howe"},
            "dst-gap",
            "cron",
            f"02:15 does not exist on 2027-10-03, when the clock is set forward: it fires at 02:30; {OTHER}",
        ),
        (
            {"cron": "30 2 * 10 *", "timezone": BERLIN},
            "dst-overlap",
            "cron",
            f"02:30 occurs twice on 2027-10-31, when the clock is set back: only the first time fires; {OTHER}",
        ),
        (
            {"cron": "*/30 2 * 10 *", "timezone": BERLIN},
            "dst-overlap",
            "cron",
            f"02:00 and 02:30 occur twice on 2027-10-31, when the clock is set back: each fires twice; {OTHER}",
        ),
        (
            {"every": "1h", "end_time": "2026-11-23"},
            "never-again",
            "end_time",
            "end_time is past: it will not fire again; remove the schedule, or give it a later time",
        ),
        (
            {"at": ["2026-11-22", "2026-11-23"]},
            "never-again",
            "at",
            "every time of `at` is past: it will not fire again; remove the schedule, or give it a later time",
        ),
        (
            {"every": "1h", "pause_after_failures": 3},
            "no-effect",
            "pause_after_failures",
            "pause_after_failures has no effect in this version: failed runs do not pause the schedule yet",
        ),
        (
            {"every": "1h", "timezone": "Europe/Kiev"},
            "renamed-zone",
            "timezone",
            "Europe/Kiev is an old name of Europe/Kyiv, which some systems no longer have; write Europe/Kyiv",
        ),
        (
            {"cron": "0 12 * * *", "catchup_window": "30s"},
            "short-window",
            "catchup_window",
            "catchup_window 30s is shorter than a restart: a fire that comes due meanwhile is missed",
        ),
        (
            {"every": "10s", "catchup": "all"},
            "catchup-flood",
            "catchup",
            "catchup all starts more than 100 runs after an outage of 1h; use latest, or a shorter catchup_window",
        ),
        (
            {"every": "1h", "ignore": ["dst-gp"]},
            "unknown-code",
            "ignore",
            "ignore: there is no code 'dst-gp'; did you mean dst-gap?",
        ),
        (
            {"every": "1h", "ignore": ["zzz"]},
            "unknown-code",
            "ignore",
            f"ignore: there is no code 'zzz'; use {', '.join(CODES)}",
        ),
    ],
)
def test_a_finding(keys: dict[str, Any], code: str, key: str, message: str) -> None:
    assert found(keys) == [(code, key, message)]
    assert code in CODES
    if code != "unknown-code":
        assert found({**keys, "ignore": [*keys.get("ignore", []), code]}) == []


@pytest.mark.parametrize(
    "keys",
    [
        {"cron": "30 2 * * *"},
        {"cron": "0 0 */2 * fri", "ignore": ["uneven-step"]},
        {"cron": "0 0 13 * *"},
        {"cron": "*/15 */6 * */3 *"},
        {"cron": "*/30 */2 * * *", "timezone": BERLIN},
        {"cron": "0,30 * * * *", "timezone": BERLIN},
        {"cron": "0 3 * * *", "timezone": BERLIN},
        {"cron": "30 2 * 5 *", "timezone": BERLIN},
        {"cron": "30 2 * * *", "timezone": BERLIN, "end_time": "2027-03-28"},
        {"cron": "30 2 * * *", "timezone": BERLIN, "start_time": "2027-11-01", "end_time": "2028-03-01"},
        {"cron": "30 2 * * *", "timezone": "Africa/Lagos"},
        {"cron": "1-59/7 * * * *"},
        {"every": "7m"},
        {"every": "30m", "timezone": BERLIN},
        {"every": "10s", "catchup_window": "10s"},
        {"every": "1m", "catchup": "all"},
        {"every": "10s", "catchup": "latest"},
        {"at": ["2026-11-22", "2026-11-24"]},
        {"every": "1h", "timezone": "Europe/Oslo"},
        {"every": "1h", "ignore": ["dst-gap", "unknown-code"]},
    ],
    ids=str,
)
def test_nothing_to_say(keys: dict[str, Any]) -> None:
    assert found(keys) == []


def test_each_code_once_for_an_expression_and_again_for_another() -> None:
    keys = {"cron": ["30 2 * * *", "@hourly", "15 2 * * *", "*/7 * * * *"], "timezone": BERLIN}
    assert [code for code, _, _ in found(keys)] == ["dst-gap", "dst-overlap", "dst-gap", "dst-overlap", "uneven-step"]


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_a_renamed_zone(old: str) -> None:
    """Both names exist, and the zone data hold them for the same place."""
    lines = files("tzdata").joinpath("zoneinfo/tzdata.zi").read_text().splitlines()
    links = {link: target for letter, target, link in map(str.split, (x for x in lines if x[:2] == "L ")) if letter}
    new = RENAMED[old]
    assert links[old] in {new, links.get(new)}
    assert new not in RENAMED
    assert {old, new} <= available_timezones()
    # The same instants, whichever of the names is written.
    assert all(
        datetime(2027, month, 1, tzinfo=ZoneInfo(old)) == datetime(2027, month, 1, tzinfo=ZoneInfo(new))
        for month in (1, 7)
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [("Asia/Calcutta", "Asia/Kolkata"), ("US/Eastern", "America/New_York"), ("Europe/Kiev", "Europe/Kyiv")],
)
def test_a_schedule_in_a_renamed_zone_fires_as_before(old: str, new: str) -> None:
    one, other = (schedule({"cron": "30 2 * * *", "timezone": zone}) for zone in (old, new))
    assert one.next_after(NOW) == other.next_after(NOW)


def test_the_places_of_findings(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "defaults:\n  timezone: US/Eastern\nschedules:\n  a:\n    template: x\n    cron: '*/7 * * * *'\n  b: {template: x, every: 1h}\n"
    )
    loaded = load(file, now=NOW).set
    places = Places(loaded)
    assert [places.of("a", key)[1:] for key in ("cron", "timezone", "ignore")] == [(6, 5), (2, 3), (4, 3)]
    file.unlink()
    assert Places(loaded).of("b", "every") == (str(file), 7, 1), "as far as is known"


async def test_the_daemon_says_what_is_new() -> None:
    uneven, other = schedule({"cron": "*/7 * * * *"}), schedule({"every": "1h", "pause_after_failures": 2})
    first = ScheduleSet({"a": uneven})
    said_before: dict[str, Said] = {}
    with capture_logs() as logs:
        await say_findings(first, said_before, NOW)
        await say_findings(ScheduleSet({"a": uneven.model_copy(), "b": other}), said_before, NOW)
    said = [(line["event"], line["schedule"], line["code"]) for line in logs]
    assert said == [("schedule.suspect", "a", "uneven-step"), ("schedule.suspect", "b", "no-effect")]


async def test_the_daemon_says_what_time_alone_makes_new_and_again_what_came_back() -> None:
    """At a reload: findings of schedules that nobody touched, once each, with their place, unless `ignore` names them."""
    rule = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "end_time": "2029-01-01"}
    loaded = ScheduleSet(
        {"a": schedule(rule), "b": schedule({**rule, "ignore": ["dst-gap", "dst-overlap", "never-again"]})},
        {"a": Place("a.yaml", 7), "b": Place("a.yaml", 9)},
    )
    said: dict[str, Said] = {}
    rounds = [(loaded, NOW), (loaded, NOW + HOUR), (loaded, NOW + 1000 * DAY), (ScheduleSet(), NOW), (loaded, NOW)]
    codes = []
    for load_set, now in rounds:
        with capture_logs() as logs:
            await say_findings(load_set, said, now)
        assert {(line["schedule"], line["file"], line["line"]) for line in logs} <= {("a", "a.yaml", 7)}
        codes.append([line["code"] for line in logs])
    assert codes == [["dst-gap", "dst-overlap"], [], ["never-again"], [], ["dst-gap", "dst-overlap"]]


def test_the_version_of_the_zone_data(tmp_path: Path) -> None:
    """From the first folder that has zones, by what tells there, else from the package."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        (folder / "Europe").mkdir(parents=True)
    folders = (str(tmp_path / "none"), str(first), str(second))
    number, source = zone_data(folders)
    assert (bool(re.fullmatch(r"\d{4}[a-z]", number or "")), source) == (True, "package tzdata")
    (second / "Europe" / "London").touch()
    assert zone_data(folders) == (None, str(second))
    (second / "+VERSION").write_text("2026c\n")
    assert zone_data(folders) == ("2026c", str(second))
    (second / "tzdata.zi").write_text("# version 2026d-dirty\n# more\n")
    assert zone_data(folders) == ("2026d", str(second))
    (first / "Europe" / "London").touch()
    assert zone_data(folders) == (None, str(first))


@pytest.mark.parametrize(
    ("channels", "found"),
    [
        (None, []),
        (["oncall", "team"], []),
        (["oncal"], ["did you mean oncal?"]),
        ([], ["the settings have no channels"]),
    ],
)
def test_a_channel_that_the_settings_lack(channels: list[str] | None, found: list[str]) -> None:
    asked = schedule({"every": "1h", "notify": ["oncall"]})
    said = [finding for finding in lint(asked, NOW, channels) if finding.code == "unknown-channel"]
    assert [finding.message.rpartition("; ")[2] for finding in said] == found
    assert {finding.key for finding in said} <= {"notify"}
