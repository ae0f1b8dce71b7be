"""What is refused before any long work starts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from contexture.contexts import Context, Knn, MaskedKnn
from contexture.corpus import Corpus
from contexture.errors import ContextError
from contexture.preflight import preflight
from contexture.readers import READERS


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(2100, 4)))
    (reader,) = [each for each in READERS if each.model_fields["reader"].default == "arrays"]
    return reader(path=str(tmp_path / "x.npy")).open()


@pytest.mark.parametrize(
    "context",
    [Knn(k=5, search="approximate"), MaskedKnn(k=5, search="approximate", name="masked")],
)
def test_approximate_neighbours_without_their_package(
    corpus: Corpus, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preflight(corpus, [context]).rows == 2100
    monkeypatch.setitem(sys.modules, "pynndescent", None)  # as where it is not installed
    with pytest.raises(ContextError) as caught:
        preflight(corpus, [Knn(k=5), context])
    assert str(caught.value) == (
        f"context '{context.label}' finds neighbours among 2,100 rows approximately, which needs "
        "the package pynndescent: install it by `pip install 'contexture[scale]'`, or set search "
        "to 'exact', or give the context a reference."
    )
    others = [Knn(k=5, search="exact"), Knn(k=5, reference=500, search="approximate")]
    assert len(preflight(corpus, [Knn(k=5), *others]).plans) == 3
