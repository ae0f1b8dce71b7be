"""Where a report goes by itself, and what it must not replace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contexture.errors import InputError
from contexture.report import report_path, require_report_place


def refusal(url: object) -> str:
    with pytest.raises(InputError) as caught:
        require_report_place(str(url))
    return str(caught.value)


def test_report_lies_beside_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert report_path(str(tmp_path / "a.zarr")) == tmp_path / "a.html"
    assert report_path(str(tmp_path / "a")) == tmp_path / "a.html"
    monkeypatch.chdir(tmp_path)
    assert report_path("s3://bucket/deep/a.zarr") == tmp_path / "a.html"


def test_nothing_is_in_the_way(tmp_path: Path) -> None:
    require_report_place(str(tmp_path / "a.zarr"))
    require_report_place(str(tmp_path / "to" / "be" / "made" / "a.zarr"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "head",
    [
        '<meta charset="utf-8">\n<meta name="generator" content="contexture">\n<title>x</title>',
        "<title>abalone – audit of contexts</title>",  # of an earlier version
    ],
)
def test_a_report_may_be_replaced(tmp_path: Path, head: str) -> None:
    (tmp_path / "a.html").write_text(f"\n<!DOCTYPE html>\n<html>\n<head>\n{head}", "utf-8")
    require_report_place(str(tmp_path / "a.zarr"))


def test_a_folder_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.html").mkdir()
    assert refusal(tmp_path / "a.zarr") == (
        f"the report of the store '{tmp_path}/a.zarr' goes to '{tmp_path}/a.html', which is a "
        "folder; move it, or give 'store' another name, which the report shares."
    )


def test_another_file_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.html").write_text("<title>my page</title>")
    expected = (
        f"goes to '{tmp_path}/a.html', and what lies there is no report of contexture's; move it, "
        "or give 'store' another name, which the report shares."
    )
    monkeypatch.chdir(tmp_path)
    for url in (tmp_path / "a.zarr", "s3://bucket/a.zarr", "file:///other/a.zarr"):
        assert refusal(url) == f"the report of the store '{url}' {expected}"
    os.mkfifo(tmp_path / "b.html")  # to read it would wait for ever
    assert "is no report of contexture's" in refusal(tmp_path / "b.zarr")


def test_a_place_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contexture.report.place.os.access", lambda *_: False)
    assert refusal(tmp_path / "b" / "a.zarr").endswith(
        f"goes to '{tmp_path}/b/a.html', and '{tmp_path}' may not be written; get the right to "
        "write there, or choose another 'store'."
    )
    monkeypatch.chdir(tmp_path)
    assert refusal("s3://bucket/a.zarr").endswith("or start in another folder.")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    name = "x" * 253
    (tmp_path / name).mkdir()  # a store may be called so, and its report may not
    assert refusal(tmp_path / name).endswith(
        "which cannot be looked at (File name too long); choose another 'store'."
    )
