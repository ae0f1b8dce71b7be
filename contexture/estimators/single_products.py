"""Products of large matrices in float32, by the library that has the widest vectors for them.

Which kernels OpenBLAS takes depends on the name of the processor. One that it does not know yet
gets those for AVX2, though it may have AVX-512, and so half of its rate: AMD's Zen 5, say, with the
OpenBLAS in NumPy's wheels up to 0.3.31. MKL, to which `torch.mm` goes, has AVX-512 for Intel's
processors only. oneDNN, which comes with torch, looks at what the processor can do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from threadpoolctl import ThreadpoolController

from contexture.estimators.crew import wide_vectors
from contexture.inputs import Floats

Multiply: TypeAlias = Callable[[Floats, Floats], Floats]
"""(A, B) ↦ A B."""

COLUMNS = 1536
"""Columns that block Lanczos multiplies by a dense operator, roughly, there and back."""

_WORTH_LOADING = 5e11
"""Multiplications of which oneDNN saves two seconds on two cores: torch takes one to load."""


def multiply_for(work: float, alone: bool = False) -> Multiply:
    """Choose a product for float32.

    Parameters
    ----------
    work : float
        Multiplications that are to be done in all.
    alone : bool
        Whether it is called in several threads at once, each on a core of its own.

    Returns
    -------
    callable
        `by_onednn` where it is faster and worth loading, else NumPy's product.
    """
    if work < _WORTH_LOADING or not _onednn_is_wider():
        return np.matmul
    return _alone if alone else by_onednn


def by_onednn(A: Floats, B: Floats) -> Floats:
    """Multiply by oneDNN; by BLAS what is not float32, or lies in memory in another way.

    Parameters
    ----------
    A, B : ndarray of shape (r, k), (k, c)
        Each C-ordered or the transpose of such an array. For one with gaps between its rows,
        oneDNN would take hundreds of times as long as BLAS.
    """
    arrays = A, B
    single = all(X.dtype == np.float32 and X.size and X.flags.forc for X in arrays)
    # Of an array that may not be written to, torch would warn.
    if not (single and all(X.flags.writeable for X in arrays)):
        return np.asarray(A @ B)
    if not A.flags.c_contiguous and A.size > B.size:  # the smaller one is copied
        return by_onednn(B.T, A.T).T
    torch = _torch()
    factors = torch.from_numpy(np.ascontiguousarray(A)), torch.from_numpy(B.T)
    product: Floats = torch.ops.mkldnn._linear_pointwise(*factors, None, "none", [], "").numpy()
    return product


def _alone(A: Floats, B: Floats) -> Floats:
    """`by_onednn` in the thread that calls: every thread has a number of its own for OpenMP."""
    with _openmp().limit(limits=1, user_api="openmp"):
        return by_onednn(A, B)


@cache
def _torch() -> Any:
    import torch  # slow to import, and optional

    return torch


@cache
def _openmp() -> ThreadpoolController:
    _torch()
    return ThreadpoolController().select(user_api="openmp")


@cache
def _onednn_is_wider() -> bool:
    """Whether oneDNN is there and uses AVX-512, where BLAS does not."""
    if wide_vectors():
        return False
    try:
        torch = _torch()
    except ImportError:
        return False
    return bool(
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
