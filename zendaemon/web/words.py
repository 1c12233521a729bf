"""Instants, durations, states and reasons as the status page has them: short, and the same everywhere."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from zendaemon.core.fire import FireState, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pydantic import JsonValue

    from zendaemon.core.fire import Fire
    from zendaemon.core.shown import ShownFire

REASONS: Mapping[Reason, str] = {
    Reason.OVERLAP: "a run of the schedule was active",
    Reason.EXCLUDED: "the fire time is excluded",
    Reason.MAX_RUNS: "the schedule has had its runs (max_runs)",
    Reason.PAUSED: "the schedule was paused",
    Reason.DEPENDENCY: "the last run of a schedule that it depends on did not succeed",
    Reason.CONDITION: "a condition on the server did not hold",
    Reason.CATCHUP_NONE: "it came due while the daemon was down, and catchup is none",
    Reason.CATCHUP_LATEST: "it came due while the daemon was down, and a later fire was started in its place",
    Reason.CATCHUP_WINDOW: "it could not be started within its catch-up window",
    Reason.REMOVED: "its schedule was removed, disabled or changed before it was started",
    Reason.UNRESOLVED: "its target leads to nothing that the server can start",
    Reason.UNAUTHORIZED: "the server refused the credentials",
    Reason.REJECTED: "the server refuses the start",
    Reason.NAME_TAKEN: "somebody else's run has its name",
    Reason.RETRIES_EXHAUSTED: "no attempt succeeded, and there are no more",
}
RUN_FAILED = "run-failed"
"""How a fire that was started is marked when its run failed; every other fire is marked by its state."""
MARKS: Mapping[str, str] = {
    FireState.STARTED: "started",
    RUN_FAILED: "run failed",
    FireState.FAILED: "failed",
    FireState.MISSED: "missed",
    FireState.SKIPPED: "skipped",
    FireState.CLAIMED: "in hand",
}
"""Every mark with its word, in the order of the legend."""


def mark(fire: Fire | ShownFire) -> str:
    """A key of MARKS."""
    return RUN_FAILED if fire.state is FireState.STARTED and fire.run_status == "failed" else fire.state.value


def because(fire: Fire | ShownFire) -> str:
    """Why a fire became no run, or its run nothing; empty when all is well."""
    reason = REASONS[fire.reason] if fire.reason is not None else ""
    if mark(fire) == RUN_FAILED:
        reason = "the run was created, and failed"
    if not fire.message or fire.state is FireState.CLAIMED:
        return reason
    return f"{reason}: {fire.message}" if reason else fire.message


def plain(instant: datetime) -> str:
    """`2026-11-23 02:00:00Z`, without fractions."""
    return instant.astimezone(UTC).isoformat(" ", "seconds").replace("+00:00", "Z")


def when(instant: datetime | None, zone: str = "UTC", kind: str = "") -> Markup:
    """An instant that the page's script turns into the zone that the reader wants; UTC without it.

    `kind`: `both` adds how far off it is, `far` shows only that.
    """
    if instant is None:
        return Markup('<span class="none">never</span>')
    text = plain(instant)
    attributes = f'datetime="{text.replace(" ", "T")}" data-zone="{escape(zone)}"'
    exact = f"<time {attributes}>{text}</time>"
    far = f'<time class="far" {attributes} data-far>{"" if kind == "both" else text}</time>'
    shown = {"": exact, "far": far, "both": f"{exact} {far}"}[kind]
    return Markup(shown)  # noqa: S704 - digits, and a zone that was escaped above


def seconds(value: float | None) -> str:
    """A duration for people, with two leading parts at most: `0.12 s`, `3 min 5 s`, `2 h 10 min`."""
    if value is None:
        return ""
    if value < 10:
        return f"{value:.2f} s"
    whole = round(value)
    parts = ((whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def run_seconds(fire: Fire | ShownFire) -> float | None:
    """How long its run took, None where its start or its end is not known; never negative."""
    if fire.run_started_at is None or fire.run_ended_at is None:
        return None
    return max(0.0, (fire.run_ended_at - fire.run_started_at).total_seconds())


def compact(value: JsonValue) -> str:
    """JSON on one line."""
    return json.dumps(value, ensure_ascii=False)


def pretty(value: JsonValue) -> str:
    """JSON to read."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def run_link(dashboard_url: str | None, run_id: str | None) -> str | None:
    """The run in ZenML's dashboard. None where there is no dashboard, or its address is none that a browser opens."""
    if not run_id or not dashboard_url or urlsplit(dashboard_url).scheme not in {"http", "https"}:
        return None
    return f"{dashboard_url.rstrip('/')}/runs/{run_id}"
