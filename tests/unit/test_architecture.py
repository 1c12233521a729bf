"""The arrows of the layout: imports point one way, and the core is pure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "zendaemon"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "server_side" not in path.parts)

# Each layer may import from itself where it is a package, and from the layers after it.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"demo"},
    {"daemon", "commands", "web"},
    {"metrics"},
    {"operations", "aftermath", "rehearsal"},
    {"sla"},
    {"engine"},
    {"attempts"},
    {"records", "gates", "starts", "removed"},
    {"notify", "targets", "runs", "retention", "timers", "queue", "awake", "turns"},
    {"activity", "conditions", "marks", "pauses", "tracing", "timeline"},
    {"events"},
    {"loader", "zenml", "journal", "settings", "systemd", "log", "control"},
    {"references"},
    {"clock"},
    {"core"},
    {"__init__"},
]
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
PURE_IMPORTS = {
    "__future__",
    "collections",
    "dataclasses",
    "datetime",
    "difflib",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "ipaddress",
    "itertools",
    "jinja2",
    "json",
    "math",
    "operator",
    "pydantic",
    "re",
    "typing",
    "uuid",
    "zoneinfo",
    "bisect",
    "calendar",
}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, for types too, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            if node.module == "zendaemon":
                found |= {f"zendaemon.{alias.name}" for alias in node.names}
    return found


def own(name: str) -> str | None:
    """The part of zendaemon that a dotted name belongs to."""
    if not name.startswith("zendaemon."):
        return None
    first = name.split(".")[1]
    return first if first in LEVEL else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    here = part(path)
    assert here in LEVEL, f"{here} has no place in the layers"
    wrong = {name for name in imports(path) if (to := own(name)) and to != here and LEVEL[to] <= LEVEL[here]}
    assert not wrong, f"{here} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.stem)
def test_the_core_is_pure(path: Path) -> None:
    foreign = {name.split(".")[0] for name in imports(path) if not name.startswith("zendaemon.core")}
    assert foreign <= PURE_IMPORTS


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("apscheduler", "timers"),
        ("sqlalchemy", "journal"),
        ("alembic", "journal"),
        ("apprise", "notify"),
        ("httptools", "zenml"),
        ("prometheus_client", "metrics"),
        ("fastapi", "web"),
        ("starlette", "web"),
        ("uvicorn", "web"),
        ("opentelemetry", "tracing"),
    ],
)
def test_a_library_has_one_importer(library: str, home: str) -> None:
    users = {part(path) for path in MODULES if any(name.split(".")[0] == library for name in imports(path))}
    assert users - {"demo"} == {home}


def test_httpx_has_two_importers() -> None:
    """The client of ZenML maps errors to ours; webhooks and heartbeats go elsewhere, and know no errors of a start."""
    users = {part(path) for path in MODULES if any(name.split(".")[0] == "httpx" for name in imports(path))}
    assert users - {"demo"} == {"zenml", "notify"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 50, node.name


def test_the_heart_stays_under_300_lines() -> None:
    assert len((PACKAGE / "engine.py").read_text().splitlines()) < 300


def test_only_the_clock_reads_the_clock() -> None:
    readers = {
        part(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"datetime.now", "time.time", "datetime.utcnow"}
    }
    assert readers == {"clock"}
