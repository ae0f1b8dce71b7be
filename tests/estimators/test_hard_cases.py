"""Hard cases (rows of a table) on every route to a spectrum (its columns), against NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import distributed
import numpy as np
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from contexture import ExpectationOperator, Spectrum
from contexture.estimators import exact
from contexture.estimators.distributed import DistributedProducts
from contexture.estimators.exact import exact_spectrum
from contexture.estimators.randomized import krylov_spectrum
from contexture.estimators.solution import Settings
from contexture.estimators.streamed import moment_spectrum
from contexture.moments import Moments
from tests.estimators.blocks import lazy, neighbours

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture(autouse=True)
def no_short_cuts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small parts go through the solver, too."""
    monkeypatch.setattr(exact, "GRAM_LIMIT", 20)
    with threadpool_limits(1):
        yield


@dataclass(frozen=True)
class Case:
    """An operator that is hard in one way.

    Attributes
    ----------
    P : csr_array
    components : int
        Right number of values that are 1, the trivial one included.
    rank : int
    """

    P: sparse.csr_array
    components: int = 1
    rank: int = 30


def parts(*given: object) -> sparse.csr_array:
    return sparse.csr_array(sparse.block_diag(given))


def faint(copies: int, part: np.ndarray) -> sparse.csr_array:
    """Equal parts that are joined only faintly: each value comes as often as there are parts."""
    P = 0.999 * np.kron(np.eye(copies), part)
    P[:, 0] += 0.001
    return sparse.csr_array(P)


def ring(n: int, step: float) -> sparse.csr_array:
    """A walk on a ring that all but stays where it is."""
    return sparse.csr_array((1 - step) * np.eye(n) + step * np.roll(np.eye(n), 1, axis=1))


def low_rank(n: int, m: int, rank: int) -> sparse.csr_array:
    rng = np.random.default_rng(0)
    few = rng.dirichlet(np.full(m, 0.05), size=rank)
    return sparse.csr_array(few[rng.integers(0, rank, n)])


def without(P: sparse.csr_array, columns: slice) -> sparse.csr_array:
    """P where nobody chooses some of the columns; their entries are stored zeros."""
    P = P.copy()
    P.data[np.isin(P.indices, np.arange(P.shape[1])[columns])] = 0.0
    return sparse.csr_array(P.multiply(1 / P.sum(axis=1)[:, None]))


def among(P: sparse.csr_array, alone: int) -> sparse.csr_array:
    """Rows that choose nothing but themselves, scattered among those of P."""
    both = parts(P, sparse.eye_array(alone))
    order = np.random.default_rng(0).permutation(both.shape[0])
    return both[order][:, np.random.default_rng(1).permutation(both.shape[1])]


WIDE = neighbours(200, 8, m=320)
CASES = {
    "disconnected": Case(
        parts(neighbours(150, 6), neighbours(90, 5, seed=1), neighbours(12, 4, seed=2), WIDE), 4
    ),
    "more parts than the rank": Case(
        parts(*[neighbours(5, 3, seed=i).toarray() + 1e-9 for i in range(60)]), 60
    ),
    "isolated rows": Case(among(neighbours(300, 6), 15), 16),
    "duplicated rows": Case(neighbours(130, 7)[np.repeat(np.arange(130), 3)]),
    "duplicated rows and columns": Case(
        sparse.csr_array(np.kron(neighbours(70, 5).toarray(), np.full((3, 4), 0.25)))
    ),
    "all rows are equal": Case(sparse.csr_array(np.full((150, 110), 1 / 110))),
    "all rows are equal, few wanted": Case(sparse.csr_array(np.full((90, 150), 1 / 150)), rank=5),
    "columns that nobody chooses": Case(without(neighbours(300, 9), slice(0, None, 7))),
    "so many that it becomes tall": Case(without(neighbours(200, 20, m=320), slice(0, None, 2))),
    "rank above what exists": Case(low_rank(250, 120, 6)),
    "rank above what exists, wide": Case(low_rank(120, 250, 6)),
    "rank above the side": Case(neighbours(90, 7, m=60), rank=1000),
    "clustered values at the cut": Case(faint(40, neighbours(9, 4, seed=2).toarray())),
    "smaller than the block": Case(neighbours(17, 5, m=24), rank=16),
    "two inputs": Case(sparse.csr_array([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7]])),
    "nothing decays": Case(ring(200, 1e-3)),
    "every row is a context of its own": Case(sparse.csr_array(sparse.eye_array(80)), 80),
}
# Where rows choose all of a part, how weakly so ever, it is one.
for each in CASES.values():
    each.P.data /= np.repeat(each.P.sum(axis=1), np.diff(each.P.indptr))

Route = Callable[[ExpectationOperator, int, distributed.Client], Spectrum]


def krylov(
    operator: ExpectationOperator, rank: int, client: distributed.Client, tolerance: float
) -> Spectrum:
    return krylov_spectrum(operator, rank, Settings(tolerance))


def blocks(
    operator: ExpectationOperator, rank: int, client: distributed.Client, tolerance: float
) -> Spectrum:
    return krylov_spectrum(lazy(operator), rank, Settings(tolerance))


def workers(operator: ExpectationOperator, rank: int, client: distributed.Client) -> Spectrum:
    held: list[DistributedProducts] = []

    def products(operator: ExpectationOperator) -> DistributedProducts:
        held.append(DistributedProducts(client, operator, groups=2))
        return held[0]

    few = lazy(operator, -(-operator.shape[0] // 4))
    found = krylov_spectrum(few, rank, Settings(1e-5, products=products))
    for each in held:
        each.close()
    return found


def moments(operator: ExpectationOperator, rank: int, client: distributed.Client) -> Spectrum:
    P, p = operator.conditional(), operator.input_weights
    total, middle = Moments.zero(P.shape[1]), len(p) // 2
    for rows in (slice(0, middle), slice(middle, None)):
        total = total + Moments.zero(P.shape[1]).add(P[rows], p[rows])
    return moment_spectrum(total, rank, input_weights=p)


def dense(operator: ExpectationOperator) -> ExpectationOperator:
    P = operator.conditional().toarray()
    return ExpectationOperator.from_conditional(P, operator.input_weights)


def wide_blocks(
    operator: ExpectationOperator, rank: int, client: distributed.Client, tolerance: float
) -> Spectrum:
    return krylov_spectrum(dense(operator), rank, Settings(tolerance))


ROUTES: dict[str, tuple[Route, float]] = {
    "exact": (lambda operator, rank, _: exact_spectrum(operator, rank), 1e-10),
    "exact, dense": (lambda operator, rank, _: exact_spectrum(dense(operator), rank), 1e-10),
    "dense in float32": (partial(wide_blocks, tolerance=1e-5), 1e-5),
    "dense in float64": (partial(wide_blocks, tolerance=1e-10), 1e-10),
    "krylov in float32": (partial(krylov, tolerance=1e-5), 1e-5),
    "krylov in float64": (partial(krylov, tolerance=1e-10), 1e-10),
    "blocks in float32": (partial(blocks, tolerance=1e-5), 1e-5),
    "blocks in float64": (partial(blocks, tolerance=1e-10), 1e-10),
    "workers": (workers, 1e-5),
    "moments": (moments, 1e-10),
}


# The solver is that of the blocks; here it is the products that may go wrong.
ON_WORKERS = (
    "disconnected",
    "more parts than the rank",
    "isolated rows",
    "rank above what exists, wide",
    "all rows are equal, few wanted",
    "smaller than the block",
    "two inputs",
)


@pytest.mark.parametrize(
    ("case", "route"),
    [(case, route) for route in ROUTES for case in (ON_WORKERS if route == "workers" else CASES)],
)
def test_the_spectrum_is_that_of_the_dense_matrix(
    case: str, route: str, client: distributed.Client
) -> None:
    P, rank = CASES[case].P, CASES[case].rank
    weights = np.random.default_rng(1).uniform(0.5, 2, P.shape[0])
    operator = ExpectationOperator.from_conditional(P, weights)
    decompose, tolerance = ROUTES[route]
    found = decompose(operator, rank, client)

    M = operator.normalised().toarray()
    exactly = np.linalg.eigvalsh(M @ M.T if len(M) <= M.shape[1] else M.T @ M)[::-1][1:]
    rank = min(rank, len(exactly))
    error = np.abs(found.eigenvalues - exactly[:rank])
    assert found.rank == rank
    assert error.max() <= tolerance
    assert (error <= np.maximum(found.numerical_error, found.noise_floor)).all()
    assert found.components == CASES[case].components
    assert found.total_association == pytest.approx(exactly.sum(), abs=1e-9)
    check_functions(operator, found, tolerance)


def check_functions(operator: ExpectationOperator, found: Spectrum, tolerance: float) -> None:
    """Functions are NaN where s² is 0, and else orthonormal, of mean 0, and singular."""
    unknown = found.eigenvalues == 0
    for functions in (found.left, found.right):
        if functions.shape[1]:
            np.testing.assert_array_equal(np.isnan(functions).all(axis=0), unknown)
            np.testing.assert_array_equal(np.isnan(functions).any(axis=0), unknown)
    # Rounding is small beside these values.
    kept = found.eigenvalues > (1e-2 if tolerance == 1e-5 else 1e-6)
    values, right, p = found.eigenvalues[kept], found.right[:, kept], operator.context_weights
    again = operator.adjoint(operator.apply(right)) - right * values
    assert np.sqrt(p @ again**2).max(initial=0) <= 1.5 * np.sqrt(tolerance)
    close = 1e-4 if tolerance == 1e-5 else 1e-8
    sides = [(right, p)]
    if found.left.shape[1]:
        sides.append((found.left[:, kept], operator.input_weights))
    for functions, weights in sides:
        np.testing.assert_allclose(weights @ functions, 0, atol=close)
        gram = functions.T @ (weights[:, None] * functions)
        np.testing.assert_allclose(gram, np.eye(len(values)), atol=close)


@pytest.mark.parametrize("width", [15.0, 30.0])
@pytest.mark.parametrize(("rank", "tolerance"), [(50, 1e-5), (100, 1e-5), (200, 1e-5), (100, 1e-8)])
def test_a_spectrum_that_falls_steeply(width: float, rank: int, tolerance: float) -> None:
    """A band of Gaussian weights: some dozens of values, and then next to nothing."""
    places = np.arange(1600)
    apart = places[:, None] - places
    P = np.exp(-(apart**2) / (2 * width**2)) * (np.abs(apart) <= 3 * width)
    P /= P.sum(axis=1, keepdims=True)
    operator = ExpectationOperator.from_conditional(sparse.csr_array(P))
    known = exact_spectrum(operator, rank)
    found = krylov_spectrum(operator, rank, Settings(tolerance))
    off = np.abs(found.eigenvalues - known.eigenvalues)
    assert (off <= found.numerical_error + known.numerical_error + 1e-12).all()
    assert off.max() <= tolerance
