"""What a report shows, read from the audit once: plain values, contexts in ranking order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr

from contexture.inputs import FloatArray
from contexture.store.audit import Audit

COLOURS = 6
"""Colours that stay apart for colour-blind people and on light and dark ground."""

COLOURED = 2 * COLOURS
"""Contexts drawn in colour, the best ones; from the seventh on their lines are dashed."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One context as the figures show it.

    Attributes
    ----------
    number : int
        Place in the ranking, from 1; the label of its lines.
    name : str
    scores : mapping
        Its row of ``Audit.scores(errors=True)``.
    attributes : mapping
        Of its group in the store.
    squares, squares_error : ndarray of shape (k,)
        s_i² and their standard errors.
    usefulness : ndarray of shape (k,)
        τ_1 .. τ_k.
    """

    number: int
    name: str
    scores: Mapping[str, Any]
    attributes: Mapping[str, Any]
    squares: FloatArray
    squares_error: FloatArray
    usefulness: FloatArray

    @property
    def colour(self) -> int | None:
        """Number of its colour from 0, or None where it is drawn grey."""
        return (self.number - 1) % COLOURS if self.number <= COLOURED else None

    @property
    def dashed(self) -> bool:
        """Whether its line is dashed, the second cue beside colour."""
        return COLOURS < self.number <= COLOURED

    @property
    def value(self) -> float:
        """τ."""
        return float(self.scores["usefulness"])

    @property
    def best_rank(self) -> int:
        """d*."""
        return int(self.scores["best_rank"])

    @property
    def abstention(self) -> str:
        """Empty, "too weak" or "too strong"."""
        return str(self.attributes.get("abstention", ""))

    @property
    def reference_error(self) -> float:
        """Expected error of τ against all rows as references; 0 where these are all rows."""
        return float(self.attributes.get("reference_error") or 0.0)

    @property
    def beta(self) -> float:
        """β."""
        return float(self.attributes.get("beta", 1.0))


@dataclass(frozen=True)
class Score:
    """ρ of one task with one context."""

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class Task:
    """A target against all contexts, these in ranking order.

    Attributes
    ----------
    name, kind : str
    scores : tuple of Score
    energies : tuple of ndarray
        Share of the target on each component.
    levels : tuple of str
        Its classes, those that the best context serves best coming first.
    by_class : tuple of tuple of Score
        For each level, in the same order, one score a context.
    """

    name: str
    kind: str
    scores: tuple[Score, ...]
    energies: tuple[FloatArray, ...]
    levels: tuple[str, ...]
    by_class: tuple[tuple[Score, ...], ...]

    @property
    def constant(self) -> bool:
        """Whether the target takes one value only, so that ρ is not defined."""
        return all(np.isnan(score.value) for score in self.scores)


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that the figures and the page are made of."""

    audit: Audit
    curves: tuple[Curve, ...]
    tasks: tuple[Task, ...]

    @classmethod
    def read(cls, audit: Audit) -> Self:
        """Read an audit."""
        curves = read_curves(audit)
        return cls(audit, curves, tuple(_read_task(audit, name, curves) for name in audit.targets))


def read_curves(audit: Audit) -> tuple[Curve, ...]:
    """Read scores, spectra and usefulness curves, contexts in ranking order."""
    curves = []
    for number, row in enumerate(audit.scores(errors=True).to_dict("records"), start=1):
        name = str(row["context"])
        spectrum = audit.spectrum(name)
        singular = _floats(spectrum["singular_value"])
        curves.append(
            Curve(
                number=number,
                name=name,
                scores={str(key): value for key, value in row.items()},
                attributes=dict(spectrum.attrs),
                squares=singular**2,
                squares_error=2 * singular * _floats(spectrum["standard_error"]),
                usefulness=_floats(audit.usefulness_curve(name)),
            )
        )
    return tuple(curves)


def _read_task(audit: Audit, name: str, curves: tuple[Curve, ...]) -> Task:
    data = [audit.task(name, curve.name).load() for curve in curves]
    levels: list[str] = []
    by_class: list[tuple[Score, ...]] = []
    if "level" in data[0]:
        found = [str(level) for level in data[0]["level"].values]
        values = np.stack([_floats(d["class_compatibility"]) for d in data], axis=1)
        errors = np.stack([_floats(d["class_standard_error"]) for d in data], axis=1)
        for at in np.argsort(-np.nan_to_num(values[:, 0], nan=-1.0), kind="stable"):
            levels.append(found[at])
            pairs = zip(values[at], errors[at], strict=True)
            by_class.append(tuple(Score(float(v), float(e)) for v, e in pairs))
    return Task(
        name=name,
        kind=str(data[0].attrs.get("kind", "")),
        scores=tuple(
            Score(float(d["compatibility"].item()), float(d["standard_error"].item())) for d in data
        ),
        energies=tuple(_floats(d["energy"]) for d in data),
        levels=tuple(levels),
        by_class=tuple(by_class),
    )


def _floats(array: xr.DataArray) -> FloatArray:
    return np.asarray(array.values, dtype=np.float64)
