"""What of the daemon needs somebody's attention: a pure function of its status, for the top of every page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from zendaemon.web.words import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zendaemon.core.shown import ShownChannel, Status
    from zendaemon.operations import Phase

_NAMED = 3
_PATIENCE = timedelta(seconds=30)
"""After which a server that was never heard of is a concern."""


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that is not well, and where on the page more is said of it."""

    text: str
    link: str = ""


def concerns(status: Status, journal_error: str | None = None, phase: Phase = "running") -> list[Concern]:
    """All that is not well, the worst first; empty when all is well."""
    found = []
    if phase == "stopping":
        found.append(Concern("The daemon is stopping: it finishes the attempts in hand, and starts nothing new."))
    if not status.healthy:
        found.append(Concern("The engine does not turn: nothing is decided or started."))
    if journal_error is not None:
        found.append(Concern(f"The journal cannot be read: {journal_error}"))
    server = status.server
    if not server.available:
        since = f" since {plain(server.unavailable_since)}" if server.unavailable_since else ""
        found.append(Concern(f"The ZenML server {server.url} is not available{since}; fires wait for it."))
    elif server.version is None and status.now - status.started_at > _PATIENCE:
        found.append(Concern(f"The ZenML server {server.url} has not answered since the daemon was started."))
    if server.token_valid_until is not None and server.token_valid_until <= status.now:
        found.append(Concern(f"The token for the ZenML server ended at {plain(server.token_valid_until)}."))
    if status.reload is not None and not status.reload.applied:
        count = len(status.reload.problems)
        why = f"{count} problem{'s' if count != 1 else ''}" if count else status.reload.error or "see the log"
        found.append(
            Concern(f"The last reload was refused ({why}); the schedules before it stay in force.", "/reloads")
        )
    found += [_of_channel(channel) for channel in status.channels if channel.failing_since is not None]
    if status.unresolved:
        names, one = _some(status.unresolved), len(status.unresolved) == 1
        said = "does not resolve: nothing of it" if one else "do not resolve: nothing of them"
        # Paused ones are not in state `unresolved`, so a single one is shown by itself.
        link = f"/schedules/{names}" if one else "/?state=unresolved"
        found.append(Concern(f"{names} {said} can be started.", link))
    if status.broken:
        names, one = _some(status.broken), len(status.broken) == 1
        text = next(iter(status.broken.values()))[0].text if one else "promises are not kept."
        found.append(Concern(f"{names}: {text}", f"/schedules/{names}" if one else "/?promises=broken"))
    return found


def _of_channel(channel: ShownChannel) -> Concern:
    since = f" since {plain(channel.failing_since)}" if channel.failing_since else ""
    waits = f"{channel.waiting} message{' waits' if channel.waiting == 1 else 's wait'}"
    return Concern(f"The channel {channel.channel} takes no alerts{since} ({channel.error}); {waits}.")


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = len(shown) - _NAMED
    return ", ".join(shown[:_NAMED]) + (f" and {more} more" if more > 0 else "")
