"""The spectrum of an RBF context without its matrix, whatever way is cheapest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from contexture.contexts.rbf import RbfRows
from contexture.errors import InputError
from contexture.estimators.dense import top_of
from contexture.estimators.exact import NOISE_FLOOR
from contexture.estimators.kernel_covariance import sampled_covariance
from contexture.estimators.kernel_lanczos import (
    BLOCK,
    expected_columns,
    extra,
    top_pairs,
    work_of,
)
from contexture.estimators.kernel_nystroem import nystroem_start, sampled_start
from contexture.estimators.kernel_products import KernelProducts
from contexture.estimators.kernel_ritz import NEAR_ONE, TopPairs, equal_to_one, refined
from contexture.estimators.kernel_strips import ColumnProgress, Progress
from contexture.estimators.kernel_truncation import plan_truncation, truncated_spectrum
from contexture.estimators.solution import SINGLE_LIMIT, Settings
from contexture.inputs import FloatArray
from contexture.spectrum import Spectrum, fix_signs_in_place

logger = logging.getLogger(__name__)

Route: TypeAlias = Literal["auto", "gram", "tiles", "nystroem", "truncated"]

GRAM_SIDE = 2048
"""Smaller side up to which its Gram matrix is formed, from tiles, in one pass."""

LARGE_SIDE = 8192
"""Smaller side from which some rows of M are tried before all of them."""


def kernel_spectrum(
    evidence: RbfRows,
    rank: int = 512,
    tolerance: float = 1e-5,
    seed: int = 0,
    memory: int | None = None,
    functions: int | None = None,
    left_functions: bool = False,
    progress: Progress | None = None,
    route: Route = "auto",
    threads: int | None = None,
    workspace: Path | None = None,
    products: Callable[..., KernelProducts] = KernelProducts,
) -> Spectrum:
    """Decompose an RBF context; nothing of size n × m is held.

    Parameters
    ----------
    evidence : RbfRows
        A fitted RBF context.
    rank : int
        Number of singular values wanted.
    tolerance : float
        Wanted bound on the error of every s_i²; products are float32 from 5e-6 on.
    seed : int
        Of start vectors, landmarks and samples.
    memory : int, optional
        Bytes that the basis, or a truncated operator with its basis, may take; restarts keep to
        it.
    functions : int, optional
        Number of functions wanted; all by default.
    left_functions : bool
        Whether μ_i on the inputs are wanted; one more pass.
    progress : callable, optional
        Called with (done, total) while the solver runs.
    route : {"auto", "gram", "tiles", "nystroem", "truncated"}
        ``gram`` forms the Gram matrix of the smaller side in one pass; ``tiles`` is block
        Lanczos; ``nystroem`` the same from Nyström vectors; ``truncated`` drops negligible
        weights and decomposes a sparse operator. By default what costs least.
    threads : int, optional
        Strips of the matrix at a time; as many as BLAS may use by default.
    workspace : Path, optional
        Folder for the basis of a truncated operator, where there is no memory for it; the one for
        temporary files by default.
    products : callable
        `KernelProducts`, or gives something like it that works elsewhere.

    Returns
    -------
    Spectrum
        `components` counts values within 1e-10 of 1, the trivial one included, or within rounding
        where rows are a thousand widths of the kernel from their median and more. Where all that
        were wanted are 1 there may be more; with truncated weights there are then at most the
        number given, that of the parts of the sparse operator.

    Raises
    ------
    InputError
        If there is only one input or one context value, so that nothing can be associated.
    """
    side = min(evidence.shape)
    told = ColumnProgress(progress, expected_columns(min(rank, side)), BLOCK)
    kernel = products(evidence, threads, progress=told.rows)
    told.blocks(0, np.inf)
    n, m = kernel.shape
    side = min(n, m)
    if side < 2:
        raise InputError(
            f"the operator has {n} input(s) and {m} context value(s); two of each are needed."
        )
    wanted = min(rank, side - 1)
    half = None if memory is None else memory // 2  # of a sparse operator, and of its basis
    if route == "auto" and side > GRAM_SIDE:
        plan = plan_truncation(kernel, tolerance / 2, seed, half)
        logger.debug("%.1e of the weights are above %.0e of the mean", plan.density, plan.share)
        route = "truncated" if plan.possible else route
    if route == "truncated":
        settings = Settings(
            tolerance / 2,
            seed,
            left_functions=left_functions or n < m,
            memory=half,
            workspace=workspace,
            progress=progress,
        )
        return truncated_spectrum(kernel, wanted, settings, functions, left_functions)
    trivial = np.sqrt(kernel.context_weights if m <= n else kernel.input_weights)
    if route == "gram" or (route == "auto" and (side <= GRAM_SIDE or wanted > side // 3)):
        pairs, method = _by_gram(kernel, trivial, wanted), "tiles: Gram matrix in float64"
        rounding = NOISE_FLOOR
    else:
        pairs, rounding, method = _by_lanczos(
            kernel, trivial, wanted, tolerance, seed, memory, route, told
        )
    return _spectrum(kernel, pairs, rounding, method, functions, left_functions, seed)


def _by_gram(products: KernelProducts, trivial: FloatArray, wanted: int) -> TopPairs:
    G = products.gram_matrix()
    G -= np.outer(trivial, trivial)
    values, V = top_of(G, wanted)
    V = V - np.outer(trivial, trivial @ V)
    return TopPairs(values, V, np.zeros(wanted), len(G))


def _by_lanczos(
    products: KernelProducts,
    trivial: FloatArray,
    wanted: int,
    tolerance: float,
    seed: int,
    memory: int | None,
    route: Route,
    told: ColumnProgress,
) -> tuple[TopPairs, float, str]:
    single = tolerance >= SINGLE_LIMIT
    dtype = np.dtype(np.float32 if single else np.float64)
    rounding = 2e-6 if single else 1e-12
    products.expect(work_of(wanted, products.shape), dtype)
    limit = None if memory is None else max(1, memory // (len(trivial) * dtype.itemsize))
    start = None
    if len(trivial) > LARGE_SIDE:
        start = sampled_start(products, BLOCK, wanted, dtype, seed)
    method = f"tiles: block Lanczos in {dtype}"
    if route == "nystroem":
        begun = nystroem_start(products, wanted + extra(wanted) + 1, seed=seed)
        start = begun.vectors.astype(dtype)
        method += f", from {begun.landmarks} Nyström landmarks"
        limit = None if limit is None else max(limit, 3 * start.shape[1])
    pairs = top_pairs(
        products.gram,
        trivial,
        wanted,
        max(tolerance - rounding, tolerance / 2),
        dtype,
        seed=seed,
        start=start,
        limit=limit,
        progress=told.blocks,
        multiply=products.multiply,
    )
    ones = int(np.sum(pairs.values > 1 - NEAR_ONE))
    if ones and dtype == np.float32:
        pairs = refined(products.gram, trivial, pairs, ones)
    return pairs, rounding, method


def _spectrum(
    products: KernelProducts,
    pairs: TopPairs,
    rounding: float,
    method: str,
    functions: int | None,
    left_functions: bool,
    seed: int,
) -> Spectrum:
    n, m = products.shape
    floor = max(NOISE_FLOOR, rounding)
    eigenvalues = np.where(pairs.values > floor, np.minimum(pairs.values, 1.0), 0.0)
    count = len(eigenvalues) if functions is None else min(functions, len(eigenvalues))
    tall, across = m <= n, None
    if not tall or left_functions:
        known = pairs.vectors[:, :count] if tall else pairs.vectors
        parts = products.other(known)
        across = np.concatenate([np.asarray(part, np.float64) for _, part in parts])
        with np.errstate(divide="ignore", invalid="ignore"):
            across /= np.sqrt(eigenvalues[: across.shape[1]])
    U, V = (across, pairs.vectors) if tall else (pairs.vectors, across)
    # The covariance needs all right functions, whatever is kept of them.
    right = np.array(V, dtype=np.float64)
    right /= np.sqrt(products.context_weights)[:, None]
    right[:, eigenvalues == 0] = np.nan
    covariance = sampled_covariance(products, eigenvalues, right, seed, U)
    left = np.empty((n, 0))
    if left_functions and U is not None:
        left = U[:, :count] / np.sqrt(products.input_weights)[:, None]
        left[:, eigenvalues[:count] == 0] = np.nan
    right = right if count == right.shape[1] else right[:, :count].copy()
    fix_signs_in_place(left, right)
    moved = products.rounding(pairs.values, pairs.vectors)
    ones = 1 + equal_to_one(pairs.values, moved)
    if ones == 1 + len(eigenvalues) and products.total_association > min(n, m) - 1 - 1e-8:
        ones = min(n, m)
    return Spectrum(
        singular_values=np.sqrt(eigenvalues),
        left=left,
        right=right,
        eigenvalue_covariance=covariance,
        input_weights=products.input_weights,
        context_weights=products.context_weights,
        context_values=products.context_values,
        total_association=products.total_association,
        components=ones,
        method=f"{method}; {products.passes} passes",
        noise_floor=floor,
        # What is below the floor counts as 0.
        numerical_error=pairs.errors
        + rounding
        + moved
        + np.where(eigenvalues == 0, np.maximum(pairs.values, 0.0), 0.0),
    )
