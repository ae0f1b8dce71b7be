from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from contexture.contexts import Context, Features, Graph
from contexture.errors import ContextError
from tests.contexts.contract import ContextContract, N, dense, points

IDS = ["a", "b", "c", "d"]


def write(folder: Path, text: str, name: str = "edges.csv") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def ring(folder: Path, name: str, weights: bool = True) -> str:
    rng = np.random.default_rng(2)
    pairs = [(i, (i + 1) % N) for i in range(N)]
    pairs += [tuple(p) for p in rng.integers(0, N, size=(60, 2))]
    frame = pd.DataFrame(pairs, columns=["source", "target"]).map(lambda i: f"row {i}")
    if weights:
        frame["w"] = rng.uniform(0.1, 3, len(frame)).round(4)
    frame.to_csv(folder / name, index=False)
    return str(folder / name)


def four() -> Features:
    return Features.from_array(points(4), ids=np.array(IDS))


class TestGraph(ContextContract):
    kind = "graph"

    def context(self, folder: Path) -> Context:
        return Graph(path=ring(folder, "edges.csv"), weight="w")

    def siblings(self, folder: Path) -> list[Context]:
        path = ring(folder, "edges.csv")
        text = Path(path).read_text()
        return [
            Graph(path=path),
            Graph(path=path, weight="w", directed=True),
            Graph(path=write(folder, text + "row 1,row 2,0.5\n", "longer.csv"), weight="w"),
        ]


def test_walk_on_a_graph(tmp_path: Path) -> None:
    path = write(tmp_path, "source,target,w\na,b,1\nb,c,2\nc,d,3\n")
    evidence = Graph(path=path, weight="w").fit(four())
    W = np.array([[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 3], [0, 0, 3, 0]], dtype=float)
    degree = W.sum(axis=1)
    np.testing.assert_allclose(dense(evidence), W / degree[:, None])
    np.testing.assert_allclose(evidence.input_weights, degree / degree.sum())
    np.testing.assert_array_equal(evidence.context_values, IDS)
    assert evidence.details == {"edges": 3, "weights": "w"}
    # P_A is P_X on an undirected graph.
    np.testing.assert_allclose(dense(evidence).T @ evidence.input_weights, degree / degree.sum())


def test_loops_count_once_and_repeated_edges_add_up(tmp_path: Path) -> None:
    path = write(tmp_path, "source,target\na,a\na,b\nb,a\na,b\nc,d\n")
    evidence = Graph(path=path).fit(four())
    expected = [[0.25, 0.75, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    np.testing.assert_allclose(dense(evidence), expected)
    np.testing.assert_allclose(evidence.input_weights, np.array([4, 3, 1, 1]) / 9)


def test_directed(tmp_path: Path) -> None:
    path = write(tmp_path, "from,to\na,b\na,c\nb,c\nc,a\nd,a\n")
    evidence = Graph(path=path, source="from", target="to", directed=True).fit(four())
    expected = [[0, 0.5, 0.5, 0], [0, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(dense(evidence), expected)
    np.testing.assert_allclose(evidence.input_weights, np.array([2, 1, 1, 1]) / 5)


def test_edges_of_weight_zero_are_none(tmp_path: Path) -> None:
    path = write(tmp_path, "source,target,w\na,b,1\nc,d,2\nb,c,0\n")
    evidence = Graph(path=path, weight="w").fit(four())
    assert evidence.rows(0, 4).nnz == 4


@pytest.mark.parametrize("name", ["edges.tsv", "edges.parquet"])
def test_other_formats(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"source": ["a", "b", "c"], "target": ["b", "c", "d"], "w": [1.0, 2, 3]})
    path = tmp_path / name
    if name.endswith("tsv"):
        frame.to_csv(path, index=False, sep="\t")
    else:
        frame.to_parquet(path)
    plain = tmp_path / "edges.csv"
    frame.to_csv(plain, index=False)
    a, b = (Graph(path=str(p), weight="w").fit(four()) for p in (path, plain))
    np.testing.assert_array_equal(dense(a), dense(b))


def test_names_are_names(tmp_path: Path) -> None:
    """007 is not 7, and NA is a node like any other."""
    features = Features.from_array(points(3), ids=np.array(["007", "7", "NA"]))
    path = write(tmp_path, "source,target\n007,NA\n7,7\n")
    np.testing.assert_array_equal(
        dense(Graph(path=path).fit(features)), [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    )


def test_row_numbers_are_ids_by_default(tmp_path: Path) -> None:
    path = write(tmp_path, "source,target\n0,1\n2,2\n")
    found = dense(Graph(path=path).fit(Features.from_array(points(3))))
    np.testing.assert_array_equal(found, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_identity_follows_the_content_not_the_path(tmp_path: Path) -> None:
    one = write(tmp_path, "source,target\na,b\nc,d\n", "one.csv")
    same = write(tmp_path, "source,target\na,b\nc,d\n", "same.csv")
    other = write(tmp_path, "source,target\na,b\nc,c\nd,d\n", "other.csv")
    a, b, c = (Graph(path=p).identity(four(), 0) for p in (one, same, other))
    assert a == b != c


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "source,target\na,b\nc,d\n", "one.csv")
    context = Graph(path="one.csv").resolved(tmp_path)
    assert context.path == str(tmp_path / "one.csv")
    assert context.resolved(Path("/elsewhere")) == context
    assert Graph(path="~/one.csv").resolved(Path("/elsewhere")) == context
    assert Graph(path="~tmp.csv").resolved(tmp_path).path == str(tmp_path / "~tmp.csv")
    assert Graph(path="s3://x/y.csv").resolved(tmp_path).path == "s3://x/y.csv"
    context.fit(four())


def test_default_names() -> None:
    assert Graph(path="some/friends.csv").default_name == "graph-friends"
    assert Graph(path="some/my friends (é).v2.csv").default_name == "graph-my-friends----"
    assert len(Graph(path="x" * 300 + ".csv").default_name) == 80


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (
            "source,target\na,b\nc,x\ny,y\n",
            {},
            "context 'graph-edges': '{path}' names 2 node(s) that are no id of the corpus, such "
            "as 'y', 'x'; names must match the id column (row numbers from 0 if there is none).",
        ),
        (
            "from,to\na,b\n",
            {},
            "context 'graph-edges': '{path}' has no column 'source'; its columns are: from, to.",
        ),
        ("source,target\n", {}, "context 'graph-edges': '{path}' has no rows."),
        (
            "source,target,w\na,b,1\nc,d,-2\n",
            {"weight": "w"},
            "context 'graph-edges': the weight in row 2 of '{path}' is -2; negative weights have "
            "no meaning here.",
        ),
        (
            "source,target,w\na,b,1\nc,d,much\n",
            {"weight": "w"},
            "context 'graph-edges': the weight in row 2 of '{path}' is 'much'; a finite number is "
            "needed.",
        ),
        (
            "source,target,w\na,b,inf\nc,d,1\n",
            {"weight": "w"},
            "context 'graph-edges': the weight in row 1 of '{path}' is 'inf'; a finite number is "
            "needed.",
        ),
        (
            "source,target,w\na,b,\nc,d,1\n",
            {"weight": "w"},
            "context 'graph-edges': the weight in row 1 of '{path}' is ''; a finite number is "
            "needed.",
        ),
        (
            "source,target\na,b\nb,c\n",
            {},
            "context 'graph-edges': 1 row(s) of the corpus have no edge, such as 'd'; give them "
            "one, or leave these rows out of the corpus.",
        ),
        (
            "source,target\na,b\n",
            {"directed": True},
            "context 'graph-edges': 3 row(s) of the corpus have no edge that leads out of them, "
            "such as 'b', 'c', 'd'; leave them out of both the corpus and the edges, give each a "
            "loop, or set directed to false.",
        ),
        (
            "source,target,weight\na,b,1\nb,c,0\nc,d,1\nd,a,2\n",
            {"directed": True},
            "context 'graph-edges': 1 row(s) of the corpus have no edge of positive weight that "
            "leads out of them, such as 'b'; leave them out of both the corpus and the edges, give "
            "each a loop, or set directed to false.",
        ),
        (
            "source,target,w\na,b,0\nc,d,1\n",
            {"weight": "w"},
            "context 'graph-edges': 2 row(s) of the corpus have no edge, such as 'a', 'b'; give "
            "them one of positive weight, or leave these rows out of both the corpus and the "
            "edges.",
        ),
    ],
)
def test_messages(tmp_path: Path, text: str, arguments: dict[str, object], message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ContextError) as caught:
        Graph(path=path, **arguments).fit(four())
    assert str(caught.value) == message.replace("{path}", path)


def test_missing_file(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere.csv")
    message = f"context 'graph-nowhere': cannot read '{path}': no such file; check the path."
    for step in (
        lambda: Graph(path=path).fit(four()),
        lambda: Graph(path=path).extent(4, 1),
        lambda: Graph(path=path).identity(four(), 0),
    ):
        with pytest.raises(ContextError) as caught:
            step()
        assert str(caught.value) == message


def test_empty_and_malformed_files(tmp_path: Path) -> None:
    for name, text in [("none.csv", ""), ("text.parquet", "no parquet")]:
        with pytest.raises(ContextError, match="context 'graph-.*cannot read"):
            Graph(path=write(tmp_path, text, name)).fit(four())


def test_a_column_called_weight_is_used(tmp_path: Path) -> None:
    path = write(tmp_path, "source,target,weight\na,b,3\nb,c,1\nc,d,1\n")
    plain = Graph(path=path).fit(four())
    named = Graph(path=path, weight="weight").fit(four())
    np.testing.assert_array_equal(plain.matrix.toarray(), named.matrix.toarray())
    assert plain.rows(1, 2).toarray()[0].tolist() == [0.75, 0.0, 0.25, 0.0]
    assert plain.details["weights"] == "weight"


@pytest.mark.parametrize("arguments", [{"source": "target"}, {"weight": "source"}])
def test_columns_differ(arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="source, target and weight must be different columns"):
        Graph(path="edges.csv", **arguments)


def test_nodes_in_a_column_called_weight(tmp_path: Path) -> None:
    path = write(tmp_path, "weight,target\na,b\nb,c\nc,d\n")
    evidence = Graph(path=path, source="weight").fit(four())
    assert evidence.details["weights"] == "every edge counts 1"
