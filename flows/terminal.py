"""What the command line shows: plans, progress, rankings and lists."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from contexture.contexts.base import Context
from contexture.estimators.plan import Machine, gibibytes
from contexture.preflight import Preflight
from contexture.store import Audit

_COLOURS = {"weak": "blue", "moderate": "green", "strong": "yellow"}


def show_plan(console: Console, found: Preflight, machine: Machine, where: str, store: str) -> None:
    """Print what will be computed, where, and what it takes."""
    dropped = f", constant and left out: {', '.join(found.dropped)}" if found.dropped else ""
    targets = ", ".join(found.targets) or "none"
    console.print(
        escape(
            f"{found.source}: {found.rows} rows in {found.partitions} partition(s), "
            f"{found.features} features, targets: {targets}{dropped}"
        )
    )
    table = Table(title="Plan", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("context", "route"):
        table.add_column(column, no_wrap=column == "route")
    for column in ("n × m", "entries", "blocks", "disk", "memory", "work"):
        table.add_column(column, justify="right", no_wrap=True)
    for plan in found.plans:
        table.add_row(
            escape(plan.context),
            plan.route,
            f"{plan.rows}×{plan.columns}",
            compact(plan.nonzeros),
            f"{plan.blocks}",
            gibibytes(plan.disk_bytes),
            gibibytes(plan.memory_bytes),
            f"{compact(plan.work)}flop",
        )
    console.print(table)
    disk = "" if machine.disk is None else f", {gibibytes(machine.disk)} of disk free"
    console.print(
        escape(
            f"On {where}; each task may use {gibibytes(machine.memory)} of memory{disk}.\n"
            f"Store: {store}"
        )
    )


def compact(number: float) -> str:
    """Write a count in four characters or so: ``17.4 M``."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g} "


def show_ranking(console: Console, audit: Audit) -> None:
    """Print the ranked contexts with their standard errors, and the caveats."""
    scores = audit.scores(errors=True)
    table = Table(
        title=f"Contexts of {escape(str(audit.attributes['name']))}, best first",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("context", style="bold", overflow="fold")
    for column in ("usefulness τ", "d*", "association", "Σ s²", "parts"):
        side = "left" if column == "association" else "right"
        table.add_column(column, justify=side, no_wrap=True)
    for target in audit.targets:
        table.add_column(f"ρ({escape(target)})", justify="right", no_wrap=True)
    for row in scores.to_dict("records"):
        association = str(row["association"])
        word = f"{association}, abstains" if row["abstains"] else association
        table.add_row(
            escape(str(row["context"])),
            _with_error(row["usefulness"], row["usefulness_standard_error"], 4),
            str(row["best_rank"]),
            f"[{_COLOURS[association]}]{word}[/]",
            f"{row['total_association']:,.2f}",
            str(row["components"]),
            *(_target_cell(row, target) for target in audit.targets),
            style="dim" if row["abstains"] else None,
        )
    console.print(table)
    console.print("\nLower τ is better. d* is the number of dimensions the context deserves.")
    for sentence in audit.caveats():
        console.print(f"• {escape(sentence)}", style="dim")


def _target_cell(row: dict[Any, Any], target: str) -> str:
    name = f"compatibility[{target}]"
    return _with_error(row[name], row[f"{name}_standard_error"], 3)


def _with_error(value: float, error: float, digits: int) -> str:
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return f"{text} ± {error:.{digits}f}" if math.isfinite(error) else text


def show_runs(console: Console, runs: pd.DataFrame) -> None:
    """Print the runs of a store, oldest first; times in UTC."""
    table = Table(box=None, pad_edge=False)
    for column in ("run", "name", "status", "started", "took", "contexts", "rows"):
        table.add_column(column, no_wrap=True)
    for row in runs.to_dict("records"):
        started = pd.to_datetime(row["started"] or None)
        took = pd.to_datetime(row["finished"] or None) - started
        table.add_row(
            row["run"],
            escape(str(row["name"])),
            row["status"],
            "" if pd.isna(started) else f"{started:%Y-%m-%d %H:%M}",
            "" if pd.isna(took) else f"{took.total_seconds():.0f} s",
            str(row["contexts"]),
            "" if pd.isna(row["rows"]) else f"{row['rows']:.0f}",
        )
    console.print(table)


def show_contexts(console: Console, kinds: Sequence[type[Context]]) -> None:
    """Print every kind of context with its parameters, their bounds and meaning."""
    for kind in kinds:
        console.print(
            f"[bold]{kind.model_fields['kind'].default}[/]  {escape(_first_sentence(kind))}"
        )
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="dim")
        table.add_column()
        properties = kind.model_json_schema()["properties"]
        ordered = sorted(properties.items(), key=lambda item: item[1].get("position", 0))
        for name, schema in ordered:
            if name != "kind":
                required = name in kind.model_json_schema().get("required", [])
                table.add_row(
                    f"  {name}", bounds(schema, required), escape(schema.get("description", ""))
                )
        console.print(table)
        console.print()


def _first_sentence(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def bounds(schema: dict[str, Any], required: bool) -> str:
    """Write type, range and default of a field in a few words."""
    choice = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"][0]
    if "enum" in choice:
        text = " or ".join(map(str, choice["enum"]))
    else:
        text = {"integer": "integer", "number": "number", "boolean": "yes or no"}.get(
            choice.get("type", ""), "text"
        )
    for key, sign in (
        ("minimum", ">="),
        ("exclusiveMinimum", ">"),
        ("maximum", "<="),
        ("exclusiveMaximum", "<"),
    ):
        if key in choice:
            text += f" {sign} {choice[key]:g}"
    if required:
        return f"{text}, required"
    default = schema.get("default")
    return f"{text}, optional" if default is None else f"{text}, default {default}"


class ProgressListener:
    """Shows every stage of a run as a line with a bar, or as plain lines without a terminal.

    Parameters
    ----------
    console : Console
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._lines: dict[str, Any] = {}
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=console,
        )

    @contextmanager
    def shown(self) -> Iterator[ProgressListener]:
        """Show the stages until the context ends."""
        if not self._console.is_terminal:
            yield self
            return
        with self._bars:
            yield self

    def advance(self, stage: str, done: int, total: int) -> None:
        """Move the line of a stage."""
        with self._lock:
            if not self._console.is_terminal:
                if done == total:
                    self._console.print(f"{stage}: done", markup=False, highlight=False)
                return
            if stage not in self._lines:
                self._lines[stage] = self._bars.add_task(stage, total=total)
            self._bars.update(self._lines[stage], completed=done, total=total)
