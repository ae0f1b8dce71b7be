"""What the command line shows: plans, rankings and lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import pandas as pd
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from contexture.contexts.base import Context
from contexture.estimators.machine import Machine, gibibytes
from contexture.estimators.plan import ContextPlan
from contexture.preflight import Preflight
from contexture.store import Audit
from flows.tables import NARROWEST, Columns, columns_of, print_table, total_width, widths_of

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
    kinds = [f"{len(found.numbers)} scaled"] if found.numbers else []
    kinds += [f"{name} one-hot ({count})" for name, count in found.categories]
    console.print(escape(f"Columns: {', '.join(kinds)}"))
    sizes = ("n × m", "entries", "blocks", "disk", "memory", "passes", "read", "work")
    headers = ("context", "route", *sizes)
    rows = [
        (
            plan.context,
            plan.route if plan.draws == 1 else f"{plan.route}, {plan.draws} draws",
            f"{plan.rows}×{plan.columns}",
            compact(plan.nonzeros),
            f"{plan.blocks}",
            gibibytes(plan.disk_bytes),
            gibibytes(plan.memory_bytes),
            f"{plan.passes:.0f}",
            gibibytes(int(plan.read_bytes)),
            f"{compact(plan.work)}flop",
        )
        for plan in found.plans
    ]
    columns = columns_of(headers, rows)
    optional = ("read", "blocks", "entries", "passes")
    print_table(console, columns, title="Plan", left=("route",), optional=optional)
    for plan in found.plans:
        if plan.reference_error is not None:
            console.print(escape(_reference_error(plan)), style="dim")
    disk = "" if machine.disk is None else f", {gibibytes(machine.disk)} of disk free or reusable"
    console.print(
        escape(
            f"On {where}; each task may use {gibibytes(machine.memory)} of memory{disk}.\n"
            f"Store: {store}"
        )
    )


def _reference_error(plan: ContextPlan) -> str:
    draws = "one draw" if plan.draws == 1 else f"{plan.draws} draws"
    text = (
        f"• {plan.context}: over {draws} of {plan.columns:,} reference rows, τ is expected to be "
        f"within about {plan.reference_error:.1g} of that over all rows"
    )
    if plan.error_reached:
        return f"{text}."
    return f"{text}, more than the reference_error that was asked for."


def compact(number: float) -> str:
    """Write a count in four characters or so: ``17.4 M``."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g} "


def show_ranking(console: Console, audit: Audit) -> None:
    """Print the ranked contexts with their standard errors, and the caveats.

    Targets that do not fit beside the other columns get tables of their own below.
    """
    scores = audit.scores(errors=True).to_dict("records")
    headers = ("context", "usefulness τ", "d*", "association", "Σ s²", "parts")
    rows = [
        (
            Text(str(row["context"]), style="bold"),
            _with_error(row["usefulness"], row["usefulness_standard_error"], 4),
            str(row["best_rank"]),
            _association(row),
            f"{row['total_association']:,.2f}",
            str(row["components"]),
        )
        for row in scores
    ]
    columns = columns_of(headers, rows)
    targets = {
        f"ρ({target})": [Text(_target_cell(row, target)) for row in scores]
        for target in audit.targets
    }
    together = total_width(widths_of(columns | targets)) <= console.width
    title = f"Contexts of {audit.attributes['name']}, best first"
    dim = {i for i, row in enumerate(scores) if row["abstains"]}
    print_table(
        console,
        columns | targets if together else columns,
        title=title,
        left=("association",),
        optional=("parts", "Σ s²"),
        dim=dim,
    )
    if not together:
        _print_targets(console, columns["context"], targets, dim)
    console.print("\nLower τ is better. d* is the number of dimensions the context deserves.")
    for sentence in audit.caveats():
        console.print(f"• {escape(sentence)}", style="dim")


def _print_targets(console: Console, names: list[Text], targets: Columns, dim: set[int]) -> None:
    title = "Compatibility ρ with targets"
    folded = {"\n".join(wrap(header, 24)): cells for header, cells in targets.items()}
    # The names fold only where they would take more than half of the width.
    first = min(widths_of({"context": names})["context"], max(NARROWEST, console.width // 2))
    while folded:
        part: Columns = {"context": names}
        for header in list(folded):
            wider = part | {header: folded[header]}
            if len(part) > 1 and total_width(widths_of(wider) | {"context": first}) > console.width:
                break
            part = wider
            del folded[header]
        console.print()
        print_table(console, part, title=title, dim=dim)
        title = ""


def _association(row: dict[Any, Any]) -> Text:
    word = str(row["association"])
    return Text(f"{word}, abstains" if row["abstains"] else word, style=_COLOURS[word])


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
    headers = ("run", "name", "status", "started", "took", "contexts", "rows")
    rows = []
    for row in runs.to_dict("records"):
        started = _time(row["started"])
        took = _time(row["finished"]) - started
        rows.append(
            (
                row["run"],
                str(row["name"]),
                row["status"],
                "" if pd.isna(started) else f"{started:%Y-%m-%d %H:%M}",
                "" if pd.isna(took) else f"{took.total_seconds():.0f} s",
                str(row["contexts"]),
                "" if pd.isna(row["rows"]) else f"{row['rows']:.0f}",
            )
        )
    optional = ("rows", "contexts", "took")
    columns = columns_of(headers, rows)
    print_table(console, columns, folds="name", left=headers, optional=optional)


def _time(text: Any) -> Any:
    # What pd.to_datetime makes of None depends on the version of pandas.
    return pd.Timestamp(text) if text else pd.NaT


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
