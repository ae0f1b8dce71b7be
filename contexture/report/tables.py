"""Rows of the report's tables, as text."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contexture.report.content import Content, Curve, Task
from contexture.report.numbers import error_of, fixed, significant, with_error

CLASSES_SHOWN = 40
"""Classes of a target that are listed."""


@dataclass(frozen=True)
class Cell:
    """A score as text; ``error`` is empty where the score has none or is exact."""

    value: str
    error: str = ""


@dataclass(frozen=True)
class Bar:
    """ρ of a context as a bar, in per cent of the width; NaN gives no bar."""

    curve: Curve
    cell: Cell
    width: float
    low: float
    high: float


def score_cells(curve: Curve) -> list[Cell]:
    """Cells of the ranking between association and targets, in the order of the page's head."""
    scores = curve.scores
    lipschitz = significant(float(scores["lipschitz"]))
    # Without a standard error it is a maximum over a sample, which can only be too small.
    sampled = scores["lipschitz_standard_error"] != 0 and lipschitz not in "–∞"
    return [
        Cell(significant(float(scores["decay_rate"]))),
        Cell(significant(float(scores["total_association"]))),
        _with_error(scores, "kernel_deviation"),
        Cell(f"≥ {lipschitz}" if sampled else lipschitz),
        Cell(str(scores["components"])),
    ]


def usefulness_cell(curve: Curve) -> Cell:
    """τ and its standard error."""
    return _with_error(curve.scores, "usefulness")


def ranking_rows(content: Content) -> list[dict[str, str]]:
    """Write the ranking as rows of text, for places that show plain tables."""
    names = ("decay rate λ", "Σ s²", "kernel deviation", "Lipschitz", "parts")
    rows = []
    for curve in content.curves:
        scores = curve.scores
        error, word = float(scores["usefulness_standard_error"]), str(scores["association"])
        targets = zip(content.tasks, target_cells(curve, content), strict=True)
        others = zip(names, score_cells(curve), strict=True)
        rows.append(
            {
                "context": curve.name,
                # A digit more than in the page, as in the terminal.
                "usefulness τ": with_error(curve.value, error, 4),
                "d*": str(curve.best_rank),
                "association": f"{word}, abstains" if curve.abstention else word,
                **{f"ρ({task.name})": _line(cell) for task, cell in targets},
                **{name: _line(cell) for name, cell in others},
                "family": str(scores["family"]),
            }
        )
    return rows


def _line(cell: Cell) -> str:
    return f"{cell.value} {cell.error}".strip()


def target_cells(curve: Curve, content: Content) -> list[Cell]:
    """ρ of every target with a context."""
    scores = [task.scores[curve.number - 1] for task in content.tasks]
    return [Cell(fixed(score.value), error_of(score.error)) for score in scores]


def bars(task: Task, content: Content) -> list[Bar]:
    """One bar a context, in ranking order."""
    found = []
    for curve, score in zip(content.curves, task.scores, strict=True):
        error = score.error if score.error == score.error else 0.0
        found.append(
            Bar(
                curve,
                Cell(fixed(score.value), error_of(score.error)),
                _percent(score.value),
                _percent(score.value - error),
                _percent(score.value + error),
            )
        )
    return found


def class_rows(task: Task, columns: int) -> list[tuple[str, list[Cell]]]:
    """Classes of a target, one cell for each of the first contexts."""
    return [
        (level, [Cell(fixed(score.value), error_of(score.error)) for score in scores[:columns]])
        for level, scores in zip(task.levels, task.by_class, strict=True)
    ][:CLASSES_SHOWN]


def facts(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what is known of where the results come from, as names and values.

    The configuration stands apart, and the machine that computed stays private.
    """
    configuration = provenance.get("configuration")
    settings = configuration if isinstance(configuration, Mapping) else {}
    partitions = provenance.get("partitions")
    named = {
        "Name": provenance.get("name"),
        "Status": provenance.get("status"),
        "Started": _time(provenance.get("started")),
        "Finished": _time(provenance.get("finished")),
        "Duration": _duration(provenance.get("started"), provenance.get("finished")),
        "Parent run": provenance.get("parent") or "none",
        "Seed": provenance.get("seed", settings.get("seed")),
        "Corpus": provenance.get("source"),
        "Corpus fingerprint": provenance.get("corpus_fingerprint"),
        "Features": provenance.get("features"),
        "Rows": provenance.get("rows"),
        "Columns of X": provenance.get("columns"),
        "Partitions": len(partitions) if isinstance(partitions, list) else None,
    }
    versions = provenance.get("versions")
    if isinstance(versions, Mapping):
        named["Versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    return [(name, str(value)) for name, value in named.items() if value not in (None, "")]


def configuration(provenance: Mapping[str, Any]) -> str:
    """Write the configuration as JSON; empty if there is none."""
    found = provenance.get("configuration")
    return json.dumps(found, indent=2, ensure_ascii=False, default=str) if found else ""


def description(curve: Curve) -> str:
    """Parameters of a context that were set, in one line."""
    found = curve.attributes.get("description")
    if not isinstance(found, Mapping):
        return ""
    return ", ".join(
        f"{name} = {value if isinstance(value, str) else json.dumps(value, default=str)}"
        for name, value in found.items()
        if value is not None
    )


def _with_error(scores: Mapping[str, Any], name: str) -> Cell:
    return Cell(fixed(float(scores[name])), error_of(float(scores[f"{name}_standard_error"])))


def _percent(share: float) -> float:
    return round(100 * min(1.0, max(0.0, share)), 2) if share == share else 0.0


def _moment(text: Any) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None


def _time(text: Any) -> str:
    moment = _moment(text)
    if moment is None:
        return str(text or "")
    if moment.tzinfo is not None:
        return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _duration(start: Any, end: Any) -> str:
    first, last = _moment(start), _moment(end)
    if first is None or last is None or (first.tzinfo is None) != (last.tzinfo is None):
        return ""
    seconds = int((last - first).total_seconds())
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
