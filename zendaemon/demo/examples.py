"""The demo's pipelines, and the schedule file that starts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zendaemon.demo.seed import Seeder, Steps

PIPELINES: Mapping[str, Steps] = {
    "train": {"data_loader": {"day": "1970-01-01"}, "model_trainer": {"model_type": "svc"}},
    "score": {"predictor": {"model_type": "svc", "rows": 100}},
    "report": {"reporter": {"day": "1970-01-01"}},
}

_FILE = """\
# The example schedules of `zendaemon demo`. Edit this file, then reload:
#   {reload}
# A mistake changes nothing: the reload is refused, and the problem is told with its line and column.

schedules:
  train:
    description: Every ten seconds, with another model than the pipeline's own and the day of the fire
    {train}
    every: 10s
    config:
      enable_cache: false
      steps:
        data_loader:
          parameters:
            day: "{{{{ fire_time | date('%Y-%m-%d') }}}}"
        model_trainer:
          parameters:
            model_type: rf

  score:
    description: Every minute, unless its last run is still active
    {score}
    cron: "* * * * *"
    overlap: skip
    config:
      steps:
        predictor:
          parameters:
            rows: 1000

  report:
    description: Every weekday night in Berlin, about the day before; also where the clocks change
    {report}
    cron: "30 2 * * mon-fri"
    timezone: Europe/Berlin
    jitter: 5m
    catchup: latest
    catchup_window: 6h
    config:
      steps:
        reporter:
          parameters:
            day: "{{{{ fire_time | shift(days=-1) | date('%Y-%m-%d') }}}}"
"""


def example_file(seeder: Seeder, reload: str) -> str:
    """The schedule file, for pipelines that are created on the server if they are not there. `reload` is a command."""
    targets = {}
    for name, steps in PIPELINES.items():
        target = seeder.runnable(name, steps=steps).target
        targets[name] = "\n    ".join(f'{key}: "{value}"' for key, value in target.items())
    return _FILE.format(reload=reload, **targets)
