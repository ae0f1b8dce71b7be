"""Compatibility from moments, function by function and all at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest

import contexture as cx
from contexture.corpus import Target
from contexture.errors import InputError
from contexture.moments import halves_of
from contexture.scores import streamed
from contexture.scores.compatibility import compatibility_of_classes
from contexture.scores.panels import Compatibility
from contexture.scores.streamed import compatibility_of_moments
from contexture.spectrum import Spectrum
from contexture.task_moments import TaskMoments, task_columns

ROWS, M, LEVELS, GROUPS, FUNCTIONS = 240, 20, 5, 4, 3


@dataclass
class Sums:
    parts: list[TaskMoments]
    masses: np.ndarray
    marginals: np.ndarray
    spectrum: Spectrum


def some_sums(levels: int = LEVELS, groups: int = GROUPS, m: int = M, rows: int = ROWS) -> Sums:
    """Of classes, one of which nobody has, or of a number if there are none.

    Nobody chose context value 2, one group not value 3.
    """
    rng = np.random.default_rng(8)
    P = rng.dirichlet(np.full(m, 0.3), size=rows)
    P[:, 2] = 0
    P[: rows // GROUPS, 3] = 0
    P /= P.sum(axis=1, keepdims=True)
    p, codes = rng.uniform(1, 2, rows), rng.integers(-1, max(1, levels - 1), rows)
    target = Target("t", "class", codes, tuple(map(str, range(levels))))
    if not levels:  # a number, whose mean is not 0, with gaps
        number = np.where(rng.random(rows) < 0.2, np.nan, 3 * P[:, 0] + rng.normal(5, 1, rows))
        target = Target("t", "number", number)
    slices = [slice(g * rows // groups, (g + 1) * rows // groups) for g in range(groups)]
    parts = [
        TaskMoments.of(P[s], p[s], task_columns(replace(target, values=target.values[s])))
        for s in slices
    ]
    spectrum = Spectrum(
        singular_values=np.array([0.9, 0.7, 0.4, 0.1]),
        left=np.empty((rows, 0)),
        right=rng.normal(size=(m - 1, FUNCTIONS)),
        eigenvalue_covariance=np.zeros((4, 4)),
        input_weights=p / p.sum(),
        context_weights=np.delete(P.T @ p, 2) / p.sum(),
        context_values=np.arange(m - 1),
        total_association=2.0,
        components=1,
        method="",
        noise_floor=0.0,
        numerical_error=np.zeros(4),
    )
    masses = np.array([p[s].sum() for s in slices])
    return Sums(parts, masses, np.stack([P[s].T @ p[s] for s in slices]), spectrum)


def by_definition(sums: Sums, functions: list[int]) -> Compatibility:
    """As theory.md §5 has it, from whole sums."""

    def square_and_norm(w: np.ndarray) -> tuple[float, float, np.ndarray]:
        cross = sum(c * part.cross for c, part in zip(w, sums.parts, strict=True))
        total = sum(c * part.total for c, part in zip(w, sums.parts, strict=True))
        square = sum(c * part.square for c, part in zip(w, sums.parts, strict=True))
        p, mass = w @ sums.marginals, w @ sums.masses
        mean = total[functions] / total[-1]
        adjoint = (cross[:, functions] - cross[:, -1:] * mean) / mass
        there = p > 0
        of_adjoint = np.sum(adjoint[there] ** 2 / (p[there, None] / mass))
        return of_adjoint, float(np.sum(square[functions] - total[-1] * mean**2) / mass), adjoint

    whole, step, spread = np.ones(len(sums.parts)), 1e-5, 0.0
    square, norm, adjoint = square_and_norm(whole)
    # The derivative along the moments of what the halves of a block differ by.
    for g in range(0, len(whole), 2):
        along = np.zeros(len(whole))
        along[g], along[g + 1] = step, -step
        moved = [square_and_norm(whole + way)[:2] for way in (along, -along)]
        roots = [np.sqrt(one / other) for one, other in moved]
        spread += ((roots[0] - roots[1]) / (2 * step)) ** 2
    u = sums.spectrum.right.T @ np.delete(adjoint, 2, axis=0)
    energy = (u**2).sum(axis=1) / sums.spectrum.eigenvalues[:FUNCTIONS] / norm
    return Compatibility(np.sqrt(square / norm), np.sqrt(spread), energy)


@pytest.mark.parametrize("columns", [1, 3, LEVELS])
def test_panels_change_nothing(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = some_sums()
    monkeypatch.setattr(streamed, "PANEL_BYTES", 8 * (M - 1) * columns)
    found = compatibility_of_moments(sums.parts, sums.masses, sums.marginals, sums.spectrum)
    there = list(range(LEVELS - 1))
    pairs = [(found.pooled, by_definition(sums, there))]
    pairs += [(found.each[c], by_definition(sums, [c])) for c in there]
    for one, other in pairs:
        assert one.value == pytest.approx(other.value, rel=1e-11)
        assert one.standard_error == pytest.approx(other.standard_error, rel=1e-7)
        np.testing.assert_allclose(one.energy, other.energy, rtol=1e-9)
    nobody = found.each[-1]
    assert np.isnan([nobody.value, nobody.standard_error, *nobody.energy]).all()


def test_a_number_with_gaps() -> None:
    sums = some_sums(levels=0)
    found = compatibility_of_moments(sums.parts, sums.masses, sums.marginals, sums.spectrum)
    expected = by_definition(sums, [0])
    assert len(found.each) == 1
    for one in (found.pooled, found.each[0]):
        assert one.value == pytest.approx(expected.value, rel=1e-11)
        assert one.standard_error == pytest.approx(expected.standard_error, rel=1e-7)
        np.testing.assert_allclose(one.energy, expected.energy, rtol=1e-9)


@pytest.mark.parametrize(("levels", "blocks", "off"), [(5, 120, 0.4), (24, 24, 2.0)])
def test_the_error_is_that_of_the_rows_in_any_order(levels: int, blocks: int, off: float) -> None:
    """Rows sorted by their class, some without one, with 24 classes in a block each.

    What the sums of blocks differ by is no error. Of what stands in one block alone the error has
    one degree of freedom: right on average over the classes only.
    """
    rng, rows = np.random.default_rng(1), 6000
    P = rng.dirichlet(np.full(M, 0.3), size=rows)
    P = P[np.argsort(P @ np.arange(M))]
    codes = np.where(rng.random(rows) < 0.1, -1, np.arange(rows) * levels // rows)
    target = Target("t", "class", codes, tuple(map(str, range(levels))))
    operator = cx.ExpectationOperator.from_conditional(P)
    spectrum = cx.decompose_operator(operator)
    expected = compatibility_of_classes(operator, codes, levels, spectrum)
    cuts = [slice(start, start + rows // blocks) for start in range(0, rows, rows // blocks)]
    halves = [cut.start + np.flatnonzero(h) for cut in cuts for h in halves_of(cut)]
    parts = [
        TaskMoments.of(P[h], np.ones(len(h)), task_columns(replace(target, values=codes[h])))
        for h in halves
    ]
    masses = np.array([float(len(h)) for h in halves])
    marginals = np.stack([P[h].sum(axis=0) for h in halves])
    found = compatibility_of_moments(parts, masses, marginals, spectrum)
    ratios = []
    for one, other in [
        (found.pooled, expected.pooled),
        *zip(found.each, expected.each, strict=True),
    ]:
        assert one.value == pytest.approx(other.value, rel=1e-10)
        if other.standard_error > 0:
            ratios.append(one.standard_error / other.standard_error)
    assert np.sqrt(np.mean(np.square(ratios))) == pytest.approx(1, abs=0.25)
    assert max(ratios) < 1 + off


def test_as_many_of_each_are_needed() -> None:
    sums = some_sums()
    for parts, masses, marginals in ((3, 3, 3), (2, 4, 4), (4, 3, 4), (4, 4, 3), (0, 0, 0)):
        message = (
            f"there are moments of {parts} halves of blocks, {masses} masses and {marginals} "
            "marginals; as many are needed of each, and two of every block."
        )
        with pytest.raises(InputError, match=message):
            compatibility_of_moments(
                sums.parts[:parts], sums.masses[:masses], sums.marginals[:marginals], sums.spectrum
            )


class Once:
    """Parts that are read when they are asked for, as from a store."""

    def __init__(self, parts: list[TaskMoments]) -> None:
        self.parts, self.read = parts, 0

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, at: int) -> TaskMoments:
        part = self.parts[at]
        self.read += 1
        return TaskMoments(part.cross.copy(), part.total.copy(), part.square.copy())

    def __iter__(self) -> Iterator[TaskMoments]:
        return (self[at] for at in range(len(self)))


def test_parts_are_read_twice_and_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is that of a panel, and of one part; so is work: every column is looked at once."""
    q, m, groups = 400, 200, 24
    sums = some_sums(q, groups, m, 1200)
    once = Once(sums.parts)
    monkeypatch.setattr(streamed, "PANEL_BYTES", 8 * (m - 1) * q)
    parts = cast(list[TaskMoments], once)
    tracemalloc.start()
    try:
        found = compatibility_of_moments(parts, sums.masses, sums.marginals, sums.spectrum)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.each) == q
    assert once.read == 1 + 2 * groups
    part = 8 * m * (q + 1)
    assert peak < 7 * part < 1 / 3 * groups * part
