"""Everything that contexture raises on purpose.

::

    ContextureError
    ├── InputError (ValueError)      what was given cannot be used; nothing was started
    │   ├── ConfigurationError       the configuration file or a parameter
    │   ├── CorpusError              the data: files, columns, values
    │   ├── ContextError             a context that does not fit this corpus
    │   ├── TooLargeError            it would not fit into the memory or disk at hand
    │   └── StoreError               not a store of ours, or nothing by that name in it
    ├── EvidenceError (TypeError)    an estimator was given a weaker form of evidence than it needs
    ├── ClusterError                 no Dask cluster, or a lost one
    └── StorageFullError             the disk filled up while writing

Each message is one sentence or two: what came, what was needed, what to do. The command line
prints it and exits with 2. Every class takes the message as its only argument, so that it
survives the way back from a Dask worker.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ContextureError(Exception):
    """Base of every error that contexture raises on purpose."""


class InputError(ContextureError, ValueError):
    """What was given cannot be used."""


class ConfigurationError(InputError):
    """A configuration file or a parameter is wrong."""


class CorpusError(InputError):
    """The corpus cannot be read, or its values cannot be used."""


class ContextError(InputError):
    """A context does not fit the corpus that it is given."""


class TooLargeError(InputError):
    """The computation would not fit into the memory or disk at hand."""


class StoreError(InputError):
    """Not a store of contexture's, or it does not hold what was asked for."""


class EvidenceError(ContextureError, TypeError):
    """An estimator needs a stronger form of evidence than the context offers."""


class ClusterError(ContextureError):
    """No Dask cluster answers, or it was lost."""


class StorageFullError(ContextureError):
    """The disk of the store filled up; what was written whole before stays usable."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Say which known word was probably meant.

    Parameters
    ----------
    word : str
        What came.
    choices : iterable of str
        What would have been understood.

    Returns
    -------
    str
        ``"did you mean 'knn'?"``, or, where nothing is near, the list of all choices.
    """
    known = sorted(choices)
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known are: " + ", ".join(known)
