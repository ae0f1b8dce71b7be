"""Which column is what: checked as soon as the names are known, before any long work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from contexture.errors import CorpusError, nearest
from contexture.readers.base import Reader
from contexture.readers.text import is_unicode

# Not listed: a target may be excluded (it never is a feature) or categorical.
EXCLUSIVE = (
    ("targets", "id"),
    ("targets", "weights"),
    ("targets", "include"),
    ("id", "weights"),
    ("id", "include"),
    ("weights", "include"),
    ("include", "exclude"),
    ("id", "categorical"),
    ("weights", "categorical"),
)


def feature_columns(reader: Reader, names: Sequence[str], source: str) -> tuple[str, ...]:
    """Check the roles against the columns that exist, and return those that are features.

    Parameters
    ----------
    reader : Reader
        Says who plays which role.
    names : sequence of str
        The columns of the source, in order.
    source : str
        Where they are, for the message.

    Raises
    ------
    CorpusError
        If a name is wrong, a column has two roles, or no feature is left.
    """
    check_names(names, source)
    held = _held(reader)
    for role, wanted in held.items():
        for name in wanted:
            if name not in names:
                raise CorpusError(
                    f"{role} names the column {name!r}, which {source} does not have; "
                    + _suggestion(name, names)
                )
    _check_conflicts(held)
    taken = {*used(reader), *reader.exclude}
    chosen = names if reader.include is None else reader.include
    features = tuple(name for name in names if name in chosen and name not in taken)
    if not features:
        raise CorpusError(
            f"no feature column is left in {source}: its columns ({', '.join(names)}) are all "
            "excluded or have another role; exclude fewer of them"
        )
    return features


def used(reader: Reader) -> tuple[str, ...]:
    """Return the columns that have a role other than feature."""
    single = [name for name in (reader.id, reader.weights) if name is not None]
    return (*reader.targets, *single)


def check_names(names: Sequence[str], source: str) -> None:
    """Raise `CorpusError` if a column has no name or none in Unicode, or two have the same."""
    for position, name in enumerate(names, 1):
        if not name.strip():
            raise CorpusError(
                f"column {position} of {source} has no name; name it (a table that pandas wrote "
                "with its index has such a column: write it with index=False)"
            )
        if not is_unicode(name):
            raise CorpusError(
                f"column {position} of {source} is named {name!r}, which is not valid Unicode "
                "(such as half of a surrogate pair); rename it"
            )
    double = _repeated(names)
    if double is not None:
        raise CorpusError(f"{source} has two columns named {double!r}; rename one of them")


def _held(reader: Reader) -> dict[str, tuple[str, ...]]:
    return {
        "targets": reader.targets,
        "id": () if reader.id is None else (reader.id,),
        "weights": () if reader.weights is None else (reader.weights,),
        "include": reader.include or (),
        "exclude": reader.exclude,
        "categorical": reader.categorical,
    }


def _check_conflicts(held: dict[str, tuple[str, ...]]) -> None:
    for role, names in held.items():
        double = _repeated(names)
        if double is not None:
            raise CorpusError(f"{role} names the column {double!r} twice; name it once")
    for one, other in EXCLUSIVE:
        both = [name for name in held[one] if name in held[other]]
        if both:
            raise CorpusError(
                f"the column {both[0]!r} has two roles, {one} and {other}; "
                "take it out of one of them"
            )


def _repeated(names: Iterable[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _suggestion(name: str, names: Sequence[str]) -> str:
    advice = nearest(name, names)
    if advice.startswith("known"):
        return "its columns are: " + ", ".join(names)
    return f"{advice} Its columns are: " + ", ".join(names)
