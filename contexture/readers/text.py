"""Text that is not Unicode: refused in the scan, because nothing after it could hold it."""

from __future__ import annotations

from contexture.errors import CorpusError


def is_unicode(text: str | bytes) -> bool:
    """Say whether `text` can be written as UTF-8, as half of a surrogate pair cannot, or is it."""
    try:
        if isinstance(text, str):
            text.encode()
        else:
            text.decode()
    except UnicodeError:
        return False
    return True


def not_unicode(name: str, source: str, row: int) -> CorpusError:
    """Say where text is not Unicode.

    Parameters
    ----------
    name : str
        The column.
    source : str
        Where it lies.
    row : int
        Number of the row in the corpus, from 0.
    """
    return CorpusError(
        f"column {name!r} of {source} holds text in row {row} that is not valid Unicode (such as "
        "half of a surrogate pair); correct the value, or exclude the column"
    )
