"""Conditions and promises of a real daemon with real servers, as people see them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
from process.daemon import Daemon, model, until

from zendaemon.demo.server import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from zendaemon.demo.seed import Seeder
    from zendaemon.demo.server import ZenMLServer

NEVER = "2999-01-01T00:00:00Z"


def test_a_promise_breaks_while_nothing_fires_and_is_kept_again(
    server: ZenMLServer, seeder: Seeder, tmp_path: Path, unique_name: str
) -> None:
    target = seeder.runnable(unique_name).target
    settings = {"http": "127.0.0.1:0", "metrics_per_schedule": "true"}
    daemon = Daemon(tmp_path, server.url, **settings)
    stale = {"max_time_since_success": "10s"}
    schedule = {**target, "at": NEVER, "config": model("rf")}
    daemon.write({unique_name: schedule})
    with server.behaving(Workload(run_seconds=1)), daemon:
        time.sleep(6)  # it has looked, and nothing is promised
        daemon.write({unique_name: {**schedule, "sla": stale}})
        assert daemon.reload().returncode == 0
        said = daemon.wait_for("promise.broken", schedule=unique_name)
        assert said["promise"] == "max_time_since_success"
        assert said["message"].startswith("no run has succeeded within 10s, since 20")
        assert daemon.history() == []

        shown = daemon.status()
        (broken,) = shown["broken"][unique_name]
        assert (broken["text"], broken["since"]) == (said["message"], said["since"])
        assert [schedule["broken"] for schedule in shown["schedules"]] == [[broken]]
        assert f"promise broken: {unique_name}: {said['message']}" in daemon.command("status").stdout
        with httpx.Client(base_url=daemon.wait_for("http.listening")["url"], trust_env=False) as client:
            scraped = client.get("/metrics").text
            assert 'zendaemon_promises_broken{promise="max_time_since_success"} 1.0' in scraped
            labels = f'promise="max_time_since_success",schedule="{unique_name}"'
            assert f"zendaemon_schedule_promise_broken{{{labels}}} 1.0" in scraped
            assert said["message"] in client.get("/").text
            page = client.get(f"/schedules/{unique_name}").text
            assert "Promise broken" in page
            assert said["message"] in page
            (listed,) = client.get("/api/v1/schedules?promises=broken").json()["schedules"]
            assert listed["broken"] == [broken]

        daemon.command("fire", unique_name, "--wait")
        assert daemon.wait_for("promise.kept", schedule=unique_name)["promise"] == "max_time_since_success"
        again = daemon.wait_for("promise.broken", count=2, schedule=unique_name)
        assert "the last one that did ended at 20" in again["message"]
        assert not daemon.events("engine.error")


def test_a_fire_waits_for_fresh_data(server: ZenMLServer, seeder: Seeder, tmp_path: Path, unique_name: str) -> None:
    target = seeder.runnable(unique_name).target
    daemon = Daemon(tmp_path, server.url)
    when = [{"artifact": unique_name}, {"model": unique_name, "within": "1h"}]
    schedule = {**target, "config": model("rf"), "when": when, "every": "2s", "overlap": "skip"}
    with server.behaving(Workload(run_seconds=1)), daemon:
        daemon.write({unique_name: schedule})
        assert daemon.reload().returncode == 0

        def skipped() -> list[str]:
            return [row["message"] for row in daemon.history() if row["reason"] == "condition"]

        for kind in ("artifact", "model"):
            text = f"{kind} {unique_name!r}: no version of it; not found or not permitted"
            daemon.wait_for("schedule.suspect", schedule=unique_name, warning=text)
        until(skipped)
        assert skipped()[0] == f"artifact {unique_name!r}: no version of it; not found or not permitted"
        seeder.artifact_version(unique_name)
        until(lambda: any(text.startswith("model") for text in skipped()))
        assert not daemon.started()
        seeder.model_version(unique_name)
        until(lambda: any("before our last success" in text for text in skipped()))
        assert len(daemon.started()) == 1, "one run for one version"
        assert daemon.command("fire", unique_name, "--wait").returncode == 0, "by hand it is not asked for"
        assert len(daemon.started()) == 2
        until(lambda: len([row for row in daemon.started() if row["run_status"] == "completed"]) == 2)
        seeder.artifact_version(unique_name)
        until(lambda: len(daemon.started()) == 3)
        assert len(seeder.runs(unique_name)) == 3
        assert len(daemon.events("schedule.suspect")) == 2
