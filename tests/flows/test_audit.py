"""The flow, for real: Prefect's test server, a LocalCluster, a Zarr store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import contexture as cx
from contexture.errors import (
    ClusterError,
    ConfigurationError,
    ContextError,
    InputError,
    TooLargeError,
)
from contexture.estimators.options import Estimation
from contexture.store import Store
from contexture.store.runs import list_runs
from flows.audit import audit
from flows.configuration import load_parameters
from flows.parameters import AuditParameters, ClusterAddress, LocalCluster

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


def run(configuration: Path, **changes: Any) -> str:
    parameters = load_parameters(configuration)
    arguments = {name: getattr(parameters, name) for name in AuditParameters.model_fields}
    arguments["contexts"] = list(parameters.contexts)
    return audit(**{**arguments, **changes})


def block_times(store: Path) -> dict[str, int]:
    return {
        str(file): file.stat().st_mtime_ns
        for file in sorted((store / "operators").rglob("done/c/*"))
    }


def test_audit_stores_what_the_library_computes(configuration: Path, tmp_path: Path) -> None:
    name = run(configuration)
    found = cx.open_store(str(tmp_path / "small.zarr"))
    assert found.run == name
    scores = found.scores().set_index("context")
    assert set(scores.index) == {"knn-10", "knn-0.1-m100", "rbf-5", "masked-knn-10", "masked"}

    # The same by the library alone, in memory, without Dask, Zarr or Prefect.
    parameters = load_parameters(configuration)
    corpus = parameters.corpus.open()
    recipe = cx.Recipe.fit(corpus)
    X = recipe.transform(corpus).compute()
    features = cx.Features.from_array(X, corpus.ids(), corpus.weights())
    targets = corpus.read_targets()
    for context in parameters.contexts:
        operator = cx.operator_of(features, context)
        spectrum = cx.decompose_operator(operator, 64)
        expected = cx.evaluate(operator, spectrum, X, targets, max_rank=64, rank_kept=16)
        row = scores.loc[context.label]
        assert row["usefulness"] == pytest.approx(expected.usefulness.value, abs=1e-9)
        assert row["best_rank"] == expected.usefulness.best_rank
        assert row["total_association"] == pytest.approx(spectrum.total_association, abs=1e-9)
        assert row["lipschitz"] == pytest.approx(expected.lipschitz.value, rel=1e-6)
        for score in expected.targets:
            column = f"compatibility[{score.target.name}]"
            assert row[column] == pytest.approx(score.pooled.value, abs=1e-9)
        stored = found.spectrum(context.label)
        np.testing.assert_allclose(stored["singular_value"], spectrum.singular_values, atol=1e-9)
        assert stored["left"].dims == ("sample", "function")
        assert stored["left"].shape == (300, 16)
        assert list(stored["sample"].values[:2]) == ["row-0", "row-1"]
    task = found.task("group", "knn-10")
    assert list(task["level"].values) == ["old", "young"]
    report = (tmp_path / "small.html").read_text(encoding="utf-8")
    assert "masked-knn-10" in report
    tree = xr.open_datatree(
        tmp_path / "small.zarr", group=f"runs/{name}", engine="zarr", consolidated=False
    )
    assert tree["contexts/knn-10"]["usefulness"].item() == scores.loc["knn-10", "usefulness"]


def test_runs_share_blocks_and_results(configuration: Path, tmp_path: Path) -> None:
    store = tmp_path / "small.zarr"
    first = run(configuration)
    before = block_times(store)
    assert len(before) == 5 * 5  # 300 rows in blocks of 64, five contexts
    second = run(configuration)
    assert second != first
    assert block_times(store) == before
    opened = cx.open_store(str(store), second)
    copied = opened.store.read(f"runs/{second}/contexts/knn-10").attrs["copied_from"]
    assert copied == first
    assert opened.attributes["parent"] == first
    pd.testing.assert_frame_equal(opened.scores(), cx.open_store(str(store), first).scores())

    # Another rank needs other spectra, of the same operators.
    third = run(configuration, max_rank=32)
    assert block_times(store) == before
    assert "copied_from" not in Store(str(store)).read(f"runs/{third}/contexts/knn-10").attrs

    run(configuration, force=True)
    after = block_times(store)
    assert all(after[file] > before[file] for file in before)


@pytest.mark.parametrize(
    "changes",
    [
        {"chunk_rows": 300},
        {"cluster": LocalCluster(workers=1, memory="1GiB")},
        {"cluster": LocalCluster(workers=4, memory="1GiB"), "chunk_rows": 17},
    ],
    ids=["one block", "one worker", "four workers"],
)
def test_workers_and_chunks_do_not_change_results(
    configuration: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run(configuration)
    expected = cx.open_store(str(tmp_path / "small.zarr")).scores()
    run(configuration, store=str(tmp_path / "other.zarr"), **changes)
    found = cx.open_store(str(tmp_path / "other.zarr")).scores()
    pd.testing.assert_frame_equal(found, expected, rtol=1e-7, atol=1e-9)


def test_changed_corpus_is_computed_anew(
    configuration: Path, corpus_file: Path, tmp_path: Path
) -> None:
    store = tmp_path / "small.zarr"
    run(configuration)
    before = cx.open_store(str(store))
    frame = pd.read_csv(corpus_file)
    frame["age"] = frame["age"].iloc[::-1].to_numpy()  # a target: X stays as it is
    frame.to_csv(corpus_file, index=False)
    times = block_times(store)
    run(configuration)
    assert block_times(store) == times
    after = cx.open_store(str(store))
    column = "compatibility[age]"
    merged = before.scores().merge(after.scores(), on="context")
    assert (merged[f"{column}_x"] != merged[f"{column}_y"]).all()
    assert (merged["usefulness_x"] == merged["usefulness_y"]).all()


def test_a_context_that_does_not_fit_stops_the_run_before_it_begins(
    configuration: Path, tmp_path: Path
) -> None:
    contexts = [cx.contexts.Knn(k=10), cx.contexts.Knn(k=300)]
    with pytest.raises(ContextError, match="K is 300, but there are only 300 reference rows"):
        run(configuration, contexts=contexts)
    assert not (tmp_path / "small.zarr").exists()


def test_too_little_memory_is_refused(configuration: Path, tmp_path: Path) -> None:
    cluster = LocalCluster(workers=1, memory="200MB")
    contexts = [cx.contexts.Rbf(gamma=1.0)]
    parameters = load_parameters(configuration)
    frame = pd.concat([pd.read_csv(parameters.corpus.path)] * 10, ignore_index=True)
    frame["id"] = range(len(frame))
    frame.to_csv(parameters.corpus.path, index=False)
    with pytest.raises(TooLargeError, match=r"'rbf-1' on 3,000 rows needs about .* MiB of memory"):
        run(configuration, contexts=contexts, cluster=cluster, estimation=Estimation(route="exact"))
    assert not (tmp_path / "small.zarr").exists()


def test_no_cluster_at_the_address(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.cluster.TIMEOUT", "1s")
    with pytest.raises(ClusterError, match=r"no Dask cluster answers at 'tcp://127.0.0.1:1'"):
        run(configuration, cluster=ClusterAddress(address="tcp://127.0.0.1:1"))


def test_failed_run_is_no_result(configuration: Path, tmp_path: Path) -> None:
    store = tmp_path / "small.zarr"
    run(configuration)
    good = cx.open_store(str(store)).run
    # A file where the results of a context should go: the run fails half-way.
    index = store / "results"
    for entry in index.iterdir():
        if entry.is_dir():
            (entry / "zarr.json").write_text("{")
    with pytest.raises(Exception, match=r".+"):
        run(configuration)
    assert cx.open_store(str(store)).run == good
    assert [attributes["status"] for _, attributes in list_runs(Store(str(store)))] == [
        "complete",
        "failed",
    ]


def test_killed_run_resumes(configuration: Path, tmp_path: Path) -> None:
    """``kill -9`` in the middle; the same command computes only what was missing."""
    store = tmp_path / "small.zarr"
    text = configuration.read_text().replace("n_masks: 5}", "n_masks: 400}")
    configuration.write_text(text)
    command = [sys.executable, "-m", "flows.cli", "audit", str(configuration)]
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 180
    while len(done(store)) < 12:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {file: file.stat().st_mtime_ns for file in done(store)}
    assert 12 <= len(before) < 25
    with pytest.raises(cx.ContextureError, match="holds no finished run"):
        cx.open_store(str(store))
    run(configuration)
    after = {file: file.stat().st_mtime_ns for file in done(store)}
    assert len(after) == 25
    assert {file: after[file] for file in before} == before
    statuses = [attributes["status"] for _, attributes in list_runs(Store(str(store)))]
    assert statuses == ["interrupted", "complete"]


def done(store: Path) -> list[Path]:
    return sorted((store / "operators").glob("*/done/c/*")) if store.exists() else []


def test_parameters_of_the_flow_are_those_of_the_configuration() -> None:
    import inspect

    signature = inspect.signature(audit.fn).parameters
    fields = AuditParameters.model_fields
    assert list(signature) == [*fields, "force"]
    for name, field in fields.items():
        default = signature[name].default
        assert field.is_required() == (default is inspect.Parameter.empty), name
        if not field.is_required():
            assert default == field.default, name


def test_the_form_has_the_bounds_of_the_configuration() -> None:
    def bounds(schema: dict[str, Any]) -> dict[str, Any]:
        names = ("minimum", "maximum", "exclusiveMinimum", "pattern", "minLength", "minItems")
        whole = schema.get("anyOf", [{}])[0] | schema
        return {name: whole[name] for name in names if name in whole}

    form, expected = audit.parameters.properties, AuditParameters.model_json_schema()["properties"]
    assert {name: bounds(form[name]) for name in expected} == {
        name: bounds(schema) for name, schema in expected.items()
    }
    assert bounds(form["max_rank"]) == {"minimum": 1, "maximum": 8192}
    assert bounds(form["chunk_rows"]) == {"minimum": 1}


def test_parameters_that_do_not_fit_each_other(configuration: Path) -> None:
    contexts = [cx.contexts.Knn(k=10), cx.contexts.Knn(k=10)]
    with pytest.raises(ConfigurationError) as caught:
        run(configuration, contexts=contexts)
    assert str(caught.value) == (
        "'parameters': the configuration: two contexts are called 'knn-10'; give one of them a "
        "'name'"
    )


def test_the_place_of_the_report_is_looked_at_first(configuration: Path, tmp_path: Path) -> None:
    (tmp_path / "small.html").write_text("<title>mine</title>")
    with pytest.raises(InputError, match=r"small.html', and what lies there is no report of"):
        run(configuration)
    assert not (tmp_path / "small.zarr").exists()
    assert (tmp_path / "small.html").read_text() == "<title>mine</title>"


def test_two_names_of_one_context(configuration: Path, tmp_path: Path) -> None:
    """Equal operators are computed once, whoever asks first."""
    contexts = [cx.contexts.Knn(k=5, name=name) for name in ("one", "two", "three", "four")]
    run(configuration, contexts=contexts, chunk_rows=20)
    scores = cx.open_store(str(tmp_path / "small.zarr")).scores()
    assert sorted(scores["context"]) == ["four", "one", "three", "two"]
    assert scores["usefulness"].nunique() == 1
    assert len(list((tmp_path / "small.zarr" / "operators").glob("knn-*"))) == 1
    # Anew, too, while each may still be reading what the others share.
    run(configuration, contexts=contexts, chunk_rows=20, force=True)
    again = cx.open_store(str(tmp_path / "small.zarr")).scores()
    pd.testing.assert_frame_equal(again, scores, rtol=1e-7, atol=1e-9)
