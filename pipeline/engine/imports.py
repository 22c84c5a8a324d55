"""python -m pipeline.engine.imports pipeline/STAGE.py: list the glta files that dvc.yaml must name
for this script.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from glta.methods.registry import METHODS, TRAINED_ELSEWHERE

UNTRACKED = {
    # DVC follows the values one by one; a new comment or default must not make every result stale
    "glta/config.py",
    "glta/data/settings.py",
    "glta/datasets/settings.py",
    "glta/evaluation/settings.py",
    "glta/features/settings.py",
    "glta/nn/graph/settings.py",
    "glta/nn/language/settings.py",
    "glta/params/model.py",
    "glta/progress.py",  # shows, computes nothing
}

CODE = {".py", ".pyc"}

FIT, HASHES, REGISTRY = (
    "pipeline/stages/fit.py",
    "pipeline/stages/code.py",
    "glta/methods/registry.py",
)


def modules_of(script: str) -> list[str]:
    """Follow a script's imports through glta, those within functions too, and return the files,
    sorted.

    A script that calls `method_class` imports the registered methods. Not so the stage `fit`: what
    the stage `code` writes of each method stands for its code and its place in the registry, and
    `code` reads all of them. Packages whose __init__.py imports nothing are not listed; data files
    beside a listed module are (templates).
    """
    found, todo = set(), [script]
    if script == HASHES:
        todo += [entry.file for method, entry in METHODS.items() if method not in TRAINED_ELSEWHERE]
    while todo:
        path = todo.pop()
        if path in found or path in UNTRACKED:
            continue
        found.add(path)
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        names = set(_imports(tree))
        todo += [file for name in names for file in _files(name)]
        if "glta.methods.registry.method_class" in names and path != FIT:
            todo += [entry.file for entry in METHODS.values()]
    if script == FIT:
        found.remove(REGISTRY)
    modules = {p for p in found if p.startswith("glta/") and not _is_empty_package(p)}
    folders = {Path(p).parent for p in modules}
    return sorted(
        modules
        | {
            p.as_posix()
            for f in folders
            for p in f.iterdir()
            if p.is_file() and p.suffix not in CODE
        }
    )


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield every imported module, and module.name, outside of `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from _imports(other)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: relative import; write the full name")
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(node)


def _files(name: str) -> Iterator[str]:
    """Yield the files of a dotted name within glta or pipeline, with the packages above it."""
    parts = name.split(".")
    if parts[0] != "glta" and parts[:3] != ["pipeline", "stages", "script"]:
        return
    for n in range(1, len(parts) + 1):
        base = Path(*parts[:n])
        yield from (
            p.as_posix() for p in (base / "__init__.py", base.with_suffix(".py")) if p.is_file()
        )


def _is_empty_package(path: str) -> bool:
    return path.endswith("/__init__.py") and not any(
        _imports(ast.parse(Path(path).read_text(encoding="utf-8")))
    )


if __name__ == "__main__":
    print(*modules_of(sys.argv[1]), sep="\n")
