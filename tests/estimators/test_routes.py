"""The borders of the rule, where only one of its parts decides, and the solver that follows it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from contexture import ExpectationOperator
from contexture.contexts import Knn, Rbf
from contexture.contexts.base import Extent
from contexture.estimators.draw_plan import FEWEST_REFERENCES
from contexture.estimators.exact import GRAM_LIMIT, needs_gram
from contexture.estimators.options import Estimation
from contexture.estimators.plan import plan_context
from contexture.estimators.routes import choose_route


def operator(n: int, m: int) -> ExpectationOperator:
    rows = np.arange(n)
    P = sparse.csr_array((np.ones(n), (rows, rows % m)), shape=(n, m))
    return ExpectationOperator((P,), np.full(n, 1 / n), np.full(m, 1 / m))


@pytest.mark.parametrize(
    ("side", "rank", "expected"),
    [
        (GRAM_LIMIT, 10, "exact"),
        (GRAM_LIMIT + 1, 10, "krylov"),
        (3000, 1000, "krylov"),  # a third is not more than a third
        (3000, 1001, "exact"),
        (2999, 1000, "exact"),
        (3001, 1000, "krylov"),
    ],
)
@pytest.mark.parametrize("wide", [False, True])
def test_plan_and_solver_have_the_same_borders(
    side: int, rank: int, expected: str, wide: bool
) -> None:
    n, m = (side, side + 50) if wide else (side + 50, side)
    extent = Extent(n, m, 5 * n, True, 1.0)
    assert choose_route(Knn(k=5), extent, rank, Estimation(), None) == expected
    assert needs_gram(operator(n, m), rank) == (expected == "exact")


@pytest.mark.parametrize("context", [Rbf(gamma=1), Knn(fraction=0.05)])
def test_there_are_more_references_than_values_that_count(context: Rbf | Knn) -> None:
    options = Estimation(reference_error=0.9)  # any number of references would do
    sizes = {
        rank: plan_context(context, 10**6, 8, max_rank=rank, estimation=options).columns
        for rank in (100, FEWEST_REFERENCES, 2000)
    }
    assert sizes == {
        100: FEWEST_REFERENCES,
        FEWEST_REFERENCES: FEWEST_REFERENCES + 1,
        2000: 2001,
    }
