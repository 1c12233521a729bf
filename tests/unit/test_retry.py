"""What follows a failed attempt, as a table of failures, policies and the time that is left."""

# ruff: noqa: E501, FBT001, FBT003 - a case of a table is a line, and some columns are flags
from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zendaemon.core import errors
from zendaemon.core.errors import (
    NameTaken,
    Rejected,
    ServerError,
    Stale,
    Unauthorized,
    Unavailable,
    Uncertain,
    Unresolved,
    ZendaemonError,
)
from zendaemon.core.fire import FireState, Reason
from zendaemon.core.retry import GiveUp, ResolveAgain, RetryAfter, Tried, backoff, decide, lapsed
from zendaemon.core.schedule import Retry

HOUR = 3600.0
FAILED, MISSED = FireState.FAILED, FireState.MISSED
REFUSED = Unavailable("refused")
NO_SLOT = Unavailable("no slot", status=429, busy=True)
ONCE = {"failures": 1}


def case(title: str, *values: object) -> object:
    return pytest.param(*values, id=title)


@pytest.mark.parametrize(
    ("failure", "tried", "policy", "left", "expected"),
    [
        case("rejected: stop", Rejected("422"), ONCE, {}, HOUR, GiveUp(FAILED, Reason.REJECTED)),
        case("unresolved: stop", Unresolved("gone"), ONCE, {}, HOUR, GiveUp(FAILED, Reason.UNRESOLVED)),
        case("stale: resolve once more", Stale("404"), ONCE, {}, HOUR, ResolveAgain()),
        case("stale again: stop", Stale("404"), ONCE | {"resolved_again": True}, {}, HOUR, GiveUp(FAILED, Reason.REJECTED)),
        case("first 409: ask at once", NameTaken("409"), {"conflicts": 1}, {}, HOUR, RetryAfter(0, ask_first=True)),
        case("second 409: ask after a second", NameTaken("409"), {"conflicts": 2}, {}, HOUR, RetryAfter(1, ask_first=True)),
        case("409 although the window is closed: ask all the same", NameTaken("409"), {"conflicts": 1}, {}, -1, RetryAfter(0, ask_first=True)),
        case("409 for ever: the name is taken", NameTaken("409"), {"conflicts": 4}, {}, HOUR, GiveUp(FAILED, Reason.NAME_TAKEN)),
        case("refused: try again", REFUSED, ONCE, {}, HOUR, RetryAfter(0.5)),
        case("refused twice: later", REFUSED, {"failures": 2}, {}, HOUR, RetryAfter(1.0)),
        case("refused, the server names a wait", Unavailable("503", retry_after=30), ONCE, {}, HOUR, RetryAfter(30)),
        case("refused after a lost answer: ask first", REFUSED, ONCE | {"sent": True}, {}, HOUR, RetryAfter(0.5, ask_first=True)),
        case("refused, attempts are used up", REFUSED, {"failures": 3}, {"max_attempts": 3}, HOUR, GiveUp(FAILED, Reason.RETRIES_EXHAUSTED)),
        case("refused, one attempt is left", REFUSED, {"failures": 2}, {"max_attempts": 3}, HOUR, RetryAfter(1.0)),
        case("refused until the window closes: missed", REFUSED, ONCE, {}, 0.4, GiveUp(MISSED, Reason.CATCHUP_WINDOW)),
        case("refused and the window is closed: missed", REFUSED, ONCE, {}, -5, GiveUp(MISSED, Reason.CATCHUP_WINDOW)),
        case("refused after a lost answer until the window closes", REFUSED, ONCE | {"sent": True}, {}, 0.4, GiveUp(FAILED, Reason.RETRIES_EXHAUSTED)),
        case("lost answer: ask first", Uncertain("reset"), ONCE | {"sent": True}, {}, HOUR, RetryAfter(0.5, ask_first=True)),
        case("lost answer, the server names a wait", Uncertain("503", retry_after=9), ONCE | {"sent": True}, {}, HOUR, RetryAfter(9, ask_first=True)),
        case("lost answer, attempts are used up", Uncertain("reset"), {"failures": 1, "sent": True}, {"max_attempts": 1}, HOUR, GiveUp(FAILED, Reason.RETRIES_EXHAUSTED)),
        case("lost answer and the window is closed", Uncertain("reset"), ONCE | {"sent": True}, {}, 0, GiveUp(FAILED, Reason.RETRIES_EXHAUSTED)),
        case("no free slot is no failure", NO_SLOT, {"failures": 99}, {"max_attempts": 1}, HOUR, RetryAfter(0)),
        case("no free slot, the server names a wait", Unavailable("429", busy=True, retry_after=7), {}, {}, HOUR, RetryAfter(7)),
        case("no free slot after a lost answer: ask first", NO_SLOT, {"sent": True}, {}, HOUR, RetryAfter(0, ask_first=True)),
        case("no free slot until the window closes: missed", NO_SLOT, {}, {}, 0, GiveUp(MISSED, Reason.CATCHUP_WINDOW)),
        case("credentials refused: seldom", Unauthorized("401"), ONCE, {"max_attempts": 1}, HOUR, RetryAfter(60)),
        case("credentials refused after a lost answer", Unauthorized("401"), ONCE | {"sent": True}, {}, HOUR, RetryAfter(60, ask_first=True)),
        case("credentials refused until the window closes", Unauthorized("401"), ONCE, {}, 59, GiveUp(FAILED, Reason.UNAUTHORIZED)),
        case("anything else: stop", ServerError("?"), ONCE, {}, HOUR, GiveUp(FAILED, Reason.REJECTED)),
    ],
)  # fmt: skip
def test_decide(
    failure: ZendaemonError, tried: dict[str, Any], policy: dict[str, Any], left: float, expected: object
) -> None:
    found = decide(failure, Tried(**tried), Retry(**policy), left=timedelta(seconds=left), fraction=0.5)
    assert found == expected


def leaves(root: type[ZendaemonError]) -> list[type[ZendaemonError]]:
    below = [leaf for child in root.__subclasses__() if child.__module__ == errors.__name__ for leaf in leaves(child)]
    return [root, *below]


@pytest.mark.parametrize("kind", [*leaves(ServerError), Unresolved], ids=lambda kind: kind.__name__)
def test_every_failure_ends_within_its_attempts_and_window(kind: type[ZendaemonError]) -> None:
    tried = Tried(failures=5, conflicts=5, resolved_again=True)
    found = decide(kind("it failed"), tried, Retry(max_attempts=5), left=timedelta(), fraction=0.5)
    assert isinstance(found, GiveUp)


@pytest.mark.parametrize(
    ("failure", "sent", "expected"),
    [
        case("never tried: missed", None, False, GiveUp(MISSED, Reason.CATCHUP_WINDOW)),
        case("never sent: missed", REFUSED, False, GiveUp(MISSED, Reason.CATCHUP_WINDOW)),
        case("sent once: failed", REFUSED, True, GiveUp(FAILED, Reason.RETRIES_EXHAUSTED)),
        case("credentials: failed", Unauthorized("401"), False, GiveUp(FAILED, Reason.UNAUTHORIZED)),
    ],
)
def test_lapsed(failure: ZendaemonError | None, sent: bool, expected: GiveUp) -> None:
    assert lapsed(failure, Tried(sent=sent)) == expected


POLICIES = st.builds(
    Retry,
    initial_delay=st.timedeltas(timedelta(milliseconds=1), timedelta(days=3660)),
    max_delay=st.timedeltas(timedelta(milliseconds=1), timedelta(days=3660)),
    multiplier=st.floats(1, 100),
)


@given(POLICIES, st.integers(0, 10**9), st.floats(0, 1))
def test_backoff_is_between_50_ms_and_max_delay(policy: Retry, failures: int, fraction: float) -> None:
    assert 0.05 <= backoff(policy, failures, fraction) <= max(0.05, policy.max_delay.total_seconds())


@given(POLICIES, st.integers(1, 2000))
def test_backoff_never_shrinks(policy: Retry, failures: int) -> None:
    assert backoff(policy, failures, 1) <= backoff(policy, failures + 1, 1)


def test_backoff_grows_by_the_multiplier_up_to_max_delay() -> None:
    policy = Retry(initial_delay=timedelta(seconds=1), max_delay=timedelta(seconds=10), multiplier=3.0)
    assert [backoff(policy, failures, 1) for failures in (1, 2, 3, 4, 5)] == [1, 3, 9, 10, 10]


def test_a_small_multiplier_reaches_max_delay_all_the_same() -> None:
    assert backoff(Retry(multiplier=1.01), 1000, 1) == 300
