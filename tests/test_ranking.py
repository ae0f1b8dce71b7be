from __future__ import annotations

import pandas as pd

from contexture.ranking import context_caveats, rank, ranking_caveats


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


def test_errors_say_what_they_hold() -> None:
    fixed = "over inputs, with the context values held fixed; they do not include the choice"
    (usual,) = context_caveats({"a": {}, "b": {"reference_draws": 1, "details": {"k": 3}}})
    assert usual.startswith("Standard errors are " + fixed)
    several, other = context_caveats({"a": {"reference_draws": 3}, "b": {}})
    assert several.startswith(
        "Values are means over independent draws of the reference rows: a (3)"
    )
    assert "they do not hold the bias of a finite reference set" in several
    assert other.startswith("b: errors are " + fixed)
    drawn = {"a": {"reference_draws": 3, "reference_error": 0.0096}, "b": {"reference_error": 0.2}}
    assert context_caveats(drawn)[1] == (
        "By the experience of other corpora, τ over drawn reference rows differs from τ over all "
        "rows by about 0.01 (a), 0.2 (b), and up to 2.5 times as much."
    )
    short = {"largest_numerical_error": 3e-4, "tolerance": 1e-5}
    assert context_caveats({"a": short})[1] == (
        "a: the solver knows the s_i² to 3e-04 only, and 1e-05 was asked for; see numerical_error."
    )
    found = {
        "recall": 0.99951, "recall_standard_error": 0.0002, "recall_sample": 1000,
        "distance_ratio_mean": 1.00012, "distance_ratio_max": 1.031,
    }  # fmt: skip
    assert context_caveats({"a": {"details": found}})[1] == (
        "a: neighbours were found approximately, 99.95% ± 0.02% of the exact ones on 1000 rows; "
        "those found are 0.012% farther on average, and 3.1% at most."
    )


def test_a_fraction_that_was_rounded_is_said() -> None:
    rounded = {
        "description": {"fraction": 0.0015, "reference": 1000},
        "details": {"k": 1, "fraction": 1 / 1000},
    }
    few = {"description": {"fraction": 0.005}, "details": {"k": 2, "fraction": 2 / 300}}
    nearly = {"description": {"fraction": 0.02}, "details": {"k": 21, "fraction": 21 / 1000}}
    fixed = {"description": {"fraction": None, "k": 3}, "details": {"k": 3}}
    assert context_caveats({"a": rounded, "b": nearly, "c": fixed, "d": few})[1:] == [
        "a: K = 1 is a fraction of 0.001 of the references, where 0.0015 was asked for; a larger "
        "reference is nearer.",
        "d: K = 2 is a fraction of 0.0067 of the references, where 0.005 was asked for.",
    ]
