from __future__ import annotations

import numpy as np
import pytest

from contexture.store.naming import plain, slug

HOSTILE = [
    "", " ", "  ", ".", "..", "...", "../../x", "a/b", "a%2Fb", "a\\b", "/etc/passwd", "<b>", "~",
    "a", "a ", " a", "\n", "zarr.json", "c", "__x", "%", "%25", "é", "長" * 80, "長" * 80 + "x",
    "x" * 300, "x" * 301, "con:", "a\0b", "'; drop table", "{{7*7}}",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_slugs_are_one_harmless_segment(name: str) -> None:
    found = slug(name)
    assert found
    assert found == found.strip()
    assert len(found.encode()) <= 220
    assert "/" not in found
    assert "\\" not in found
    assert found[0] not in "._"
    assert found.isprintable()
    assert found not in ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def test_slugs_tell_names_apart() -> None:
    assert len({slug(name) for name in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize("name", ["rings", "shell weight", "A-1_b.c"])
def test_usual_names_stay(name: str) -> None:
    assert slug(name) == name


def test_plain() -> None:
    given = {1: np.float64(0.5), "a": [np.int64(3), (True, None)], "b": {"c": np.bool_(True)}}
    assert plain(given) == {"1": 0.5, "a": [3, [True, None]], "b": {"c": True}}
