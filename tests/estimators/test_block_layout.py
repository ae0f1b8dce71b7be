"""Which rows are in which block, and which blocks go together."""

from __future__ import annotations

import numpy as np
import pytest

from contexture.errors import InputError
from contexture.estimators.block_layout import Layout
from contexture.operator import ExpectationOperator
from tests.estimators.blocks import OPERATORS, Made


def test_what_does_not_add_up() -> None:
    weights = np.full(8, 1 / 8)
    short = ExpectationOperator([np.full((5, 8), 1 / 8)], weights, weights)
    with pytest.raises(InputError) as caught:
        Layout.of(short)
    assert str(caught.value) == (
        "the operator has 8 rows, which its 1 blocks do not add up to; all blocks but the last "
        "must have the same number of rows."
    )
    with pytest.raises(InputError) as caught:
        Layout.of(OPERATORS["sparse"], 11)
    assert str(caught.value) == "groups is 11; it must be between 1 and the number of blocks, 10."


def test_steps_cover_all_blocks() -> None:
    n = 100_000
    weights = np.full(n, 1 / n)
    layout = Layout.of(ExpectationOperator(Made(200, 500, 3), weights, np.full(3, 1 / 3)), 5)
    steps = layout.steps()
    assert [block for _, blocks in steps for block in blocks] == list(range(200))
    for group, blocks in steps:
        assert set(blocks) <= set(layout.group(group)[0])
        rows = layout.rows(blocks)
        assert rows.stop - rows.start <= 1 << 14
    assert len(steps) == 10
