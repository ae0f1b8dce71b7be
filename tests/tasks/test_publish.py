"""What is put into the Prefect UI and beside the store."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

import contexture as cx
from tasks.publish import artifact_key, ranking_table

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.mark.parametrize(
    ("name", "key"),
    [("abalone", "abalone"), ("My_Corpus.v2", "my-corpus-v2"), ("...", "audit")],
)
def test_artifact_key(name: str, key: str) -> None:
    assert artifact_key(name) == key


def test_ranking_table(abalone_store: Path) -> None:
    audit = cx.open_store(str(abalone_store))
    table = ranking_table(audit)
    assert [row["context"] for row in table][:2] == ["knn-150", "knn-60"]
    assert list(table[0])[:5] == ["context", "usefulness τ", "d*", "association", "ρ(rings)"]
    first = table[0]
    assert first["usefulness τ"] == "1.8747 ± 0.0015"
    assert first["association"] == "weak"
    assert first["ρ(rings)"] == "0.643 ± 0.008"
    assert table[-1]["association"] == "strong, abstains"
    # No score of some size is shown as 0.
    for row, scores in zip(table, audit.scores().to_dict("records"), strict=True):
        assert scores["decay_rate"] > 0
        assert float(row["decay rate λ"].replace("−", "-")) == pytest.approx(
            scores["decay_rate"], rel=0.006
        )
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
    ranking = found["abalone-ranking"][0]
    assert len(json.loads(ranking.data)) == 7
    assert "± is one standard error" in ranking.description
    assert re.search(r"^- τ abstains on knn-5, rbf-100", ranking.description, re.MULTILINE)
    assert "Standard errors are over inputs" in ranking.description
    markdown = found["abalone-spectra"][0].data
    assert "![spectra](data:image/png;base64," in markdown
    assert "τ abstains on knn-5, rbf-100" in markdown
