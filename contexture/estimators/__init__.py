"""From evidence to a spectrum: ``decompose`` and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import psutil

from contexture.contexts.base import ConditionalRows, Context
from contexture.contexts.rbf import Rbf, RbfRows
from contexture.errors import EvidenceError, InputError, TooLargeError
from contexture.estimators import exact, kernel_spectrum
from contexture.estimators.machine import gibibytes
from contexture.estimators.options import Estimation
from contexture.estimators.products import Products
from contexture.estimators.randomized import krylov_spectrum
from contexture.estimators.routes import choose_route
from contexture.estimators.solution import Settings
from contexture.estimators.streamed import streamed_spectrum
from contexture.inputs import Features
from contexture.operator import ExpectationOperator
from contexture.spectrum import Spectrum


def operator_of(
    X: npt.ArrayLike | Features, context: Context, seed: int = 0
) -> ExpectationOperator:
    """Compute the expectation operator of a context in memory.

    Parameters
    ----------
    X : array-like of shape (n, D) or Features
        The inputs.
    context : Context
        Which second variable to look at.
    seed : int
        Seed of drawn references and masks.

    Raises
    ------
    CorpusError
        If X holds NaN or infinite values, or nothing.
    ContextError
        If the context does not fit the inputs.
    EvidenceError
        If the context cannot give rows of P⁺.
    TooLargeError
        If P is dense and there is not enough memory for it.
    """
    _require_whole("seed", seed, 0)
    features = X if isinstance(X, Features) else Features.from_array(X)
    return _held(context, _evidence(context, features, seed))


def _evidence(context: Context, features: Features, seed: int) -> ConditionalRows:
    evidence = context.fit(features, seed)
    if not isinstance(evidence, ConditionalRows):
        raise EvidenceError(
            f"context '{context.label}' gives {type(evidence).__name__}, but an exact spectrum "
            "needs rows of P(a|x); use an estimator for samples or pairs."
        )
    return evidence


def _held(context: Context, evidence: ConditionalRows) -> ExpectationOperator:
    n, m = evidence.shape
    needed, free = 8 * n * m, psutil.virtual_memory().available
    if evidence.sparse or needed <= free:
        return ExpectationOperator.from_evidence(evidence)
    whole = isinstance(context, Rbf) and m == n
    raise TooLargeError(
        f"context '{context.label}' on {n:,} rows has a dense operator of {gibibytes(needed)}, and "
        f"{gibibytes(free)} of memory are free; give the context a 'reference' of a few thousand "
        f"rows{', or call decompose, which needs no matrix' if whole else ''}."
    )


def _require_left(context: Context, evidence: ConditionalRows, rank: int) -> None:
    n, m = evidence.shape
    count = min(rank, m - 1)
    needed, free = 8 * n * count, psutil.virtual_memory().available
    if needed > free:
        raise TooLargeError(
            f"context '{context.label}' on {n:,} rows has {count} functions on the inputs of "
            f"{gibibytes(needed)}, and {gibibytes(free)} of memory are free; pass "
            "left_functions=False, or ask for a smaller rank."
        )


def decompose(
    X: npt.ArrayLike | Features,
    context: Context,
    rank: int = 512,
    tolerance: float = 1e-5,
    seed: int = 0,
    *,
    left_functions: bool = True,
) -> Spectrum:
    """Spectrum of a context on a corpus, in memory, by the route that a plan would choose.

    Where P is dense and large it is never held: an RBF context among all rows goes without its
    matrix, the rows of one over drawn references stream by (docs/scale.md).

    Parameters
    ----------
    X : array-like of shape (n, D) or Features
        The inputs.
    context : Context
        Such as ``contexture.contexts.Knn(k=30)``.
    rank : int
        Number of singular values beside the trivial one.
    tolerance : float
        How far an s_i² may be from exact, between 0 and 1; below 5e-6 the work is done in
        float64, at about twice the cost.
    seed : int
        Seed of drawn references and masks, and of start vectors.
    left_functions : bool
        Whether those on the inputs are wanted, n × rank numbers; `Spectrum.extend` gives them at
        any rows.

    Returns
    -------
    Spectrum

    Raises
    ------
    CorpusError, ContextError, EvidenceError
        As `operator_of`.
    TooLargeError
        If there is not enough memory for a P that has to be held, or for the left functions of one
        that streams by.
    """
    _check(rank, tolerance, seed)
    features = X if isinstance(X, Features) else Features.from_array(X)
    evidence = _evidence(context, features, seed)
    if not evidence.sparse:  # the extent of others may be in a file, which has been read
        route = choose_route(context, context.extent(*features.shape), rank, Estimation(), None)
        if route == "moments":
            if left_functions:
                _require_left(context, evidence, rank)
            return streamed_spectrum(evidence, rank, left_functions)
        if route == "matrix-free" and isinstance(evidence, RbfRows):
            return kernel_spectrum.kernel_spectrum(
                evidence, rank, tolerance, seed, left_functions=left_functions
            )
    operator = _held(context, evidence)
    return decompose_operator(operator, rank, tolerance, seed, left_functions=left_functions)


def decompose_operator(
    operator: ExpectationOperator,
    rank: int = 512,
    tolerance: float = 1e-5,
    seed: int = 0,
    *,
    functions: int | None = None,
    left_functions: bool = True,
    memory: int | None = None,
    workspace: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    products: Callable[[ExpectationOperator], Products] | None = None,
    ordered: bool = False,
    route: Literal["auto", "exact", "krylov"] = "auto",
) -> Spectrum:
    """Spectrum of an operator.

    Where one side is short (up to 1500, or 5000 if P is dense) or most values are wanted, by a Gram
    matrix, to machine precision; else by block Lanczos, to `tolerance`
    (`Spectrum.numerical_error` says what was reached).

    Parameters
    ----------
    operator : ExpectationOperator
        See `ExpectationOperator.from_conditional`.
    rank : int
        Number of singular values beside the trivial one; at most min(n, m) − 1.
    tolerance : float
        How far an s_i² may be from exact, between 0 and 1; below 5e-6 the work is done in
        float64, at about twice the cost.
    seed : int
        Seed of start vectors.
    functions : int, optional
        How many singular functions to keep; all by default.
    left_functions : bool
        Whether those on the inputs are wanted; nothing of size n × rank is made without them.
    memory : int, optional
        Bytes that the solver's basis may take; a basis that does not fit goes to disk.
    workspace : Path, optional
        Folder for that; the one for temporary files by default.
    progress : callable, optional
        Called with (done, total) while the solver runs.
    products : callable, optional
        Gives the products with an operator whose blocks are lazy: on the workers of a cluster,
        by `contexture.estimators.distributed.DistributedProducts`. Read here by default.
    ordered : bool
        Whether rows and columns come in a local order, so that the solver needs none of its own.
    route : {"auto", "exact", "krylov"}
        Which of the two ways, whatever the sizes.

    Raises
    ------
    InputError
        If an argument is out of range, or there is nothing to be associated.
    """
    _check(rank, tolerance, seed)
    for name, number in (("functions", functions), ("memory", memory)):
        if number is not None:
            _require_whole(name, number, 0)
    if route not in ("auto", "exact", "krylov"):
        raise InputError(f"route is {route!r}; 'auto', 'exact' or 'krylov' is needed.")
    exact.require_two(operator)
    if exact.needs_gram(operator, rank) if route == "auto" else route == "exact":
        return exact.exact_spectrum(operator, rank, functions, left_functions)
    settings = Settings(
        tolerance, seed, functions, left_functions, memory, workspace, progress, products, ordered
    )
    return krylov_spectrum(operator, rank, settings)


def _check(rank: int, tolerance: float, seed: int) -> None:
    _require_whole("rank", rank, 1)
    _require_whole("seed", seed, 0)
    if (
        isinstance(tolerance, bool)
        or not isinstance(tolerance, int | float | np.number)
        or not 0 < tolerance < 1
    ):
        raise InputError(
            f"tolerance is {tolerance!r}; a number between 0 and 1 is needed, such as 1e-5, by "
            "which an s_i² may be off."
        )


def _require_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} is {value!r}; a whole number from {least} on is needed.")


__all__ = ["decompose", "decompose_operator", "operator_of"]
