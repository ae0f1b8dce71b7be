"""What the command line says of a store that was pruned."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.markup import escape

from contexture.store.prune import Unused
from flows.terminal import compact


def show_pruned(console: Console, unused: Unused, dry: bool) -> None:
    """Print what was removed from a store, or would be."""
    if not unused.paths:
        console.print("Nothing to remove: every run stays, and needs all that is there.")
        return
    kinds = Counter(path.partition("/")[0] for path in unused.paths)
    names = {"runs": "run", "operators": "operator", "neighbours": "set of neighbours",
             "features": "set of features"}  # fmt: skip
    parts = [f"{kinds[kind]} {_plural(name, kinds[kind])}"
             for kind, name in names.items() if kinds[kind]]  # fmt: skip
    if not parts:  # what an interrupted removal left of the index
        parts = [f"{kinds['results']} entries of the index"]
    runs = f" ({unused.runs[0]} to {unused.runs[-1]})" if unused.runs else ""
    console.print(
        escape(
            f"{'Would remove' if dry else 'Removed'} {', '.join(parts)}{runs}; "
            f"{compact(float(unused.size))}B."
        )
    )


def _plural(name: str, count: int) -> str:
    """Name of several things of a kind."""
    first, _, rest = name.partition(" ")
    return name if count == 1 else f"{first}s {rest}".rstrip()
