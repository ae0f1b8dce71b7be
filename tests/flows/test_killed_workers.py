"""A worker is killed in each phase of an audit, in the middle of it; the numbers stay the same.

Workers carry a plugin that kills their own process (SIGKILL) at a chosen call, once, when the
test asks for it by a file: no clock decides what is hit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cloudpickle
import distributed
import numpy as np
import pandas as pd
import pytest

import contexture as cx
from contexture.contexts import Graph, Knn, Rbf
from contexture.errors import ClusterError
from contexture.estimators.options import Estimation
from contexture.store import Store
from contexture.store.base import array_of
from contexture.store.runs import list_runs
from flows.audit import audit
from flows.configuration import load_parameters
from flows.parameters import AuditParameters, ClusterAddress
from tests.flows.deadly import STANDING, Deadly, Phase
from tests.workers import local_cluster

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import tests

CONSTANTS = {
    "contexture.estimators.exact.GRAM_LIMIT": 20,
    "contexture.estimators.kernel_spectrum.GRAM_SIDE": 20,
    # The neighbours are a job of their own, though an exact search serves for so few rows.
    "contexture.contexts.knn.ALWAYS_EXACT": 20,
}
"""So that few rows go the way of many."""


def entering(*arguments: object) -> bool:
    """Tell whether a block is being entered as done: all of it is written, and it counts not."""
    return arguments[1] == "done"


def third(*arguments: object) -> bool:
    """Tell whether it is the third block that is written."""
    return arguments[-1] == 2


KRYLOV = "block Lanczos in float32"

PHASES = {
    "features": Phase("contexture.encodings.encode"),
    "neighbours": Phase("contexture.store.neighbours.plain"),
    "blocks": Phase("contexture.store.operators.array_of", 1, entering),
    "the third block": Phase("contexture.jobs.write_block", 0, third),
    "moments": Phase("contexture.store.moments.array_of", 0, entering),
    "spectrum on one worker": Phase("contexture.estimators.products.SparseProducts.gram", 10),
    "a group of blocks is loaded": Phase("contexture.estimators.block_jobs.load_group", 1),
    "spectrum on many workers": Phase("contexture.estimators.block_jobs._product", 30),
    "spectrum of a kernel": Phase("contexture.estimators.kernel_products.KernelProducts.gram", 1),
    "scores": Phase("contexture.score_jobs.evaluate"),
    "scores are written": Phase(
        "contexture.store.base.Store.group", 0, lambda _, path: "/contexts/" in path
    ),
    "scores from moments": Phase("contexture.streamed_jobs.evaluate_draws"),
    "references": Phase("contexture.streamed_jobs.redrawn", 1),
    "targets": Phase("contexture.streamed_jobs._median"),
    "left functions": Phase("contexture.streamed_jobs.write_left"),
    "order": Phase("contexture.jobs.find_order"),
    "evidence": Phase("contexture.jobs.fit_context"),
}

ROUTES: dict[str, tuple[Any, dict[str, Any]]] = {
    "krylov": (Knn(k=8), {"route": "krylov"}),
    "searched": (Knn(k=8, search="approximate", name="knn-8"), {"route": "krylov"}),
    "distributed": (Knn(k=8), {"route": "distributed", "left_functions": "always"}),
    "moments": (
        Knn(fraction=0.1, reference=60),
        {"route": "moments", "draws": 2, "left_functions": "always"},
    ),
    "graph": (Graph(path="edges.csv"), {"route": "krylov"}),
    "matrix-free": (Rbf(gamma=0.5), {"route": "matrix-free"}),
}


class Audits:
    """Audits of one small corpus on one cluster."""

    def __init__(
        self, folder: Path, configuration: Path, cluster: distributed.LocalCluster
    ) -> None:
        self.folder, self.cluster = folder, cluster
        self.parameters = load_parameters(configuration)
        self.undisturbed = cache(self.run)

    def order(self, phase: str) -> None:
        """Let a worker die in a phase of the next audit."""
        (self.folder / "orders" / phase).write_text("one worker")

    @contextmanager
    def standing(self, phase: str) -> Iterator[None]:
        """Let every worker die that comes to a phase meanwhile."""
        order = self.folder / "orders" / phase
        order.write_text(STANDING)
        try:
            yield
        finally:
            order.unlink()

    def orders(self) -> list[str]:
        """Phases in which nobody has died yet."""
        return [path.name for path in (self.folder / "orders").iterdir() if not path.suffix]

    def run(self, route: str, store: str = "") -> pd.DataFrame:
        """Audit by a route; the scores."""
        arguments = {name: getattr(self.parameters, name) for name in AuditParameters.model_fields}
        context, options = ROUTES[route]
        context = context.resolved(self.folder)
        place = str(self.folder / (store or f"{route}.zarr"))
        arguments |= {
            "contexts": [context],
            "max_rank": 40,
            "store": place,
            "cluster": ClusterAddress(address=self.cluster.scheduler_address),
            "estimation": Estimation(**options),
        }
        found = cx.open_store(place, audit(**arguments))
        spectrum = found.spectrum(context.label)
        values = spectrum["singular_value"].to_dataframe().T
        self.method = str(spectrum.attrs["method"])
        return pd.concat([found.scores(errors=True), values.reset_index(drop=True)], axis=1)


@pytest.fixture(scope="module")
def audits(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Audits]:
    folder = tmp_path_factory.mktemp("killed")
    (folder / "orders").mkdir()
    ends = np.random.default_rng(5).integers(0, 300, size=(2, 2400))
    ends[0, :300] = np.arange(300)
    pd.DataFrame(ends.T, columns=["source", "target"]).to_csv(folder / "edges.csv", index=False)
    configuration = request.getfixturevalue("small_configuration")
    with (
        pytest.MonkeyPatch.context() as patch,
        local_cluster(
            "contexture.jobs", "contexture.score_jobs", "contexture.streamed_jobs"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        for path, value in CONSTANTS.items():
            patch.setattr(path, value)
        client.register_plugin(Deadly(folder / "orders", PHASES, CONSTANTS))
        yield Audits(folder, configuration, cluster)


@pytest.fixture(scope="module")
def small_configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(7)
    cluster = generator.integers(0, 2, 300)
    folder = tmp_path_factory.mktemp("corpus")
    pd.DataFrame(
        {
            "length": generator.normal(4.0 * cluster, 1.0),
            "width": generator.normal(size=300),
            "age": cluster + generator.normal(0, 0.3, 300),
        }
    ).to_csv(folder / "corpus.csv", index=False)
    path = folder / "small.yaml"
    path.write_text(
        "name: small\n"
        "corpus: {reader: csv, path: corpus.csv, targets: [age]}\n"
        "contexts: [{kind: knn, k: 8}]\n"
        "rank_kept: 16\n"
        "chunk_rows: 64\n"
    )
    return path


@pytest.mark.parametrize(
    ("route", "phases", "method"),
    [
        ("krylov", ["features", "blocks", "spectrum on one worker", "scores"], KRYLOV),
        ("searched", ["neighbours", "scores are written"], KRYLOV),
        ("distributed", ["a group of blocks is loaded", "spectrum on many workers"], KRYLOV),
        (
            "moments",
            ["references", "targets", "moments", "scores from moments", "left functions"],
            "moments of the context values",
        ),
        ("graph", ["order", "evidence"], KRYLOV),
        ("matrix-free", ["spectrum of a kernel"], "tiles: block Lanczos in float32"),
    ],
)
def test_numbers_stay_the_same(audits: Audits, route: str, phases: list[str], method: str) -> None:
    # An exact search finds the same neighbours, and here the other one is exact, too.
    expected = audits.undisturbed("krylov" if route == "searched" else route)
    for phase in phases:
        audits.order(phase)
    found = audits.run(route, f"killed in {route}.zarr")
    assert method in audits.method
    assert audits.orders() == [], "no worker came to the place where it was to die"
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9, atol=1e-12)


def test_a_part_that_kills_every_worker(audits: Audits) -> None:
    with audits.standing("the third block"), pytest.raises(ClusterError) as caught:
        audits.run("krylov", "again.zarr")
    assert str(caught.value) == (
        "knn-8: operator: Dask workers died again and again on the same part, most likely for "
        "want of memory; give them more, or choose a smaller 'chunk_rows' or a 'reference'. What "
        "was done is kept."
    )
    store = Store(str(audits.folder / "again.zarr"))
    (key,) = store.children("operators")
    done = np.asarray(array_of(store.group(f"operators/{key}"), "done")[:])
    assert done[2] == 0
    found = audits.run("krylov", "again.zarr")
    pd.testing.assert_frame_equal(found, audits.undisturbed("krylov"), rtol=1e-9, atol=1e-12)
    assert [run["status"] for _, run in list_runs(store)] == ["failed", "complete"]
