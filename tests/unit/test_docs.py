"""The docs name everything that there is, and nothing that there is not."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from zendaemon.cli import app
from zendaemon.core.errors import Problem
from zendaemon.core.fire import FireState, Reason
from zendaemon.core.lint import CODES
from zendaemon.core.schedule import Schedule
from zendaemon.core.shown import ShownFire, ShownPause, Status
from zendaemon.loader import load
from zendaemon.log import EVENTS
from zendaemon.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = "\n".join(path.read_text() for path in (ROOT / "zendaemon").rglob("*.py"))
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def doc(name: str) -> str:
    return (DOCS / name).read_text()


def rows(text: str) -> set[str]:
    """The code spans of the first column of every table."""
    return {
        name
        for line in text.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]+)`", line.split("|")[1])
    }


def test_every_event_is_in_the_docs_and_in_the_code() -> None:
    assert rows(doc("logs.md")) == set(EVENTS)
    pattern = r"\.(?:debug|info|warning|error|exception)\((?:\s*#[^\n]*)?\s*\"([a-z]+\.[a-z_]+)\""
    said = set(re.findall(pattern, SOURCES))
    said |= set(re.findall(r"\"(fire\.[a-z]+|run\.[a-z]+)\"", SOURCES)) & set(EVENTS)
    assert said == set(EVENTS)


def test_every_setting_is_in_the_docs() -> None:
    described = rows(doc("settings.md"))
    assert described == set(Settings.model_fields)
    for name in Settings.model_fields:
        if not name.endswith("_file") or name == "ca_file":
            assert PREFIX + name.upper() in doc("settings.md")


def test_every_state_and_reason_is_in_the_docs() -> None:
    assert rows(doc("journal.md")) == {state.value for state in FireState} | {reason.value for reason in Reason}


def test_every_key_of_a_schedule_is_in_the_docs() -> None:
    assert set(Schedule.model_fields) - {"name"} <= set(re.findall(r"`([a-z_]+)`", doc("schedule-files.md")))


def test_every_command_and_option_is_in_the_docs() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    text = doc("commands.md")
    assert {name.split()[1] for name in rows(text) if name.startswith("zendaemon ")} == set(commands)
    common = {"--schedules", "--state", "--json", "--help"}
    everywhere = text + doc("settings.md") + (DOCS / "demo.md").read_text()
    for name, command in commands.items():
        for option in {long for p in command.params for long in p.opts if long.startswith("--")} - common:
            assert option in everywhere, f"{name} {option}"


def test_every_code_of_a_warning_is_in_the_docs_and_in_the_code() -> None:
    section = doc("commands.md").split("## Warnings")[1]
    assert rows(section) == set(CODES)
    said = set(re.findall(r"Finding\(\"([a-z-]+)\"", SOURCES))
    assert said == set(CODES)


def test_the_json_keys_in_the_docs_are_those_of_the_code() -> None:
    table = dict(re.findall(r"^\| `([a-z`, ]+)` \| `([a-z_ ]+)`", doc("commands.md"), re.MULTILINE))
    assert table["history`, `fire"].split() == list(ShownFire.model_fields)
    assert table["status"].split() == [*Status.model_fields, "schedules"]
    assert table["pause`, `resume"].split() == ["schedule", *ShownPause.model_fields]
    assert set(Problem.__dataclass_fields__) == {"file", "line", "column", "message", "remedy"}


@pytest.mark.parametrize("path", sorted((ROOT / "schedules").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    assert load(path, now=NOW).set.schedules


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name)
def test_every_complete_example_in_the_docs_loads(path: Path, tmp_path: Path) -> None:
    for index, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)):
        if re.search(r"^schedules:", block, re.MULTILINE):
            file = tmp_path / f"{index}.yaml"
            file.write_text(block)
            assert load(file, now=NOW).set.schedules, block


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)\)", path.read_text()):
        if not link.startswith("http"):
            assert (path.parent / link).exists(), link


def test_the_readme_opens_with_the_two_commands() -> None:
    lines = [line.strip() for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("    ")]
    assert [line.split("#")[0].strip() for line in lines[:2]] == ["make demo", "make test"]
