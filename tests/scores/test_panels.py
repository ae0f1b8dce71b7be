"""Many tasks at a time: the same numbers as one by one, in bounded memory and few passes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator, decompose_operator
from contexture.contexts.base import Rows
from contexture.lazy import LazyBlocks
from contexture.scores import compatibility, one_vs_rest, panels
from contexture.scores.centred import CentredColumns
from contexture.scores.compatibility import compatibility_of_classes
from contexture.scores.panels import Compatibility
from contexture.spectrum import Spectrum

N, M, LEVELS = 90, 30, 7


class Counted(LazyBlocks):
    """Blocks that are made anew, and counted."""

    def __init__(self, P: Rows, height: int) -> None:
        self.P, self.height, self.made = P, height, 0

    def __len__(self) -> int:
        return -(-self.P.shape[0] // self.height)

    def block(self, number: int) -> Rows:
        self.made += 1
        return self.P[number * self.height : (number + 1) * self.height]


def weighted_operator(kind: str) -> ExpectationOperator:
    rng = np.random.default_rng(2)
    P = rng.dirichlet(np.full(M, 0.2), size=N)
    P[P < 1e-3] = 0
    P /= P.sum(axis=1, keepdims=True)
    given = P if kind == "dense" else sparse.csr_array(P)
    return ExpectationOperator.from_conditional(given, rng.uniform(0.5, 2, N))


def some_codes() -> np.ndarray:
    """Classes of every size, one that nobody has, and missing ones."""
    codes = np.random.default_rng(3).integers(-1, LEVELS - 1, N)
    codes[:5] = LEVELS - 2
    return codes


def by_definition(
    operator: ExpectationOperator, tasks: np.ndarray, spectrum: Spectrum
) -> Compatibility:
    """All at once, from the whole of P."""
    p, q, P = operator.input_weights, operator.context_weights, operator.conditional()
    seen = ~np.isnan(tasks)
    mass = p @ seen
    f = np.where(seen, tasks - p @ np.where(seen, tasks, 0) / mass, 0)
    norm = p @ (f**2).sum(axis=1)
    g = (P.T @ (p[:, None] * f)) / q[:, None]
    square = q @ (g**2).sum(axis=1) / norm
    offsets = p @ (seen * (P @ g)) / mass
    influence = (2 * f * (P @ g - offsets) - P @ g**2 - square * f**2).sum(axis=1)
    error = np.sqrt(np.sum((p * influence) ** 2)) / norm / (2 * np.sqrt(square))
    u = spectrum.right.T @ (q[:, None] * g)
    energy = (u**2).sum(axis=1) / spectrum.eigenvalues[: len(u)] / norm
    return Compatibility(np.sqrt(square), error, energy)


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("columns", [1, 3, LEVELS])
def test_panels_change_nothing(kind: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    operator, codes = weighted_operator(kind), some_codes()
    spectrum = decompose_operator(operator, 8)
    indicators = one_vs_rest(codes, LEVELS)
    there = indicators[:, :-1]
    monkeypatch.setattr(panels, "PANEL_BYTES", 8 * M * columns)
    found = compatibility_of_classes(operator, codes, LEVELS, spectrum)
    pairs = [
        (found.pooled, by_definition(operator, there, spectrum)),
        (found.pooled, compatibility(operator, indicators, spectrum)),
        *(
            (found.each[c], by_definition(operator, there[:, c : c + 1], spectrum))
            for c in range(LEVELS - 1)
        ),
    ]
    for one, other in pairs:
        assert one.value == pytest.approx(other.value, rel=1e-12)
        assert one.standard_error == pytest.approx(other.standard_error, rel=1e-10)
        np.testing.assert_allclose(one.energy, other.energy, rtol=1e-9, atol=1e-14)
    assert len(found.each) == LEVELS
    nobody = found.each[-1]
    assert np.isnan([nobody.value, nobody.standard_error, *nobody.energy]).all()
    assert nobody.energy.shape == (8,)


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("gaps", [0, 2, 4])
def test_numbers_with_gaps(
    kind: str, columns: int, gaps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of the numbers have gaps, each its own, and those that are missing are low ones."""
    operator = weighted_operator(kind)
    spectrum = decompose_operator(operator, 8)
    tasks = np.random.default_rng(6).normal(size=(N, 5)) + 3 * spectrum.left[:, :5]
    for c in range(gaps):
        tasks[tasks[:, c] < c / 4, c] = np.nan
    monkeypatch.setattr(panels, "PANEL_BYTES", 8 * M * columns)
    found = panels.compatibilities(
        operator, CentredColumns(tasks, operator.input_weights), spectrum
    )
    pairs = [(found.pooled, by_definition(operator, tasks, spectrum))]
    for c in range(5):
        pairs.append((found.each[c], by_definition(operator, tasks[:, c : c + 1], spectrum)))
    for one, other in pairs:
        assert one.value == pytest.approx(other.value, rel=1e-12)
        assert one.standard_error == pytest.approx(other.standard_error, rel=1e-10)
        np.testing.assert_allclose(one.energy, other.energy, rtol=1e-9, atol=1e-14)


def test_two_passes_a_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of T* and one of T, for all classes of the panel; a constant needs no second one."""
    operator, codes = weighted_operator("csr"), some_codes()
    blocks = Counted(operator.conditional(), 20)
    lazy = ExpectationOperator(blocks, operator.input_weights, operator.context_weights)
    whole = compatibility_of_classes(lazy, codes, LEVELS)
    assert blocks.made == 2 * 5
    monkeypatch.setattr(panels, "PANEL_BYTES", 8 * M * 3)
    blocks.made = 0
    found = compatibility_of_classes(lazy, codes, LEVELS)
    # Three panels; in the last stands only the class that nobody has.
    assert blocks.made == (2 + 2 + 1) * 5
    assert found.pooled.value == pytest.approx(whole.pooled.value, rel=1e-12)
    assert found.pooled.energy.shape == (0,)
    # Gaps of numbers need no pass of their own.
    tasks = np.random.default_rng(8).normal(size=(N, 3))
    tasks[:30] = np.nan
    blocks.made = 0
    compatibility(lazy, tasks)
    assert blocks.made == 2 * 5


def test_without_any_class() -> None:
    found = compatibility_of_classes(weighted_operator("dense"), np.full(N, -1), 0)
    assert found.each == ()
    assert np.isnan([found.pooled.value, found.pooled.standard_error]).all()


@pytest.mark.parametrize("least", [0, -1])
def test_memory_is_that_of_a_panel(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows × classes would be 61 MiB, and there would be several such arrays."""
    n, q, k = 20_000, 400, 3
    rng = np.random.default_rng(4)
    P = sparse.csr_array(
        (np.full(n * k, 1 / k), rng.integers(0, n, n * k), np.arange(0, n * k + 1, k)),
        shape=(n, n),
    )
    operator = ExpectationOperator.from_conditional(P)
    codes = rng.integers(least, q, n)
    monkeypatch.setattr(panels, "PANEL_BYTES", 2**20)
    tracemalloc.start()
    try:
        found = compatibility_of_classes(operator, codes, q)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.each) == q
    # About four panels, and a few numbers a row.
    assert peak < 6 * 2**20
