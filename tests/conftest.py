"""Fixtures that several parts of the suite share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Before Prefect is imported anywhere: nothing of a test leaves this machine.
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
# Before NumPy is: the tests run in parallel, and threads of BLAS would fight for the same cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell starts what it runs in the background deaf to Ctrl-C, and processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Give flows a Prefect server and database of their own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    """A CSV of 300 rows: two clusters, a category, a number and a class as targets."""
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(7)
    cluster = generator.integers(0, 2, 300)
    frame = pd.DataFrame(
        {
            "id": [f"row-{i}" for i in range(300)],
            "length": generator.normal(4.0 * cluster, 1.0),
            "width": generator.normal(size=300),
            "colour": generator.choice(["red", "green"], 300),
            "age": cluster + generator.normal(0, 0.3, 300),
            "group": np.where(cluster == 1, "old", "young"),
        }
    )
    path = tmp_path / "corpus.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def configuration(corpus_file: Path, tmp_path: Path) -> Path:
    """A small audit of `corpus_file` with a context of every kind that needs no other file."""
    path = tmp_path / "small.yaml"
    path.write_text(
        f"""
name: small
corpus:
  reader: csv
  path: {corpus_file.name}
  id: id
  targets: [age, group]
contexts:
  - {{kind: knn, k: 10}}
  - {{kind: knn, fraction: 0.1, reference: 100}}
  - {{kind: rbf, gamma: 5}}
  - {{kind: masked-knn, k: 10, n_masks: 5}}
  - {{kind: masked-rbf, gamma: 5, n_masks: 5, name: masked}}
max_rank: 64
rank_kept: 16
store: {tmp_path / "small.zarr"}
cluster: {{kind: local, workers: 2, memory: 1GiB}}
chunk_rows: 64
"""
    )
    return path


@pytest.fixture(scope="session")
def abalone_store(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of ``examples/abalone.yaml``, audited by the flow as ``make audit`` does."""
    from flows.audit import audit
    from flows.configuration import load_parameters
    from flows.parameters import AuditParameters

    parameters = load_parameters(ROOT / "examples" / "abalone.yaml")
    store = tmp_path_factory.mktemp("abalone") / "abalone.zarr"
    arguments = {name: getattr(parameters, name) for name in AuditParameters.model_fields}
    audit(**{**arguments, "contexts": list(parameters.contexts), "store": str(store)})
    return store
