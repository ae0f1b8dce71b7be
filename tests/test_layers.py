"""Imports only ever point down (docs/design.md, section 2), and public things say what they are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("contexture", "tasks", "flows", "deployments")
# From the bottom up. Names in one line may import each other, as far as no circle comes about.
LAYERS = [
    {"errors", "paths"},
    {"corpus", "encodings", "features", "fitting", "partition", "summaries", "targets", "values"},
    {"inputs"},
    {"contexts", "readers"},
    {"lazy", "moments", "operator", "task_moments"},
    {"spectrum"},
    {"estimators", "scores"},
    {"evaluation", "order", "ranking", "streaming"},
    {"store"},
    {"jobs", "preflight", "report", "score_jobs", "streamed_jobs"},
]
APART = [("readers", "contexts"), ("contexts", "readers"), ("scores", "estimators"),
         ("estimators", "scores"), ("jobs", "report"), ("report", "jobs")]  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
LIBRARY = [path for path in FILES if path.relative_to(ROOT).parts[0] == "contexture"]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_packages_point_left(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    above = set(PACKAGES[PACKAGES.index(own) + 1 :]) | (
        {"prefect"} if own == "contexture" else set()
    )
    assert not {name.split(".")[0] for name in imports(path)} & above


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_layers_point_down(path: Path) -> None:
    own = path.relative_to(ROOT / "contexture").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in LEVEL, f"give contexture.{own} a place in LAYERS"
    for name in imports(path):
        if name == "contexture":
            continue
        top = (
            name.removeprefix("contexture.").split(".")[0] if name.startswith("contexture.") else ""
        )
        if top in LEVEL and top != own:
            assert LEVEL[top] <= LEVEL[own], f"{own} imports {name}"
            assert (own, top) not in APART, f"{own} imports {name}"


def test_no_circles() -> None:
    names = {}
    for path in LIBRARY:
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    waiting = {}
    for name, path in names.items():
        needs = imports(path) & names.keys()
        # "from package import module" needs the module; that the package is there goes without.
        waiting[name] = {n for n in needs if not any(o.startswith(f"{n}.") for o in needs)} - {name}
    while free := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert not waiting


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = [] if ast.get_docstring(tree) else ["the module"]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            bare += [] if ast.get_docstring(node) else [node.name]
            members = node.body if isinstance(node, ast.ClassDef) else []
            for member in members:
                overload = any(
                    "overload" in ast.unparse(d) for d in getattr(member, "decorator_list", [])
                )
                public = isinstance(member, kinds) and not member.name.startswith("_")
                # What a special or protocol's property is stands in the class docstring.
                if (
                    public
                    and not overload
                    and not _is_stub(member)
                    and not ast.get_docstring(member)
                ):
                    bare.append(f"{node.name}.{member.name}")
    assert not bare


def _is_stub(node: ast.AST) -> bool:
    body = getattr(node, "body", [])
    return len(body) == 1 and ast.unparse(body[0]) == "..."
