from __future__ import annotations

from pathlib import Path

import pytest

from contexture.paths import resolve_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("d/x.csv", "/base/d/x.csv"),
        ("/d/x.csv", "/d/x.csv"),
        ("s3://~/x.csv", "s3://~/x.csv"),
        ("~/x.csv", "/home/of/mine/x.csv"),
        ("d/~/x.csv", "/base/d/~/x.csv"),
        # Nobody's home, so part of a name.
        ("~tmp.csv", "/base/~tmp.csv"),
        ("~no-such-user/x.csv", "/base/~no-such-user/x.csv"),
        ("~\0/x.csv", "/base/~\0/x.csv"),
    ],
)
def test_where_a_path_leads(path: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/mine")
    assert resolve_path(path, Path("/base")) == expected
