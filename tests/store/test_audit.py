from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from contexture.contexts import Knn
from contexture.errors import StoreError
from contexture.store import Audit, Store, open_store
from contexture.store.runs import begin_run, finish_run
from tests.store.made import CONTEXTS, audit, corpus


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    return audit(tmp_path_factory.mktemp("audit"), contexts=CONTEXTS)


@pytest.fixture
def found(made: tuple[Store, str]) -> Audit:
    return open_store(made[0].url)


def test_scores(found: Audit) -> None:
    scores = found.scores()
    assert list(scores.columns) == [
        "context", "family", "usefulness", "best_rank", "decay_rate", "total_association",
        "kernel_deviation", "lipschitz", "association", "abstains", "components",
        "compatibility[y]", "compatibility[label]",
    ]  # fmt: skip
    assert set(scores["context"]) == {"knn-5", "rbf-3"}
    assert scores["usefulness"].is_monotonic_increasing
    for name in found.contexts:
        row = scores.set_index("context").loc[name]
        assert row["usefulness"] == pytest.approx(float(found.usefulness_curve(name).min()))
        assert row["compatibility[y]"] == found.task("y", name)["compatibility"].item()
    more = found.scores(errors=True)
    extra = sorted(set(more.columns) - set(scores.columns))
    assert extra == sorted(
        f"{score}_standard_error"
        for score in ("usefulness", "best_rank", "kernel_deviation", "lipschitz",
                      "compatibility[y]", "compatibility[label]")
    )  # fmt: skip
    pd.testing.assert_frame_equal(more[scores.columns], scores)


def test_spectrum(found: Audit) -> None:
    data = found.spectrum("knn-5")
    values = {"singular_value", "standard_error", "numerical_error"}
    assert set(data.data_vars) == {*values, "left", "right"}
    assert data["component"].values.tolist() == list(range(1, 21))
    assert data["singular_value"].attrs["range"] == "0 to 1"


def test_names_and_provenance(found: Audit, made: tuple[Store, str]) -> None:
    assert found.contexts == ["knn-5", "rbf-3"]
    assert found.targets == ["y", "label"]
    assert found.provenance["status"] == "complete"
    assert found.runs()["run"].tolist() == [made[1]]
    assert made[1] in repr(found)


def test_unknown_names(found: Audit) -> None:
    with pytest.raises(StoreError) as caught:
        found.spectrum("knn-6")
    assert str(caught.value) == f"run '{found.run}' has no context 'knn-6': did you mean 'knn-5'?"
    with pytest.raises(StoreError) as caught:
        found.task("price", "knn-5")
    assert str(caught.value) == f"run '{found.run}' has no target 'price': known are: label, y"
    with pytest.raises(StoreError, match="has no context 'x': known are: knn-5, rbf-3"):
        found.task("y", "x")


def test_latest_finished_run_by_default(tmp_path: Path) -> None:
    store, first = audit(tmp_path)
    _, second = audit(tmp_path)
    later = begin_run(store, {})
    failed = begin_run(store, {})
    finish_run(store, failed, "failed", {})
    assert open_store(store.url).run == max(first, second)
    assert open_store(store.url, first).run == first
    with pytest.raises(StoreError) as caught:
        open_store(store.url, later)
    assert str(caught.value) == f"run '{later}' is not finished (its status is 'running')."
    with pytest.raises(
        StoreError, match=f"the store '{store.url}' has no run 'yesterday': known are:"
    ):
        open_store(store.url, "yesterday")
    with pytest.raises(StoreError, match=f"did you mean '{first}'"):
        open_store(store.url, first[:-2] + "zz")


def missing(place: Path) -> None:
    shutil.rmtree(place)


def cut(place: Path) -> None:
    (place / "usefulness" / "c").write_bytes(b"")


def without_metadata(place: Path) -> None:
    (place / "zarr.json").write_text("")


def without_usefulness(place: Path) -> None:
    shutil.rmtree(place / "usefulness")


def without_compatibility(place: Path) -> None:
    shutil.rmtree(place / "compatibility")


@pytest.mark.parametrize(
    ("harm", "folder", "where", "what"),
    [
        (missing, "contexts/knn-5", "contexts/knn-5", "it is missing"),
        (missing, "tasks", "tasks/y/knn-5", "it is missing"),
        (cut, "contexts/knn-5", "contexts/knn-5", "Zstd decompression error: invalid input data"),
        (without_metadata, "contexts/knn-5", "contexts/knn-5",
         "Expecting value: line 1 column 1 (char 0)"),
        (without_metadata, "contexts/knn-5/lipschitz", "contexts/knn-5",
         "Expecting value: line 1 column 1 (char 0)"),
        (without_usefulness, "contexts/knn-5", "contexts/knn-5", "'usefulness' is missing"),
        (without_compatibility, "tasks/y/knn-5", "tasks/y/knn-5", "'compatibility' is missing"),
    ],
)  # fmt: skip
def test_a_damaged_run(
    made: tuple[Store, str],
    tmp_path: Path,
    harm: Callable[[Path], None],
    folder: str,
    where: str,
    what: str,
) -> None:
    url, run = tmp_path / "copy.zarr", made[1]
    shutil.copytree(made[0].url, url)
    harm(url / "runs" / run / folder)
    with pytest.raises(StoreError) as caught:
        open_store(str(url)).scores()
    assert str(caught.value) == (
        f"run '{run}' of the store '{url}' is damaged at '{where}' ({what}); choose another run, "
        "or run 'contexture audit' again."
    )


def test_the_tree_of_a_damaged_run(made: tuple[Store, str], tmp_path: Path) -> None:
    url, run = tmp_path / "copy.zarr", made[1]
    shutil.copytree(made[0].url, url)
    without_metadata(url / "runs" / run / "contexts")
    with pytest.raises(StoreError) as caught:
        open_store(str(url)).tree()
    assert str(caught.value) == (
        f"run '{run}' of the store '{url}' is damaged (Expecting value: line 1 column 1 (char 0)); "
        "choose another run, or run 'contexture audit' again."
    )


def test_functions_stay_on_the_disk(found: Audit) -> None:
    data = found.spectrum("rbf-3")
    assert not data["left"].variable._in_memory
    assert not data["right"].variable._in_memory
    assert data["singular_value"].variable._in_memory


def test_caveats(found: Audit) -> None:
    notes = found.caveats()
    assert notes[0].startswith("The ranking mixes 2 families (")
    text = "\n".join(notes)
    assert (
        "target y: 2 of 37 values are missing and count as the mean in its compatibility." in notes
    )
    assert (
        "target label: 1 of 37 values are missing and count as the mean in its compatibility."
        in notes
    )
    assert "The association of a KNN context is set by K/n: τ at a fixed K" in text
    assert notes[-1] == (
        "Standard errors are over inputs, with the context values held fixed; they do not include "
        "the choice of reference rows or masks."
    )
    assert "only" not in text
    assert all(note.endswith(".") for note in notes)


def test_caveat_of_few_singular_values(tmp_path: Path) -> None:
    store, _ = audit(tmp_path, contexts=(Knn(k=2, reference=12),))
    assert (
        "knn-2-m12: only 11 singular values exist, so d_0 is 11 instead of 20; compare τ only at "
        "equal d_0." in open_store(store.url).caveats()
    )


def test_no_targets_and_one_family(tmp_path: Path) -> None:
    store, _ = audit(tmp_path, corpus(tmp_path, targets=(), exclude=("y", "label")), (Knn(k=5),))
    found = open_store(store.url)
    assert found.targets == []
    assert not any("mixes" in note or "target" in note for note in found.caveats())
    assert len(found.scores()) == 1


READ_ALONE = """
import sys
sys.modules["contexture"] = None
import numpy as np
import xarray as xr
url, run = sys.argv[1:]
data = xr.open_zarr(url, group=f"runs/{run}/contexts/knn-5", consolidated=False)
assert dict(data.sizes) == {"component": 20, "sample": 37, "context_value": 37, "function": 6}
values = data["singular_value"].values
assert (np.diff(values) <= 0).all() and 0 < values[0] <= 1
assert str(data["sample"].values[3]) == "row-03"
tree = xr.open_datatree(url, group=f"runs/{run}", engine="zarr", consolidated=False)
assert tree.attrs["status"] == "complete"
assert set(tree["contexts"].children) == {"knn-5", "rbf-3"}
assert 0 <= float(tree["tasks/label/rbf-3"]["compatibility"]) <= 1
whole = xr.open_datatree(url, engine="zarr", consolidated=False)
assert whole.attrs["contexture"]["format"] == 1
features = next(iter(whole["features"].children.values()))
assert features["X"].dims == ("sample", "feature")
assert not any(name.startswith("contexture.") for name in sys.modules)
print("read", round(float(data["usefulness"]), 6))
"""


def test_plain_xarray_reads_the_results(found: Audit, made: tuple[Store, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", READ_ALONE, made[0].url, made[1]],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tau = found.scores().set_index("context").loc["knn-5", "usefulness"]
    assert done.stdout.strip() == f"read {round(tau, 6)}"


def test_tree(found: Audit) -> None:
    tree = found.tree()
    assert isinstance(tree, xr.DataTree)
    assert tree["contexts/rbf-3"]["left"].dims == ("sample", "function")
    assert np.isfinite(float(tree["contexts/knn-5"]["usefulness"]))
