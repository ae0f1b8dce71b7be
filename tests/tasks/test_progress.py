"""Stages tell how far they are, and say in a sentence what became of the workers."""

from __future__ import annotations

from collections.abc import Iterator

import distributed
import pytest

from contexture.errors import ClusterError, CorpusError
from tasks import progress
from tasks.progress import gather, listening, tell, worker_errors


class Heard:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def advance(self, stage: str, done: int, total: int) -> None:
        self.calls.append((stage, done, total))


@pytest.fixture
def client() -> Iterator[distributed.Client]:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        yield client


def test_stages_are_told(client: distributed.Client) -> None:
    heard = Heard()
    with listening(heard):
        results = gather("squares", client.map(lambda x: x * x, range(4), pure=False))
    assert sorted(results) == [0, 1, 4, 9]
    assert heard.calls == [("squares", done, 4) for done in range(5)]


def test_the_listener_before_comes_back() -> None:
    outer, inner = Heard(), Heard()
    with listening(outer):
        with listening(inner):
            tell("a", 0, 1)
        tell("b", 0, 1)
    assert inner.calls == [("a", 0, 1)]
    assert outer.calls == [("b", 0, 1)]


def test_what_a_part_raises_is_raised(client: distributed.Client) -> None:
    def fail(x: int) -> int:
        raise CorpusError(f"part {x} cannot be used")

    with listening(Heard()), pytest.raises(CorpusError, match="part 1 cannot be used"):
        gather("parts", [client.submit(fail, 1, pure=False)])


def test_dead_workers() -> None:
    address = "tcp://127.0.0.1:1"
    state = distributed.scheduler.WorkerState(
        address=address, status=distributed.core.Status.running, pid=1, name=0, nthreads=1,
        memory_limit=1, local_directory="", nanny="", server_id="",
    )  # fmt: skip
    error = distributed.scheduler.KilledWorker("part", state, 3)
    with pytest.raises(ClusterError) as caught, worker_errors("knn-5: operator"):
        raise error
    assert str(caught.value).startswith(
        "knn-5: operator: Dask workers died again and again on the same part, most likely for "
        "want of memory; give them more"
    )


def test_lost_cluster() -> None:
    with pytest.raises(ClusterError) as caught, worker_errors("features"):
        raise distributed.comm.CommClosedError("gone")
    assert str(caught.value) == (
        "features: the connection to the Dask cluster was lost; run the same command again, it "
        "goes on where it stopped."
    )


def test_workers_that_never_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.3)
    monkeypatch.setattr(progress, "_GLANCE", 0.1)
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        client.as_current(),
        listening(Heard()),
        pytest.raises(
            ClusterError, match=r"squares: all Dask workers are gone, and none came back"
        ),
    ):
        gather("squares", client.map(abs, range(3), pure=False))
