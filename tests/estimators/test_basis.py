from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contexture.estimators import basis as module
from contexture.estimators.basis import Basis


@pytest.fixture(params=["memory", "disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "disk" else None


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 1e-4), (np.float64, 1e-12)])
@pytest.mark.parametrize("wide", [False, True])
def test_inner_products_are_taken_off_whichever_way_is_fast(
    folder: Path | None, dtype: Any, atol: float, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "wide_vectors", lambda: wide)
    rng = np.random.default_rng(0)
    side = 2500  # three panels
    Q = np.linalg.qr(rng.normal(size=(side, 40)))[0].astype(dtype)
    X = rng.normal(size=(side, 7)).astype(dtype)
    basis = Basis(side, 64, dtype, folder)
    basis.append(Q[:, :25])
    basis.append(Q[:, 25:])
    np.testing.assert_array_equal(basis.columns(0, 40), Q)
    for first in (0, 10):
        H = basis.inner(X, first)
        np.testing.assert_allclose(H, Q[:, first:].T @ X, atol=atol)
        left = X.copy()
        basis.subtract(left, H, first)
        np.testing.assert_allclose(left, X - Q[:, first:] @ H, atol=atol)
    basis.close()


def test_rotated_and_drained(folder: Path | None) -> None:
    rng = np.random.default_rng(1)
    side, order = 3000, rng.permutation(3000)
    Q = rng.normal(size=(side, 12))
    basis = Basis(side, 30, np.float64, folder)
    basis.append(Q)
    Z = rng.normal(size=(12, 5))
    basis.rotate(Z)
    np.testing.assert_allclose(basis.columns(0, 5), Q @ Z, atol=1e-12)
    result = np.empty((side, 5))
    result[order] = Q @ Z
    np.testing.assert_allclose(basis.drain(5, order), result, atol=1e-12)
    assert basis.used == 0
