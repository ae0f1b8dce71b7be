"""Loops of the search for neighbours: candidates from a tile of products, and their order."""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def scan(  # type: ignore[no-untyped-def]
    tile, start, squares, own, include_self, k, unit, floor,
    least, bounds, candidates, values, counts,
):  # fmt: skip
    """Note the columns of a tile that may be neighbours.

    The columns fall into groups. The k-th smallest of their minima bounds the k-th smallest
    product, closely if there are several times k groups; only groups that reach below it are
    looked into.
    """
    h, w = tile.shape
    groups, room = least.shape[1], candidates.shape[1]
    deep = w // groups * groups
    depth = -(-w // groups)
    inside = np.empty(groups, tile.dtype)
    hits = np.empty(groups + 1, np.int64)
    for i in range(h):
        count = counts[i]
        if count < 0:
            continue
        row = tile[i]
        here = own[i] - start
        if own[i] >= 0 and here >= 0 and here < w:
            row[here] = -np.inf if include_self else np.inf
        inside[:] = np.inf
        for first in range(0, deep, groups):
            _lower(inside, row[first : first + groups])
        _lower(inside[: w - deep], row[deep:])
        _lower(least[i], inside)
        kth = np.float64(_above(least[i], k, tile.dtype.type(-squares[i])))
        # Columns with at most this product have ‖r‖ <= ‖x‖ + ‖x − r‖ <= far.
        far = math.sqrt(squares[i]) + math.sqrt(max(kth + squares[i], 0.0))
        error = unit * (squares[i] + 2.1 * far * far) + floor
        bound = kth + 2.0 * error
        bounds[i] = bound
        found = 0
        for g in range(groups):
            hits[found] = g
            found += inside[g] <= bound
        for hit in hits[:found]:
            if count + depth > room:
                count = _drop(candidates[i], values[i], count, bound)
                if count + depth > room:
                    count = -1
                    break
            into, what = candidates[i, count:], values[i, count:]
            n = 0
            for j in range(hit, w, groups):
                value = row[j]
                into[n] = start + j
                what[n] = value
                n += value <= bound
            count += n
        counts[i] = count


@numba.njit(cache=True, nogil=True)
def _lower(a, b):  # type: ignore[no-untyped-def]
    """Set a to the smaller of a and b, entry by entry."""
    for i in range(len(b)):
        x, y = a[i], b[i]
        a[i] = y if y < x else x


@numba.njit(cache=True, nogil=True)
def _drop(candidates, values, count, bound):  # type: ignore[no-untyped-def]
    """Drop the candidates above the bound, which has come down since; returns how many stay."""
    kept = 0
    for c in range(count):
        if values[c] <= bound:
            candidates[kept] = candidates[c]
            values[kept] = values[c]
            kept += 1
    return kept


@numba.njit(cache=True, nogil=True)
def _above(a, k, low):  # type: ignore[no-untyped-def]
    """Give a number that at least k entries, and few more, do not exceed.

    Halving an interval from below all of them counts in vector registers; a selection would
    mispredict most of its branches.
    """
    high = a.dtype.type(-np.inf)
    for value in a:  # an infinite one is a row left out
        high = value if (value > high) & (value < np.inf) else high
    for _ in range(100):
        middle = low + (high - low) * a.dtype.type(0.5)
        if middle <= low or middle >= high:
            break
        count = 0
        for value in a:
            count += 1 if value <= middle else 0
        if count >= k:
            high = middle
            if count <= k + (k >> 3):
                break
        else:
            low = middle
    return high


@numba.njit(cache=True, nogil=True)
def squared(x, y):  # type: ignore[no-untyped-def]
    """‖x − y‖², added up in one order on every machine."""
    a = b = c = d = 0.0
    whole = len(x) & ~3
    for i in range(0, whole, 4):
        a += (x[i] - y[i]) ** 2
        b += (x[i + 1] - y[i + 1]) ** 2
        c += (x[i + 2] - y[i + 2]) ** 2
        d += (x[i + 3] - y[i + 3]) ** 2
    for i in range(whole, len(x)):
        a += (x[i] - y[i]) ** 2
    return (a + b) + (c + d)


@numba.njit(cache=True, nogil=True)
def decide(X, R, own, k, bounds, candidates, values, counts, positions, full):  # type: ignore[no-untyped-def]
    """Order the candidates of every row by distance and position, and write the first k."""
    distances = np.empty(candidates.shape[1])
    for i in range(len(X)):
        if counts[i] < 0:
            full[i] = True
            continue
        count = _drop(candidates[i], values[i], counts[i], bounds[i])
        for c in range(count):
            j = candidates[i, c]
            distances[c] = -1.0 if j == own[i] else squared(X[i], R[j])
        if count > 128:
            sort(distances, candidates[i], count)
            for c in range(k):
                positions[i, c] = candidates[i, c]
        else:
            _rank(distances[:count], candidates[i, :count], positions[i])


@numba.njit(cache=True, nogil=True)
def sort(distances, positions, count):  # type: ignore[no-untyped-def]
    """Sort by distance, then position, in place.

    Shell's way: plain insertion for the usual few dozen, still fast for thousands.
    """
    gap = 1
    while 9 * gap < count:
        gap = 3 * gap + 1
    while gap > 0:
        for c in range(gap, count):
            d, p = distances[c], positions[c]
            e = c
            while e >= gap and (
                distances[e - gap] > d or (distances[e - gap] == d and positions[e - gap] > p)
            ):
                distances[e] = distances[e - gap]
                positions[e] = positions[e - gap]
                e -= gap
            distances[e] = d
            positions[e] = p
        gap //= 3


@numba.njit(cache=True, nogil=True)
def _rank(distances, candidates, positions):  # type: ignore[no-untyped-def]
    """Write the first candidates, each to its rank; without a branch that depends on them."""
    for c in range(len(candidates)):
        d, p = distances[c], candidates[c]
        rank = 0
        for e in range(len(candidates)):
            rank += (distances[e] < d) | ((distances[e] == d) & (candidates[e] < p))
        if rank < len(positions):
            positions[rank] = p
