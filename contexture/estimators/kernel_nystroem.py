"""Vectors to start a solver of a kernel operator from; never the answer by themselves.

Row normalisation weights sparse regions as much as dense ones, so a Nyström spectrum is wrong
where the true one decays slowly. Its vectors are then still a start, and where the spectrum
decays fast one product with the true operator settles the values, with residuals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg
from sklearn.cluster import kmeans_plusplus

from contexture.estimators.kernel_products import KernelProducts
from contexture.inputs import FloatArray, Floats

SAMPLED_ROWS = 2048
"""Rows of M that stand for all of them in a start."""

_LOCAL, _SMALL = 10.0, 0.1
"""Weight of functions on a few rows, and which share of the largest that the last may be counts."""

CANDIDATES = 20_000
"""References among which landmarks are chosen."""

_CUT = 1e-12
_HEIGHT = 2048


@dataclass(frozen=True)
class NystroemStart:
    """Approximate top vectors of G, the trivial one included.

    Attributes
    ----------
    values : ndarray of shape (w,)
        Approximate s_i², from i = 0.
    vectors : ndarray of shape (min(n, m), w)
        Orthonormal to rounding.
    landmarks : int
        How many were used.
    """

    values: FloatArray
    vectors: FloatArray
    landmarks: int


def sampled_start(
    products: KernelProducts, width: int, count: int, dtype: npt.DTypeLike, seed: int = 0
) -> Floats:
    """Multiply random vectors by G as some of its rows tell it, and its diagonal.

    A random block is hardly worth its place in a basis. This one is, and costs little: from it a
    solver needs a block or two less. Rows tell of functions that live on many rows. One that lives
    on a few is missed by most samples; its s² is about the diagonal of G there, if that is known
    (where n >= m). The last of the values wanted is at most Σ s² / ``count``: by rule of thumb,
    what is below a tenth of that is not lifted.

    Parameters
    ----------
    products : KernelProducts
    width : int
        Vectors wanted.
    count : int
        Values wanted.
    dtype : float32 or float64
    seed : int
        Of the vectors and of the rows.
    """
    generator = np.random.default_rng([seed, 0x7374])
    longer, side = max(products.shape), min(products.shape)
    rows = np.sort(generator.choice(longer, min(SAMPLED_ROWS, longer), replace=False))
    random = generator.standard_normal((side, width)).astype(dtype)
    start = products.sampled_gram(random, rows)
    start *= longer / len(rows)
    diagonal = products.diagonal
    if diagonal is not None:
        least = _SMALL * products.total_association / count
        lifted = np.where(diagonal >= least, _LOCAL * diagonal, 0.0).astype(dtype)
        start += np.multiply(random, lifted[:, None], out=random)
    return start


def nystroem_start(
    products: KernelProducts, count: int, landmarks: int | None = None, seed: int = 0
) -> NystroemStart:
    """Top singular vectors of D1 K_xL K_LL⁺ K_La D2, on the smaller side.

    Parameters
    ----------
    products : KernelProducts
    count : int
        Vectors wanted.
    landmarks : int, optional
        Twice ``count`` by default; chosen by k-means++ among the references.
    seed : int
        Of the choice.
    """
    references = products.references
    size = min(landmarks or 2 * count, len(references))
    generator = np.random.default_rng([seed, 0x6E79])
    pool = references
    if len(pool) > max(CANDIDATES, size):
        pool = pool[np.sort(generator.choice(len(pool), max(CANDIDATES, size), replace=False))]
    _, chosen = kmeans_plusplus(
        np.ascontiguousarray(pool), size, random_state=int(generator.integers(2**31))
    )
    L = pool[np.unique(chosen)]
    half = 0.5 * np.einsum("ij,ij->i", L, L)
    exponents = L @ L.T
    exponents -= half[:, None]
    exponents -= half[None, :]
    kappa, E = linalg.eigh(np.exp(exponents, out=exponents), overwrite_a=True)
    good = kappa > _CUT * kappa[-1]
    root = E[:, good] / np.sqrt(kappa[good])  # K_LL⁺ = root rootᵀ
    along, across = products.factors(L)
    n, m = products.shape
    # M̃ = A Bᵀ with A = D1 K_xL root and B = D2 K_aL root: M̃ᵀM̃ = B (AᵀA) Bᵀ.
    mine, others = (across, along) if m <= n else (along, across)
    own, other = _gram(mine, root), _gram(others, root)
    lengths, turn = linalg.eigh(own)
    lengths, turn = lengths[lengths > _CUT * lengths[-1]], turn[:, lengths > _CUT * lengths[-1]]
    F = turn * np.sqrt(lengths)  # own = F Fᵀ on its range
    values, Z = linalg.eigh(F.T @ other @ F)
    values, Z = values[::-1][:count], Z[:, ::-1][:, :count]
    map_back = root @ (turn / np.sqrt(lengths)) @ Z
    vectors = np.concatenate([part @ map_back for part in _parts(mine)])
    return NystroemStart(values, vectors, len(L))


def _parts(pair: tuple[FloatArray, FloatArray]) -> Iterator[FloatArray]:
    """Row blocks of exp(points · landmarksᵀ)."""
    points, landmarks = pair
    for start in range(0, len(points), _HEIGHT):
        exponents = points[start : start + _HEIGHT] @ landmarks.T
        yield np.exp(exponents, out=exponents)


def _gram(pair: tuple[FloatArray, FloatArray], root: FloatArray) -> FloatArray:
    total = np.zeros((len(root), len(root)))
    for part in _parts(pair):
        total += part.T @ part
    return np.asarray(root.T @ total @ root)
