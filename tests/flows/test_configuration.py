"""What is wrong with a configuration, in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contexture.errors import ConfigurationError
from flows.configuration import load_parameters, validate_parameters

GOOD: dict[str, Any] = {
    "name": "small",
    "corpus": {"reader": "csv", "path": "x.csv"},
    "contexts": [{"kind": "knn", "k": 3}],
}


def fault(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        validate_parameters(GOOD | changes, "x.yaml")
    return str(caught.value).removeprefix("'x.yaml': ")


RBF = {"kind": "rbf", "gamma": 1}
NAMES = (
    "must begin with a letter or digit and hold up to 80 letters, digits, '.', '_' or '-', "
    "such as my-data_2, but it is 'a/b'"
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_rank": 0}, "max_rank must be at least 1, but it is 0"),
        ({"max_rank": 9000}, "max_rank must be at most 8192, but it is 9000"),
        ({"beta": -0.5}, "beta must be greater than 0, but it is -0.5"),
        ({"beta": float("inf")}, "beta must be a finite number, but it is inf"),
        ({"beta": "x"}, "beta must be a number, but it is 'x'"),
        ({"max_rank": "x"}, "max_rank must be a whole number, but it is 'x'"),
        ({"max_rank": 2.5}, "max_rank must be a whole number, but it is 2.5"),
        ({"max_rank": None}, "max_rank must be a whole number, but it is empty"),
        ({"max_rank": [1]}, "max_rank must be a whole number, but it is a list"),
        ({"name": 5}, "name must be text, but it is 5; put it between quotes"),
        ({"name": {}}, "name must be text, but it is keys with values"),
        ({"store": ""}, "store must not be empty"),
        ({"contexts": "knn"}, "contexts: a list is needed, but it is 'knn'"),
        ({"contexts": RBF}, "contexts: a list is needed, but it is keys with values"),
        ({"contexts": []}, "contexts: at least 1 entry is needed, but the list is empty"),
        ({"contexts": ["knn"]}, "contexts.0: keys with values are needed, but it is 'knn'"),
        ({"contexts": [{"k": 3}]}, "contexts.0 needs the key 'kind'"),
        ({"corpus": "x.csv"}, "corpus: keys with values are needed, but it is 'x.csv'"),
        ({"corpus": {"reader": "csv"}}, "the key 'corpus.path' is missing"),
        (
            {"corpus": {"reader": "packaged", "name": "irs"}},
            "corpus.name: unknown value 'irs'; did you mean 'iris'?",
        ),
        (
            {"contexts": [RBF | {"scale": "medan"}]},
            "contexts.0.scale: unknown value 'medan'; did you mean 'median'?",
        ),
        (
            {"contexts": [{"kind": "knn", "k": 3, "include_self": "x"}]},
            "contexts.0.include_self must be true or false, but it is 'x'",
        ),
        (
            {"cluster": {"kind": "address", "address": "here"}},
            "cluster.address must be the protocol, host and port of a Dask scheduler, such as "
            "tcp://127.0.0.1:8786, but it is 'here'",
        ),
        (
            {"cluster": {"kind": "local", "memory": "lots"}},
            "cluster.memory must be a number and a unit of bytes, such as 4GiB, but it is 'lots'",
        ),
        (
            {"corpus": {"reader": "csv", "path": "x.csv", "delimiter": "é"}},
            "corpus.delimiter must be one ASCII character, such as ';', but it is 'é'",
        ),
        ({"name": "a/b"}, f"name {NAMES}"),
        ({"contexts": [RBF | {"name": "a/b"}]}, f"contexts.0.name {NAMES}"),
    ],
)
def test_sentences(changes: dict[str, Any], message: str) -> None:
    assert fault(**changes) == message


def test_long_values_are_cut() -> None:
    assert fault(max_rank="x" * 500).endswith("xxx...")
    assert len(fault(max_rank="x" * 500)) < 150


@pytest.mark.parametrize(
    ("changes", "tail"),
    [
        ({"contexts": [RBF | {"gamma": -1}]}, "but it is -1"),
        ({"contexts": [{"kind": "rbf", "gama": 1}]}, "did you mean 'gamma'?"),
        ({"contexts": [RBF | {"gamma": -1}], "beta": 0}, " (1 more fault after this one.)"),
        ({"contexts": [RBF | {"gamma": -1}] * 3}, " (2 more faults after this one.)"),
        ({"contexts": [], "beta": 0}, " (1 more fault after this one.)"),
        (
            {"contexts": [{"kind": "rbf", "gama": 1}], "max_rank": 0},
            "did you mean 'gamma'? (1 more fault after this one.)",
        ),
    ],
)
def test_faults_are_counted_once(changes: dict[str, Any], tail: str) -> None:
    text = fault(**changes)
    assert text.endswith(tail)
    assert ("more fault" in text) == ("more fault" in tail)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name: a\nmax_rank: 32\nbeta: 1\nmax_rank: 5\n",
            "the key 'max_rank' in line 4 stands in line 2 already; keep one of them.",
        ),
        (
            "contexts:\n  - kind: knn\n    k: 3\n    'k': 4\n",
            "the key 'k' in line 4 stands in line 3 already",
        ),
        ("corpus: {path: a, path: b}\n", "the key 'path' in line 1 stands in line 1 already"),
        ("name: 2026-13-45\n", "is not valid YAML: month must be in 1..12"),
        (f"name: {'[' * 5000}", "is not valid YAML: its brackets are nested too deeply"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_parameters(path)
    assert str(caught.value).startswith(f"'{path}'")
    assert message in str(caught.value)


def test_merged_keys_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: a\ncorpus: {reader: csv, path: x.csv}\ncontexts:\n"
        "  - &first {kind: knn, k: 3}\n  - &second {<<: *first, k: 4}\n  - {<<: *second, k: 5}\n"
    )
    assert [c.label for c in load_parameters(path).contexts] == ["knn-3", "knn-4", "knn-5"]


def test_paths_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder where there is one; else a part of the name, as Python's own functions do."""
    monkeypatch.setenv("HOME", "/home/of/mine")
    path = tmp_path / "x.yaml"

    def places(corpus: str, edges: str) -> tuple[str, str]:
        path.write_text(
            f"name: a\ncorpus: {{reader: csv, path: {corpus}}}\n"
            f"contexts: [{{kind: graph, path: {edges}}}]\n"
        )
        parameters = load_parameters(path)
        return parameters.corpus.path, parameters.contexts[0].path

    home = Path("/home/of/mine")
    assert places("~/x.csv", "~/e.csv") == (str(home / "x.csv"), str(home / "e.csv"))
    for name in ("~tmp.csv", "~no-such-user/x.csv"):
        assert places(name, name) == (str(tmp_path / name),) * 2
