"""libyaml and the parser in Python: where the loader trusts the first, both find the same values in the same places."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from zendaemon.loader.report import Report
from zendaemon.loader.tree import parse

if TYPE_CHECKING:
    from zendaemon.loader.node import Node

EXAMPLES = sorted((Path(__file__).parents[2] / "schedules").rglob("*.yaml"))
PIECES = (
    "a", "b: ", "key: ", "- ", "\n", "\n  ", "\n    ", "\n- ", "[", "]", "{", "}", ", ", ":", ": ", " #", "#", "'", '"',
    "&x ", "*x", "<<: ", "!!str ", "!t ", "~", "null", "true", "on", "1", "0x1f", "1e3", "-", "--- ", "...", "ä", "\\n",
    "a:b", "http://x/y", "@", "`", "\\", "//", "=", "0o7", ".inf", "12:30", "1_000", "2026-12-24", "* * * *", "\\u00e4",
    "\U0001f600", "\nk: ", "\nl: v", "\n  m: ", "'x'", '"y"', "[1, 2]", "{n: 1}", " ", "  ",
)  # fmt: skip


def shape(node: Node | None) -> object:
    """Values, places of keys and places of what is not empty: all that is told of a file without problems."""
    if node is None:
        return None
    here = None if node.value is None else node.position
    if isinstance(node.items, dict):
        return here, {key: (node.keys[key], shape(child)) for key, child in node.items.items()}
    if isinstance(node.items, list):
        return here, [shape(child) for child in node.items]
    return here, type(node.value), repr(node.value)


def agree(text: str) -> bool:
    """Whether both read it without a problem; they agree then."""
    report = Report("f")
    quick = parse(text.encode(), report, quick=True)
    if report.found:
        return False
    assert shape(quick) == shape(parse(text.encode(), report))
    assert not report.found
    return True


def test_libyaml_is_used() -> None:
    assert importlib.import_module("_ruamel_yaml").CParser is YAML(typ="safe").Parser


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples(path: Path) -> None:
    agree(path.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "a: {b: [1, two, 'three'], c: }\nd:\n  - x\n  - \ne: ä\nf: \"ü\\x41\"\n",
        "base: &x {a: 1}\nother:\n  <<: *x\n  b: 2\n",
        "a: 'it''s'\nb: two\n  lines\nc: \"two\n  lines\"\n",
        "a: b#c\nd: e #f\n# g\nh: [a,b,'c:d']\n",
    ],
)
def test_what_files_have_in_them(text: str) -> None:
    assert agree(text)


@settings(max_examples=600)
@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
def test_anything(text: str) -> None:
    agree(text)


@settings(max_examples=200)
@given(st.text("ab:-[]{},#&*'\"\n ~.<=@1", max_size=30))
def test_any_letters(text: str) -> None:
    agree(text)
