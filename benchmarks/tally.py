"""Count what a solver does: products with the operator, and dense work on its basis.

Known of the solver are two kinds of class, one with ``gram`` and ``other`` (products with blocks
of vectors) and `Basis` with its BLAS-3 methods, and the pass that takes the sampling error.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from unittest.mock import patch

import numpy as np

import contexture.estimators
from contexture.estimators import randomized


@dataclass
class Work:
    """What was done in one floating-point type.

    Attributes
    ----------
    passes : int
        Products of G with a block of vectors.
    columns : int
        Vectors in those blocks together.
    sparse_flops, sparse_bytes : float
        Of the products: the stored entries read twice a block, the vectors read and written twice;
        and of the conditional means that the sampling error is made of.
    dense_flops, dense_bytes : float
        Of BLAS-3 on the basis, and of the covariance of the sampling error.
    """

    passes: int = 0
    columns: int = 0
    sparse_flops: float = 0.0
    sparse_bytes: float = 0.0
    dense_flops: float = 0.0
    dense_bytes: float = 0.0


class Tally:
    """Counts while `counting` is open.

    Parameters
    ----------
    nonzeros : int
        Stored entries of the operator.
    side : int
        Its smaller side. A connected part that is solved apart has its share of the entries.
    """

    def __init__(self, nonzeros: int, side: int) -> None:
        self.nonzeros, self.side = nonzeros, side
        self.work: dict[str, Work] = {}
        self._depth = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Watch the solver's classes."""
        covariance = self._covariance(randomized.covariance_of)
        with (
            _patched(_product_classes(), "gram", self._product),
            patch.object(randomized, "covariance_of", covariance),
        ):
            basis = _basis_class()
            if basis is None:
                yield
                return
            with (
                _patched([basis], "inner", self._inner),
                _patched([basis], "subtract", self._subtraction),
                _patched([basis], "rotate", self._rotation),
                _patched([basis], "products", self._squares(3)),
                _patched([basis], "residual_gram", self._squares(1)),
            ):
                yield

    def _of(self, kind: Any) -> Work:
        return self.work.setdefault(np.dtype(kind).name, Work())

    def _product(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def counted(instance: Any, V: Any, *more: Any, **named: Any) -> Any:
            if self._depth == 0:
                side, width = V.shape
                work = self._of(V.dtype)
                work.passes += 1
                work.columns += width
                entries, item = self.nonzeros * side / self.side, V.dtype.itemsize
                work.sparse_flops += 4.0 * entries * width
                work.sparse_bytes += 2.0 * entries * (item + 4) + 4.0 * side * width * item
            self._depth += 1  # products that call products count once
            try:
                return method(instance, V, *more, **named)
            finally:
                self._depth -= 1

        return counted

    def _inner(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def counted(basis: Any, X: Any, first: int = 0, last: int | None = None) -> Any:
            self._add(basis, (basis.used if last is None else last) - first, X.shape[1])
            return method(basis, X, first, last)

        return counted

    def _subtraction(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def counted(basis: Any, X: Any, H: Any, first: int = 0) -> Any:
            self._add(basis, len(H), X.shape[1])
            return method(basis, X, H, first)

        return counted

    def _rotation(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def counted(basis: Any, Z: Any, *more: Any, **named: Any) -> Any:
            self._add(basis, len(Z), Z.shape[1])
            return method(basis, Z, *more, **named)

        return counted

    def _squares(self, times: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Inner products of p columns with each other: p² a row where they are symmetric."""

        def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(method)
            def counted(basis: Any, given: Any) -> Any:
                p = given if isinstance(given, int) else len(given)
                work = self._of(basis.dtype)
                work.dense_flops += float(times) * basis.side * p**2
                work.dense_bytes += 2.0 * np.dtype(basis.dtype).itemsize * basis.side * p
                return method(basis, given)

            return counted

        return wrap

    def _covariance(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def counted(
            operator: Any, values: Any, right: Any, dtype: Any, left: Any, order: Any
        ) -> Any:
            (n, m), k = operator.shape, right.shape[1]
            work, item = self._of(dtype), np.dtype(dtype).itemsize
            work.sparse_flops += 4.0 * self.nonzeros * k  # f and f² of every entry
            work.sparse_bytes += self.nonzeros * 12.0 + m * k * right.itemsize + left.nbytes
            work.dense_flops += float(n) * k**2
            work.dense_bytes += float(item) * n * k
            return function(operator, values, right, dtype, left, order)

        return counted

    def _add(self, basis: Any, columns: int, width: int) -> None:
        work, item = self._of(basis.dtype), np.dtype(basis.dtype).itemsize
        work.dense_flops += 2.0 * basis.side * columns * width
        work.dense_bytes += float(item * basis.side * (columns + 2 * width))

    def bound(self, rates: dict[str, float], cores: int) -> dict[str, Any]:
        """Least seconds for the work counted, at the measured rates.

        Returns
        -------
        dict
            ``bandwidth_bound``: sparse products at the memory's bandwidth, dense work at the
            slower of bandwidth and BLAS-3; ``rate_bound``: sparse products also no faster than
            SciPy's in cache, on all cores. ``work`` holds the counts.
        """
        speed = rates["triad_gb_s"] * 1e9
        bandwidth = slower = 0.0
        for kind, work in self.work.items():
            gemm = rates["sgemm_gflop_s" if kind == "float32" else "dgemm_gflop_s"] * 1e9
            dense = max(work.dense_flops / gemm, work.dense_bytes / speed)
            sparse = work.sparse_bytes / speed
            bandwidth += sparse + dense
            in_cache = rates[f"sparse_{kind}_gflop_s"] * 1e9 * cores
            slower += max(sparse, work.sparse_flops / in_cache) + dense
        return {
            "bandwidth_bound": bandwidth,
            "rate_bound": slower,
            "work": {kind: asdict(work) for kind, work in self.work.items()},
        }


def _modules() -> Iterator[Any]:
    for module in pkgutil.iter_modules(contexture.estimators.__path__):
        yield importlib.import_module(f"contexture.estimators.{module.name}")


def _product_classes() -> list[type]:
    found = set()
    for module in _modules():
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if {"gram", "other"} <= vars(kind).keys() and not getattr(kind, "_is_protocol", False):
                found.add(kind)
    return list(found)


def _basis_class() -> type | None:
    for module in _modules():
        if module.__name__.endswith(".basis"):
            basis: type | None = getattr(module, "Basis", None)
            return basis
    return None


@contextmanager
def _patched(
    classes: list[type], name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    if not classes:
        yield
        return
    first, *rest = classes
    with patch.object(first, name, wrap(getattr(first, name))), _patched(rest, name, wrap):
        yield
