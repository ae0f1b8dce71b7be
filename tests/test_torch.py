from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import contexture as cx
from contexture.contexts.base import Context

CONTEXTS = (cx.contexts.Knn(k=10), cx.contexts.Rbf(gamma=2.0))


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.label)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64], ids=str)
def test_a_tensor_gives_the_spectrum_of_its_array(dtype: Any, context: Context) -> None:
    tensor = (10 * torch.randn(120, 4, generator=torch.Generator().manual_seed(3))).to(dtype)
    array = np.array(tensor.tolist(), dtype=str(dtype).removeprefix("torch."))
    ours, theirs = cx.decompose(tensor, context, 20), cx.decompose(array, context, 20)
    np.testing.assert_allclose(ours.singular_values, theirs.singular_values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.left[:, :3], theirs.left[:, :3], rtol=0, atol=1e-9)
    assert ours.total_association == pytest.approx(theirs.total_association, rel=1e-12)
    assert type(ours.singular_values) is np.ndarray


def test_a_transposed_tensor_is_read_by_rows() -> None:
    tensor = torch.randn(5, 60, generator=torch.Generator().manual_seed(4)).T
    features = cx.Features.from_array(tensor)
    assert features.shape == (60, 5)
    assert features.fingerprint == cx.Features.from_array(tensor.numpy().copy()).fingerprint
