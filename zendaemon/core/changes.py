"""What a reload changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zendaemon.core.schedule import ScheduleSet


@dataclass(frozen=True, slots=True)
class Changes:
    """Names by what became of them. `restarted` are the changed ones whose fires begin anew at the reload, since their
    trigger is another one or they were not enabled before.
    """

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        return {
            "added": len(self.added),
            "changed": len(self.changed),
            "removed": len(self.removed),
            "unchanged": len(self.unchanged),
        }


def changes(old: ScheduleSet, new: ScheduleSet) -> Changes:
    """Compare two schedule sets by the schedules themselves; where they stand in the files makes no difference."""
    before, after = old.schedules, new.schedules
    both = [name for name in after if name in before]
    changed = tuple(name for name in both if before[name] is not after[name] and before[name] != after[name])
    differing = frozenset(changed)
    return Changes(
        added=tuple(name for name in after if name not in before),
        changed=changed,
        removed=tuple(name for name in before if name not in after),
        unchanged=tuple(name for name in both if name not in differing),
        restarted=tuple(
            name
            for name in changed
            if after[name].enabled and (not before[name].enabled or before[name].trigger != after[name].trigger)
        ),
    )
