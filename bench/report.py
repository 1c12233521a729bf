"""What was measured: tables with the ratio to the first row, a history file, and a chart."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from math import log10
from typing import TYPE_CHECKING, Self

from bench.machine import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HISTORY = ROOT / "bench" / "history.jsonl"
CHARTS = ROOT / "docs" / "charts"


class Quantity(float):
    """A number with its unit, shown with three digits."""

    unit: str

    def __new__(cls, value: float, unit: str) -> Self:
        made = super().__new__(cls, value)
        made.unit = unit
        return made

    def __str__(self) -> str:
        number = float(self)
        digits = 2 if abs(number) < 10 else 1 if abs(number) < 100 else 0
        return f"{number:,.{digits}f} {self.unit}".rstrip()


def milliseconds(seconds: float) -> Quantity:
    return Quantity(seconds * 1000, "ms")


def megabytes(count: float) -> Quantity:
    return Quantity(count / 1e6, "MB")


@dataclass(slots=True)
class Row:
    name: str
    cells: Mapping[str, object]
    limit: bool = False

    def line(self, table: Table) -> str:
        first = table.rows[0].cells
        cells = (_cell(self.cells.get(column), first.get(column)) for column in table.columns)
        return f"{self.name:26}" + "".join(f"{cell:>22}" for cell in cells)


@dataclass(slots=True)
class Table:
    """Rows of named quantities; each but the first shows how many times the first row's it is."""

    title: str
    columns: Sequence[str]
    rows: list[Row] = field(default_factory=list)

    def add(self, name: str, cells: Mapping[str, object], *, limit: bool = False) -> None:
        self.rows.append(Row(name, cells, limit))

    def text(self) -> str:
        head = f"{self.title:26}" + "".join(f"{column:>22}" for column in self.columns)
        return "\n".join([head, *(row.line(self) for row in self.rows)])

    def markdown(self) -> str:
        lines = [f"| {self.title} | {' | '.join(self.columns)} |", "| --- " * (len(self.columns) + 1) + "|"]
        first = self.rows[0].cells
        for row in self.rows:
            cells = (_cell(row.cells.get(column), first.get(column)) for column in self.columns)
            lines.append(f"| {row.name} | {' | '.join(cells)} |")
        return "\n".join(lines)


def _cell(value: object, first: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, Quantity) and isinstance(first, Quantity) and value is not first and first > 0:
        ratio = value / first
        return f"{value} ({ratio:.1f}x)" if ratio < 100 else f"{value} ({ratio:.0f}x)"
    return str(value)


def remember(name: str, tables: Sequence[Table]) -> None:
    """Appends the figures to the history, one line a table."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")
    with HISTORY.open("a") as file:
        for table in tables:
            rows = {row.name: {key: _plain(value) for key, value in row.cells.items()} for row in table.rows}
            file.write(json.dumps({"at": now, "bench": name, "table": table.title, "rows": rows}) + "\n")


def _plain(value: object) -> object:
    return float(f"{float(value):.4g}") if isinstance(value, float) else value


def chart(table: Table, column: str, file: Path) -> None:
    """Bars of one column on a logarithmic scale, as SVG."""
    rows = [(row.name, row.cells[column]) for row in table.rows if isinstance(row.cells.get(column), Quantity)]
    shown = [float(value) for _, value in rows if float(value) > 0]
    if not shown:
        return
    low, top = min(shown) / 2, max(shown)
    wide = lambda value: 20 + 380 * log10(max(value, low) / low) / max(0.3, log10(top / low))  # noqa: E731
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {60 + 34 * len(rows)}" font-family="sans-serif">'
    ]
    parts.append(f'<text x="10" y="26" font-size="16" fill="#888">{escape(table.title)}: {escape(column)}</text>')
    for number, (name, value) in enumerate(rows):
        y, colour = 44 + 34 * number, "#7c3aed" if number == 0 else "#9ca3af"
        parts.append(f'<text x="170" y="{y + 17}" font-size="13" text-anchor="end" fill="#888">{escape(name)}</text>')
        parts.append(f'<rect x="180" y="{y}" width="{wide(float(value)):.0f}" height="24" rx="3" fill="{colour}"/>')
        x = 188 + wide(float(value))
        parts.append(f'<text x="{x:.0f}" y="{y + 17}" font-size="13" fill="#888">{value}</text>')
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*parts, "</svg>"]) + "\n")
