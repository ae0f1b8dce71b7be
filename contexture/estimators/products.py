"""Products with a normalised operator M: all that the Krylov solver asks of it.

M = diag(p_X)^½ P diag(p_A)^-½ has shape (n, m). The solver works on the *smaller side*:
G = MᵀM where m <= n, G = M Mᵀ where n < m. Whoever can multiply a block of vectors by G and
carry vectors over to the other side can be decomposed, however M is held: in memory, in a store,
on the workers of a cluster, or not at all (`Products`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
"""float32 or float64."""


class Products(Protocol):
    """What the solver needs of M.

    Both methods take and give C-ordered arrays of one type, float32 or float64: what comes
    decides. They must not change V, and must give the same bits for the same V. They are called
    some hundred times with w up to 32 or so columns (fewer at the end), in float64 only if the
    tolerance asks for it.

    Attributes
    ----------
    shape : (int, int)
        (n, m) of M; ``side = min(n, m)``.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        ...

    def gram(self, V: Floats) -> Floats:
        """G V, shape (side, w), for V of shape (side, w): Mᵀ(M V) if m <= n, else M(Mᵀ V).

        Nothing is deflated: the trivial vector has eigenvalue 1.
        """
        ...

    def other(self, V: Floats) -> Iterator[tuple[slice, Floats]]:
        """Rows of M V if m <= n, of Mᵀ V else, for V of shape (side, w).

        Yields (which rows, their values of shape (rows, w)) for consecutive slices that
        together cover 0 .. max(n, m), so that nothing of size max(n, m) × w need be held.
        """
        ...
