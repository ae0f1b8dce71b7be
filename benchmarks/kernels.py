"""An RBF context on n rows: the matrix stored in float64 against products without a matrix.

    python -m benchmarks.kernels --sizes 20000 --out benchmarks/results/kernels.json

All start from the features, so that computing the kernel counts for all. Stored is the float64
matrix: by the package's route for a dense operator (wide-block Lanczos, in float64 to 1e-10, which
errors are taken against, and with a copy in float32 to 1e-5), and by scipy's PROPACK and ARPACK, as
far as they end within the limit. Importing torch, which products in float32 may need, does not
count, as no other import does.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from scipy.sparse import linalg as splinalg

import contexture as cx
from benchmarks.data import mixture
from benchmarks.machine import describe
from benchmarks.measure import Unavailable, fastest, measured, report, watched
from benchmarks.spectra import errors
from contexture.contexts import Rbf
from contexture.inputs import FloatArray

SEED = 0
GAMMAS = {"slow decay": 7.0, "fast decay": 3.0}
"""In units of the median squared distance: s_512² near 0.1, and below 1e-4."""
REFERENCES = ("stored-float64", "stored-propack", "stored-arpack")
"""What the errors are taken against: the first of these that ran."""


def _operator(X: FloatArray, gamma: float) -> cx.ExpectationOperator:
    n = len(X)
    if 3.5 * 8 * n**2 > psutil.virtual_memory().available:
        raise Unavailable(f"P and its working copies take {3.5 * 8 * n**2 / 2**30:.0f} GiB")
    return cx.operator_of(X, Rbf(gamma=gamma))


def stored(tolerance: float) -> Callable[[FloatArray, float, int], FloatArray]:
    """Give the package's route for the stored matrix; in float32 from 5e-6 on."""

    def run(X: FloatArray, gamma: float, rank: int) -> FloatArray:
        operator = _operator(X, gamma)
        return cx.decompose_operator(operator, rank, tolerance, seed=SEED).eigenvalues

    return run


def propack(X: FloatArray, gamma: float, rank: int) -> FloatArray:
    """Decompose the stored float64 matrix by PROPACK."""
    return _svds(X, gamma, rank, "propack")


def arpack(X: FloatArray, gamma: float, rank: int) -> FloatArray:
    """Decompose the stored float64 matrix by ARPACK."""
    return _svds(X, gamma, rank, "arpack")


def _svds(X: FloatArray, gamma: float, rank: int, solver: str) -> FloatArray:
    M = _operator(X, gamma).normalised()
    start = np.random.default_rng(SEED).normal(size=len(X))
    s = splinalg.svds(M, rank + 1, solver=solver, v0=start, return_singular_vectors=False)
    return np.asarray(np.sort(s)[::-1][1:] ** 2)


def matrix_free(X: FloatArray, gamma: float, rank: int) -> FloatArray:
    """Decompose by products with tiles that are never kept."""
    try:
        from contexture.estimators.kernel_spectrum import kernel_spectrum
    except ImportError as error:
        raise Unavailable(f"the matrix-free route is not there ({error})") from error
    evidence = Rbf(gamma=gamma).fit(cx.Features.from_array(X), SEED)
    values: FloatArray = kernel_spectrum(evidence, rank, tolerance=1e-5, seed=SEED).eigenvalues
    return values


METHODS: dict[str, Callable[[FloatArray, float, int], FloatArray]] = {
    "stored-float64": stored(1e-10),
    "stored-float32": stored(1e-5),
    "stored-propack": propack,
    "stored-arpack": arpack,
    "matrix-free": matrix_free,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the methods on the sizes and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20000])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--decays", nargs="+", default=list(GAMMAS), choices=list(GAMMAS))
    parser.add_argument("--rank", type=int, default=512)
    parser.add_argument("--limit", type=float, default=600, help="seconds of one run")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/data"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    runs: list[dict[str, Any]] = []
    for n in options.sizes:
        for decay in options.decays:
            runs += compare(n, decay, GAMMAS[decay], options)
        content = {"benchmark": "kernels", "machine": describe(), "rank": options.rank,
                   "runs": runs}  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def compare(n: int, decay: str, gamma: float, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run all methods on one size and one width."""
    options.folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict[str, Any]] = {}
    values = {}
    for method in [*options.methods] * options.repeats:
        before = runs.get(method)
        if before is not None and before["status"] != "ok":
            continue
        target = options.folder / f"rbf-{n}-{gamma:g}-{method}.npy"
        child = [method, str(n), str(gamma), str(target.resolve()), str(options.rank)]
        run = measured("benchmarks.kernels", ["--one", *child], options.limit, options.threads)
        print(n, decay, method, run, file=sys.stderr)
        if run["status"] == "ok":
            values[method] = np.load(target)
            target.unlink()
        run = fastest(before, run)
        runs[method] = {"n": n, "decay": decay, "gamma": gamma, "method": method, **run}
    reference = next((name for name in REFERENCES if name in values), None)
    for method, found in values.items():
        if reference is not None:
            runs[method] |= {"reference": reference, **errors(found, values[reference])}
    ours = runs.get("matrix-free", {})
    if "seconds" in ours and ours["status"] == "ok":
        for run in runs.values():
            if run["status"] in ("ok", "limit"):  # at the limit: at least that
                run["times_matrix_free"] = run["seconds"] / ours["seconds"]
    return list(runs.values())


def one(method: str, n: int, gamma: float, target: str, rank: int) -> None:
    """Run one method in this process, and keep its values."""
    X = mixture(n)
    with suppress(ImportError):
        importlib.import_module("torch")

    def work() -> dict[str, Any]:
        values, figures = watched(lambda: METHODS[method](X, gamma, rank))
        np.save(target, values)
        return dict(figures)

    report(work)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        name, rows, width, path, top = sys.argv[2:]
        one(name, int(rows), float(width), path, int(top))
    else:
        sys.exit(main())
