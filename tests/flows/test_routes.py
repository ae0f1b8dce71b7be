"""Routes of the plan through the whole pipeline: the same scores by each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import contexture as cx
from contexture.contexts import Graph, Knn, Rbf
from contexture.errors import ConfigurationError
from contexture.estimators.options import Estimation
from contexture.store import Store
from contexture.store.base import array_of
from contexture.store.moments import StoredMoments
from flows.audit import audit
from flows.configuration import load_parameters
from flows.parameters import AuditParameters
from tasks.progress import listening

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

DRAWN = [Knn(fraction=0.1, reference=60), Rbf(gamma=5, reference=50)]
WHOLE = [Knn(k=8, search="approximate"), Rbf(gamma=5)]


def run(configuration: Path, store: Path, contexts: list[object], **options: object) -> cx.Audit:
    parameters = load_parameters(configuration)
    arguments = {name: getattr(parameters, name) for name in AuditParameters.model_fields}
    changes = {"contexts": contexts, "store": str(store), "max_rank": 40}
    found = audit(**{**arguments, **changes, "estimation": Estimation(**options)})
    return cx.open_store(str(store), found)


def values(found: cx.Audit) -> pd.DataFrame:
    table = found.scores().set_index("context").sort_index()
    return table.select_dtypes("number")


def test_moments_are_resumed_and_give_the_scores_of_the_rows(
    configuration: Path, tmp_path: Path
) -> None:
    rows = run(configuration, tmp_path / "rows.zarr", DRAWN)
    options = {"route": "moments", "draws": 1}
    moments = run(configuration, tmp_path / "m.zarr", DRAWN, **options, left_functions="always")
    pd.testing.assert_frame_equal(values(moments), values(rows), rtol=1e-7, atol=1e-8)
    data, expected = (found.spectrum("knn-0.1-m60") for found in (moments, rows))
    assert data["right"].dims == ("context_value", "function")
    signs = np.sign((data["left"] * expected["left"]).sum("sample"))
    np.testing.assert_allclose(data["left"] * signs, expected["left"], atol=1e-7)

    # A block that is missing, as after a kill, is the only one that is computed again.
    store = Store(str(tmp_path / "m.zarr"))
    (key,) = [k for k in store.children("operators") if k.startswith("knn")]
    done = array_of(store.group(f"operators/{key}"), "done")
    before = StoredMoments(store, key).total(0)
    gram = array_of(store.group(f"operators/{key}"), "gram")
    done[3], gram[0, 3] = 0, np.nan
    files = (tmp_path / "m.zarr" / "operators").rglob("c/0/4/**/*")
    kept = {p: p.stat().st_mtime_ns for p in files if p.is_file()}
    again = run(configuration, tmp_path / "m.zarr", [DRAWN[0]], **options)
    assert "left" not in again.spectrum("knn-0.1-m60")
    np.testing.assert_array_equal(StoredMoments(store, key).total(0).gram, before.gram)
    assert len(kept) > 4  # both halves of each array
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert values(again).loc["knn-0.1-m60"].equals(values(moments).loc["knn-0.1-m60"])


def test_draws_and_a_changed_target(configuration: Path, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    first = run(configuration, store, [DRAWN[0]], route="moments", draws=3)
    assert any("knn-0.1-m60 (3)" in sentence for sentence in first.caveats())
    error = first.scores(errors=True)["usefulness_standard_error"].item()
    assert error > 0
    # Another target: only the moments of the targets are new.
    before = {
        p: p.stat().st_mtime_ns for p in (store / "operators").rglob("gram/c/**/*") if p.is_file()
    }
    # Halves of blocks of 13 rows, enough for the errors; of the last one, of one row, is one empty.
    assert len(before) == 3 * (24 * 2 - 1)
    text = configuration.read_text().replace("targets: [age, group]", "targets: [age]")
    configuration.write_text(text.replace("  id: id", "  id: id\n  exclude: [group]"))
    second = run(configuration, store, [DRAWN[0]], route="moments", draws=3)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    name = "compatibility[age]"
    assert second.scores()[name].item() == pytest.approx(first.scores()[name].item(), abs=1e-12)


def test_products_on_all_workers(configuration: Path, tmp_path: Path) -> None:
    ids = pd.read_csv(configuration.parent / "corpus.csv")["id"].to_numpy()
    ends = np.random.default_rng(0).integers(0, len(ids), size=(2, 8 * len(ids)))
    ends[0, : len(ids)] = np.arange(len(ids))
    edges = pd.DataFrame({"source": ids[ends[0]], "target": ids[ends[1]]})
    edges.to_csv(tmp_path / "edges.csv", index=False)
    contexts = [Knn(k=8), Graph(path=str(tmp_path / "edges.csv"))]
    rows = run(configuration, tmp_path / "rows.zarr", contexts, route="exact")
    spread = run(configuration, tmp_path / "w.zarr", contexts, route="distributed")
    np.testing.assert_allclose(values(spread), values(rows), rtol=1e-4, atol=1e-5)
    # A graph is known before: it is stored in a local order, and comes out in the corpus's.
    stored = [
        key for key in Store(str(tmp_path / "w.zarr")).children("operators") if "graph" in key
    ]
    assert [key.endswith("-local") for key in stored] == [True]
    one, two = (found.spectrum("graph-edges") for found in (spread, rows))
    np.testing.assert_array_equal(one["sample"], two["sample"])
    np.testing.assert_array_equal(one["context_value"], two["context_value"])
    np.testing.assert_allclose(one["left"][:, :5], two["left"][:, :5], atol=2e-5)
    # An operator that is there in the order of the corpus is as good.
    again = run(configuration, tmp_path / "rows.zarr", contexts, route="distributed")
    assert not [
        key for key in Store(str(tmp_path / "rows.zarr")).children("operators") if "local" in key
    ]
    np.testing.assert_allclose(values(again), values(spread), rtol=1e-6, atol=1e-8)


def test_kernels_without_their_matrix_and_neighbours_found_once(
    configuration: Path, tmp_path: Path
) -> None:
    rows = run(configuration, tmp_path / "rows.zarr", [Knn(k=8), Rbf(gamma=5)])
    free = run(configuration, tmp_path / "free.zarr", [Rbf(gamma=5)], route="matrix-free")
    expected, found = values(rows).loc["rbf-5"], values(free).loc["rbf-5"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not list((tmp_path / "free.zarr").glob("operators/*"))
    # So few rows are searched exactly, whatever was asked for.
    searched = run(configuration, tmp_path / "rows.zarr", [WHOLE[0]])
    assert values(searched).iloc[0].to_numpy() == pytest.approx(
        values(rows).loc["knn-8"].to_numpy(), rel=1e-9
    )


def test_drawn_references_whose_moments_would_not_fit(configuration: Path, tmp_path: Path) -> None:
    rows = run(configuration, tmp_path / "rows.zarr", DRAWN, route="exact")
    routes = {"knn-0.1-m60": "distributed", "rbf-5-m50": "matrix-free"}
    found = run(configuration, tmp_path / "other.zarr", DRAWN, routes=routes)
    np.testing.assert_allclose(values(found), values(rows), rtol=1e-4, atol=1e-5)
    methods = [found.spectrum(name).attrs["method"] for name in routes]
    assert ["Lanczos" in methods[0], "tiles" in methods[1]] == [True, True]


def test_routes_of_single_contexts(configuration: Path, tmp_path: Path) -> None:
    rows = run(configuration, tmp_path / "rows.zarr", [Knn(k=8), Rbf(gamma=5)])
    found = run(
        configuration, tmp_path / "each.zarr", [Knn(k=8), Rbf(gamma=5)],
        route="krylov", routes={"rbf-5": "matrix-free"}, kernel="nystroem",
    )  # fmt: skip
    np.testing.assert_allclose(values(found), values(rows), rtol=1e-4, atol=1e-5)
    methods = [found.spectrum(name).attrs["method"] for name in ("knn-8", "rbf-5")]
    assert ["Nyström landmarks" in method for method in methods] == [False, True]
    # Another way is another result, and is not taken for it.
    tiles = run(
        configuration, tmp_path / "each.zarr", [Rbf(gamma=5)],
        routes={"rbf-5": "matrix-free"}, kernel="tiles",
    )  # fmt: skip
    assert "Nyström" not in tiles.spectrum("rbf-5").attrs["method"]
    with pytest.raises(ConfigurationError) as caught:
        run(configuration, tmp_path / "none.zarr", [Rbf(gamma=5)], routes={"rbf5": "exact"})
    assert str(caught.value) == (
        "estimation.routes names 'rbf5', and there is no such context: did you mean 'rbf-5'?"
    )
    assert not (tmp_path / "none.zarr").exists()


def test_a_kernel_without_its_matrix_tells_how_far_it_is(
    configuration: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []

    class Ear:
        def advance(self, stage: str, done: int, total: int) -> None:
            if stage == "rbf-5: spectrum and scores":
                told.append((done, total))

    with listening(Ear()):
        run(configuration, tmp_path / "free.zarr", [Rbf(gamma=5)], route="matrix-free")
    # The job itself is one of one; what it tells is of some hundred columns.
    inner = [pair for pair in told if pair[1] > 1]
    assert inner
    assert len({total for _, total in inner}) == 1
    assert [done for done, _ in inner] == sorted(done for done, _ in inner)
