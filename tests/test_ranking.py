from __future__ import annotations

import pandas as pd

from contexture.ranking import rank, ranking_caveats


def scores(**columns: list[object]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    base: dict[str, list[object]] = {
        "context": [f"c{i}" for i in range(n)],
        "family": ["rbf"] * n,
        "usefulness": [1.5] * n,
        "abstains": [False] * n,
        "components": [1] * n,
    }
    return pd.DataFrame(base | columns)


def none(table: pd.DataFrame) -> dict[str, str]:
    return dict.fromkeys(table["context"], "")


def test_lowest_first_and_abstentions_last() -> None:
    table = scores(usefulness=[1.9, 1.2, 1.1, 1.5], abstains=[False, False, True, False])
    found = rank(table)
    assert found["context"].tolist() == ["c1", "c3", "c0", "c2"]
    assert found.index.tolist() == [0, 1, 2, 3]
    assert table["context"].tolist() == ["c0", "c1", "c2", "c3"]


def test_ties_keep_the_order_of_the_configuration() -> None:
    assert rank(scores(usefulness=[1.5, 1.4, 1.5, 1.4]))["context"].tolist() == [
        "c1",
        "c3",
        "c0",
        "c2",
    ]


def test_nothing_to_say() -> None:
    table = scores(usefulness=[1.5, 1.4])
    assert ranking_caveats(table, none(table)) == []


def test_mixed_families() -> None:
    table = scores(family=["rbf", "graph", "rbf"])
    assert ranking_caveats(table, none(table)) == [
        "The ranking mixes 2 families (rbf, graph); τ compares contexts within a family better "
        "than across families."
    ]


def test_abstentions() -> None:
    table = scores(usefulness=[1.5, 2.0, 2.0, 2.0])
    found = ranking_caveats(
        table, {"c0": "", "c1": "too weak", "c2": "too strong", "c3": "too weak"}
    )
    assert found == [
        "τ abstains on c1, c3: the association is so weak that τ says nothing; they are listed "
        "last.",
        "τ abstains on c2: the association is so strong that τ says nothing; they are listed last.",
    ]


def test_parts() -> None:
    table = scores(components=[2, 1, 4])
    assert ranking_caveats(table, none(table)) == [
        "Some contexts fall into parts that they never leave (s = 1), such as clusters or isolated "
        "rows: c0 (2), c2 (4)."
    ]


def test_neighbours() -> None:
    for family in ("knn", "masked-knn"):
        table = scores(family=[family])
        assert ranking_caveats(table, none(table)) == [
            "The association of a KNN context is set by K/n: τ at a fixed K is not comparable "
            "between corpora of different size."
        ]
