"""The top of one KNN operator's spectrum by every method, side by side.

    python -m benchmarks.spectra --sizes 5000 20000 --out benchmarks/results/spectra.json

Every method runs in a fresh process on the same stored operator, with as many threads as there
are cores, one after the other; a round of all methods is repeated, and the fastest counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import knn_matrix
from benchmarks.machine import describe
from benchmarks.measure import fastest, measured
from benchmarks.methods import METHODS
from contexture.inputs import FloatArray
from contexture.scores.usefulness import usefulness

REFERENCES = ("dense", "propack", "ours-float64", "arpack", "ours-float32")
"""Whose values count as exact: the first of these that ran."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the methods on the sizes and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5000, 20000])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--rank", type=int, default=512)
    parser.add_argument("--neighbours", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=600, help="seconds of one run")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of every method; all cores by default")
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/data"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    runs: list[dict[str, Any]] = []
    for n in options.sizes:
        runs += compare(n, options)
        content = {"benchmark": "spectra", "machine": describe(), "rank": options.rank,
                   "neighbours": options.neighbours, "runs": runs}  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def compare(n: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run all methods on one size; every run says how far it is from the reference."""
    source = knn_matrix(n, options.neighbours, options.folder, seed=options.seed)
    found: dict[str, dict[str, Any]] = {}
    values: dict[str, FloatArray] = {}
    for _ in range(options.repeats):
        for method in options.methods:
            before = found.get(method)
            if before is not None and before["status"] != "ok":
                continue
            target = options.folder / f"{source.stem}-{method}.npy"
            run = measured(
                "benchmarks.methods",
                [method, str(source.resolve()), str(target.resolve()), str(options.rank)],
                options.limit,
                options.threads,
            )
            if run["status"] == "ok":
                values[method] = np.load(target)
                target.unlink()
            found[method] = {"n": n, "method": method, **fastest(before, run)}
            _say(found[method])
    reference = next((name for name in REFERENCES if name in values), None)
    for method, result in values.items():
        if reference is not None:
            found[method] |= {"reference": reference, **errors(result, values[reference])}
    return list(found.values())


def errors(values: FloatArray, exact: FloatArray) -> dict[str, float]:
    """Errors of s_i² and of τ, the values as a method gave them."""
    if len(values) < len(exact):
        raise ValueError(f"{len(values)} values came, {len(exact)} were asked for")
    off = np.abs(values[: len(exact)] - exact)
    tau = uncapped_tau(values[: len(exact)]), uncapped_tau(exact)
    return {
        "largest_error": float(off.max()),
        "mean_error": float(off.mean()),
        "tau": tau[0],
        "tau_error": tau[0] - tau[1],
    }


def uncapped_tau(eigenvalues: FloatArray) -> float:
    """Take min τ_d over d < d_0: the cap τ_{d_0} = 1 + β would hide errors."""
    ordered = np.sort(np.clip(eigenvalues, 0.0, 1.0 - 1e-12))[::-1]
    curve = usefulness(np.sqrt(ordered), len(ordered)).curve
    return float(curve[:-1].min())


def _say(run: dict[str, Any]) -> None:
    what = f"{run['n']:>9,}  {run['method']:<22}"
    if run["status"] == "ok":
        what += f"{run['seconds']:8.1f} s  {run['peak_mib']:8.0f} MiB  {run['residual']:.1e}"
    else:
        what += f"  {run['status']}: {run.get('reason', '')}"
    print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
