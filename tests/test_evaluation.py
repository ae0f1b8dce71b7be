"""Targets of many classes; what else an evaluation holds is tested where it is computed."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import contexture as cx
from contexture.corpus import Target
from contexture.scores import compatibility, one_vs_rest, panels
from contexture.scores.association import Sampled

KNOWN = (Sampled(0.5, 0.0, 1), Sampled(1.0, 0.0, 1))


def test_classes_are_scored_pooled_and_one_by_one() -> None:
    rng = np.random.default_rng(1)
    operator = cx.ExpectationOperator.from_conditional(rng.dirichlet(np.full(9, 0.3), size=50))
    spectrum = cx.decompose_operator(operator)
    target = Target("c", "class", rng.integers(-1, 3, 50), ("a", "b", "c"))
    (score,) = cx.evaluate(operator, spectrum, rng.normal(size=(50, 2)), (target,)).targets
    indicators = one_vs_rest(target.values, 3)
    assert (score.target, score.rows) == (target, 50)
    assert score.observed == (target.values >= 0).sum()
    expected = [indicators, *indicators.T]
    for found, tasks in zip((score.pooled, *score.classes), expected, strict=True):
        there = compatibility(operator, tasks, spectrum)
        assert found.value == pytest.approx(there.value, rel=1e-12)
        assert found.standard_error == pytest.approx(there.standard_error, rel=1e-10)
        np.testing.assert_allclose(found.energy, there.energy, rtol=1e-9, atol=1e-15)


def test_many_classes_take_the_memory_of_a_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows × classes would be 61 MiB, and there would be several such arrays."""
    n, q, m = 20_000, 400, 40
    rng = np.random.default_rng(2)
    operator = cx.ExpectationOperator.from_conditional(rng.dirichlet(np.full(m, 0.3), size=n))
    spectrum = cx.decompose_operator(operator, 5).truncated(3)
    target = Target("c", "class", rng.integers(0, q, n), tuple(map(str, range(q))))
    monkeypatch.setattr(panels, "PANEL_BYTES", 2**20)
    tracemalloc.start()
    try:
        found = cx.evaluate(operator, spectrum, np.zeros((n, 1)), (target,), sampled=KNOWN)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.targets[0].classes) == q
    assert peak < 8 * 2**20
