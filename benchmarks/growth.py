"""How time and memory grow with rows and with rank, and how near they come to the machine.

    python -m benchmarks.growth --sizes 20000 100000 1000000 --ranks 64 128 256 512 1024 \
        --out benchmarks/results/growth.json

The work that the solver did is counted as it runs; the bound is what this machine needs for that
work at its measured bandwidth and BLAS-3 rate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from scipy import sparse

import contexture as cx
from benchmarks.data import knn_matrix
from benchmarks.machine import describe, rates
from benchmarks.measure import measured, report, watched
from benchmarks.methods import small_operator
from benchmarks.tally import Tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sizes and the ranks and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20000, 100000])
    parser.add_argument("--ranks", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--rank", type=int, default=512, help="of the growth with the rows")
    parser.add_argument("--rank-rows", type=int, help="rows of the growth with the rank")
    parser.add_argument("--tolerances", type=float, nargs="+", default=[1e-5])
    parser.add_argument("--neighbours", type=int, default=30)
    parser.add_argument("--limit", type=float, default=1800)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/data"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    rank_rows = options.rank_rows or options.sizes[0]
    cases = [(n, options.rank) for n in options.sizes]
    cases += [(rank_rows, rank) for rank in options.ranks if rank != options.rank]
    if (rank_rows, options.rank) not in cases:
        cases.append((rank_rows, options.rank))
    runs: list[dict[str, Any]] = []
    for tolerance in options.tolerances:
        for n, rank in cases:
            source = knn_matrix(n, options.neighbours, options.folder)
            child = ["--one", str(source.resolve()), str(rank), str(tolerance)]
            run = measured("benchmarks.growth", child, options.limit, options.threads)
            runs.append({"n": n, "rank": rank, "tolerance": tolerance, **run})
            print(n, rank, tolerance, run, file=sys.stderr)
        content = {"benchmark": "growth", "machine": describe(), "runs": runs,
                   "neighbours": options.neighbours, "rank_rows": rank_rows,
                   "rank": options.rank}  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return 0


def one(source: str, rank: int, tolerance: float) -> None:
    """Decompose one operator in this process, and count the work."""
    # Before the clock starts: what is compiled or loaded with the first call.
    cx.decompose_operator(small_operator(), 16, tolerance=tolerance)
    operator = cx.ExpectationOperator.from_conditional(sparse.load_npz(source))
    P = operator.conditional()
    stored = P.nnz if isinstance(P, sparse.csr_array) else P.size
    tally = Tally(stored, min(operator.shape))

    def work() -> dict[str, Any]:
        with tally.counting():
            spectrum, figures = watched(
                lambda: cx.decompose_operator(operator, rank, tolerance=tolerance, seed=0)
            )
        speed = rates()
        cores = psutil.cpu_count(logical=False) or 1
        return {
            **figures,
            "cpu_microseconds_a_row": 1e6 * figures["cpu_seconds"] / operator.shape[0],
            "method": spectrum.method,
            "largest_error": float(spectrum.numerical_error.max()),
            "rates": speed,
            **tally.bound(speed, cores),
        }

    report(work)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        sys.exit(main())
