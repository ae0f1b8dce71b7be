"""The benchmarks at tiny sizes: that they run, and that what they measure is what they say."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import contexture as cx
from benchmarks import large, spectra, table
from benchmarks.data import CHUNK, knn_matrix, mixture, mixture_chunks
from benchmarks.machine import describe, rates
from benchmarks.measure import fastest, measured, watched
from benchmarks.methods import METHODS, Unavailable, residual, small_operator
from benchmarks.processes import Tree, _due, memory
from benchmarks.roads_report import coverage, power_law, rule, tables
from benchmarks.tally import Tally, Work
from contexture.estimators import randomized
from contexture.estimators.basis import Basis

RANK = 8


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return knn_matrix(120, 6, tmp_path_factory.mktemp("data"), D=3)


@pytest.fixture(scope="module")
def operator(matrix: Path) -> cx.ExpectationOperator:
    return cx.ExpectationOperator.from_conditional(sparse.load_npz(matrix))


def test_rows_do_not_depend_on_their_number() -> None:
    few, more = mixture(10, 4), mixture(CHUNK + 5, 4)
    assert more.shape == (CHUNK + 5, 4)
    np.testing.assert_array_equal(few, more[:10])
    assert [len(X) for X, _ in mixture_chunks(CHUNK + 5, 4)] == [CHUNK, 5]


def test_every_row_is_its_own_neighbour(matrix: Path) -> None:
    P = sparse.load_npz(matrix)
    assert (P.diagonal() == 1 / 6).all()
    assert (np.diff(P.indptr) == 6).all()


def test_what_starts_the_solver_is_solved_by_it() -> None:
    assert cx.decompose_operator(small_operator(), 16).method.startswith("block Lanczos")


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m not in ("primme", "randomized-4", "randomized-8")]
)
def test_methods_agree(method: str, operator: cx.ExpectationOperator) -> None:
    exact = np.linalg.svd(operator.normalised().toarray(), compute_uv=False)[1 : RANK + 1] ** 2
    M = operator.normalised()
    try:
        answer = METHODS[method](operator if method.startswith("ours") else M, RANK)
    except Unavailable as error:
        pytest.skip(str(error))
    values = answer.eigenvalues if answer.deflated else answer.eigenvalues[1:]
    rough = "randomized" in method or "dask" in method
    tolerance = 1e-2 if rough else 2e-5
    np.testing.assert_allclose(values, exact, atol=tolerance)
    assert residual(M, answer) < (0.3 if rough else 1e-2)


def test_errors_are_seen() -> None:
    exact = np.array([0.9, 0.5, 0.2])
    found = spectra.errors(exact + [0, 1e-3, 0], exact)
    assert found["largest_error"] == pytest.approx(1e-3)
    assert found["tau_error"] != 0
    with pytest.raises(ValueError, match="2 values came, 3 were asked for"):
        spectra.errors(exact[:2], exact)


def test_memory_of_the_work_alone() -> None:
    _, figures = watched(lambda: float(np.ones(8_000_000).sum()))
    assert 55 < figures["peak_mib"] < 80  # 61 MiB
    assert figures["seconds"] > 0


def test_a_run_in_its_own_process(matrix: Path, tmp_path: Path) -> None:
    target = tmp_path / "values.npy"
    run = measured("benchmarks.methods", ["propack", str(matrix), str(target), str(RANK)], 60)
    assert run["status"] == "ok", run
    assert run["residual"] < 1e-8
    assert len(np.load(target)) == RANK
    assert measured("benchmarks.methods", ["propack", str(matrix), str(target), "1"], 0.05)[
        "status"
    ] == "limit"  # fmt: skip
    assert measured("benchmarks.nothing", [], 60)["status"] == "failed"


def test_the_machine() -> None:
    assert describe()["cores"] >= 1
    assert all(value > 0 for value in rates(0.01).values())


def test_work_is_counted_once() -> None:
    class Products:
        def gram(self, V: Any) -> Any:
            return V

        def other(self, V: Any) -> Any:
            return V

    class Wrapped(Products):
        def gram(self, V: Any) -> Any:
            return super().gram(V)

    tally = Tally(nonzeros=100, side=10)
    for kind in (Products, Wrapped):
        kind.gram = tally._product(kind.gram)  # type: ignore[method-assign]
    Wrapped().gram(np.zeros((10, 4), np.float32))
    assert tally.work == {"float32": Work(1, 4, 1600.0, 2 * 100 * 8 + 4 * 10 * 4 * 4)}
    speed = dict.fromkeys(rates(0.001), 1.0)
    bound = tally.bound(speed, 2)
    assert bound["bandwidth_bound"] == pytest.approx(2240e-9)
    with Tally(1, 1).counting():
        pass


def test_inner_products_and_the_sampling_error_are_work(
    operator: cx.ExpectationOperator,
) -> None:
    tally = Tally(operator.conditional().nnz, 120)
    basis = Basis(40, 12, np.float32)
    with tally.counting():
        basis.append(np.eye(40, 6, dtype=np.float32))
        basis.put(6, np.eye(40, 6, dtype=np.float32))
        basis.products(6)
        basis.residual_gram(np.ones(6))
        X = np.ones((40, 3), np.float32)
        part = basis.inner(X)
        basis.inner(X, 2, 4)
        basis.subtract(X, part[1:], 1)
        right = np.ones((120, 5))
        randomized.covariance_of(operator, np.ones(5), right, np.float64, np.empty((120, 0)), None)
    single, double = tally.work["float32"], tally.work["float64"]
    columns = 6 + 2 + 5
    assert single.dense_flops == (3 + 1) * 40 * 6**2 + 2 * 40 * columns * 3
    assert double.dense_flops == 120 * 5**2
    assert double.sparse_flops == 4 * operator.conditional().nnz * 5


def test_parquet_and_its_distances(tmp_path: Path) -> None:
    folder, out = tmp_path / "rows", tmp_path / "out.json"
    large.main(["generate", "--rows", "500", "--columns", "4", "--folder", str(folder)])
    large.main(
        ["distances", "--folder", str(folder), "--reference", "50", "--out", str(out)]
    )  # fmt: skip
    content = json.loads(out.read_text())
    assert (content["rows"], content["reference"]) == (500, 50)
    corpus = cx.readers.Parquet(path=str(folder), targets=("target",)).open()
    assert len(corpus.feature_columns) == 4
    assert "distances alone, 500 rows" in table.results([content])


def test_scores_of_a_resumed_run_must_agree() -> None:
    scores = {"context": "a", "usefulness": 1.5, "best_rank": 3}
    large._require_same(scores, {**scores, "usefulness": 1.5 + 1e-9})
    with pytest.raises(SystemExit, match=r"usefulness is 1\.5, and was 1\.6"):
        large._require_same(scores, {**scores, "usefulness": 1.6})
    with pytest.raises(SystemExit, match="context is a, and was b"):
        large._require_same(scores, {**scores, "context": "b"})


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_are_added_up() -> None:
    tree = Tree(os.getpid())
    tree.sample()
    mine = memory(os.getpid())
    assert mine["rss"] >= mine["pss"] >= mine["anonymous"] > 0
    assert tree.most["pss"] > 0.5 * mine["pss"]
    assert memory(2**22 + 1) == {}


def test_when_to_kill() -> None:
    assert _due("0", 0, [], 0.0)
    assert not _due("features: done", 0, [(1.0, "16 features")], 0.0)
    assert _due("features: done", 0, [(1.0, "features: done")], 0.0)


def test_tables_of_every_outcome() -> None:
    runs = [
        {"n": 10, "method": "ours-float32", "status": "ok", "seconds": 1.0, "cpu_seconds": 1.0,
         "peak_mib": 10.0, "largest_error": 1e-7, "residual": 1e-4, "reference": "dense"},
        {"n": 10, "method": "propack", "status": "ok", "seconds": 3.0, "cpu_seconds": 3.0,
         "peak_mib": 50.0, "residual": 1e-9},
        {"n": 10, "method": "lobpcg", "status": "limit", "seconds": 9.0, "peak_mib": 5.0},
        {"n": 10, "method": "primme", "status": "unavailable", "reason": "no | such"},
    ]  # fmt: skip
    content = {"benchmark": "spectra", "machine": describe(), "rank": 4, "runs": runs}
    text = table.results([content])
    assert "| propack | 3.00 | 5.00 | 3.00 |" in text
    assert "| lobpcg | > 9.00 | 0.50 | > 9 |" in text
    assert "unavailable: no / such" in text
    assert text.startswith("Machine: ")


def test_tables_of_two_machines() -> None:
    here = {name: value for name, value in describe().items() if name != "commit"}
    other = {**here, "processor": "another one", "commit": "abc1234"}
    spectra = {"benchmark": "spectra", "machine": here, "rank": 4, "runs": []}
    audit = {"benchmark": "large", "machine": other, "task": "distances", "rows": 10,
             "reference": 5, "threads": 2, "seconds": 1.0, "reading_seconds": 0.5}  # fmt: skip
    spectra["runs"] = [{"n": 10, "method": "propack", "status": "limit", "seconds": 9.0,
                        "peak_mib": 5.0}]  # fmt: skip
    lines = table.results([spectra, audit]).splitlines()
    assert lines[0].startswith("Machine 1: ")
    assert lines[2].startswith("Machine 2: another one")
    assert "On machine 1:" in lines
    assert lines[-1].endswith("(and 0 s to read the rows) (on machine 2, at abc1234)")


def test_the_rule_of_the_experiment() -> None:
    assert power_law([100, 400, 1600], [0.1, 0.05, 0.025]) == pytest.approx((1.0, 0.5))
    generator = np.random.default_rng(0)
    whole = {"tau": 1.8, "eigenvalues": [0.5] * 200, "best_rank": 3, "components": 1}
    draws = [
        {"m": m, "seconds": 0.1, "tau": 1.8 + generator.normal(0, 2 / m),
         "eigenvalues": (0.5 + generator.normal(0, 1 / m, 200)).tolist()}
        for m in (100, 400, 1600) for _ in range(400)
    ]  # fmt: skip
    run = {"data": "made", "context": "knn", "kind": "knn", "rows": 9, "features": 2, "distinct": 9,
           "seconds": 1.0, "whole": whole, "draws": draws}  # fmt: skip
    tau, values, groups = coverage(run, 400)
    assert groups == 100
    assert tau > 0.88
    assert values == pytest.approx(0.95, abs=0.03)  # 800 intervals
    assert rule([run], 64)["spread_b"] == pytest.approx(1.0, abs=0.1)
    assert "### made, knn: 9 rows" in tables({"rank": 64, "runs": [run]})


@pytest.mark.parametrize(
    ("seconds", "expected"), [([3.0, 2.0], 2.0), ([2.0, 3.0], 2.0), ([2.0, 2.0], 2.0)]
)
def test_of_two_runs_the_faster_is_kept_with_the_higher_peak(
    seconds: list[float], expected: float
) -> None:
    first, second = (
        {"status": "ok", "seconds": s, "peak_mib": p}
        for s, p in zip(seconds, (90, 100), strict=True)
    )
    assert fastest(None, first) == first
    assert fastest(first, second) == {"status": "ok", "seconds": expected, "peak_mib": 100}
    ended = {"status": "limit", "seconds": 9.0, "peak_mib": 1}
    assert fastest(first, ended) == ended
