from __future__ import annotations

import numpy as np
import pytest

from contexture.contexts.recall import Neighbours


def found(recall: float, ratio: float) -> Neighbours:
    return Neighbours(np.zeros((3, 2), np.int32), recall, 0.01, ratio, 2.0, 3)


@pytest.mark.parametrize(
    ("recall", "ratio", "doubtful"),
    [
        (0.95, 1.01, False),
        (1.0, 1.0, False),
        (0.9499, 1.0, True),
        (1.0, 1.0101, True),
        (0.5, 3.0, True),
    ],
)
def test_doubt_begins_at_its_borders(recall: float, ratio: float, doubtful: bool) -> None:
    assert found(recall, ratio).doubt == (
        f"of the exact neighbours {recall:.1%} were found, and those found are {ratio:.3g} times "
        "as far as the exact ones: far neighbours weaken the association; set search to 'exact', "
        "or give the context a reference."
        if doubtful
        else ""
    )
