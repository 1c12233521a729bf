"""`depends_on` over all files: names that there are, and no circle."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from zendaemon.core.errors import Invalid
from zendaemon.loader import load

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def problems(folder: Path, dependencies: dict[str, list[str]]) -> list[str]:
    """What is wrong with schedules that depend so on each other, each in a file of its own."""
    for name, others in dependencies.items():
        text = f"schedules:\n  {name}:\n    template: t\n    every: 1h\n    depends_on: [{', '.join(others)}]\n"
        (folder / f"{name}.yaml").write_text(text)
    try:
        load(folder, now=NOW)
    except Invalid as error:
        return [f"{problem.file.rpartition('/')[2]}:{problem.line}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("dependencies", "expected"),
    [
        ({"a": ["b"], "b": [], "c": ["a", "b"]}, []),
        ({"a": ["a"]}, ["a.yaml:5: schedule 'a' depends on itself: a -> a"]),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, ["a.yaml:5: schedule 'a' depends on itself: a -> b -> c -> a"]),
        ({"d": ["b"], "b": ["c"], "c": ["b"]}, ["b.yaml:5: schedule 'b' depends on itself: b -> c -> b"]),
        ({"a": ["b"], "b": ["nope"]}, ["b.yaml:5: schedule 'b' depends on 'nope', which there is not"]),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, []),
    ],
    ids=["a chain", "itself", "a circle", "a circle that another leads to", "unknown", "a diamond"],
)
def test_dependencies(tmp_path: Path, dependencies: dict[str, list[str]], expected: list[str]) -> None:
    assert problems(tmp_path, dependencies) == expected


def test_an_unknown_name_has_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "schedules:\n  extract: {template: t, every: 1h}\n  report: {template: t, every: 1h, depends_on: extrct}\n"
    )
    with pytest.raises(Invalid) as caught:
        load(tmp_path, now=NOW)
    assert caught.value.problems[0].remedy == "did you mean extract?"
