"""Contexts are fitted once before a run begins, and long searches are left to the workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contexture.contexts import Knn, MaskedKnn
from contexture.errors import ContextError
from contexture.inputs import Features
from tasks import corpus as module
from tasks.corpus import fit_all


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> Features:
    X = np.random.default_rng(0).normal(size=(2100, 3))
    found = Features.from_array(X)
    monkeypatch.setattr(module, "read_features", lambda store, key: found)
    return found


@pytest.mark.usefixtures("features")
@pytest.mark.parametrize("kind", [Knn, MaskedKnn])
def test_nothing_is_searched_in_the_flow(
    kind: type[Knn | MaskedKnn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*_: object) -> None:
        raise AssertionError("a search among all rows belongs to a worker")

    monkeypatch.setattr(kind, "find_neighbours", search)
    fit_all.fn(str(tmp_path), "key", [kind(k=5, search="approximate")], 0)


@pytest.mark.usefixtures("features")
def test_what_does_not_fit_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="K is 3000, but there are only 2100 reference rows"):
        fit_all.fn(str(tmp_path), "key", [Knn(k=5), Knn(k=3000)], 0)
