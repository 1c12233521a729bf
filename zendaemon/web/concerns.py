"""What of the daemon needs somebody's attention: a pure function of its status, for the top of every page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zendaemon.web.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zendaemon.core.shown import Status

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that is not well, and where on the page more is said of it."""

    text: str
    link: str = ""


def concerns(status: Status, journal_error: str | None = None) -> list[Concern]:
    """All that is not well, the worst first; empty when all is well."""
    found = []
    if not status.healthy:
        found.append(Concern("The engine does not turn: nothing is decided or started."))
    if journal_error is not None:
        found.append(Concern(f"The journal cannot be read: {journal_error}"))
    server = status.server
    if not server.available:
        since = f" since {plain(server.unavailable_since)}" if server.unavailable_since else ""
        found.append(Concern(f"The ZenML server {server.url} is not available{since}; fires wait for it."))
    if server.token_valid_until is not None and server.token_valid_until <= status.now:
        found.append(Concern(f"The token for the ZenML server ended at {plain(server.token_valid_until)}."))
    if status.reload is not None and not status.reload.applied:
        count = len(status.reload.problems)
        why = f"{count} problem{'s' if count != 1 else ''}" if count else status.reload.error or "see the log"
        found.append(
            Concern(f"The last reload was refused ({why}); the schedules before it stay in force.", "/reloads")
        )
    if status.unresolved:
        names = _some(status.unresolved)
        verb = "does" if len(status.unresolved) == 1 else "do"
        found.append(Concern(f"{names} {verb} not resolve: nothing of it can be started.", "/?state=unresolved"))
    return found


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = len(shown) - _NAMED
    return ", ".join(shown[:_NAMED]) + (f" and {more} more" if more > 0 else "")
