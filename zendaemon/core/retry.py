"""What to do after a failed attempt: a pure function of the failure, the policy and the time that is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zendaemon.core.errors import NameTaken, Rejected, Stale, Unauthorized, Unavailable, Uncertain, Unresolved
from zendaemon.core.fire import FireState, Reason

if TYPE_CHECKING:
    from datetime import timedelta

    from zendaemon.core.errors import ZendaemonError
    from zendaemon.core.policy import Retry

UNAUTHORIZED_DELAY = 60.0
"""Seconds between attempts while the credentials are refused: failed logins are to be spaced (zenml-api.md, 2)."""
_CONFLICTS = 3
_BEFORE_THE_END = 1.0
"""Seconds before the catch-up window closes at which a last attempt is made, however long the backoff has grown."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Try again in `seconds`; `ask_first` whether the server must be asked for the run before another POST."""

    seconds: float
    ask_first: bool = False


@dataclass(frozen=True, slots=True)
class ResolveAgain:
    """Resolve the target once more and try again at once."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Close the fire."""

    state: FireState
    reason: Reason


Decision = RetryAfter | ResolveAgain | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What has been tried for a fire.

    `failures` counts the failed attempts, those for want of a start slot excepted. `sent` tells whether any of them
    may have reached the server, `resolved_again` whether the id was called stale before, and the server has no other.
    `conflicts` counts the 409s: one whose run a look-up does not find may be the ghost of a start that found no slot.
    """

    failures: int = 0
    conflicts: int = 0
    sent: bool = False
    resolved_again: bool = False


def decide(failure: ZendaemonError, tried: Tried, policy: Retry, *, left: timedelta, fraction: float) -> Decision:
    """What comes after `failure`, which `tried` counts already.

    `left` is the time until the fire's catch-up window closes, `fraction` a random number from 0 to 1 (full jitter).
    """
    match failure:
        case NameTaken():
            if tried.conflicts > _CONFLICTS:
                return GiveUp(FireState.FAILED, Reason.NAME_TAKEN)
            return RetryAfter(0 if tried.conflicts == 1 else 1, ask_first=True)
        case Unresolved():
            return GiveUp(FireState.FAILED, Reason.UNRESOLVED)
        case Stale() if not tried.resolved_again:
            return ResolveAgain()
        case Rejected() | Stale():
            return GiveUp(FireState.FAILED, Reason.REJECTED)
        case Unauthorized():
            wait = RetryAfter(UNAUTHORIZED_DELAY, ask_first=tried.sent)
        case Unavailable(busy=True):
            wait = RetryAfter(failure.retry_after or 0, ask_first=tried.sent)
        case Unavailable() | Uncertain():
            if policy.max_attempts is not None and tried.failures >= policy.max_attempts:
                return GiveUp(FireState.FAILED, Reason.RETRIES_EXHAUSTED)
            seconds = max(_in_time(backoff(policy, tried.failures, fraction), left), failure.retry_after or 0)
            wait = RetryAfter(seconds, ask_first=tried.sent)
        case _:
            return GiveUp(FireState.FAILED, Reason.REJECTED)
    return wait if wait.seconds < left.total_seconds() else lapsed(failure, tried)


def _in_time(seconds: float, left: timedelta) -> float:
    """A wait cut short where it would outlast the catch-up window: there is a last attempt before that closes."""
    last_chance = left.total_seconds() - _BEFORE_THE_END
    return min(seconds, last_chance) if last_chance > 0 else seconds


def lapsed(failure: ZendaemonError | None, tried: Tried) -> GiveUp:
    """The end of a fire whose catch-up window closes before it could be started."""
    if isinstance(failure, Unauthorized):
        return GiveUp(FireState.FAILED, Reason.UNAUTHORIZED)
    if tried.sent:
        return GiveUp(FireState.FAILED, Reason.RETRIES_EXHAUSTED)
    return GiveUp(FireState.MISSED, Reason.CATCHUP_WINDOW)


def backoff(policy: Retry, failures: int, fraction: float) -> float:
    """Seconds before the attempt after `failures` failed ones: exponential, with full jitter, never under 50 ms."""
    try:
        grown = policy.initial_delay.total_seconds() * float(policy.multiplier) ** max(0, failures - 1)
    except OverflowError:
        grown = math.inf
    return max(0.05, min(policy.max_delay.total_seconds(), grown) * fraction)
