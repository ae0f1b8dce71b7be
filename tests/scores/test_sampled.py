"""Association from a sample of rows against the one over all of them."""

from __future__ import annotations

import numpy as np
import pytest

import contexture as cx
from contexture.contexts import Context, Knn, MaskedKnn, Rbf
from contexture.scores import kernel_deviation, lipschitz_constant
from contexture.scores import sampled as module
from contexture.scores.sampled import draw_positions, sampled_association


def features(n: int, weights: np.ndarray | None = None) -> cx.Features:
    X = np.random.default_rng(n).normal(size=(n, 3))
    return cx.Features.from_array(X, input_weights=weights)


@pytest.mark.parametrize(
    "context", [Knn(k=4, reference=90), MaskedKnn(k=4, n_masks=3), Rbf(gamma=5)], ids=str
)
@pytest.mark.parametrize("weighted", [False, True])
def test_all_rows_give_what_the_operator_gives(context: Context, weighted: bool) -> None:
    weights = np.random.default_rng(0).uniform(0.1, 9, 300) if weighted else None
    data = features(300, weights)
    operator = cx.operator_of(data, context)
    deviation, lipschitz = sampled_association(
        _all_weights(operator, data, context), context.fit(data, 0), data.X, seed=3
    )
    assert deviation.value == pytest.approx(kernel_deviation(operator).value, rel=1e-9)
    assert lipschitz.value == pytest.approx(lipschitz_constant(operator, data.X).value, rel=1e-8)
    assert (deviation.standard_error, lipschitz.standard_error) == (0.0, 0.0)
    assert (deviation.rows, lipschitz.rows) == (300, 300)


def _all_weights(
    operator: cx.ExpectationOperator, data: cx.Features, context: Context
) -> np.ndarray:
    names = np.asarray(context.fit(data, 0).context_values)
    whole = np.zeros(len(names))
    whole[np.isin(names, operator.context_values)] = operator.context_weights
    return whole


def test_nearly_no_association_between_rows_is_not_taken_for_more_than_there_can_be() -> None:
    # P is nearly the identity: k(x, x) is n, and 1000 draws and themselves are no pairs.
    data = features(1500)
    context = Rbf(gamma=1e6)
    operator = cx.operator_of(data, context)
    found, steep = sampled_association(
        operator.context_weights, context.fit(data, 0), data.X, seed=0
    )
    exact = kernel_deviation(operator, max_rows=1500).value
    assert exact == pytest.approx(2 * (1 - 1 / 1500), rel=1e-6)
    assert found.value == pytest.approx(exact, abs=5 * found.standard_error)
    assert 0 < found.standard_error < 0.3
    assert np.isnan(steep.standard_error)  # the largest of a sample


@pytest.mark.parametrize("context", [Knn(k=20, reference=300), Rbf(gamma=8)], ids=str)
def test_samples_are_right_on_average_and_know_their_error(context: Context) -> None:
    weights = np.random.default_rng(1).gamma(0.5, size=2500) + 0.01
    data = features(2500, weights)
    operator = cx.operator_of(data, context)
    p_a, evidence = _all_weights(operator, data, context), context.fit(data, 0)
    exact = kernel_deviation(operator, max_rows=2500).value
    found = [sampled_association(p_a, evidence, data.X, seed)[0] for seed in range(12)]
    values, errors = (np.array([getattr(f, k) for f in found]) for k in ("value", "standard_error"))
    assert abs(values.mean() - exact) < 3.5 * errors.mean() / np.sqrt(12)
    assert 0.4 < values.std(ddof=1) / errors.mean() < 2


def test_columns_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data = features(400)
    context = Rbf(gamma=3)
    p_a, evidence = cx.operator_of(data, context).context_weights, context.fit(data, 0)
    whole = sampled_association(p_a, evidence, data.X, seed=0)
    monkeypatch.setattr(module, "PANEL_BYTES", 8 * 400 * 7)  # seven columns
    parts = sampled_association(p_a, evidence, data.X, seed=0)
    for one, other in zip(whole, parts, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-10)


def test_draws_need_no_memory_a_row_and_follow_the_weights() -> None:
    n = 10**9
    positions = draw_positions(np.broadcast_to(1.0 / n, (n,)), 0)
    assert len(positions) == 1000
    assert (np.diff(positions) >= 0).all()
    weighted = np.r_[np.full(5000, 1e-12), np.ones(3)]
    chosen = draw_positions(weighted / weighted.sum(), 0)
    assert (chosen >= 5000).mean() > 0.99
