"""What is put into the Prefect UI and beside the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

import contexture as cx
from tasks.publish import artifact_key, ranking_table, report_path

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.mark.parametrize(
    ("name", "key"),
    [("abalone", "abalone"), ("My_Corpus.v2", "my-corpus-v2"), ("...", "audit")],
)
def test_artifact_key(name: str, key: str) -> None:
    assert artifact_key(name) == key


def test_report_lies_beside_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert report_path(str(tmp_path / "a.zarr")) == tmp_path / "a.html"
    assert report_path(str(tmp_path / "a")) == tmp_path / "a.html"
    monkeypatch.chdir(tmp_path)
    assert report_path("s3://bucket/deep/a.zarr") == tmp_path / "a.html"


def test_ranking_table(abalone_store: Path) -> None:
    table = ranking_table(cx.open_store(str(abalone_store)))
    assert [row["context"] for row in table][:2] == ["knn-150", "knn-60"]
    assert list(table[0])[:2] == ["context", "usefulness"]
    assert table[0]["usefulness"] == 1.87472
    json.dumps(table, allow_nan=False)


def test_artifacts_of_the_run(abalone_store: Path) -> None:
    with get_client(sync_client=True) as client:
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

        found = {
            key: client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
            )
            for key in ("abalone-ranking", "abalone-spectra")
        }
    assert len(json.loads(found["abalone-ranking"][0].data)) == 7
    markdown = found["abalone-spectra"][0].data
    assert "![spectra](data:image/png;base64," in markdown
    assert "τ abstains on knn-5, rbf-100" in markdown
