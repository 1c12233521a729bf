"""Templates in config values: what they give, and that none harms the daemon."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zendaemon.core.template import render, stamp, strings

FIRE_TIME = datetime(2026, 11, 23, 23, 30, 5, tzinfo=UTC)


def rendered(value: object, timezone: str = "Europe/Berlin") -> object:
    return render(value, schedule="nightly", fire_time=FIRE_TIME, timezone=timezone)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("plain", "plain", id="no marks"),
        pytest.param("{x} 100% #", "{x} 100% #", id="single braces are no marks"),
        pytest.param("{{ schedule }}", "nightly", id="the schedule"),
        pytest.param("{{ fire_time }}", "2026-11-24 00:30:05+01:00", id="the fire time is in the schedule's zone"),
        pytest.param("{{ fire_time | date }}", "2026-11-24", id="a date"),
        pytest.param("{{ fire_time | date('%d.%m. %H:%M') }}", "24.11. 00:30", id="a pattern"),
        pytest.param("{{ fire_time | utc | date }}", "2026-11-23", id="in UTC"),
        pytest.param("{{ fire_time | zone('Asia/Tokyo') | date('%H') }}", "08", id="in another zone"),
        pytest.param("{{ fire_time | shift(days=-1) | date }}", "2026-11-23", id="yesterday"),
        pytest.param(
            "{{ fire_time | shift(days=-1, hours=-2) | date('%d %H') }}", "22 22", id="shifted by several units"
        ),
        pytest.param("{% if fire_time.hour == 0 %}night{% else %}day{% endif %}", "night", id="a condition"),
        pytest.param("{{ fire_time.isoweekday() * 2 }}", "4", id="arithmetic"),
        pytest.param("{{ '%02d' % 7 }}{{ '-' * 3 }}{{ 2 ** 10 }}", "07---1024", id="the bounded operators"),
        pytest.param("a\n{# note #}b\n", "a\nb\n", id="comments go, line ends stay"),
        pytest.param("{{ '{{' }}", "{{", id="a mark itself"),
        pytest.param("{{ '<&>' }}", "<&>", id="nothing is escaped"),
    ],
)
def test_render(template: str, expected: str) -> None:
    assert rendered(template) == expected


def test_every_string_is_rendered_and_all_else_stays() -> None:
    value = {"{{ schedule }}": [1, 2.5, None, True, "{{ schedule }}", {"a": "x"}]}
    assert rendered(value) == {"{{ schedule }}": [1, 2.5, None, True, "nightly", {"a": "x"}]}


@pytest.mark.parametrize(
    "template",
    [
        "{{ nope }}",
        "{{ fire_time.nope }}",
        "{{ fire_time",
        "{% for %}",
        "{{ 5 | date }}",
        "{{ fire_time | nope }}",
        "{{ fire_time | date(5) }}",
        "{{ fire_time | zone('Mars/Olympus') }}",
        "{{ fire_time | zone('../../etc/passwd') }}",
        "{{ fire_time | shift(days=10**15) }}",
        "{{ fire_time | shift(days=4000000) }}",
        "{{ fire_time | shift(moons=1) }}",
        "{{ fire_time.replace(year=0) }}",
        "{{ 1 // 0 }}",
        "{{ [][1] + 1 }}",
        "{{ 2.0 ** 5000 }}",
        "{{ range(10**9) | list }}",
        "{{ raise() }}",
        "{% include 'x' %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ fire_time.__class__.now() }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
    ],
)
def test_whatever_a_template_trips_over_is_a_value_error(template: str) -> None:
    with pytest.raises(ValueError, match="cannot render"):
        rendered(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 10 ** (10 ** 10) }}",
        "{{ (10 ** 300) * (10 ** 300) }}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ 10 ** 9 * 'x' }}",
        "{{ [0] * 10 ** 9 }}",
        "{{ 'x' * 70000 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    ],
)
def test_no_template_takes_all_time_or_memory(template: str) -> None:
    """In a process with little memory and time, since it is the test's machine that would pay."""
    program = (
        "import resource, sys\n"
        "from datetime import UTC, datetime\n"
        "from zendaemon.core.template import render\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (5, 5))\n"
        "try:\n"
        "    render(sys.argv[1], schedule='a', fire_time=datetime(2026, 1, 1, tzinfo=UTC), timezone='UTC')\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", program, template], capture_output=True, text=True, check=False)
    assert "too large" in found.stdout or "characters" in found.stdout, found


def test_the_longest_result() -> None:
    assert rendered("{{ 'x' * 65536 }}") == "x" * 65536
    with pytest.raises(ValueError, match="more than 65,536 characters"):
        rendered("{{ 'x' * 65536 }}{{ schedule }}")


@given(st.text(alphabet="{}%#|()[]'\"*.+ x1fire_timdaschul", max_size=30))
def test_any_text_gives_a_text_or_a_value_error(text: str) -> None:
    try:
        found = rendered(text)
    except ValueError:
        return
    assert isinstance(found, str)


def test_strings_with_their_paths() -> None:
    assert list(strings({"a": ["x", 1, {"b": "y"}], "c": "z"})) == [
        (("a", 0), "x"),
        (("a", 2, "b"), "y"),
        (("c",), "z"),
    ]


def test_stamp_is_in_utc_whatever_the_zone() -> None:
    assert stamp(datetime.fromisoformat("2026-11-24T00:30:05+01:00")) == "20261123T233005Z"
