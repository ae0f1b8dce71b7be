"""The ways to the top singular values of one operator, each behind the same signature.

``python -m benchmarks.methods METHOD P.npz VALUES.npy RANK`` runs one of them in a process of its
own, for `benchmarks.measure.measured`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from scipy import linalg, sparse
from scipy.sparse import linalg as splinalg

import contexture as cx
from benchmarks.measure import Unavailable, report, watched
from contexture.inputs import FloatArray

SEED = 0


@dataclass(frozen=True)
class Answer:
    """Values as a method gave them, and vectors to check them with.

    Attributes
    ----------
    eigenvalues : ndarray
        s_i², the trivial one first unless ``deflated``.
    vectors : ndarray or None
        Singular vectors of M, one a column, in the order of the values.
    side : {"left", "right"}
        Which singular vectors they are.
    deflated : bool
        Whether the trivial value is not among them.
    """

    eigenvalues: FloatArray
    vectors: FloatArray | None = None
    side: str = "right"
    deflated: bool = False


Input = Any
Method = Callable[[Input, int], Answer]


def _ours(tolerance: float) -> Method:
    def run(operator: cx.ExpectationOperator, rank: int) -> Answer:
        spectrum = cx.decompose_operator(operator, rank, tolerance=tolerance, seed=SEED)
        vectors = spectrum.right
        vectors *= np.sqrt(spectrum.context_weights)[:, None]  # in place: nothing to be counted
        return Answer(spectrum.eigenvalues, vectors, deflated=True)

    return run


def _svds(solver: str, tolerance: float, single: bool = False) -> Method:
    def run(M: sparse.csr_array, rank: int) -> Answer:
        M = M.astype(np.float32) if single else M
        start = np.random.default_rng(SEED).normal(size=min(M.shape)).astype(M.dtype)
        more: dict[str, Any] = {"v0": start}
        if solver == "lobpcg":
            more = {"maxiter": 200, "rng": np.random.default_rng(SEED)}
        _, s, Vt = splinalg.svds(M, k=rank + 1, tol=tolerance, solver=solver, **more)
        return Answer(*_descending(s.astype(np.float64) ** 2, Vt.T))

    return run


def _eigsh(tolerance: float) -> Method:
    def run(M: sparse.csr_array, rank: int) -> Answer:
        transposed = M.T.tocsr()
        G = splinalg.LinearOperator(
            (M.shape[1],) * 2, matvec=lambda v: transposed @ (M @ v), dtype=M.dtype
        )
        start = np.random.default_rng(SEED).normal(size=M.shape[1])
        values, vectors = splinalg.eigsh(G, k=rank + 1, tol=tolerance, v0=start)
        return Answer(*_descending(values, vectors))

    return run


def _randomized(passes: int) -> Method:
    def run(M: sparse.csr_array, rank: int) -> Answer:
        from sklearn.utils.extmath import randomized_svd

        _, s, Vt = randomized_svd(sparse.csr_matrix(M), rank + 1, n_iter=passes, random_state=SEED)
        return Answer(s**2, Vt.T)

    return run


def _truncated(algorithm: str) -> Method:
    def run(M: sparse.csr_array, rank: int) -> Answer:
        from sklearn.decomposition import TruncatedSVD

        solver = TruncatedSVD(rank + 1, algorithm=algorithm, random_state=SEED)
        solver.fit(sparse.csr_matrix(M))
        return Answer(solver.singular_values_**2, solver.components_.T)

    return run


def _kernel_pca(M: sparse.csr_array, rank: int) -> Answer:
    from sklearn.decomposition import KernelPCA

    _require_dense(M, 4)
    solver = KernelPCA(rank, kernel="precomputed", eigen_solver="arpack", random_state=SEED)
    solver.fit((M @ M.T).toarray())  # equal weights: centring takes the trivial vector off
    return Answer(solver.eigenvalues_, solver.eigenvectors_, "left", deflated=True)


def _dense(M: sparse.csr_array, rank: int) -> Answer:
    _require_dense(M, 3)
    values, vectors = linalg.eigh((M.T @ M).toarray(), overwrite_a=True, check_finite=False)
    return Answer(*_descending(values[-rank - 1 :], vectors[:, -rank - 1 :]))


def _dask(M: sparse.csr_array, rank: int) -> Answer:
    import dask.array as da

    _, s, Vt = da.linalg.svd_compressed(_blocks(M), rank + 1, n_power_iter=4, seed=SEED)
    values, vectors = da.compute(s, Vt)
    return Answer(np.asarray(values) ** 2, np.asarray(vectors).T)


def _dask_ml(algorithm: str) -> Method:
    def run(M: sparse.csr_array, rank: int) -> Answer:
        from dask_ml.decomposition import TruncatedSVD

        _require_dense(M, 3)
        dense = _blocks(M).map_blocks(lambda block: block.toarray(), dtype=np.float64)
        more = {"n_iter": 4} if algorithm == "randomized" else {}
        solver = TruncatedSVD(rank + 1, algorithm=algorithm, random_state=SEED, **more)
        solver.fit(dense)
        return Answer(np.asarray(solver.singular_values_) ** 2, np.asarray(solver.components_).T)

    return run


def _primme(M: sparse.csr_array, rank: int) -> Answer:
    try:
        import primme
    except ImportError as error:
        raise Unavailable(f"PRIMME is not installed ({error})") from error
    _, s, Vt = primme.svds(M, rank + 1, tol=1e-8)
    return Answer(*_descending(s**2, Vt.T))


METHODS: dict[str, Method] = {
    "ours-float32": _ours(1e-5),
    "ours-float64": _ours(1e-10),
    "propack": _svds("propack", 0.0),
    "propack-loose": _svds("propack", 1e-5),
    "propack-float32": _svds("propack", 1e-5, single=True),
    "arpack": _svds("arpack", 0.0),
    "arpack-loose": _svds("arpack", 1e-5),
    "eigsh": _eigsh(0.0),
    "eigsh-loose": _eigsh(1e-5),
    "lobpcg": _svds("lobpcg", 1e-5),
    "primme": _primme,
    "randomized-4": _randomized(4),
    "randomized-8": _randomized(8),
    "randomized-16": _randomized(16),
    "randomized-32": _randomized(32),
    "truncated-randomized": _truncated("randomized"),
    "truncated-arpack": _truncated("arpack"),
    "kernel-pca": _kernel_pca,
    "dense": _dense,
    "dask-compressed": _dask,
    "dask-ml-randomized": _dask_ml("randomized"),
    "dask-ml-tsqr": _dask_ml("tsqr"),
}
"""Named as in the table; "-loose" asks the solver for a relative error of 1e-5 only."""


def _descending(values: FloatArray, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]


def _require_dense(M: sparse.csr_array, matrices: int) -> None:
    needed = matrices * 8 * max(M.shape) ** 2
    free = psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise Unavailable(
            f"{matrices} dense matrices take {needed / 2**30:.0f} GiB; {free / 2**30:.0f} are free"
        )


def _blocks(M: sparse.csr_array) -> Any:
    """M as a Dask array of sparse row blocks."""
    import dask.array as da

    step = max(1, -(-M.shape[0] // 8))
    parts = [sparse.csr_matrix(M[i : i + step]) for i in range(0, M.shape[0], step)]
    meta = sparse.csr_matrix((0, 0))
    arrays = [da.from_array(p, chunks=p.shape, asarray=False, meta=meta) for p in parts]
    return da.concatenate(arrays)


def residual(M: sparse.csr_array, answer: Answer) -> float:
    """Largest ‖G v − s² v‖ over the vectors of an answer; a bound on the error of its values."""
    if answer.vectors is None:
        return float("nan")
    worst, A = 0.0, M if answer.side == "right" else M.T.tocsr()
    for i in range(0, len(answer.eigenvalues), 64):
        V = np.nan_to_num(answer.vectors[:, i : i + 64].astype(np.float64))
        V /= np.maximum(np.linalg.norm(V, axis=0), 1e-300)
        R = A.T @ (A @ V) - V * answer.eigenvalues[i : i + V.shape[1]]
        worst = max(worst, float(np.linalg.norm(R, axis=0).max()))
    return worst


def small_operator() -> cx.ExpectationOperator:
    """Make an operator that any method solves at once, and ours by the solver for large ones."""
    n, groups, entries = 1600, 40, 20
    generator = np.random.default_rng(SEED)
    group = np.arange(n) % groups
    # The more of a row's entries are in its own group, the larger is the value of that group.
    own = generator.random((n, entries)) < (1 - 0.02 * group)[:, None]
    inside = group[:, None] + groups * generator.integers(n // groups, size=(n, entries))
    columns = np.where(own, inside, generator.integers(n, size=(n, entries)))
    columns[:, 0] = np.arange(n)
    places = np.repeat(np.arange(n), entries), columns.ravel()
    weights = np.full(n * entries, 1 / entries)
    return cx.ExpectationOperator.from_conditional(sparse.csr_array((weights, places)))


def main(arguments: list[str]) -> None:
    """Run one method on one operator, and keep its s_i² without the trivial one."""
    method, source, target, rank = arguments[0], arguments[1], arguments[2], int(arguments[3])

    def given(operator: cx.ExpectationOperator) -> Input:
        return operator if method.startswith("ours") else operator.normalised()

    data = given(cx.ExpectationOperator.from_conditional(sparse.load_npz(source)))

    def work() -> dict[str, Any]:
        # Before the clock starts: what a library imports, compiles or loads with its first call.
        METHODS[method](given(small_operator()), 16)
        answer, figures = watched(lambda: METHODS[method](data, rank))
        values = answer.eigenvalues if answer.deflated else answer.eigenvalues[1:]
        np.save(target, values)
        M = data.normalised() if method.startswith("ours") else data
        return {**figures, "residual": residual(M, answer)}

    report(work)


if __name__ == "__main__":
    main(sys.argv[1:])
