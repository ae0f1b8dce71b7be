from __future__ import annotations

import inspect
import pickle

import pytest

from contexture import errors
from contexture.errors import ContextureError, EvidenceError, InputError, nearest

ALL = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, Exception)
]


@pytest.mark.parametrize("kind", ALL)
def test_errors_survive_the_way_back_from_a_worker(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("what came; what to do")))
    assert type(error) is kind
    assert str(error) == "what came; what to do"
    assert issubclass(kind, ContextureError)
    assert kind.__doc__


def test_the_tree() -> None:
    inputs = {kind.__name__ for kind in ALL if issubclass(kind, InputError)} - {"InputError"}
    assert inputs == {
        "ConfigurationError", "CorpusError", "ContextError", "TooLargeError", "StoreError",
    }  # fmt: skip
    assert issubclass(InputError, ValueError)
    assert issubclass(EvidenceError, TypeError)
    assert not issubclass(errors.StorageFullError, ValueError)
    # The picture at the top of the file names every class.
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in ALL)


@pytest.mark.parametrize(
    ("word", "choices", "expected"),
    [
        ("knm", ["knn", "rbf"], "did you mean 'knn'?"),
        ("KNN", ["rbf", "knn"], "did you mean 'knn'?"),
        ("graph", ["rbf", "knn"], "known are: knn, rbf"),
        ("x", [], "known are: "),
    ],
)
def test_nearest(word: str, choices: list[str], expected: str) -> None:
    assert nearest(word, choices) == expected


def test_nearest_takes_any_iterable() -> None:
    assert nearest("run-1", (f"run-{i}0" for i in range(3))).startswith("did you mean 'run-")


def test_nearest_does_not_mind_the_case_of_what_is_known() -> None:
    assert nearest("Shell_Weigth", ["Shell_Weight", "Length"]) == "did you mean 'Shell_Weight'?"
    assert nearest("RINGS", ["Rings", "SEX"]) == "did you mean 'Rings'?"
