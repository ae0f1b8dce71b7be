"""Dask clusters: one that runs already, one without workers, and workers that die."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dask
import distributed
import pandas as pd
import pytest

import contexture as cx
from contexture.errors import ClusterError
from flows.audit import audit
from flows.cluster import connect, describe, machine_of, smallest_worker, worker_memory
from flows.configuration import load_parameters
from flows.parameters import AuditParameters, ClusterAddress, LocalCluster
from tasks.progress import listening

pytestmark = pytest.mark.xdist_group("prefect")


def run(configuration: Path, **changes: object) -> str:
    parameters = load_parameters(configuration)
    arguments = {name: getattr(parameters, name) for name in AuditParameters.model_fields}
    return audit(**{**arguments, "contexts": list(parameters.contexts), **changes})


def cluster(workers: int) -> distributed.LocalCluster:
    return distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit="1GiB",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
    )


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.cluster.MEMORY_LIMIT", 16 * 2**30)
    local = LocalCluster(workers=3, threads=2, memory="4GiB")
    assert worker_memory(local) == 4 * 2**30
    machine = machine_of(local, ".")
    assert (machine.memory, machine.threads) == (2 * 2**30, 2)
    assert machine.disk
    assert worker_memory(LocalCluster(workers=4)) * 4 < 16 * 2**30
    assert describe(local) == "3 Dask worker(s) on this machine"


def test_memory_that_the_machine_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.cluster.MEMORY_LIMIT", 16 * 2**30)
    local = LocalCluster(workers=2, memory="1TiB")
    assert worker_memory(local) == 8 * 2**30
    assert machine_of(local, ".").memory == 8 * 2**30
    assert describe(local) == (
        "2 Dask worker(s) on this machine, which has 8.0 GiB for each instead of 1TiB"
    )
    assert worker_memory(LocalCluster(workers=2, memory="8GiB")) == 8 * 2**30


@pytest.mark.usefixtures("prefect_server")
def test_a_cluster_that_runs_already(configuration: Path, tmp_path: Path) -> None:
    run(configuration)
    expected = cx.open_store(str(tmp_path / "small.zarr")).scores()
    with cluster(2) as running:
        address = ClusterAddress(address=running.scheduler_address)
        assert machine_of(address, ".").memory == 2**30
        run(configuration, cluster=address, store=str(tmp_path / "other.zarr"))
        # The run leaves the cluster as it found it.
        with distributed.Client(running, set_as_default=False) as client:
            assert smallest_worker(client) == (2**30, 1)
            assert len(client.scheduler_info(n_workers=-1)["workers"]) == 2
    found = cx.open_store(str(tmp_path / "other.zarr")).scores()
    pd.testing.assert_frame_equal(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.usefixtures("prefect_server")
def test_relative_paths_and_workers_that_were_started_elsewhere(
    configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    edges = [f"row-{i},row-{(i + 1) % 300}" for i in range(300)]
    (tmp_path / "edges.csv").write_text("\n".join(["source,target", *edges]) + "\n")
    monkeypatch.chdir(elsewhere)
    with cluster(1) as running:
        monkeypatch.chdir(tmp_path)
        corpus = load_parameters(configuration).corpus.model_copy(update={"path": "corpus.csv"})
        run(
            configuration,
            corpus=corpus,
            contexts=[cx.contexts.Graph(path="edges.csv"), cx.contexts.Knn(k=10)],
            store="small.zarr",
            cluster=ClusterAddress(address=running.scheduler_address),
        )
    found = cx.open_store(str(tmp_path / "small.zarr"))
    assert set(found.scores()["context"]) == {"graph-edges", "knn-10"}
    configured = found.attributes["configuration"]
    assert configured["corpus"]["path"] == str(tmp_path / "corpus.csv")
    assert configured["contexts"][0]["path"] == str(tmp_path / "edges.csv")


def test_clients_leave_no_default_behind() -> None:
    # Closed in the order in which they were opened, as the garbage collector may do.
    with cluster(1) as running:
        address = ClusterAddress(address=running.scheduler_address)
        first, second = connect(address), connect(address)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
    assert dask.config.get("scheduler", None) is None


def test_a_cluster_without_workers() -> None:
    with cluster(0) as running:
        address = running.scheduler_address
        with (
            pytest.raises(ClusterError, match=f"'{address}' has no workers; start some with"),
            connect(ClusterAddress(address=address)),
        ):
            pass


class Killer:
    """Kills a worker when the first block of an operator is ready, and another at a spectrum."""

    def __init__(self) -> None:
        self.killed: list[str] = []

    def advance(self, stage: str, done: int, total: int) -> None:
        what = stage.split(": ")[-1]
        if what in self.killed or (what == "operator" and done == 0) or what == "features":
            return
        self.killed.append(what)
        workers = distributed.get_client().run(os.getpid, on_error="ignore")
        os.kill(next(iter(workers.values())), signal.SIGKILL)


@pytest.mark.usefixtures("prefect_server")
def test_workers_that_die_cost_nothing_but_time(configuration: Path, tmp_path: Path) -> None:
    killer = Killer()
    with listening(killer):
        run(configuration)
    assert sorted(killer.killed) == ["operator", "spectrum and scores"]
    found = cx.open_store(str(tmp_path / "small.zarr")).scores()
    run(configuration, store=str(tmp_path / "other.zarr"))
    expected = cx.open_store(str(tmp_path / "other.zarr")).scores()
    pd.testing.assert_frame_equal(found, expected, rtol=1e-7, atol=1e-9)
