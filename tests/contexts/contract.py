"""What every kind of context must do; a test class for each kind inherits `ContextContract`."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from pydantic import TypeAdapter, ValidationError
from scipy import sparse

from contexture.contexts import KINDS, AnyContext, ConditionalRows, Context, Features
from contexture.operator import ExpectationOperator
from tests.contexts.outside import check_bad_inputs, check_extension

N, D = 41, 4


def points(n: int = N, features: int = D, seed: int = 7) -> np.ndarray:
    """Rows in general position: no two distances are equal."""
    return np.random.default_rng(seed).normal(size=(n, features))


def some_features(X: np.ndarray | None = None, **more: Any) -> Features:
    matrix = points() if X is None else X
    ids = np.array([f"row {i}" for i in range(len(matrix))])
    return Features.from_array(matrix, **({"ids": ids} | more))


def dense(evidence: ConditionalRows, step: int = 10**6) -> np.ndarray:
    """P as a whole, computed ``step`` rows at a time."""
    n = evidence.shape[0]
    parts = [evidence.rows(i, min(i + step, n)) for i in range(0, n, step)]
    return np.concatenate([p.toarray() if sparse.issparse(p) else p for p in parts])


def by_names(evidence: ConditionalRows, ids: np.ndarray) -> dict[tuple[str, str], float]:
    """P as a mapping of (row, context value), whatever their order."""
    P = dense(evidence)
    return {
        (str(x), str(a)): float(P[i, j])
        for i, x in enumerate(ids.tolist())
        for j, a in enumerate(evidence.context_values.tolist())
        if P[i, j] > 0
    }


class ContextContract:
    """Subclasses say how a context is made, and what else may be told apart."""

    kind: str

    def context(self, folder: Path) -> Context:
        """One context of this kind; files it needs are written into the folder."""
        raise NotImplementedError

    def siblings(self, folder: Path) -> list[Context]:
        """Contexts that differ from `context` and from each other in what they compute."""
        raise NotImplementedError

    @pytest.fixture
    def made(self, tmp_path: Path) -> Context:
        return self.context(tmp_path)

    # -- the description ---------------------------------------------------------------------

    def test_kind_and_family(self, made: Context) -> None:
        assert made.kind == self.kind
        assert type(made) in KINDS
        assert made.family

    def test_is_frozen_and_hashable(self, made: Context, tmp_path: Path) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            made.name = "other"  # type: ignore[misc]
        assert hash(made) == hash(self.context(tmp_path))
        assert made == self.context(tmp_path)

    def test_unknown_parameters_are_refused(self, made: Context) -> None:
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            type(made).model_validate(made.model_dump() | {"neighbors": 3})

    def test_every_field_has_title_and_description(self, made: Context) -> None:
        schema = type(made).model_json_schema()
        assert schema["title"]
        assert schema["description"]
        for name, field in schema["properties"].items():
            if name != "kind":
                assert field["title"], name
                assert len(field["description"]) > 10, name
                assert isinstance(field["position"], int), name
        positions = [f["position"] for f in schema["properties"].values() if "position" in f]
        assert len(set(positions)) == len(positions)

    def test_round_trip_through_json(self, made: Context) -> None:
        read = TypeAdapter(AnyContext).validate_json(made.model_dump_json())
        assert read == made
        assert type(read) is type(made)

    def test_label(self, made: Context) -> None:
        assert made.label == made.default_name
        assert made.default_name.startswith(self.kind)
        assert made.model_copy(update={"name": "mine"}).label == "mine"
        # The default name must itself be allowed as a name.
        named = type(made).model_validate(made.model_dump() | {"name": made.default_name})
        assert named.label == made.default_name

    @pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 81, "é"])
    def test_bad_names_are_refused(self, made: Context, name: str) -> None:
        with pytest.raises(ValidationError, match="pattern"):
            type(made).model_validate(made.model_dump() | {"name": name})

    # -- identity ----------------------------------------------------------------------------

    def test_identity_ignores_the_name(self, made: Context) -> None:
        features = some_features()
        other = made.model_copy(update={"name": "other"})
        assert other.identity(features, 0) == made.identity(features, 0)
        assert made.identity(features, 0).startswith(f"{self.kind}-")

    def test_identity_changes_with_parameters(self, made: Context, tmp_path: Path) -> None:
        features = some_features()
        keys = [c.identity(features, 0) for c in (made, *self.siblings(tmp_path))]
        assert len(set(keys)) == len(keys) > 1

    def test_identity_changes_with_data(self, made: Context) -> None:
        X = points()
        X[3, 2] += 1e-9
        weights = np.arange(1.0, N + 1)
        others = [some_features(X), some_features(input_weights=weights), some_features(ids=None)]
        keys = {f.fingerprint for f in (*others, some_features())}
        assert len(keys) == 4
        assert len({made.identity(f, 0) for f in (*others, some_features())}) == 4

    def test_identity_changes_with_the_seed_where_it_matters(self, made: Context) -> None:
        features = some_features()
        same = made.identity(features, 0) == made.identity(features, 1)
        assert same is not made.draws(features.shape[0])

    # -- the evidence ------------------------------------------------------------------------

    def test_rows_are_laws(self, made: Context, tmp_path: Path) -> None:
        for context in (made, *self.siblings(tmp_path)):
            evidence = context.fit(some_features(), 3)
            assert isinstance(evidence, ConditionalRows)
            P = dense(evidence)
            assert P.shape == evidence.shape == (N, len(evidence.context_values))
            assert P.dtype == np.float64
            assert (P >= 0).all()
            np.testing.assert_allclose(P.sum(axis=1), 1, rtol=0, atol=1e-12)
            assert evidence.input_weights.shape == (N,)
            assert evidence.input_weights.sum() == pytest.approx(1, abs=1e-12)
            assert sparse.issparse(evidence.rows(0, 3)) is evidence.sparse

    @pytest.mark.parametrize("step", [1, 7, 40])
    def test_rows_agree_for_every_cut(self, made: Context, step: int) -> None:
        evidence = made.fit(some_features(), 3)
        np.testing.assert_allclose(dense(evidence, step), dense(evidence), rtol=0, atol=1e-14)
        assert evidence.rows(5, 5).shape == (0, evidence.shape[1])

    def test_entries_bound_what_is_stored(self, made: Context, tmp_path: Path) -> None:
        for context in (made, *self.siblings(tmp_path)):
            evidence = context.fit(some_features(), 3)
            for start, stop in [(0, N), (0, 1), (5, 20), (N - 1, N)]:
                block = evidence.rows(start, stop)
                stored = block.nnz if sparse.issparse(block) else block.size
                assert 0 < stored <= evidence.entries(start, stop)

    def test_extent_is_known_beforehand(self, made: Context, tmp_path: Path) -> None:
        for context in (made, *self.siblings(tmp_path)):
            extent = context.extent(N, D)
            evidence = context.fit(some_features(), 3)
            assert (extent.rows, extent.columns) == evidence.shape
            assert extent.sparse is evidence.sparse
            assert extent.nonzeros >= np.count_nonzero(dense(evidence))
            assert extent.row_work > 0

    def test_fitted_evidence_survives_pickling(self, made: Context) -> None:
        evidence = made.fit(some_features(), 3)
        copy = pickle.loads(pickle.dumps(evidence))
        np.testing.assert_array_equal(dense(copy), dense(evidence))
        np.testing.assert_array_equal(copy.context_values, evidence.context_values)
        assert pickle.loads(pickle.dumps(made)) == made

    def test_fit_does_not_change_its_input(self, made: Context) -> None:
        features = some_features()
        made.fit(features, 3).rows(0, N)
        np.testing.assert_array_equal(features.X, points())

    def test_features_may_lie_in_zarr(self, made: Context) -> None:
        stored = zarr.create_array({}, shape=(N, D), chunks=(10, D), dtype="float64")
        stored[:] = points()
        memory = some_features()
        lazy = Features(stored, memory.ids, memory.input_weights, memory.fingerprint)
        found = dense(made.fit(lazy, 3), 13)
        np.testing.assert_allclose(found, dense(made.fit(memory, 3)), rtol=0, atol=1e-14)

    def test_row_order_does_not_matter(self, made: Context, tmp_path: Path) -> None:
        order = np.random.default_rng(1).permutation(N)
        for context in (made, *self.siblings(tmp_path)):
            first, second = some_features(), some_features(points()[order], ids=None)
            second = some_features(points()[order], ids=first.ids[order])
            a, b = context.fit(first, 5), context.fit(second, 5)
            expected, found = by_names(a, first.ids), by_names(b, second.ids)
            assert found.keys() == expected.keys()
            np.testing.assert_allclose(
                [found[key] for key in expected], list(expected.values()), rtol=1e-9, atol=1e-14
            )
            np.testing.assert_allclose(b.input_weights, a.input_weights[order], rtol=1e-12)

    def test_same_seed_same_numbers(self, made: Context, tmp_path: Path) -> None:
        for context in (made, *self.siblings(tmp_path)):
            a, b = (dense(context.fit(some_features(), 11)) for _ in range(2))
            np.testing.assert_array_equal(a, b)

    def test_rows_of_inputs_from_outside(self, made: Context, tmp_path: Path) -> None:
        for context in (made, *self.siblings(tmp_path)):
            features = some_features()
            evidence = context.fit(features, 3)
            if not hasattr(evidence, "rows_of"):
                return
            names = evidence.context_values.tolist()
            own = [names.index(i) if i in names else -1 for i in features.ids.tolist()]
            again = evidence.rows_of(points(), own)
            assert sparse.issparse(again) is evidence.sparse
            P = again.toarray() if evidence.sparse else again
            np.testing.assert_allclose(P, dense(evidence), rtol=0, atol=1e-14)
            new = evidence.rows_of(points(3, seed=1).tolist())
            assert new.shape == (3, len(names))
            np.testing.assert_allclose(np.asarray(new.sum(axis=1)).ravel(), 1, rtol=0, atol=1e-12)
            check_extension(evidence, points(), own)
            check_bad_inputs(evidence, points())

    def test_chunks_do_not_change_the_operator(self, made: Context) -> None:
        evidence = made.fit(some_features(), 3)
        a, b = (ExpectationOperator.from_evidence(evidence, size) for size in (6, 1024))
        np.testing.assert_allclose(a.context_weights, b.context_weights, rtol=0, atol=1e-15)
        assert a.total_association == pytest.approx(b.total_association, abs=1e-12)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_bad_numbers_in_x_are_refused(self, made: Context, bad: float) -> None:
        X = points()
        X[3, 1] = bad
        with pytest.raises(ValueError, match="finite|NaN|infinite"):
            made.fit(Features.from_array(X))
