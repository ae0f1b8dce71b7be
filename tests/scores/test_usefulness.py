from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from contexture import ExpectationOperator, Spectrum, decompose_operator
from contexture.errors import InputError
from contexture.estimators import exact
from contexture.scores import usefulness, verdict
from contexture.scores.usefulness import NEGLIGIBLE


def equation_4(singular: list[float], d0: int, beta: float) -> list[float]:
    """τ_1 .. τ_{d_0}, literally."""
    s = {i + 1: value for i, value in enumerate(singular[:d0])}
    d0 = len(s)
    curve = []
    for d in range(1, d0 + 1):
        following = s[d + 1] if d + 1 <= d0 else 0.0
        first = 1 / (1 - following**2) if following < 1 else np.inf
        curve.append(
            first + beta * sum(s[i] ** 2 for i in range(1, d + 1)) / sum(s[i] ** 2 for i in s)
        )
    return curve


@given(
    st.lists(st.floats(1e-3, 1), min_size=1, max_size=30),
    st.integers(1, 40),
    st.sampled_from([0.5, 1.0, 3.0]),
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_against_a_loop(values: list[float], max_rank: int, beta: float) -> None:
    singular = sorted(values, reverse=True)
    expected = equation_4(singular, max_rank, beta)
    found = usefulness(singular, max_rank, beta)
    assert found.max_rank == len(expected) == min(max_rank, len(singular))
    np.testing.assert_allclose(found.curve, expected, rtol=1e-9)
    assert found.value == pytest.approx(min(expected), rel=1e-9)
    assert found.curve[found.best_rank - 1] == found.value
    assert 1 < found.value <= 1 + beta
    assert found.curve[-1] == 1 + beta
    assert found.beta == beta
    negligible = singular[0] ** 2 < NEGLIGIBLE
    assert found.abstains == (negligible or found.value > 1 + 0.99 * beta)
    assert found.abstains == (found.abstention != "")


def test_only_the_first_values_count() -> None:
    assert usefulness([0.9, 0.5, 0.4], 2).value == usefulness([0.9, 0.5, 0.1], 2).value


@pytest.mark.parametrize(
    ("singular", "abstention"),
    [
        (np.ones(50), "too strong"),
        (np.full(50, 0.9999), "too strong"),
        ([1.0], "too strong"),
        ([0.999], "too strong"),
        ([0.01], "too weak"),
        (np.zeros(50), "too weak"),
        ([0.0], "too weak"),
        ([0.7] + [0.001] * 49, "too weak"),
        (np.exp(-0.1 * np.arange(1, 51)), ""),
    ],
)
def test_abstention(singular: list[float], abstention: str) -> None:
    found = usefulness(singular)
    assert found.abstention == abstention
    if abstention:
        assert found.value == pytest.approx(2, abs=0.01)


def test_from_a_spectrum_and_from_its_values() -> None:
    P = np.random.default_rng(0).dirichlet(np.full(8, 0.3), size=30)
    spectrum = decompose_operator(ExpectationOperator.from_conditional(P))
    one, two = usefulness(spectrum), usefulness(spectrum.singular_values)
    np.testing.assert_array_equal(one.curve, two.curve)
    assert one.standard_error > 0
    assert two.standard_error == 0  # nothing is known of the sampling


def first_order_error(spectrum: Spectrum) -> float:
    """Delta method at the minimising d, by differences."""
    d, squares, step = usefulness(spectrum).best_rank - 1, spectrum.eigenvalues, 1e-7
    gradient = []
    for i in range(len(squares)):
        moved = [
            usefulness(np.sqrt(squares + h * (np.arange(len(squares)) == i))).curve[d]
            for h in (step, -step)
        ]
        gradient.append((moved[0] - moved[1]) / (2 * step))
    return float(np.sqrt(np.array(gradient) @ spectrum.eigenvalue_covariance @ np.array(gradient)))


def some_spectrum() -> Spectrum:
    P = np.random.default_rng(0).dirichlet(np.full(8, 0.3), size=30)
    return decompose_operator(ExpectationOperator.from_conditional(P))


def test_small_errors_are_first_order() -> None:
    spectrum = some_spectrum()
    small = replace(spectrum, eigenvalue_covariance=1e-8 * spectrum.eigenvalue_covariance)
    found = usefulness(small)
    # 200 draws know a spread to 5 %.
    assert found.standard_error == pytest.approx(first_order_error(small), rel=0.12)
    assert found.best_rank_standard_error == 0


def test_standard_errors_are_those_of_a_loop() -> None:
    spectrum = some_spectrum()
    found, squares = usefulness(spectrum), spectrum.eigenvalues
    variances, directions = np.linalg.eigh(spectrum.eigenvalue_covariance)
    root = directions @ np.diag(np.sqrt(np.maximum(variances, 0))) @ directions.T
    generator = np.random.default_rng([0xB007, len(squares)])
    scored = []
    for normal in generator.standard_normal((200, len(squares))):
        drawn = np.sort(np.clip(squares + root @ normal, 0, 1))[::-1]
        scored.append(usefulness(np.sqrt(drawn)))
    spread = np.std([one.value for one in scored], ddof=1)
    assert found.standard_error == pytest.approx(spread, rel=1e-9)
    spread = np.std([one.best_rank for one in scored], ddof=1)
    assert found.best_rank_standard_error == pytest.approx(spread, rel=1e-9)
    assert spread > 0


def test_two_minima_alike() -> None:
    """At d_0 the curve is the constant 1 + β: to first order τ would be without error."""
    base = replace(
        some_spectrum(),
        singular_values=np.sqrt([0.4, 0.3]),
        eigenvalue_covariance=1e-2 * np.eye(2),
    )
    found = usefulness(base)
    np.testing.assert_allclose(found.curve, 2, rtol=1e-12)
    assert found.standard_error > 0.03
    assert 0.4 < found.best_rank_standard_error < 0.6


@pytest.mark.parametrize(
    ("squares", "direction", "best"),
    [
        ([1.0], "too strong", 1),
        ([1.0, 0.0], "too strong", 1),  # one context value written down as two
        ([1.0] * 49 + [0.0] * 463, "too strong", 49),  # 50 distinct inputs, each many times
        ([0.9] * 7 + [0.0] * 3, "too strong", 7),
        ([0.999] * 512, "too strong", 512),
        ([1e-3, 1e-4, 1e-5, 0.0], "too weak", 1),
        # What a solver leaves of zeros, or what its tolerance hides, does not say either.
        *[([1.0] * 49 + [tail] * 463, "too strong", 49) for tail in (1e-10, 1e-8, 2e-6, 1e-5)],
        *[([0.4] + [tail] * 99, "too weak", 1) for tail in (0.0, 1e-10, 2e-6, 1e-5)],
        ([0.9] + [1e-6] * 20, "too strong", 1),
        # But what carries something does.
        ([0.9] + [1.5e-4] * 20, "too weak", 1),
    ],
)
def test_values_of_zero_do_not_say_which_end(
    squares: list[float], direction: str, best: int
) -> None:
    found = usefulness(np.sqrt(squares))
    assert (found.abstention, found.best_rank) == (direction, best)


def test_errors_that_reach_past_the_range() -> None:
    """Drawn spectra may lose all association, or become 1 throughout."""
    base = some_spectrum()
    for size in (1e-3, 10.0):
        for squares in (np.full(4, 1e-6), np.full(4, 1.0), np.array([1.0, 1.0, 0.0, 0.0])):
            wide = replace(
                base, singular_values=np.sqrt(squares), eigenvalue_covariance=size * np.eye(4)
            )
            found = usefulness(wide)
            assert 0 <= found.standard_error <= 1
            assert 0 <= found.best_rank_standard_error <= 3
    none = usefulness(replace(base, singular_values=np.zeros(4)))
    assert (none.standard_error, none.best_rank_standard_error) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), r"singular values have shape \(0,\); one or more in a row are needed\."),
        (([[0.5]],), r"singular values have shape \(1, 1\); one or more in a row are needed\."),
        (([0.5, 0.6],), r"singular values must lie in \[0, 1\] and descend\."),
        (([1.1, 0.6],), r"singular values must lie in \[0, 1\] and descend\."),
        (([0.5, -0.1],), r"singular values must lie in \[0, 1\] and descend\."),
        (([0.5, np.nan],), r"singular values must lie in \[0, 1\] and descend\."),
        (([0.5], 0), "max_rank is 0; at least 1 is needed."),
        (([0.5], 5, 0.0), "beta is 0.0; a positive number is needed."),
        (([0.5], 5, -1), "beta is -1; a positive number is needed."),
        (([0.5], 5, np.nan), "beta is nan; a positive number is needed."),
    ],
)
def test_messages(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        usefulness(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("beta", [0.001, 1.0, 100.0])
def test_what_is_negligible_is_weak_at_any_weight(beta: float) -> None:
    for squares in ([0.04] * 20, [0.04], [0.04, 1e-9], [0.049] + [0.001] * 9):
        assert usefulness(np.sqrt(squares), beta=beta).abstention == "too weak"


def test_the_tolerance_of_a_solver_does_not_turn_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of inputs that are alike up to a little noise: many values of about 1e-7."""
    monkeypatch.setattr(exact, "GRAM_LIMIT", 50)
    rng = np.random.default_rng(0)
    P = np.kron(np.eye(12), np.full((40, 40), 1 / 40)) * (1 + 3e-3 * rng.normal(size=(480, 480)))
    P[:, 0] += 1e-9  # one part
    P /= P.sum(axis=1, keepdims=True)
    operator = ExpectationOperator.from_conditional(sparse.csr_array(P))
    found = [
        usefulness(decompose_operator(operator, 100, tolerance)) for tolerance in (1e-5, 1e-6, 1e-9)
    ]
    assert [one.abstention for one in found] == ["too strong"] * 3


def test_no_association_to_speak_of() -> None:
    """Eq. 4 calls a flat spectrum of tiny values excellent; it is none."""
    found = usefulness(np.full(512, 0.1))
    assert found.value == pytest.approx(1 / (1 - 0.01) + 1 / 512)
    assert found.abstention == "too weak"
    assert usefulness(np.full(512, 0.23)).abstention == ""


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40).map(lambda v: sorted(v, reverse=True)),
    st.floats(0, 5),
)
def test_verdict_and_abstention_agree(singular: list[float], rate: float) -> None:
    abstention = usefulness(singular).abstention
    word = verdict(rate, len(singular), abstention)
    assert word == {"too weak": "weak", "too strong": "strong"}.get(abstention, word)
