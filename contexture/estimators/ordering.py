"""An order of rows and columns in which what is multiplied together lies together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph


def local_order(M: sparse.csr_array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Reverse Cuthill–McKee order of inputs and context values, as two permutations.

    Products with a sparse matrix are bound by memory traffic; with the rows they gather near to
    each other they run about twice as fast on a neighbourhood graph.

    Parameters
    ----------
    M : csr_array of shape (n, m)

    Returns
    -------
    ndarray of shape (n,), ndarray of shape (m,)
        Positions in M, in their new order.
    """
    n, m = M.shape
    # Only the pattern counts; small entries keep the copies small.
    pattern = sparse.csr_array((np.ones(M.nnz, np.int8), M.indices, M.indptr), shape=M.shape)
    bipartite = sparse.block_array([[None, pattern], [pattern.T, None]], format="csr")
    order = csgraph.reverse_cuthill_mckee(sparse.csr_matrix(bipartite), symmetric_mode=True)
    return order[order < n].astype(np.intp), (order[order >= n] - n).astype(np.intp)
