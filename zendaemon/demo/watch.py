"""What there is to see while the demo runs: the daemon's schedules, the journal's fires, the server's runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import httpx

from zendaemon.core.errors import ZendaemonError
from zendaemon.journal import read_history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zendaemon.core.fire import Fire
    from zendaemon.demo.daemon import DemoDaemon
    from zendaemon.demo.seed import Seeder

LATEST = 50


@dataclass(frozen=True, slots=True)
class Seen:
    """A fire of the journal with the status of its run as the server has it; None when there is none to be had."""

    fire: Fire
    status: str | None


@dataclass(frozen=True, slots=True)
class Glance:
    """All of it at one moment. `status` is the daemon's own, None when it does not answer; the latest fire is first."""

    status: dict[str, Any] | None
    fires: Sequence[Seen]
    answered: bool
    """Whether the server did; else no status is known."""


def glance(daemon: DemoDaemon, seeder: Seeder) -> Glance:
    """Look at daemon, journal and server."""
    status = daemon.status()
    fires = list(islice(read_history(daemon.journal_url), LATEST))
    try:
        runs = {run["id"]: run["body"]["status"] for run in seeder.latest_runs(2 * LATEST)}
    except (httpx.TransportError, ZendaemonError):
        return Glance(status, [Seen(fire, None) for fire in fires], answered=False)
    return Glance(status, [Seen(fire, runs.get(fire.run_id)) for fire in fires], answered=True)


@dataclass(frozen=True, slots=True)
class Summary:
    """The journal held against the server."""

    states: Counter[str]
    """How many fires are in each state; a row for a range of fire times counts as one."""
    known: int
    """Started fires whose run the server has, with this id and this name."""
    unknown: Sequence[Fire]
    """The other started fires."""
    strangers: Sequence[str]
    """Runs of the server that no fire of the journal accounts for, by name."""

    @property
    def started(self) -> int:
        return self.states["started"]


def summarize(daemon: DemoDaemon, seeder: Seeder) -> Summary:
    """Ask the server for each run of the journal, over REST and apart from the daemon."""
    fires = list(read_history(daemon.journal_url))
    runs: dict[str, str] = {run["id"]: run["name"] for run in seeder.runs()}
    started = [fire for fire in fires if fire.state == "started"]
    unknown = [fire for fire in started if fire.run_id is None or runs.get(fire.run_id) != fire.run_name]
    ours = {fire.run_id for fire in fires}
    return Summary(
        states=Counter(fire.state.value for fire in fires),
        known=len(started) - len(unknown),
        unknown=unknown,
        strangers=[name for run_id, name in runs.items() if run_id not in ours],
    )
