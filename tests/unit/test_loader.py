"""Schedule files to a set, or every problem with its exact place and remedy."""

from __future__ import annotations

import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

import pytest

from zendaemon.core.errors import Invalid
from zendaemon.core.schedule import Overlap, Place, Retry, Schedule
from zendaemon.loader import Loaded, load
from zendaemon.loader.schedules import Content, read_schedules

if TYPE_CHECKING:
    from zendaemon.loader.report import Report

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


def problems(path: Path, root: Path) -> list[str]:
    with pytest.raises(Invalid) as caught:
        load(path, now=NOW)
    return [str(problem).removeprefix(f"{root}/") for problem in caught.value.problems]


def one(folder: Path, text: str) -> Schedule:
    """The only schedule of a file."""
    (schedule,) = load(write(folder, text), now=NOW).set.schedules.values()
    return schedule


def case(name: str, text: str, *expected: str) -> object:
    return pytest.param(dedent(text), list(expected), id=name)


# A body is what stands below `schedules: a:`, so line 3, column 5 is its first key.
BODIES = [
    case("no trigger", "template: x", "2:3: schedule 'a' has no trigger; give exactly one of cron, every and at"),
    case(
        "two triggers, at the second",
        "template: x\nevery: 1h\nat: 2027-01-01",
        "5:5: schedule 'a' has every and at; give exactly one of cron, every and at",
    ),
    case(
        "no target",
        "every: 1h",
        "2:3: schedule 'a' has no target; give pipeline and version, build, template or snapshot",
    ),
    case(
        "two targets",
        "template: x\nsnapshot: y\nevery: 1h",
        "4:5: schedule 'a' has template and snapshot; give exactly one target",
    ),
    case(
        "a pipeline without version",
        "pipeline: x\nevery: 1h",
        "3:5: schedule 'a' has a pipeline without its version; add version, or name a template or snapshot",
    ),
    case(
        "a version without pipeline",
        "version: '4'\ntemplate: x\nevery: 1h",
        "3:5: schedule 'a' has a version, which goes with pipeline alone; remove it, or name the pipeline",
    ),
    case(
        "neither trigger nor target: both are told",
        "enabled: true",
        "2:3: schedule 'a' has no target; give pipeline and version, build, template or snapshot",
        "2:3: schedule 'a' has no trigger; give exactly one of cron, every and at",
    ),
    case(
        "a wrong value hides no clash of keys",
        "template: x\nenabled: maybe",
        "2:3: schedule 'a' has no trigger; give exactly one of cron, every and at",
        "4:14: enabled must be true or false, not 'maybe'",
    ),
    case(
        "yes is a text",
        "template: x\nevery: 1h\nenabled: yes",
        "5:14: enabled must be true or false, not 'yes'",
    ),
    case("an unknown key", "template: x\nevry: 1h\ncron: '0 2 * * *'", "4:5: unknown key 'evry'; did you mean every?"),
    case(
        "another tool's word",
        "template: x\nschedule: '0 2 * * *'\nevery: 1h",
        "4:5: unknown key 'schedule'; did you mean cron?",
    ),
    case(
        "a key of config one level too high",
        "template: x\nevery: 1h\nenable_cache: false",
        "5:5: unknown key 'enable_cache'; did you mean config.enable_cache? indent it below `config:`",
    ),
    case(
        "a key like no other",
        "template: x\nevery: 1h\nzzz: 1",
        f"5:5: unknown key 'zzz'; known are {', '.join(key for key in Schedule.model_fields if key != 'name')}",
    ),
    case(
        "an unknown key of retry",
        "template: x\nevery: 1h\nretry: {max_attemps: 3}",
        "5:13: unknown key 'max_attemps' in retry; did you mean max_attempts?",
    ),
    case(
        "a name inside",
        "template: x\nevery: 1h\nname: b",
        "5:5: schedule 'a' has a `name`; remove it; the key above is the name",
    ),
    case(
        "a bad cron expression",
        "template: x\ncron: '61 * * * *'",
        '4:11: cron: minute "61": 61 is out of range; use 0-59',
    ),
    case(
        "a bad element of a list of them",
        "template: x\ncron:\n  - 0 2 * * *\n  - 0 25 * * *",
        '6:9: cron: hour "25": 25 is out of range; use 0-23',
    ),
    case(
        "a cron expression without a date",
        "template: x\ncron: 0 0 30 2 *",
        '4:11: cron: day-of-month "30", month "2" and day-of-week "*" never meet; this would never fire;'
        " for the last day of a month use L",
    ),
    case("cron is no number", "template: x\ncron: 5", "4:11: cron must be a text, not 5; put it in quotes"),
    case(
        "an unknown zone",
        "template: x\nevery: 1h\ntimezone: Europe/Berln",
        "5:15: timezone: unknown time zone 'Europe/Berln'; did you mean Europe/Berlin?",
    ),
    case(
        "no duration",
        "template: x\nevery: 10",
        "4:12: every: 10 is no duration; write a number and a unit, such as 30s, 5m, 6h or 1d",
    ),
    case(
        "a fraction of a second",
        "template: x\nevery: 500ms",
        "4:12: every must be one second or more, in whole seconds",
    ),
    case("an endless duration", "template: x\nevery: 99999d", "4:12: every must be at most 3660d (ten years)"),
    case(
        "no date",
        "template: x\nat: [2027-01-01, tomorrow]",
        "4:22: at: 'tomorrow' is no date or time; write 2026-12-01, 2026-12-01T02:00:00 or 2026-12-01T02:00:00Z",
    ),
    case(
        "a number is no date",
        "template: x\nevery: 1h\nstart_time: 20261201",
        "5:17: start_time: 20261201 is no date or time; write 2026-12-01, 2026-12-01T02:00:00 or 2026-12-01T02:00:00Z",
    ),
    case(
        "a year at the end of the calendar",
        "template: x\nevery: 1h\nend_time: 9999-12-31T23:59:59-12:00",
        "5:15: end_time: the year 9999 is out of range; give one from 1970 to 2999",
    ),
    case(
        "an end before the start",
        "template: x\nevery: 1h\nstart_time: 2027-01-02\nend_time: 2027-01-01",
        "6:5: schedule 'a' has an end_time that is not after its start_time; give a later one",
    ),
    case(
        "an excluded day that does not exist",
        "template: x\nevery: 1h\nexclude: 2026-02-30",
        "5:14: exclude: '2026-02-30' is no date; write a day of the calendar as 2026-12-24, or a cron expression",
    ),
    case(
        "codes that are none",
        "template: x\nevery: 1h\nignore: [no-effect, No Effect]",
        "5:25: ignore must be made of a-z, 0-9 and dashes, a letter first, not 'No Effect'; write it as check shows it",
    ),
    case(
        "too many exclusions",
        f"template: x\nevery: 1h\nexclude: [{'2026-12-24,' * 10_001}]",
        "5:14: exclude must have at most 10,000 entries; use ranges of days, or a calendar",
    ),
    case(
        "one of a few words",
        "template: x\nevery: 1h\noverlap: skp\ncatchup: sometimes",
        "5:14: overlap must be one of allow, skip, buffer_one, cancel_running, not 'skp'; did you mean skip?",
        "6:14: catchup must be one of none, latest, all, not 'sometimes'",
    ),
    case("above a limit", "template: x\nevery: 1h\npriority: 101", "5:15: priority must be 100 or less, not 101"),
    case("below a limit", "template: x\nevery: 1h\nmax_runs: 0", "5:15: max_runs must be 1 or more, not 0"),
    case(
        "a number in quotes",
        "template: x\nevery: 1h\nmax_runs: '7'",
        "5:15: max_runs must be a whole number, not '7'; write it without quotes",
    ),
    case(
        "a text for a list",
        "template: x\nevery: 1h\ntags: nightly",
        "5:11: tags must be a list, not 'nightly'; write it as [a, b], or as lines with a dash",
    ),
    case(
        "an empty text", "template: ''\nevery: 1h", "3:15: template must not be empty; give a value, or remove the key"
    ),
    case(
        "a version that loses its zero",
        "pipeline: x\nversion: 4.10\nevery: 1h",
        "4:14: version: write it in quotes: a bare 4.1 is read as a number and loses its zeros",
    ),
    case(
        "a build by a name",
        "build: training\nevery: 1h",
        "3:12: build must be a UUID, not 'training'; a build is named by `pipeline` and `version`",
    ),
    case(
        "retry is a mapping",
        "template: x\nevery: 1h\nretry: 5",
        "5:12: retry must be a mapping, not 5; write it as {key: value}",
    ),
    case(
        "config is a mapping",
        "template: x\nevery: 1h\nconfig: [a]",
        "5:13: config must be a mapping, not a list; indent `key: value` lines below it",
    ),
    case(
        "keys that the API refuses",
        """\
        template: x
        every: 1h
        config:
          schedule: {cron_expression: x}
          build: y
          settings: {docker: {}}
          steps:
            trainer:
              settings:
                docker: {}
        """,
        "6:7: config.schedule is refused by ZenML's API; the trigger stands beside `config`, as cron, every or at",
        "7:7: config.build is refused by ZenML's API;"
        " the target stands beside `config`, as build, or as pipeline and version",
        "8:18: config.settings.docker is refused by ZenML's API; docker settings belong to the build; remove them here",
        "12:13: config.steps.trainer.settings.docker is refused by ZenML's API;"
        " docker settings belong to the build; remove them here",
    ),
    case(
        "templates that cannot be rendered",
        """\
        template: x
        every: 1h
        config:
          extra:
            one: "{{ fire_tme }}"
            many: [fine, "{{ fire_time | dte }}", "{{ 5 | date }}"]
        """,
        "7:14: the template '{{ fire_tme }}' cannot be rendered: 'fire_tme' is undefined; did you mean fire_time?",
        "8:22: the template '{{ fire_time | dte }}' cannot be rendered: No filter named 'dte'.;"
        " use fire_time and schedule, and the filters date, utc, zone and shift",
        "8:47: the template '{{ 5 | date }}' cannot be rendered: 'int' object has no attribute 'strftime';"
        " use fire_time and schedule, and the filters date, utc, zone and shift",
    ),
    case(
        "one run name for all",
        "template: x\ncron: '0 2 * * *'\nconfig: {run_name: nightly}",
        "5:24: run_name is the same for the fire times 2026-11-24T02:00:00Z and 2026-11-25T02:00:00Z;"
        " put the whole fire time in it: {{ fire_time | utc | date('%Y%m%dT%H%M%SZ') }}",
    ),
    case(
        "a run name that comes back after a year",
        "template: x\ncron: '0 2 * * *'\nconfig: {run_name: \"n-{{ fire_time | date('%m-%d') }}\"}",
        "5:24: run_name is the same for the fire times 2026-11-24T02:00:00Z and 2027-11-24T02:00:00Z;"
        " put the whole fire time in it: {{ fire_time | utc | date('%Y%m%dT%H%M%SZ') }}",
    ),
    case(
        "a run name in local time, when the clock is set back",
        "template: x\ncron: '*/20 * * * *'\ntimezone: Europe/Berlin\n"
        "config: {run_name: \"n-{{ fire_time | date('%Y%m%dT%H%M') }}\"}",
        "6:24: run_name is the same for the fire times 2027-10-31T00:00:00Z and 2027-10-31T01:00:00Z;"
        " put the whole fire time in it: {{ fire_time | utc | date('%Y%m%dT%H%M%SZ') }}",
    ),
    case(
        "ZenML's own placeholders in a run name",
        "template: x\nevery: 1h\nconfig: {run_name: 'n-{date}'}",
        "5:24: run_name has braces, which ZenML would fill in; use {{ fire_time | date('%Y%m%dT%H%M%S') }}",
    ),
    case(
        "bounds that leave nothing",
        "template: x\ncron: 0 0 * * *\nstart_time: 2027-01-01T01:00:00\nend_time: 2027-01-01T23:00:00",
        "4:11: cron never fires between start_time and end_time; mend the trigger, or its bounds",
    ),
    case(
        "an instant outside the bounds",
        "template: x\nat: 2027-01-01\nend_time: 2026-12-01",
        "4:9: at lies outside start_time and end_time; mend the trigger, or its bounds",
    ),
    case(
        "everything excluded",
        "template: x\ncron: 0 3 * * mon\nexclude: '* * * * mon'",
        "5:14: exclude leaves no fire time of cron; mend the trigger, or its bounds",
    ),
    case(
        "every minute excluded, by two rules that fit together",
        "template: x\nevery: 1m\nexclude: ['0-29 * * * *', '30-59 * * * *']",
        "5:14: exclude leaves no fire time of every; mend the trigger, or its bounds",
    ),
    case(
        "fires that are years apart, all excluded",
        "template: x\ncron: 0 3 29 2 *\nexclude: '* * * feb *'",
        "5:14: exclude leaves no fire time of cron; mend the trigger, or its bounds",
    ),
    case("no mapping", "[a, b]", "3:5: schedule 'a' must be a mapping, not a list; indent its keys"),
    case(
        "a key twice",
        "template: x\nevery: 1h\nevery: 2h",
        "5:5: the key 'every' is given twice, first in line 4; remove one",
    ),
    case(
        "a key that is no text, and one that is no scalar",
        "template: x\nevery: 1h\nconfig: {1: x, [a]: y, true: z}",
        "5:14: the key 1 is not a text; put it in quotes",
        "5:20: the key a list as a key is not a text; use a text",
        "5:28: the key true is not a text; put it in quotes",
    ),
    case(
        "numbers that JSON has not",
        "template: x\nevery: 1h\nconfig: {a: .nan, b: -.inf, c: 1e999}",
        "5:17: .nan is no number that JSON has room for; put it in quotes if it is a text",
        "5:26: -.inf is no number that JSON has room for; put it in quotes if it is a text",
        "5:36: 1e999 is no number that JSON has room for; put it in quotes if it is a text",
    ),
    case(
        "a tag is reported once, not its value too",
        "template: x\nevery: 1h\nenabled: !!python/name:os.system ''",
        "5:14: the tag '!!python/name:os.system' is not allowed; remove it: schedule files hold plain values",
    ),
    case(
        "an alias to nothing",
        "template: x\nevery: 1h\nconfig: {a: *b}",
        "5:17: the alias *b has no anchor before it; write the value out",
    ),
    case(
        "a wrong value behind an alias shows where it is written, once",
        "template: x\nevery: 1h\nretry: &r {max_attempts: 0}\nconfig: {a: *r}",
        "5:30: retry.max_attempts must be 1 or more, not 0",
    ),
]


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_a_problem_in_a_schedule(tmp_path: Path, body: str, expected: list[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("schedules:\n  a:\n" + "".join(f"    {line}\n" for line in body.splitlines()))
    assert problems(path, tmp_path) == [f"a.yaml:{line}" for line in expected]


FILES = [
    case("an empty file", "", "1:1: the file is empty: `schedules:` is missing; add schedules, or remove the file"),
    case(
        "comments alone", "# x\n", "1:1: the file is empty: `schedules:` is missing; add schedules, or remove the file"
    ),
    case(
        "an empty document",
        "---\n",
        "2:1: the file is empty: `schedules:` is missing; write schedules below a key `schedules:`",
    ),
    case(
        "a list",
        "- a\n",
        "1:1: the file holds a list: `schedules:` is missing; write schedules below a key `schedules:`",
    ),
    case(
        "defaults alone",
        "defaults: {}",
        "1:1: `schedules:` is missing; write the schedules below it, each under its name",
    ),
    case(
        "a misspelt section",
        "schedule:\n  a: {}\n",
        "1:1: `schedules:` is missing; write the schedules below it, each under its name",
        "1:1: unknown key 'schedule' at the top of the file; did you mean schedules?",
    ),
    case(
        "a key of a schedule at the top",
        "schedules: {}\ntimezone: UTC\n",
        "2:1: unknown key 'timezone' at the top of the file; put it into `defaults:` or a schedule",
    ),
    case(
        "a list of schedules",
        "schedules:\n  - a\n",
        "2:3: schedules must be a mapping of names to schedules, not a list",
    ),
    case(
        "defaults that are no mapping",
        "defaults: 5\nschedules: {}\n",
        "1:11: defaults must be a mapping of keys to values, not 5",
    ),
    case(
        "bad names",
        """\
        schedules:
          Nightly Träining: {template: x, every: 1h}
          "": {template: x, every: 1h}
        """,
        "2:3: 'Nightly Träining' is no name: 1 to 100 of a-z, 0-9, dot, dash and underscore,"
        " the first a letter or digit; call it nightly-training",
        "3:3: '' is no name: 1 to 100 of a-z, 0-9, dot, dash and underscore, the first a letter or digit;"
        " call it nightly-training, for example",
    ),
    case(
        "wrong defaults, once and at their place, and the rest of the schedules",
        """\
        defaults:
          timezone: Mars
          retry: {max_attempts: 0}
          prioritee: 1
          config: {extra: "{{ nothing }}", schedule: 1}
          cron: "1 2 3"
        schedules:
          a: {template: x}
          b: {template: x, every: 1}
        """,
        "2:13: timezone: unknown time zone 'Mars'; use an IANA name such as Europe/Berlin",
        "3:25: retry.max_attempts must be 1 or more, not 0",
        "4:3: unknown key 'prioritee'; did you mean priority?",
        "5:19: the template '{{ nothing }}' cannot be rendered: 'nothing' is undefined;"
        " use fire_time and schedule, and the filters date, utc, zone and shift",
        "5:36: config.schedule is refused by ZenML's API; the trigger stands beside `config`, as cron, every or at",
        '6:9: cron: expression "1 2 3" has 3 of five fields; write minute, hour, day-of-month, month and day-of-week',
        "9:27: every: 1 is no duration; write a number and a unit, such as 30s, 5m, 6h or 1d",
    ),
    case(
        "wrong defaults that no schedule takes",
        "defaults: {priority: high, name: x}\nschedules: {}\n",
        "1:22: priority must be a whole number, not 'high'; write it without quotes",
        "1:28: defaults has a `name`; remove it; a schedule's key is its name",
    ),
    case(
        "two triggers in the defaults",
        "defaults: {cron: 0 0 * * *, every: 1h}\nschedules:\n  a: {template: x}\n  b: {template: x}\n",
        "1:29: defaults has cron and every; give exactly one of cron, every and at",
    ),
    case(
        "a schedule twice",
        "schedules:\n  a: {template: x, every: 1h}\n  a: {template: x, every: 1h}\n",
        "3:3: the key 'a' is given twice, first in line 2; remove one",
    ),
    case(
        "two documents",
        "schedules: {}\n---\nschedules: {}\n",
        "2:1: a second document in one file; remove the `---`, or make it a file of its own",
    ),
    case("YAML 1.1", "%YAML 1.1\n---\nschedules: {}\n", "1:1: schedule files are YAML 1.2; remove the %YAML line"),
    case("a tab", "schedules:\n\ta: {}\n", "2:1: a tab where YAML wants spaces; indent and separate with spaces"),
    case("an open quote", "schedules:\n  a: 'x\n", "2:6: a quote that is never closed; add the closing quote"),
    case(
        "an open bracket",
        "schedules:\n  a: [1\n  b: 2\n",
        "3:4: the [ of line 2 is not closed here; add a comma or the closing ]",
    ),
    case(
        "an open brace",
        "schedules:\n  a: {b: 1\n",
        "3:1: the { of line 2 is not closed here; add a comma or the closing }",
    ),
    case(
        "a bad indent",
        "schedules:\n  a: 1\n b: 2\n",
        "3:2: this does not fit what began in line 1; check the indentation",
    ),
    case(
        "a colon too many",
        "a: b: c\n",
        "1:5: a colon where no key can stand; put the value in quotes, or check the indent",
    ),
    case("a sign that begins nothing", "a: @daily\n", "1:4: @ cannot begin a value; put the value in quotes"),
    case(
        "a line without a colon",
        "a:\n  b: 1\n  c\nd: 1\n",
        "3:3: a line that is neither `key: value` nor `- item`; add the colon",
    ),
    case(
        "a merge of a text",
        "schedules: {a: {<<: x, template: x, every: 1h}}\n",
        "1:21: `<<` takes a mapping or a list of them; give an alias such as *name",
    ),
    case(
        "an alias into itself",
        "schedules: &a {b: *a}\n",
        "1:19: the alias *a leads to a value that it is part of; write the value out",
    ),
    case(
        "half a character",
        'schedules: {a: "\\ud800"}\n',
        "1:16: a text with a NUL or half a character in it; remove the \\0 or \\u escape",
    ),
]


@pytest.mark.parametrize(("text", "expected"), FILES)
def test_a_problem_of_a_file(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = problems(write(tmp_path, text), tmp_path)
    assert found == [f"a.yaml:{line}" for line in expected]


def test_every_problem_of_every_file_sorted_by_place(tmp_path: Path) -> None:
    write(
        tmp_path, "schedules:\n  a: {template: x, every: 1}\n  b: {template: x, evry: 1h, at: 2027-01-01}\n", "b.yaml"
    )
    write(tmp_path, "schedules: [", "sub/a.yml")
    write(tmp_path, "", "a.yaml")
    assert [re.sub(r": .*", "", line) for line in problems(tmp_path, tmp_path)] == [
        "a.yaml:1:1",
        "b.yaml:2:27",
        "b.yaml:3:20",
        "sub/a.yml:1:13",
    ]


def test_a_name_in_two_files(tmp_path: Path) -> None:
    write(tmp_path, "schedules:\n\n  a: {template: x, every: 1h}\n", "one.yaml")
    write(tmp_path, "schedules:\n  a: {template: x, every: 1h}\n", "two/a.yaml")
    assert problems(tmp_path, tmp_path) == [
        f"two/a.yaml:2:3: schedule 'a' is also in {tmp_path}/one.yaml:3; names are unique over all files; rename one"
    ]


def test_too_many_problems_end_the_look(tmp_path: Path) -> None:
    text = "schedules:\n" + "".join(f"  a{n}: {{template: x, every: {n}}}\n" for n in range(3000))
    found = problems(write(tmp_path, text), tmp_path)
    assert len(found) == 1001
    assert found[-2].endswith(":30: 1000 problems so far; the rest of the file was not looked at; mend these first")


def test_what_a_file_holds(tmp_path: Path) -> None:
    schedule = one(
        tmp_path,
        """\
        \N{BYTE ORDER MARK}%YAML 1.2
        ---
        schedules:
          nightly:
            pipeline: training
            version: 45
            cron: ["0 2 * * *", 0 4 * * *]
            timezone: Europe/Berlin
            start_time: 2026-12-01
            end_time: 2027-12-01T00:00:00Z
            jitter: 5m
            overlap: skip
            retry: {max_attempts: 5, multiplier: 3}
            tags: [nightly, 7]
            config:
              texts: [on, yes, 2026-12-01, 12:30, 1_000, !!str 5, '5', 0b1, "<<"]
              numbers: [010, 0o17, 0xff, 1e3, -5, .5]
              words: [true, False, null, ~, ]
        """,
    )
    assert schedule.name == "nightly"
    assert (schedule.pipeline, schedule.version, schedule.tags) == ("training", "45", ("nightly", "7"))
    assert schedule.cron == ("0 2 * * *", "0 4 * * *")
    assert (schedule.start_time, schedule.end_time) == (date(2026, 12, 1), datetime(2027, 12, 1, tzinfo=UTC))
    assert (schedule.jitter, schedule.overlap) == (timedelta(minutes=5), Overlap.SKIP)
    assert schedule.retry == Retry(max_attempts=5, multiplier=3)
    assert schedule.config == {
        "texts": ["on", "yes", "2026-12-01", "12:30", "1_000", "5", "5", "0b1", "<<"],
        "numbers": [10, 15, 255, 1000.0, -5, 0.5],
        "words": [True, False, None, None],
    }


DEFAULTS: list[tuple[str, str, str, dict[str, object]]] = [
    ("an own value wins", "priority: 10", "priority: 20", {"priority": 20}),
    ("a default is taken", "priority: 10", "", {"priority": 10}),
    (
        "an own trigger replaces that of the defaults",
        "cron: 0 0 * * *",
        "every: 1h",
        {"cron": (), "every": timedelta(hours=1)},
    ),
    (
        "an own template replaces pipeline and version",
        "{pipeline: p, version: '1'}",
        "template: t",
        {"pipeline": None, "version": None, "template": "t"},
    ),
    (
        "an own version keeps the pipeline",
        "{pipeline: p, version: '1'}",
        "version: '2'",
        {"pipeline": "p", "version": "2"},
    ),
    ("an own pipeline keeps the version", "version: '1'", "pipeline: p", {"pipeline": "p", "version": "1"}),
    (
        "an own pipeline and version replace a template",
        "template: t",
        "{pipeline: p, version: '1'}",
        {"template": None, "pipeline": "p"},
    ),
    ("an own pipeline narrows a template", "template: t", "pipeline: p", {"template": "t", "pipeline": "p"}),
    (
        "retry merges",
        "retry: {max_attempts: 8, max_delay: 1m}",
        "retry: {max_attempts: 3}",
        {"retry": Retry(max_attempts=3, max_delay=timedelta(minutes=1))},
    ),
    (
        "config merges at every depth",
        "config: {a: {b: 1, c: 2}}",
        "config: {a: {c: 3}, d: 4}",
        {"config": {"a": {"b": 1, "c": 3}, "d": 4}},
    ),
    (
        "lists are replaced",
        "{tags: [a], config: {l: [1, 2]}}",
        "{tags: [b], config: {l: [3]}}",
        {"tags": ("b",), "config": {"l": [3]}},
    ),
    ("an own null is a value of config", "config: {a: {b: 1}}", "config: {a: null}", {"config": {"a": None}}),
]


@pytest.mark.parametrize(
    ("defaults", "own", "expected"), [row[1:] for row in DEFAULTS], ids=[row[0] for row in DEFAULTS]
)
def test_defaults(tmp_path: Path, defaults: str, own: str, expected: dict[str, object]) -> None:
    def flow(text: str) -> str:
        return text if text.startswith("{") else f"{{{text}}}"

    target = "" if re.search("template|pipeline|version", defaults + own) else "template: x, "
    trigger = "" if re.search("cron|every", defaults + own) else "every: 1h, "
    text = f"defaults: {flow(defaults)}\nschedules:\n  a: {{{target}{trigger}{flow(own)[1:]}\n"
    schedule = one(tmp_path, text)
    assert {key: getattr(schedule, key) for key in expected} == expected


def test_an_empty_schedule_takes_everything_from_the_defaults(tmp_path: Path) -> None:
    assert one(tmp_path, "defaults: {template: x, every: 1h}\nschedules:\n  a:\n").template == "x"


def test_merge_keys(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
        schedules:
          a: &a {template: x, every: 1h, priority: 1, config: &c {k: 1}}
          b: {<<: *a, priority: 2}
          c: {<<: [{priority: 3}, *a], config: {<<: *c, l: 2}}
        """,
    )
    schedules = load(tmp_path, now=NOW).set.schedules
    assert [(each.template, each.priority, dict(each.config)) for each in schedules.values()] == [
        ("x", 1, {"k": 1}),
        ("x", 2, {"k": 1}),
        ("x", 3, {"k": 1, "l": 2}),
    ]


FINE = {
    "no schedules yet": "schedules:\n",
    "an instant that has passed": "schedules: {a: {template: x, at: 2020-01-01}}",
    "an end that has passed": "schedules: {a: {template: x, cron: 0 0 * * *, end_time: 2020-01-01}}",
    "a leap day": "schedules: {a: {template: x, cron: 0 0 29 2 *}}",
    "a month excluded from every second": "schedules: {a: {template: x, every: 1s, exclude: '* * * 11 *'}}",
    "most days excluded": "schedules: {a: {template: x, cron: 0 0 * * *, exclude: '* * * 2-12 *'}}",
    "a run name with the whole time": (
        "schedules: {a: {template: x, every: 1s, timezone: Europe/Berlin,"
        " config: {run_name: \"{{ schedule }} {{ fire_time | date('%Y%m%dT%H%M%S%z') }}\"}}}"
    ),
    "one instant needs no time in its name": (
        "schedules: {a: {template: x, at: 2027-01-01, config: {run_name: once, tags: [a]}, tags: [b]}}"
    ),
    "a flow of Windows lines": "schedules:\r\n  a:\r\n    template: x\r\n    every: 1h\r\n",
}


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_fine(tmp_path: Path, text: str) -> None:
    load(write(tmp_path, text), now=NOW)


def test_every_zone_is_known(tmp_path: Path) -> None:
    zones = sorted(available_timezones() - {"localtime", "Factory"})
    rows = (f"  z{index}: {{template: x, every: 1h, timezone: {zone}}}\n" for index, zone in enumerate(zones))
    assert len(load(write(tmp_path, "schedules:\n" + "".join(rows)), now=NOW).set.schedules) == len(zones)


GOOD = "schedules:\n  {name}: {{template: x, every: 1h}}\n"


def names(loaded: Loaded) -> list[str]:
    return sorted(loaded.set.schedules)


def test_a_folder_at_any_depth_with_places(tmp_path: Path) -> None:
    for name, file in (
        ("a", "a.yaml"),
        ("b", "deep/er/b.yml"),
        ("no", ".hidden/no.yaml"),
        ("no", ".no.yaml"),
        ("no", "no.txt"),
    ):
        write(tmp_path, GOOD.format(name=name), file)
    loaded = load(tmp_path, now=NOW)
    assert loaded.set.places == {"a": Place(f"{tmp_path}/a.yaml", 2), "b": Place(f"{tmp_path}/deep/er/b.yml", 2)}


def test_an_empty_folder(tmp_path: Path) -> None:
    assert load(tmp_path, now=NOW).set.schedules == {}


def test_files_and_folders_together(tmp_path: Path) -> None:
    first = write(tmp_path, GOOD.format(name="a"), "x/a.yaml")
    other = write(tmp_path, GOOD.format(name="b"), "y/b.txt")
    assert names(load([tmp_path / "x", first, tmp_path / "x", other], now=NOW)) == ["a", "b"]
    assert names(load([first, tmp_path / "x"], now=NOW)) == ["a"]
    assert names(load([tmp_path / "x", tmp_path], now=NOW)) == ["a"]


def test_a_config_map_of_kubernetes(tmp_path: Path) -> None:
    write(tmp_path, GOOD.format(name="a"), "..2026_11_23/a.yaml")
    (tmp_path / "..data").symlink_to("..2026_11_23")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    before = load(tmp_path, now=NOW)
    assert names(before) == ["a"]
    write(tmp_path, GOOD.format(name="b"), "..2026_11_24/a.yaml")
    (tmp_path / "..data").unlink()
    (tmp_path / "..data").symlink_to("..2026_11_24")
    assert names(load(tmp_path, now=NOW, previous=before)) == ["b"]


def test_a_reload_parses_what_changed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = write(tmp_path, GOOD.format(name="a"), "a.yaml")
    write(tmp_path, GOOD.format(name="b"), "b.yaml")
    write(tmp_path, GOOD.format(name="c"), "c.yaml")
    before = load(tmp_path, now=NOW)
    parsed: list[str] = []

    def spy(data: bytes, report: Report, now: datetime) -> Content:
        parsed.append(data.decode().split(":")[1].strip())
        return read_schedules(data, report, now)

    monkeypatch.setattr("zendaemon.loader.read_schedules", spy)
    times = changed.stat()
    changed.write_text(GOOD.format(name="z"))
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    (tmp_path / "c.yaml").unlink()
    after = load(tmp_path, now=NOW, previous=before)
    assert (names(after), parsed) == (["b", "z"], ["z"])
    assert after.set.schedules["b"] is before.set.schedules["b"]


def test_a_name_that_moves_into_an_unchanged_files_way(tmp_path: Path) -> None:
    write(tmp_path, GOOD.format(name="a"), "a.yaml")
    write(tmp_path, GOOD.format(name="b"), "b.yaml")
    before = load(tmp_path, now=NOW)
    write(tmp_path, GOOD.format(name="a"), "b.yaml")
    with pytest.raises(Invalid, match="1 problem in the schedule files"):
        load(tmp_path, now=NOW, previous=before)


def test_the_examples_load() -> None:
    files = sorted((ROOT / "schedules").glob("*.yaml"))
    assert files
    for file in files:
        assert load(file, now=NOW).set.schedules, file
    load(ROOT / "schedules", now=NOW)


def test_the_guide_describes_every_key() -> None:
    guide = (ROOT / "docs" / "schedule-files.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE))
    assert {*Schedule.model_fields} - {"name"} <= rows
    assert {*Retry.model_fields} <= rows
    assert "A **name** has" in guide


def test_the_guides_examples_load(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "schedule-files.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        assert load(write(tmp_path, block), now=NOW).set.schedules
