"""Kernel products on Dask workers: real processes on loopback, against those in this process."""

from __future__ import annotations

import os
import signal
from functools import partial

import distributed
import numpy as np
import pytest

import contexture as cx
from contexture.contexts import Rbf
from contexture.contexts.rbf import RbfRows
from contexture.errors import InputError
from contexture.estimators import kernel_jobs
from contexture.estimators.cluster_jobs import Jobs
from contexture.estimators.kernel_cluster import ClusterKernelProducts
from contexture.estimators.kernel_products import KernelProducts
from contexture.estimators.kernel_spectrum import kernel_spectrum
from contexture.inputs import FloatArray
from tests.workers import scale

pytestmark = pytest.mark.xdist_group("prefect")

N = 1500


def points(n: int = N, D: int = 4, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(n, D))


def rows_of(kind: str) -> RbfRows:
    """Among the rows themselves, over drawn references, and with fewer inputs than those."""
    if kind == "wide":
        whole = rows_of("symmetric")
        weights = np.full(600, 1 / 600)
        return RbfRows(whole.X[:600], whole.references, whole.gamma, weights,
                       whole.context_values, {})  # fmt: skip
    reference = 700 if kind == "drawn" else None
    weights = np.random.default_rng(1).uniform(0.5, 2, N)
    features = cx.Features.from_array(points(), input_weights=weights / weights.sum())
    return Rbf(gamma=4.0, reference=reference).fit(features, 3)


@pytest.mark.parametrize("kind", ["symmetric", "drawn", "wide"])
def test_equal_to_products_in_this_process(client: distributed.Client, kind: str) -> None:
    evidence = rows_of(kind)
    local, shared = KernelProducts(evidence), ClusterKernelProducts(client, evidence)
    assert shared.shape == local.shape
    assert (local._symmetric is None) == (kind != "symmetric")
    np.testing.assert_allclose(shared.context_weights, local.context_weights, rtol=1e-13)
    np.testing.assert_allclose(shared.marginals.log_sums, local.marginals.log_sums, rtol=1e-13)
    assert shared.total_association == pytest.approx(local.total_association, rel=1e-12)
    start = np.random.default_rng(2).normal(size=(min(local.shape), 7))
    V = np.linalg.qr(start)[0]
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-6)):
        typed = np.asfortranarray(V, dtype)
        shared.expect(1e9, dtype)
        ours = shared.gram(typed)
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, local.gram(typed), rtol=0, atol=tolerance)
        parts = list(shared.other(typed))
        assert [rows.start for rows, _ in parts] == [0, *(rows.stop for rows, _ in parts[:-1])]
        expected = np.concatenate([values for _, values in local.other(typed)])
        found = np.concatenate([values for _, values in parts])
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert shared.passes == local.passes == 5


def test_the_same_bits_on_1_2_and_4_workers(
    cluster: distributed.LocalCluster, client: distributed.Client
) -> None:
    evidence = rows_of("symmetric")
    found = []
    for workers in (1, 2, 4):
        scale(cluster, client, workers)
        shared = ClusterKernelProducts(client, evidence)
        V = np.random.default_rng(0).normal(size=(N, 5))
        found.append([
            shared.marginals.log_sums, shared.context_weights,
            shared.gram(V), shared.gram(V.astype(np.float32)),
        ])  # fmt: skip
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", ["symmetric", "wide"])
def test_the_same_spectrum(client: distributed.Client, kind: str) -> None:
    evidence = rows_of(kind)
    there = partial(ClusterKernelProducts, client)
    told: list[tuple[int, int]] = []
    shared = kernel_spectrum(
        evidence, 24, route="tiles", left_functions=True, products=there,
        progress=lambda done, of: told.append((done, of)),
    )  # fmt: skip
    local = kernel_spectrum(evidence, 24, route="tiles", left_functions=True)
    np.testing.assert_allclose(shared.eigenvalues, local.eigenvalues, rtol=0, atol=1e-6)
    np.testing.assert_allclose(shared.left[:, :4], local.left[:, :4], rtol=0, atol=1e-3)
    assert shared.numerical_error.max() <= 1e-5
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    # More often than once a block: passes under way are heard of.
    assert len(told) > local.eigenvalues.size / 128 + 2


@pytest.mark.parametrize("phase", ["marginals_of", "tile_sums", "gram_sums", "rows_of"])
def test_a_worker_dies_in_each_phase(
    cluster: distributed.LocalCluster,
    client: distributed.Client,
    phase: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is killed when its first job of the phase has come: its share is done again."""
    evidence = rows_of("symmetric")
    V = np.random.default_rng(0).normal(size=(N, 5))
    single = V.astype(np.float32)
    quiet = ClusterKernelProducts(client, evidence)
    expected = [quiet.gram(V), quiet.gram(single), *(rows for _, rows in quiet.other(V))]
    victims = list(client.run(os.getpid).values())
    killed: list[int] = []
    genuine = Jobs.submit

    def dying(self: Jobs, job: object, *arguments: object, worker: str | None = None) -> object:
        started = genuine(self, job, *arguments, worker=worker)  # type: ignore[arg-type]
        if job is getattr(kernel_jobs, phase) and not killed:
            killed.append(victims[0])
            os.kill(victims[0], signal.SIGKILL)
        return started

    monkeypatch.setattr(Jobs, "submit", dying)
    shared = ClusterKernelProducts(client, evidence)
    found = [shared.gram(V), shared.gram(single), *(rows for _, rows in shared.other(V))]
    assert killed
    np.testing.assert_array_equal(shared.marginals.log_sums, quiet.marginals.log_sums)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    scale(cluster, client, 2)


def test_no_rows(client: distributed.Client) -> None:
    evidence = RbfRows(np.empty((0, 2)), np.empty((0, 2)), 1.0, np.empty(0), np.empty(0), {})
    with pytest.raises(InputError, match=r"P has shape \(0, 0\); rows and columns are needed"):
        ClusterKernelProducts(client, evidence)


@pytest.mark.parametrize(("length", "total"), [(10, 4), (4, 4), (1000, 64)])
def test_groups_cover_everything_once(length: int, total: int) -> None:
    parts = [kernel_jobs.part(length, total, number) for number in range(total)]
    assert [at for part in parts for at in range(part.start, part.stop)] == list(range(length))
