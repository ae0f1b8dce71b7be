"""Turn what a file system or a parser says into one sentence about the data."""

from __future__ import annotations

import csv
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from contexture.errors import CorpusError

FAILURES = (
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    csv.Error,
    EOFError,
    OverflowError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
)
"""What file systems and parsers were seen to raise on files that are not what they seem."""


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Raise `CorpusError` in place of whatever reading `path` raises.

    Parameters
    ----------
    path : str
        The file, for the message.
    """
    try:
        yield
    except CorpusError:
        raise
    except FileNotFoundError as error:
        raise CorpusError(
            f"cannot read {path!r}: no such file; check the path "
            "(a relative path starts at the configuration file)"
        ) from error
    except PermissionError as error:
        raise CorpusError(f"cannot read {path!r}: permission denied; make it readable") from error
    except IsADirectoryError as error:
        raise CorpusError(f"cannot read {path!r}: it is a folder; name a file in it") from error
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"cannot read {path!r}: it is not UTF-8 text; save it as UTF-8"
        ) from error
    except ImportError as error:
        raise CorpusError(f"cannot read {path!r}: {short(error)}") from error
    except FAILURES as error:
        raise CorpusError(f"cannot read {path!r}: {short(error)}") from error


def short(error: BaseException) -> str:
    """Return the first line of an error's message, cut at 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= 200 else lines[0][:197] + "..."
