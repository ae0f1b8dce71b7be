"""What was foreseen, against what the solver then needs."""

from __future__ import annotations

import numpy as np
import pytest

from contexture.estimators import krylov
from contexture.estimators.chebyshev import Filter
from contexture.estimators.deflation import Space
from contexture.estimators.density import Density
from contexture.estimators.forecast import Forecast, forecast
from contexture.estimators.looks import Looks
from contexture.estimators.sizes import BLOCK
from contexture.inputs import FloatArray

SIDE = 3000
SPECTRA = {
    "slow": np.linspace(1, 0, SIDE) ** 2,
    "fast": np.exp(-np.arange(SIDE) / 150),
    "bulk": 0.8 - 0.7 * np.linspace(0, 1, SIDE) ** (2 / 3),
}


def ran(
    values: FloatArray,
    count: int,
    tolerance: float,
    dtype: type,
    monkeypatch: pytest.MonkeyPatch,
    memory: int | None = None,
) -> tuple[Forecast, Forecast]:
    """What is foreseen for a diagonal operator, and what the solver needs if it always looks."""
    column, foreseen, seen = values.astype(dtype)[:, None], [], []
    given = forecast

    def kept(*arguments: object) -> Forecast:
        foreseen.append(given(*arguments))
        return foreseen[-1]

    monkeypatch.setattr(krylov, "forecast", kept)
    monkeypatch.setattr(Looks, "due", lambda self, used: used >= self._kept)
    space = Space(np.ones(SIDE))
    solver = krylov._Solver(lambda X: column * X, space, count, tolerance, np.dtype(dtype), None)
    solver.prepare(memory, None)
    solver.start()
    for cycle in range(9):
        if solver.grow() or solver.estimate() <= solver.goal:
            seen.append(Forecast(cycle, solver.basis.used))
            break
        solver.cut_down(krylov.columns_kept(solver.kept, solver.limit))
    solver.basis.close()
    return foreseen[0], seen[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize("count", [100, 250])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_solver_needs_what_was_foreseen(
    name: str, count: int, dtype: type, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreseen, needed = ran(SPECTRA[name], count, tolerance, dtype, monkeypatch)
    assert foreseen.cycle == needed.cycle
    assert abs(foreseen.columns - needed.columns) <= max(2 * BLOCK, 0.08 * needed.columns)


def test_restarts_are_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    column = SIDE * 8
    foreseen, needed = ran(SPECTRA["slow"], 100, 1e-10, np.float64, monkeypatch, 280 * column)
    assert needed.cycle >= 1
    assert foreseen.cycle == needed.cycle
    assert abs(foreseen.columns - needed.columns) <= 2 * BLOCK


def exact(values: FloatArray) -> Density:
    return Density(values, np.ones(len(values)), values, np.arange(len(values)) + 0.5)


def test_nothing_is_foreseen_of_values_that_are_all_alike() -> None:
    found = forecast(exact(np.full(2000, 0.5)), 2000, Filter(0.6, 3), 100, 132, 300, 1e-6)
    assert found.cycle > 0
    assert found.columns == 300


def test_a_space_that_is_nearly_filled() -> None:
    found = forecast(exact(np.linspace(1, 0.5, 200)), 200, Filter(0.0, 1), 100, 132, 200, 1e-6)
    assert found.cycle == 0
    assert 132 <= found.columns <= 200


def test_the_same_every_time() -> None:
    given = exact(SPECTRA["slow"]), SIDE, Filter(0.5, 3), 150, 182, 500, 1e-6
    assert forecast(*given) == forecast(*given)
