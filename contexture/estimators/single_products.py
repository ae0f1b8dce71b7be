"""Products of large matrices in float32, by the library that has the widest vectors for them.

Which kernels OpenBLAS takes depends on the name of the processor. One that it does not know yet
gets those for AVX2, though it may have AVX-512, and so half of its rate: AMD's Zen 5, say, with the
OpenBLAS in NumPy's wheels up to 0.3.31. MKL, to which `torch.mm` goes, has AVX-512 for Intel's
processors only. oneDNN, which comes with torch, looks at what the processor can do. The operator
that goes there is the one that torch's own compiler calls for a linear layer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from contexture.estimators.crew import blas_kernels, blas_threads
from contexture.inputs import Floats

logger = logging.getLogger(__name__)

Multiply: TypeAlias = Callable[[Floats, Floats], Floats]
"""(A, B) ↦ A B."""

WORTH_LOADING = 2.5e11
"""Multiplications per core of which oneDNN saves two seconds: torch takes one to load."""

TORCH_BYTES = 180 * 2**20
"""What torch takes in memory once it is loaded."""

_NARROW = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen")
"""Kernels of OpenBLAS for vectors of up to 256 bits."""


def multiply_for(
    work: float, dtype: npt.DTypeLike, alone: bool = False, threads: int | None = None
) -> Multiply:
    """Choose how to multiply dense matrices.

    Parameters
    ----------
    work : float
        Multiplications that are to be done in all.
    dtype : float32 or float64
        Of the matrices.
    alone : bool
        Whether it is called in several threads at once, each on a core of its own.
    threads : int, optional
        Among which the work is shared out; as many as BLAS may use by default.

    Returns
    -------
    callable
        By oneDNN in float32 where that is faster and worth loading, else NumPy's.
    """
    little = np.dtype(dtype) != np.float32 or work < WORTH_LOADING * (threads or blas_threads())
    if little or not _onednn_is_wider():
        return np.matmul
    return _on_one_core if alone else _on_all_cores


def by_onednn(A: Floats, B: Floats, threads: int) -> Floats:
    """Multiply by oneDNN; by BLAS what is not float32, or lies in memory in another way.

    Parameters
    ----------
    A, B : ndarray of shape (r, k), (k, c)
        Each C-ordered or the transpose of such an array. For one with gaps between its rows,
        oneDNN would take hundreds of times as long as BLAS.
    threads : int
        Of OpenMP, which oneDNN uses: every thread that calls has a number of its own.
    """
    torch = _torch()
    single = all(X.dtype == np.float32 and X.size and X.flags.forc for X in (A, B))
    # Of an array that may not be written to, torch would warn.
    if not (single and all(X.flags.writeable for X in (A, B)) and _is_exact(torch)):
        return np.asarray(A @ B)
    if not A.flags.c_contiguous and A.size > B.size:  # the smaller one is copied
        return by_onednn(B.T, A.T, threads).T
    factors = torch.from_numpy(np.ascontiguousarray(A)), torch.from_numpy(B.T)
    with _openmp().limit(limits=threads, user_api="openmp"):
        product = torch.ops.mkldnn._linear_pointwise(*factors, None, "none", [], "")
    result: Floats = product.numpy()
    return result


def _on_one_core(A: Floats, B: Floats) -> Floats:
    return by_onednn(A, B, 1)


def _on_all_cores(A: Floats, B: Floats) -> Floats:
    return by_onednn(A, B, blas_threads())


def _is_exact(torch: Any) -> bool:
    """Whether oneDNN rounds to float32 only: who trains may have set it to round to bfloat16."""
    try:
        precision = torch.backends.mkldnn.matmul.fp32_precision
    except AttributeError:  # before torch 2.9
        return bool(torch.get_float32_matmul_precision() == "highest")
    return precision in ("none", "ieee")


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
    """Whether oneDNN is there, works, and uses AVX-512, where BLAS does not."""
    # On Windows the number of OpenMP's threads is one for all threads that call.
    if blas_kernels() not in _NARROW or os.name == "nt":
        return False
    try:
        torch = _torch()
        if torch.backends.cpu.get_cpu_capability() != "AVX512":
            return False
        A = np.arange(12, dtype=np.float32).reshape(3, 4)
        for B in (A.T, np.ascontiguousarray(A.T)):
            if not np.array_equal(_on_all_cores(A, B), A @ B):
                return False
    except Exception as error:  # torch may be missing, broken, or of another version
        logger.debug("products by BLAS, since oneDNN cannot be used: %s", error)
        return False
    return True
