"""Tables for the terminal of which no cell is ever cut."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TypeAlias

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

Columns: TypeAlias = dict[str, list[Text]]
"""Cells below their header."""

NARROWEST = 12
"""Characters that a column which folds keeps."""

_GAP = 2


def columns_of(headers: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Columns:
    """Turn rows of cells into columns."""

    def cell(value: str | Text) -> Text:
        return value if isinstance(value, Text) else Text(value)

    return {header: [cell(row[i]) for row in rows] for i, header in enumerate(headers)}


def widths_of(columns: Columns) -> dict[str, int]:
    """Characters that each column needs."""
    return {
        header: max(cell_len(line) for line in [*header.split("\n"), *(c.plain for c in cells)])
        for header, cells in columns.items()
    }


def total_width(widths: dict[str, int]) -> int:
    """Characters that columns of these widths need together."""
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def print_table(
    console: Console,
    columns: Columns,
    title: str = "",
    folds: str = "context",
    left: Sequence[str] = (),
    optional: Sequence[str] = (),
    dim: Set[int] = frozenset(),
) -> None:
    """Print columns of which none is cut: one folds at need, then optional ones are left out."""
    natural = widths_of(columns)
    widths = natural | {folds: min(natural[folds], NARROWEST)}
    for header in optional:
        if total_width(widths) > console.width:
            del widths[header]
    spare = max(0, console.width - total_width(widths))
    widths[folds] = min(natural[folds], widths[folds] + spare)
    # Wider than the console if it has to be: a terminal breaks lines, and loses nothing.
    table = Table(box=None, pad_edge=False, width=total_width(widths), padding=(0, _GAP, 0, 0))
    for header, width in widths.items():
        side: JustifyMethod = "left" if header in (folds, *left) else "right"
        table.add_column(Text(header), justify=side, width=width, overflow="fold")
    for i in range(len(columns[folds])):
        table.add_row(*(columns[header][i] for header in widths), style="dim" if i in dim else None)
    if title:
        console.print(Text(title, style="bold"))
    console.print(table, crop=False)
