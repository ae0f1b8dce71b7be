"""Scores from moments against scores from rows: two routes to the same numbers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import contexture as cx
from contexture.contexts import Context, Knn, MaskedKnn, Rbf
from contexture.contexts.redraw import redrawn, within
from contexture.corpus import Target
from contexture.moments import Moments, halves_of, unit_of
from contexture.scores import usefulness
from contexture.streaming import Draw, Task, _pseudo_values, evaluate_draws
from contexture.task_moments import TaskMoments, task_columns

N = 600


def corpus() -> tuple[cx.Features, tuple[Target, ...]]:
    generator = np.random.default_rng(8)
    X = generator.normal(size=(N, 3))
    number = X[:, 0] * 2.0 + 1e6 + generator.normal(size=N)
    number[::7] = np.nan
    codes = (X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)
    codes[::11] = -1
    targets = (
        Target("number", "number", number),
        Target("class", "class", codes, ("a", "b", "c")),
        Target("constant", "number", np.full(N, 3.5)),
    )
    return cx.Features.from_array(X), targets


def draws_of(context: Context, number: int = 1, blocks: int = 6) -> list[Draw]:
    data, targets = corpus()
    first = context.fit(data, 0)
    found = []
    for draw in range(number):
        evidence = redrawn(first, data.X, data.ids, 0, draw)
        m, step = evidence.shape[1], N // blocks
        parts, tasks = [], []
        for start, half in itertools.product(range(0, N, step), range(2)):
            chosen = halves_of(slice(start, start + step))[half]
            rows = within(evidence, start, start + step).rows(start, start + step)[chosen]
            weights, places = np.ones(chosen.sum()), start + np.flatnonzero(chosen)
            parts.append(Moments.zero(m, unit_of(evidence)).add(rows, weights))
            tasks.append(
                [
                    TaskMoments.of(rows, weights, task_columns(part, shift))
                    for part, shift in (
                        (
                            Target(t.name, t.kind, t.values[places], t.levels),
                            1e6 if t.name == "number" else 0.0,
                        )
                        for t in targets
                    )
                ]
            )
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        found.append(
            Draw(
                total,
                lambda parts=parts: parts,  # type: ignore[misc]
                np.asarray([part.mass for part in parts]),
                np.stack([part.marginal for part in parts]) * total.unit,
                evidence.context_values,
                [
                    Task(t, [group[i] for group in tasks], int(task_columns(t)[:, -1].sum()))
                    for i, t in enumerate(targets)
                ],
            )
        )
    return found


@pytest.mark.parametrize(
    "context",
    [Knn(k=9, reference=120), Rbf(gamma=4, reference=80), MaskedKnn(k=6, n_masks=4, reference=90)],
    ids=lambda c: c.label,
)
def test_all_scores_are_those_of_the_rows(context: Context) -> None:
    data, targets = corpus()
    operator = cx.operator_of(data, context)
    spectrum = cx.decompose_operator(operator, rank=40)
    expected = cx.evaluate(operator, spectrum, data.X, targets, max_rank=40, rank_kept=12)
    found = evaluate_draws(
        draws_of(context), context.fit(data, 0), data.X, max_rank=40, rank_kept=12
    )
    assert found.usefulness.value == pytest.approx(expected.usefulness.value, abs=1e-10)
    assert found.usefulness.best_rank == expected.usefulness.best_rank
    assert found.decay_rate == pytest.approx(expected.decay_rate, rel=1e-6)
    assert found.association == expected.association
    assert found.kernel_deviation.value == pytest.approx(expected.kernel_deviation.value, rel=1e-9)
    assert found.lipschitz.value == pytest.approx(expected.lipschitz.value, rel=1e-9)
    assert found.spectrum.right.shape[1] == 12
    for one, other in zip(found.targets, expected.targets, strict=True):
        assert (one.observed, one.rows) == (other.observed, other.rows)
        pairs = [(one.pooled, other.pooled), *zip(one.classes, other.classes, strict=True)]
        for here, there in pairs:
            assert here.value == pytest.approx(there.value, abs=1e-9, nan_ok=True)
            np.testing.assert_allclose(here.energy, there.energy, atol=1e-8)
            if np.isfinite(there.value):
                assert 0.2 < here.standard_error / there.standard_error < 5


def test_draws_give_errors_and_another_draw_other_references() -> None:
    context = Knn(fraction=0.08, reference=120)
    data, _ = corpus()
    draws = draws_of(context, 4)
    values = [tuple(draw.context_values) for draw in draws]
    assert len(set(values)) == 4
    evidence = context.fit(data, 0)
    one = evaluate_draws(draws[:1], evidence, data.X, max_rank=40)
    all_four = evaluate_draws(draws, evidence, data.X, max_rank=40)
    assert (one.draws, all_four.draws) == (1, 4)
    each = [evaluate_draws([d], evidence, data.X, max_rank=40) for d in draws]
    squares = np.stack([e.spectrum.eigenvalues for e in each])
    np.testing.assert_allclose(all_four.spectrum.eigenvalues, squares.mean(axis=0), atol=1e-12)
    spread = squares.var(axis=0, ddof=1) / 4
    of_inputs = np.mean([np.diag(e.spectrum.eigenvalue_covariance) for e in each], axis=0)
    found = np.diag(all_four.spectrum.eigenvalue_covariance)
    np.testing.assert_allclose(found, spread + of_inputs, rtol=1e-9)
    # Both errors are of what is reported: of the mean spectrum, not of single draws.
    covariance = np.mean([e.spectrum.eigenvalue_covariance for e in each], axis=0)
    of_rows = usefulness(replace(all_four.spectrum, eigenvalue_covariance=covariance), 40)
    without = [usefulness(np.sqrt(np.delete(squares, r, 0).mean(axis=0)), 40) for r in range(4)]
    for left_out, inputs, error in (
        ([u.value for u in without], of_rows.standard_error, all_four.usefulness.standard_error),
        (
            [u.best_rank for u in without],
            of_rows.best_rank_standard_error,
            all_four.usefulness.best_rank_standard_error,
        ),
    ):
        jackknife = 3 / 4 * np.sum((left_out - np.mean(left_out)) ** 2)
        assert error == pytest.approx(np.hypot(np.sqrt(jackknife), inputs))
    pooled = [e.targets[0].pooled.value for e in each]
    assert all_four.targets[0].pooled.value == pytest.approx(np.mean(pooled))


def test_the_error_over_draws_is_that_of_the_value_that_is_reported() -> None:
    # The mean of the τ of these two is 1.560, τ of their mean 1.582; more draws change neither.
    squares = [np.r_[0.8, 0.6, np.full(20, 0.05)], np.r_[0.8, np.full(21, 0.05)]]
    spectra = [_spectrum(np.sqrt(s)) for s in squares * 32]
    whole = usefulness(np.sqrt(np.mean(squares, axis=0)), 22)
    assert whole.value == pytest.approx(1.582, abs=1e-3)
    pseudo = _pseudo_values(spectra, whole, 22, 1.0)
    assert pseudo.shape == (64, 2)
    tau, best = pseudo.T
    assert tau.mean() == pytest.approx(whole.value, abs=1e-3)
    assert 0 < tau.std(ddof=1) / 8 < 0.02
    # d* is 2 or 1 in single draws, and that of the mean whatever draw is left out.
    np.testing.assert_array_equal(best, whole.best_rank)


def test_functions_of_several_draws_have_variance_one() -> None:
    """They are those of the first draw, and so are the values that they are divided by."""
    context, (data, _) = Knn(fraction=0.08, reference=60), corpus()
    evidence = context.fit(data, 0)
    mean = evaluate_draws(draws_of(context, 3), evidence, data.X, max_rank=20, rank_kept=8).spectrum
    one = evaluate_draws(draws_of(context), evidence, data.X, max_rank=20, rank_kept=8).spectrum
    rows = evidence.rows(0, N)
    assert abs(mean.singular_values[:8] / one.singular_values[:8] - 1).max() > 1e-3
    np.testing.assert_allclose(mean.extend(rows), one.extend(rows), rtol=1e-12)
    np.testing.assert_allclose((mean.extend(rows) ** 2).mean(axis=0), 1, rtol=1e-9)
    assert one.function_values is None


def test_equal_values_that_rounding_puts_out_of_order() -> None:
    rng = np.random.default_rng(0)
    spectra = [
        _spectrum(np.sqrt(np.sort(0.1 * (1 + 1e-16 * rng.integers(-9, 9, 60)))[::-1]))
        for _ in range(3)
    ]
    squares = np.stack([s.eigenvalues for s in spectra])
    assert (np.diff((squares.sum(axis=0) - squares) / 2, axis=1) > 0).any()
    whole = usefulness(np.sqrt(squares.mean(axis=0)), 60)
    assert np.isfinite(_pseudo_values(spectra, whole, 60, 1.0)).all()


def _spectrum(singular: np.ndarray) -> cx.Spectrum:
    k = len(singular)
    return cx.Spectrum(
        singular_values=singular,
        left=np.empty((9, 0)),
        right=np.ones((3, k)),
        eigenvalue_covariance=np.zeros((k, k)),
        input_weights=np.full(9, 1 / 9),
        context_weights=np.full(3, 1 / 3),
        context_values=np.arange(3),
        total_association=float(np.sum(singular**2)),
        components=1,
        method="",
        noise_floor=1e-10,
        numerical_error=np.zeros(k),
    )


def test_a_window_answers_under_the_numbers_of_the_corpus() -> None:
    data, _ = corpus()
    for context in (Knn(k=4, reference=50), MaskedKnn(k=4, n_masks=2), Rbf(gamma=1)):
        evidence = context.fit(data, 0)
        expected, found = evidence.rows(130, 170), within(evidence, 100, 200).rows(130, 170)
        assert abs(found - expected).max() == 0
