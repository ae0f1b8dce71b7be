"""The small data sets that come with scikit-learn; no network is needed."""

from __future__ import annotations

from typing import Literal

import sklearn.datasets
from pydantic import ConfigDict, Field

from contexture.corpus import Corpus
from contexture.readers.base import BLOCKSIZE, Name, Reader
from contexture.readers.frames import corpus_of

LOADERS = {
    "digits": sklearn.datasets.load_digits,
    "iris": sklearn.datasets.load_iris,
    "wine": sklearn.datasets.load_wine,
    "breast_cancer": sklearn.datasets.load_breast_cancer,
    "diabetes": sklearn.datasets.load_diabetes,
}


class Packaged(Reader):
    """A data set of scikit-learn.

    The column 'target' holds the name of the class, or for diabetes a number. It never is a
    feature: where it is not named as target, it is left out.
    """

    model_config = ConfigDict(title="Packaged data set")

    reader: Literal["packaged"] = Field(
        default="packaged", title="Kind", json_schema_extra={"position": 0}
    )
    name: Literal["digits", "iris", "wine", "breast_cancer", "diabetes"] = Field(
        title="Data set",
        description="Which of scikit-learn's packaged data sets.",
        json_schema_extra={"position": 1},
    )
    targets: tuple[Name, ...] = Field(
        default=("target",),
        title="Targets",
        description="Columns to be predicted; they never become features.",
        json_schema_extra={"position": 20},
    )

    def open(self, blocksize: int = BLOCKSIZE) -> Corpus:
        """Load the data set; see `Reader.open`."""
        bunch = LOADERS[self.name](as_frame=True)
        frame = bunch.frame.copy()
        if "target" not in self.targets:
            frame = frame.drop(columns="target")
        elif self.name != "diabetes":
            frame["target"] = [str(bunch.target_names[code]) for code in frame["target"]]
        return corpus_of(frame, self, f"scikit-learn's {self.name}", blocksize)
