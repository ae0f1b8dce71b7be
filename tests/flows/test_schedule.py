"""A served audit, for real: the schedule, runs through the API, overlap, and what is reused.

The session's Prefect harness starts a server without services, so that nothing would ever be
scheduled; here `contexture serve` starts a whole one.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

import contexture as cx
from contexture.errors import ConfigurationError
from flows.server import require_free
from tests.flows.serving import Served, serving, wait_for

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    configuration = folder / "iris.yaml"
    configuration.write_text(
        f"""
name: iris
corpus: {{reader: packaged, name: iris}}
contexts: [{{kind: knn, k: 10}}, {{kind: rbf, gamma: 1}}]
max_rank: 64
rank_kept: 16
store: {folder / "iris.zarr"}
cluster: {{kind: local, workers: 1, memory: 1GiB}}
chunk_rows: 64
"""
    )
    options = ("--cron", "0 3 * * *", "--timezone", "Europe/Berlin")
    with serving(configuration, folder / "home", *options) as process:
        yield process
        assert process.stop(signal.SIGTERM) == 0, process.log.read_text()


def block_times(store: Path) -> dict[str, int]:
    files = (store / "operators").rglob("c/**/*")
    return {str(file): file.stat().st_mtime_ns for file in files if file.is_file()}


# With SQLAlchemy 2.1 the scheduler of Prefect 3.8.8 silently creates no runs, while all else works.
def test_cron_schedule_yields_scheduled_runs(served: Served) -> None:
    def scheduled() -> list[dict[str, str]]:
        found: list[dict[str, str]] = served.post(
            "/flow_runs/filter",
            deployments={"id": {"any_": [served.deployment]}},
            flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}},
            sort="EXPECTED_START_TIME_ASC",
        )
        return found

    runs = wait_for("a scheduled run", scheduled)
    due = [datetime.fromisoformat(run["expected_start_time"]) for run in runs]
    # 3:00 in Berlin is 1:00 or 2:00 UTC.
    assert {(time.hour, time.minute) for time in due} <= {(1, 0), (2, 0)}
    assert len({time.date() for time in due}) == len(due)


def test_runs_through_the_api(served: Served, folder: Path) -> None:
    store = folder / "iris.zarr"

    # Two at once: one of them is cancelled, the other completes.
    pair = [served.start_run(), served.start_run()]
    states = [served.outcome(run) for run in pair]
    assert sorted(state["type"] for state in states) == ["CANCELLED", "COMPLETED"], (
        states,
        served.log.read_text(),
    )
    (cancelled,) = [state for state in states if state["type"] == "CANCELLED"]
    assert "concurrency limit" in cancelled["message"].lower()

    first = cx.open_store(str(store))
    assert set(first.scores()["context"]) == {"knn-10", "rbf-1"}
    assert first.spectrum("rbf-1")["singular_value"].values[0] > 0
    assert len(first.runs()) == 1
    keys = {a["key"] for a in served.post("/artifacts/filter")}
    assert {"iris-ranking", "iris-spectra"} <= keys
    assert (folder / "iris.html").is_file()

    # Later: a new run in the store, which computes no block again.
    before = block_times(store)
    assert before
    later = served.outcome(served.start_run())
    assert later["type"] == "COMPLETED", (later, served.log.read_text())
    second = cx.open_store(str(store))
    assert second.run != first.run
    assert list(second.runs()["run"]) == [first.run, second.run]
    assert block_times(store) == before
    assert second.scores().equals(first.scores())


def test_a_second_server_is_pointed_to_the_first(served: Served) -> None:
    with pytest.raises(ConfigurationError, match=f"set PREFECT_API_URL={served.url}"):
        require_free(served.port)
