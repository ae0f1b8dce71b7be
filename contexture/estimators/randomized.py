"""Spectra of large operators: the block Krylov solver from end to end.

Functions with s = 1 that tell connected parts from each other are written down, small parts go
through their Gram matrices, and all the larger ones together through the solver.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from contexture.contexts.base import Rows
from contexture.estimators import exact
from contexture.estimators.components import components_of_blocks
from contexture.estimators.crew import Crew
from contexture.estimators.dense_lanczos import solve_dense
from contexture.estimators.influence import covariance_of
from contexture.estimators.ordering import local_order
from contexture.estimators.parts import (
    FAINT,
    connected_parts,
    contrast,
    firm,
    positions_by_part,
)
from contexture.estimators.products import (
    BlockProducts,
    Products,
    SparseProducts,
)
from contexture.estimators.sizes import BLOCK
from contexture.estimators.solution import Settings, Solution, solve
from contexture.inputs import FloatArray, Floats, IntArray
from contexture.operator import ExpectationOperator
from contexture.spectrum import Spectrum, fix_signs_in_place


def krylov_spectrum(operator: ExpectationOperator, rank: int, settings: Settings) -> Spectrum:
    """Decompose an operator whose smaller side is long.

    Parameters
    ----------
    operator : ExpectationOperator
        Blocks in a tuple or list are taken together in memory, in a local order; blocks of any
        other sequence are read one at a time, once or twice for every product.
    rank : int
        Singular values wanted; at most min(n, m) − 1.
    settings : Settings
    """
    n, m = operator.shape
    wanted = min(rank, min(n, m) - 1)
    in_memory = isinstance(operator.blocks, tuple | list)
    P = operator.conditional() if in_memory else None
    is_dense, refined = isinstance(P, np.ndarray), False
    if isinstance(P, sparse.csr_array):
        p_x, p_a = operator.input_weights, operator.context_weights
        parts, of_x, of_a = connected_parts(firm(P, p_x, p_a, n))
    else:
        parts, of_x, of_a = components_of_blocks(_firm_blocks(operator), m)
    root_x, root_a = np.sqrt(operator.input_weights), np.sqrt(operator.context_weights)
    ones = min(parts - 1, wanted)
    found: list[_Found] = []
    order: IntArray | None = None
    if wanted > ones:
        count, dense = wanted - ones, None
        if is_dense:
            # Before the crew holds BLAS to one thread.
            dense = solve_dense(operator, count, settings, of_a if m <= n else of_x)
        with Crew() as crew:
            if isinstance(P, sparse.csr_array):
                found, order = _solve_parts(operator, (of_x, of_a), parts, count, settings, crew)
            elif dense is not None:
                found = [_right_of(*dense, None)]
                dense, refined = None, True  # M is as large as P
            else:
                found = [_solve_blocks(operator, (of_x, of_a), parts, count, settings, crew)]
    methods = {f.method for f in found}
    values = np.concatenate([f.values for f in found]) if found else np.zeros(0)
    owner = np.repeat(np.arange(len(found)), [len(f.values) for f in found])
    place = np.concatenate([np.arange(len(f.values)) for f in found] or [np.zeros(0, int)])
    top = np.argsort(-values, kind="stable")[: wanted - ones]
    well_known = np.array([refined or f.precision == np.float64 for f in found], bool)[owner[top]]
    eigenvalues, errors = np.zeros(wanted), np.zeros(wanted)
    eigenvalues[:ones], errors[:ones] = 1.0, 4 * FAINT
    filled = slice(ones, ones + len(top))
    floor = max([f.floor for f in found], default=exact.NOISE_FLOOR)
    eigenvalues[filled] = np.where(values[top] > floor, np.minimum(values[top], 1.0), 0.0)
    if found:
        errors[filled] = np.concatenate([f.errors for f in found])[top]
        # What is below the floor, which is that of the least exact part, counts as 0.
        errors[filled] += np.where(values[top] <= floor, np.maximum(values[top], 0.0), 0.0)
    errors[ones + len(top) :] = floor
    precision = np.result_type(*[f.precision for f in found]) if found else np.dtype(np.float64)
    dtype = np.result_type(*[f.right.dtype for f in found]) if found else np.dtype(np.float64)
    if len(found) == 1 and found[0].right.shape == (m, wanted) and found[0].columns is None:
        vectors = found.pop().right  # the largest array of all: no second one
    else:
        vectors = np.zeros((m, wanted), dtype)
        mass: FloatArray = np.bincount(of_x, weights=root_x**2, minlength=parts).astype(np.float64)
        vectors[:, :ones] = contrast(root_a, of_a, mass, ones)
    while found:
        f = found.pop()
        goal = np.flatnonzero(owner[top] == len(found)) + ones
        chosen = place[top[goal - ones]]
        where = slice(None) if f.columns is None else f.columns
        for q, g in zip(chosen, goal, strict=True):
            vectors[where, g] = f.right[:, q]
    vectors /= root_a[:, None].astype(dtype)
    vectors[:, eigenvalues == 0] = np.nan
    # Weights may join parts as faintly as rounding: those are told by their values, where these are
    # known so well.
    nearly = int(np.sum(well_known & (eigenvalues[filled] > 1 - exact.NOISE_FLOOR)))
    kept = wanted if settings.functions is None else min(settings.functions, wanted)
    left = np.empty((n, kept if settings.left_functions else 0), dtype)
    covariance = covariance_of(operator, eigenvalues, vectors, precision, left, order)
    right = vectors if kept == wanted else vectors[:, :kept].copy()
    del vectors
    fix_signs_in_place(left, right)
    return Spectrum(
        singular_values=np.sqrt(eigenvalues),
        left=left,
        right=right,
        eigenvalue_covariance=covariance,
        input_weights=operator.input_weights,
        context_weights=operator.context_weights,
        context_values=operator.context_values,
        total_association=operator.total_association,
        components=parts + nearly,
        method=" and ".join(sorted(methods)) or "exact: connected parts in closed form",
        noise_floor=floor,
        numerical_error=errors,
    )


def _firm_blocks(operator: ExpectationOperator) -> Iterator[Rows]:
    start = 0
    for block in operator.blocks:
        rows = slice(start, start + block.shape[0])
        start = rows.stop
        if isinstance(block, sparse.csr_array):
            block = firm(
                block, operator.input_weights[rows], operator.context_weights, operator.shape[0]
            )
        yield block


@dataclass
class _Found:
    """Right vectors of some parts: on which columns they stand (all if None), and their values."""

    values: FloatArray
    errors: FloatArray
    right: Floats
    columns: IntArray | None
    floor: float
    method: str
    precision: np.dtype[Any] = np.dtype(np.float64)


def _solve_parts(
    operator: ExpectationOperator,
    of: tuple[IntArray, IntArray],
    parts: int,
    count: int,
    settings: Settings,
    crew: Crew,
) -> tuple[list[_Found], IntArray | None]:
    """Solve small parts by their Gram matrices, the others together by the solver.

    Returns what was found, and all inputs in a local order unless they are in one.
    """
    M = operator.normalised()
    root_x, root_a = np.sqrt(operator.input_weights), np.sqrt(operator.context_weights)
    found, large = [], np.zeros(parts, dtype=bool)
    members = zip(positions_by_part(of[0], parts), positions_by_part(of[1], parts), strict=True)
    for part, (rows, columns) in enumerate(members):
        small = min(len(rows), len(columns))
        most = min(count, small - 1)
        large[part] = small > exact.GRAM_LIMIT and 3 * most <= small
        if large[part] or most < 1:
            continue
        piece = sparse.csr_array(M[rows][:, columns])
        u, v = root_x[rows], root_a[columns]
        u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
        values, _, right = exact.gram(piece, u, v, most, 0)
        errors = np.full(most, exact.NOISE_FLOOR)
        found.append(
            _Found(
                values, errors, np.nan_to_num(right), columns, exact.NOISE_FLOOR, "Gram matrices"
            )
        )
    if not large.any():
        return found, None
    rows, columns = np.flatnonzero(large[of[0]]), np.flatnonzero(large[of[1]])
    M = M if large.all() else M[rows][:, columns]
    if settings.ordered:
        r, c = map(np.arange, M.shape)
    else:
        r, c = local_order(M, root_x[rows], root_a[columns], settings.seed, crew)
    every = operator.shape[1]
    del M
    rows, columns = rows[r], columns[c]
    order = None if settings.ordered else np.concatenate([rows, np.flatnonzero(~large[of[0]])])
    side, root = (columns, root_a) if len(columns) <= len(rows) else (rows, root_x)
    labels = np.unique((of[1] if side is columns else of[0])[side], return_inverse=True)[1]
    shape = (len(rows), len(columns))
    products = SparseProducts(lambda: operator.normalised()[rows][:, columns], shape, crew)
    most = min(count, min(shape) - int(large.sum()))
    if side is columns and len(columns) == every:
        # Every context value: vectors come out in the order of the corpus at once.
        solution = solve(products, root[side], most, settings, labels, columns, crew)
        return [*found, _right_of(products, solution, None)], order
    solution = solve(products, root[side], most, settings, labels, crew=crew)
    return [*found, _right_of(products, solution, columns)], order


def _solve_blocks(
    operator: ExpectationOperator,
    of: tuple[IntArray, IntArray],
    parts: int,
    count: int,
    settings: Settings,
    crew: Crew,
) -> _Found:
    """Solve all parts together, on blocks that are read one at a time."""
    n, m = operator.shape
    weights, labels = (
        (operator.context_weights, of[1]) if m <= n else (operator.input_weights, of[0])
    )
    products: Products
    if settings.products is None:
        products = BlockProducts(operator, crew)
    else:
        products = settings.products(operator)
    most = min(count, min(n, m) - parts)
    solution = solve(products, np.sqrt(weights), most, settings, labels, crew=crew)
    return _right_of(products, solution, None)


def _right_of(products: Products, solution: Solution, columns: IntArray | None) -> _Found:
    """Right vectors, whichever side was solved."""
    n, m = products.shape
    right = solution.vectors
    if n < m:
        scale = np.sqrt(np.where(solution.values > solution.floor, solution.values, np.inf))
        right = np.empty((m, len(scale)), solution.vectors.dtype)
        # A few at a time: they may come in one piece, as sums over all rows of P.
        for start in range(0, len(scale), BLOCK):
            part = slice(start, start + BLOCK)
            for rows, values in products.other(np.ascontiguousarray(solution.vectors[:, part])):
                right[rows, part] = values / scale[part].astype(right.dtype)
    method = f"block Lanczos in {solution.precision}"
    return _Found(
        solution.values,
        solution.errors,
        right,
        columns,
        solution.floor,
        method,
        solution.precision,
    )
