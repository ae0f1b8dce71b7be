"""The numbers of the abalone audit, out of the store that the pipeline itself writes."""

from __future__ import annotations

from pathlib import Path

import pytest

import contexture as cx

pytestmark = pytest.mark.xdist_group("prefect")

# τ, d*, s_1² .. s_3², s_128², Σ s_i², ρ(rings), λ; computed independently from the definitions.
EXPECTED = {
    "knn-5": (2.0, 512, (1.0, 0.99954, 0.99907), 0.84941, 834.4, 0.80153, 0.00112),
    "knn-30": (1.954643, 179, (0.99873, 0.99723, 0.99349), 0.26589, 138.2333, 0.71248, 0.00976),
    "knn-60": (1.890352, 111, (0.99639, 0.99392, 0.98854), 0.09985, 68.6167, 0.68411, 0.01963),
    "knn-150": (1.874721, 54, (0.98745, 0.98066, 0.97203), 0.01583, 26.8467, 0.64269, 0.04602),
    "rbf-1": (1.993732, 6, (1.0, 0.78094, 0.50796), 0.0, 2.6729, 0.41645, 0.30529),
    "rbf-10": (1.981982, 77, (1.0, 1.0, 0.99498), 0.01594, 31.7518, 0.61515, 0.03143),
    "rbf-100": (2.0, 512, (1.0, 1.0, 1.0), 0.99251, 813.1195, 0.81767, 0.00045),
}


@pytest.mark.parametrize("context", EXPECTED)
def test_numbers(abalone_store: Path, context: str) -> None:
    audit = cx.open_store(str(abalone_store))
    row = audit.scores().set_index("context").loc[context]
    tau, best, first, middle, total, rho, rate = EXPECTED[context]
    assert row["usefulness"] == pytest.approx(tau, abs=1e-6)
    assert row["best_rank"] == best
    assert row["total_association"] == pytest.approx(total, abs=1e-4)
    assert row["compatibility[rings]"] == pytest.approx(rho, abs=1e-5)
    assert row["decay_rate"] == pytest.approx(rate, abs=1e-5)
    squares = audit.spectrum(context)["singular_value"].to_numpy() ** 2
    assert squares[:3] == pytest.approx(first, abs=1e-5)
    assert squares[127] == pytest.approx(middle, abs=1e-5)


def test_columns_and_verdicts(abalone_store: Path) -> None:
    scores = cx.open_store(str(abalone_store)).scores()
    assert list(scores.columns) == [
        "context",
        "family",
        "usefulness",
        "best_rank",
        "decay_rate",
        "total_association",
        "kernel_deviation",
        "lipschitz",
        "association",
        "abstains",
        "components",
        "compatibility[rings]",
    ]
    assert list(scores["context"][:4]) == ["knn-150", "knn-60", "knn-30", "rbf-10"]
    found = scores.set_index("context")
    # Figure 3 of the paper calls K = 150, 30, 5 weak, moderate and strong.
    assert list(found.loc[["knn-150", "knn-30", "knn-5"], "association"]) == [
        "weak",
        "moderate",
        "strong",
    ]
    assert list(found.index[found["abstains"]]) == ["rbf-1", "knn-5", "rbf-100"]


def test_median_distance_is_kept(abalone_store: Path) -> None:
    audit = cx.open_store(str(abalone_store))
    details = audit.store.read(f"runs/{audit.run}/contexts/rbf-10").attrs["details"]
    assert details["median_squared_distance"] == pytest.approx(8.332456, abs=1e-6)
