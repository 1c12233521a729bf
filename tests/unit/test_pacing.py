"""How many starts are in flight, and for how long a server is left alone."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zendaemon.core.pacing import BUSY_CEILING, DOWN_CEILING, Pace


def after(events: str, maximum: int = 4, most: int = 0) -> Pace:
    """The pace after `a`nswered, `q`uickly so, from `f`ar away, a`l`one or `s`lower, `b`usy, `d`own and do`u`btful."""
    pace = Pace.full(maximum, most)
    for event in events:
        taken = {"q": 0.01, "f": 0.1, "s": 0.17, "l": 0.1}
        told = {"a": pace.answered, "b": pace.busy, "d": pace.down, "u": pace.doubtful}
        told |= {kind: partial(pace.answered, seconds, full=kind != "l") for kind, seconds in taken.items()}
        pace = told[event]()
    return pace


@pytest.mark.parametrize(
    ("events", "limit"),
    [
        pytest.param("", 4, id="begins at full pace"),
        pytest.param("a" * 50, 4, id="never above the maximum"),
        pytest.param("b", 2, id="half after a refusal"),
        pytest.param("bb", 1, id="half again"),
        pytest.param("bbbbb", 1, id="never below one"),
        pytest.param("d", 1, id="one probe when it is down"),
        pytest.param("b" + "a" * 7, 2, id="stays until it has answered some in a row"),
        pytest.param("b" + "a" * 8, 3, id="up by one then"),
        pytest.param("b" + "a" * 16, 4, id="and by one again"),
        pytest.param("b" + "aaaaaaab" + "a" * 7, 1, id="a refusal begins the row anew"),
        pytest.param("d" + "a" * 24, 4, id="from a standstill to full pace"),
        pytest.param("u", 4, id="a lost answer alone says little"),
        pytest.param("uau", 4, id="nor with an answer between"),
        pytest.param("uu", 2, id="half after two in a row"),
        pytest.param("a" * 7 + "bu" + "a" * 7, 2, id="a lost answer begins the row anew"),
    ],
)
def test_limit(events: str, limit: int) -> None:
    assert after(events).limit == limit


@pytest.mark.parametrize(
    ("events", "limit"),
    [
        pytest.param("q", 5, id="up by one with each quick answer"),
        pytest.param("q" * 50, 12, id="as far as it may"),
        pytest.param("q" * 50 + "a", 4, id="an answer that takes its time ends that"),
        pytest.param("q" * 50 + "b", 2, id="a refusal halves the maximum"),
        pytest.param("q" * 50 + "b" + "q" * 50, 4, id="and then the maximum is one"),
        pytest.param("q" * 50 + "u", 4, id="a lost answer alone ends that, too"),
        pytest.param("q" * 50 + "u" + "q" * 50, 12, id="and says little"),
        pytest.param("q" * 50 + "uu", 2, id="two in a row halve the maximum"),
        pytest.param("q" * 50 + "uu" + "q" * 50, 4, id="and then the maximum is one, as after a refusal"),
        pytest.param("q" * 50 + "duu" + "q" * 50, 12, id="not where it was away: that is an outage"),
        pytest.param("dq", 1, id="below the maximum as always"),
        pytest.param("d" + "q" * 50, 12, id="a server that was away may be quick again"),
        pytest.param("f" * 50, 12, id="one that is far away, and answers no more slowly at more at once"),
        pytest.param("l" * 50, 4, id="starts that come alone tell nothing of that"),
        pytest.param("f" * 50 + "s", 4, id="a slower answer ends that"),
        pytest.param("q" + "f" * 50, 4, id="what is slower than it was is not far away"),
        pytest.param("f" * 50 + "b" + "f" * 50, 4, id="nor one that was busy"),
    ],
)
def test_limit_at_a_quick_server(events: str, limit: int) -> None:
    assert after(events, most=12).limit == limit


@pytest.mark.parametrize(
    ("events", "least", "most"),
    [
        pytest.param("", 0, 0, id="no pause at full pace"),
        pytest.param("b", 0.25, 0.5, id="short after the first refusal"),
        pytest.param("bbb", 1, 2, id="doubled with each"),
        pytest.param("b" * 100, BUSY_CEILING / 2, BUSY_CEILING, id="bounded"),
        pytest.param("d", 0.25, 0.5, id="short after the first lost connection"),
        pytest.param("d" * 100, DOWN_CEILING / 2, DOWN_CEILING, id="bounded as well"),
        pytest.param("ddddba", 0, 0, id="none once it has answered"),
        pytest.param("ddddb", 0.25, 0.5, id="a refusal tells that it is up again"),
        pytest.param("u", 0, 0, id="none after a lost answer alone"),
        pytest.param("uu", 0.25, 0.5, id="short after two in a row"),
        pytest.param("uuuu", 1, 2, id="doubled with each more"),
        pytest.param("dudu", 1, 2, id="the longer, the more of either in a row"),
        pytest.param("uuua", 0, 0, id="none once a start was answered"),
    ],
)
def test_pause(events: str, least: float, most: float) -> None:
    assert (after(events).pause(0), after(events).pause(1)) == (least, most)


@given(st.text("abdqu", max_size=60), st.integers(1, 32), st.floats(0, 1))
def test_bounds(events: str, maximum: int, fraction: float) -> None:
    pace = after(events, maximum)
    assert 1 <= pace.limit <= maximum
    assert 0 <= pace.pause(fraction) <= max(BUSY_CEILING, DOWN_CEILING)
    assert after(events + "a" * 8 * maximum, maximum).limit == maximum
