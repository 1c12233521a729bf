"""The dashboard and the alerts use metrics that there are; promtool runs the alerts' own tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from zendaemon.core.fire import FireState, Reason
from zendaemon.events import Outcome
from zendaemon.metrics import REASONS, Metrics

DOCS = Path(__file__).parents[2] / "docs"
RULES, RULES_TEST = DOCS / "alert-rules.yaml", DOCS / "alert-rules.test.yaml"
ALERTS = {
    "ZendaemonDown",
    "ZendaemonEngineHung",
    "ZendaemonJournalNotWritable",
    "ZendaemonServerDown",
    "ZendaemonNothingFires",
    "ZendaemonPromiseBroken",
    "ZendaemonFiresFailed",
    "ZendaemonFiresMissed",
    "ZendaemonLate",
    "ZendaemonClaimsUnsettled",
    "ZendaemonSchedulesUnresolved",
    "ZendaemonReloadRefused",
    "ZendaemonChannelDown",
}


def documented() -> dict[str, set[str]]:
    """The series that docs/metrics.md knows, with their labels; tests/contract/test_metrics.py holds it to a scrape."""
    found: dict[str, set[str]] = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "instance"}}
    row = r"^\| `((?:zendaemon|process)_\w+)` \| (\w+) \|([\w, ]*)\|"
    for name, kind, labels in re.findall(row, (DOCS / "metrics.md").read_text(), re.MULTILINE):
        all_labels = {label.strip() for label in labels.split(",") if label.strip()} | {"job", "instance"}
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + suffix: all_labels | ({"le"} if suffix == "_bucket" else set()) for suffix in suffixes}
    return found


def check_expression(expression: str) -> None:
    """Every series in it exists, and so does every label that it is selected or grouped by."""
    known = documented()
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = set(re.findall(r"\b(?:zendaemon|process)_\w+", bare)) | (set(re.findall(r"\b(?:up|ALERTS)\b", bare)))
    assert names, expression
    assert names <= known.keys(), f"{names - known.keys()} in {expression}"
    labels = set().union(*(known[name] for name in names))
    groups = re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", bare) + re.findall(r"\{([^}]*)\}", bare)
    used = {re.split(r"[=!~]", label)[0].strip() for group in groups for label in group.split(",") if label.strip()}
    assert used <= labels, f"{used - labels} in {expression}"


def rules() -> list[dict[str, Any]]:
    return [rule for group in YAML(typ="safe").load(RULES)["groups"] for rule in group["rules"]]


def test_every_alert_is_complete_and_uses_metrics_that_there_are() -> None:
    assert {rule["alert"] for rule in rules()} == ALERTS
    for rule in rules():
        assert rule.keys() <= {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "action"}
        check_expression(rule["expr"])


def test_every_alert_has_a_test_with_series_that_there_are() -> None:
    tests = YAML(typ="safe").load(RULES_TEST)
    text = RULES_TEST.read_text()
    assert {name for name in ALERTS if f'alertname="{name}"' in text} == ALERTS
    for test in tests["tests"]:
        for series in test["input_series"]:
            check_expression(series["series"])


def test_the_commands_that_alerts_name_are_there() -> None:
    commands = (DOCS / "commands.md").read_text()
    for rule in rules():
        for command in re.findall(r"`(zendaemon [a-z]+)", rule["annotations"]["action"]):
            assert f"`{command}" in commands


def test_promtool_finds_the_alerts_right(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Their unit tests, and the syntax of every expression of the dashboard."""
    promtool = shutil.which("promtool")
    if promtool is None:
        with capfd.disabled():
            sys.stderr.write(f"\n{'!' * 100}\nNOT RUN: {RULES_TEST.name}: there is no promtool\n{'!' * 100}\n")
        return
    as_rules = tmp_path / "dashboard.yaml"
    queries = [{"record": f"q{number}", "expr": text} for number, text in enumerate(map(filled_in, expressions()))]
    as_rules.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": queries}]}))
    for command in (["check", "rules", str(RULES), str(as_rules)], ["test", "rules", str(RULES_TEST)]):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text())
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def filled_in(expression: str) -> str:
    return expression.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_the_dashboard_uses_metrics_that_there_are(expression: str) -> None:
    check_expression(filled_in(expression))


def test_the_dashboard_shows_every_metric_that_is_not_for_single_schedules() -> None:
    shown = " ".join(expressions())
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in documented() if name.startswith("zendaemon_")}
    assert {name for name in names if name not in shown and not name.startswith("zendaemon_schedule_")} == set()


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {name for text in expressions() for name in re.findall(r"\$(\w+)", text)} == {
        "__rate_interval",
        *(variable["name"] for variable in dashboard()["templating"]["list"] if variable["type"] == "query"),
    }
    places = [panel["gridPos"] for panel in panels]
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (one, other)
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_every_reason_and_outcome_is_counted_from_the_beginning() -> None:
    assert {reason for reasons in REASONS.values() for reason in reasons if reason} == set(Reason)
    assert REASONS.keys() == set(FireState) - {FireState.CLAIMED}
    text = Metrics().render()[0].decode()
    for outcome in Outcome:
        assert f'zendaemon_attempts_total{{outcome="{outcome}"}} 0.0' in text
        assert f"| `{outcome}` |" in (DOCS / "metrics.md").read_text()
    for state, reasons in REASONS.items():
        for reason in reasons:
            series = f'zendaemon_fires_total{{manual="false",reason="{reason or ""}",state="{state}"}} 0.0'
            assert series in text
