"""From products to eigenpairs: the solver, in float32 where that is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contexture.estimators.crew import ALONE, Crew
from contexture.estimators.deflation import Space
from contexture.estimators.exact import NOISE_FLOOR
from contexture.estimators.krylov import top_eigenpairs
from contexture.estimators.products import Products
from contexture.inputs import FloatArray, Floats, IntArray
from contexture.operator import ExpectationOperator

SINGLE_LIMIT = 5e-6
"""Tolerances from here on can be met with products in float32."""

FLOORS = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): NOISE_FLOOR}
"""s_i² below this cannot be told from rounding."""


@dataclass(frozen=True)
class Settings:
    """What the solver may use, and what is wanted of it.

    Attributes
    ----------
    tolerance : float
        Of every s_i².
    seed : int
        Of start vectors.
    functions : int or None
        How many functions are wanted; all if None.
    left_functions : bool
        Whether those on the inputs are wanted at all.
    memory : int or None
        Bytes for the basis.
    workspace : Path or None
        Folder for a basis that does not fit.
    progress : callable or None
        Called with (done, total).
    products : callable or None
        Gives the products of an operator whose blocks are not in memory: on the workers of a
        cluster, say. By default the blocks are read here.
    ordered : bool
        Whether rows and columns come in a local order.
    """

    tolerance: float = 1e-5
    seed: int = 0
    functions: int | None = None
    left_functions: bool = True
    memory: int | None = None
    workspace: Path | None = None
    progress: Callable[[int, int], None] | None = None
    products: Callable[[ExpectationOperator], Products] | None = None
    ordered: bool = False


@dataclass(frozen=True)
class Solution:
    """Eigenpairs on the smaller side.

    Attributes
    ----------
    values, errors : ndarray of shape (q,)
        s², descending, and bounds of their errors.
    vectors : ndarray of shape (side, q)
        Orthonormal.
    floor : float
        Values below cannot be told from rounding.
    precision : dtype
        In which the solver worked.
    """

    values: FloatArray
    errors: FloatArray
    vectors: Floats
    floor: float
    precision: np.dtype[Any]


def solve(
    products: Products,
    root: FloatArray,
    count: int,
    settings: Settings,
    labels: IntArray | None = None,
    order: npt.NDArray[np.intp] | None = None,
    crew: Crew = ALONE,
) -> Solution:
    """Solve for the top of G, in float32 where that is enough.

    Parameters
    ----------
    products : Products
    root : ndarray of shape (side,)
        √p_X or √p_A, whichever is shorter (√p_A where they are equal).
    count : int
        Values wanted beside those that are 1 for the parts.
    settings : Settings
    labels : ndarray of shape (side,), optional
        Connected part of each entry; one part if left out.
    order : ndarray of shape (side,), optional
        Where each entry of the vectors stands in the result.
    crew : Crew
        Threads for everything but the products.
    """
    dtypes = (np.float32, np.float64) if settings.tolerance >= SINGLE_LIMIT else (np.float64,)
    for dtype in dtypes:
        pairs = top_eigenpairs(
            products.gram,
            Space(root, labels, settings.seed, crew),
            count,
            settings.tolerance,
            dtype,
            memory=settings.memory,
            workspace=settings.workspace,
            progress=settings.progress,
        )
        if pairs.errors.max() <= settings.tolerance or dtype is dtypes[-1]:
            break
        pairs.basis.close()
    vectors = pairs.basis.drain(len(pairs.values), order)
    precision = np.dtype(dtype)
    return Solution(pairs.values, pairs.errors, vectors, FLOORS[precision], precision)
