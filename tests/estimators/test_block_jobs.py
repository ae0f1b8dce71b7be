"""What workers compute of a product, without a cluster: the sum is the same whoever adds."""

from __future__ import annotations

import numpy as np
import pytest

from contexture.estimators.block_jobs import Kind, add_sums, load_group, rows_of, sums_of
from contexture.estimators.block_layout import Layout
from tests.estimators.blocks import OPERATORS, vectors

OPERATOR = OPERATORS["sparse"]
LAYOUT = Layout.of(OPERATOR, 7)


@pytest.mark.parametrize("kind", ["gram", "adjoint"])
@pytest.mark.parametrize("held", [np.dtype(np.float32), None])
def test_any_share_of_the_groups_gives_the_same_bits(kind: Kind, held: np.dtype | None) -> None:
    V = vectors(OPERATOR, np.float32)
    if kind == "adjoint":
        V = np.random.default_rng(1).normal(size=(OPERATOR.shape[0], 3)).astype(np.float32)
    groups = [load_group(OPERATOR.blocks, *LAYOUT.group(i), held) for i in range(7)]

    def total(*shares: list[int]) -> np.ndarray:
        sums = [sums_of(kind, V, 7, share, *(groups[i] for i in share)) for share in shares]
        return add_sums(7, *sums)[0, 7]

    whole = total([0, 1, 2, 3, 4, 5, 6])
    P, p = OPERATOR.conditional(), OPERATOR.input_weights
    exact = P.T @ ((p[:, None] * (P @ V.astype(float))) if kind == "gram" else V.astype(float))
    np.testing.assert_allclose(whole, exact, atol=2e-6 * np.abs(exact).max())
    for shares in (
        ([0, 1, 2], [3, 4, 5, 6]),
        ([6, 0, 3], [1, 2, 4, 5]),
        ([0], [2, 1], [5], [6, 3, 4]),
    ):
        np.testing.assert_array_equal(total(*shares), whole)
    # Sums may be put together on the way, too.
    parts = [sums_of(kind, V, 7, [i], groups[i]) for i in range(7)]
    some = add_sums(7, add_sums(7, *parts[:3]), add_sums(7, *parts[3:5]), *parts[5:])
    np.testing.assert_array_equal(some[0, 7], whole)


def test_rows_of_some_blocks_of_a_group() -> None:
    V = vectors(OPERATOR, np.float64)
    P = OPERATOR.conditional()
    for held in (np.dtype(np.float64), None):
        for number in range(7):
            blocks = LAYOUT.group(number)[0]
            group = load_group(OPERATOR.blocks, *LAYOUT.group(number), held)
            for wanted in (blocks, range(blocks.start, blocks.start + 1)):
                rows = LAYOUT.rows(wanted)
                np.testing.assert_allclose(rows_of(V, wanted, group), P[rows] @ V, atol=1e-13)
