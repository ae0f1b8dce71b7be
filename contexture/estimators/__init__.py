"""From evidence to a spectrum: ``decompose`` and what it needs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contexture.contexts.base import ConditionalRows, Context
from contexture.errors import EvidenceError, InputError
from contexture.estimators.exact import exact_spectrum
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
    """
    _require_whole("seed", seed, 0)
    features = X if isinstance(X, Features) else Features.from_array(X)
    evidence = context.fit(features, seed)
    if not isinstance(evidence, ConditionalRows):
        raise EvidenceError(
            f"context '{context.label}' gives {type(evidence).__name__}, but an exact spectrum "
            "needs rows of P(a|x); use an estimator for samples or pairs."
        )
    return ExpectationOperator.from_evidence(evidence)


def decompose(
    X: npt.ArrayLike | Features, context: Context, rank: int = 512, seed: int = 0
) -> Spectrum:
    """Spectrum of a context on a corpus, in memory.

    Parameters
    ----------
    X : array-like of shape (n, D) or Features
        The inputs.
    context : Context
        Such as ``contexture.contexts.Knn(k=30)``.
    rank : int
        Number of singular values beside the trivial one.
    seed : int
        Seed of drawn references and masks.

    Returns
    -------
    Spectrum

    Raises
    ------
    CorpusError, ContextError, EvidenceError
        As `operator_of`.
    """
    return decompose_operator(operator_of(X, context, seed), rank, seed)


def decompose_operator(operator: ExpectationOperator, rank: int = 512, seed: int = 0) -> Spectrum:
    """Spectrum of an operator that fits in memory.

    Parameters
    ----------
    operator : ExpectationOperator
        See `ExpectationOperator.from_conditional`.
    rank : int
        Number of singular values beside the trivial one; at most min(n, m) − 1.
    seed : int
        Seed of start vectors.

    Raises
    ------
    InputError
        If rank or seed is not a whole number in range, or there is nothing to be associated.
    """
    _require_whole("rank", rank, 1)
    _require_whole("seed", seed, 0)
    return exact_spectrum(operator, rank, seed)


def _require_whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} is {value!r}; a whole number from {least} on is needed.")


__all__ = ["decompose", "decompose_operator", "operator_of"]
