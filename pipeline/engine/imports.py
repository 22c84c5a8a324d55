"""Find the files that a program consists of, by following its imports within this project."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

UNTRACKED = re.compile(
    r"""
    # DVC follows parameters one by one: a new comment or default must not make every result stale
    glta/config\.py | glta/params/.* | glta/.*/settings\.py | glta/methods/\w+/spec\.py
    # they show progress and write messages, and compute nothing
    | glta/progress\.py | glta/nearest\.py
    """,
    re.VERBOSE,
)
"""Files that no result depends on."""

CODE = {".py", ".pyc"}


def modules_of(*programs: str) -> list[str]:
    """Return all files that programs import, directly or not, sorted. The programs are among them.

    Imports inside functions count too. Packages whose __init__.py imports nothing are left out.
    Data files beside a module, such as templates, are included.
    """
    found: set[str] = set()
    todo = list(programs)
    while todo:
        path = todo.pop()
        if path in found or UNTRACKED.fullmatch(path):
            continue
        found.add(path)
        todo += imported_by(path)
    modules = {path for path in found if path in programs or not _is_empty_package(path)}
    folders = {Path(path).parent for path in modules}
    beside = {p.as_posix() for f in folders for p in f.iterdir() if _is_data(p)}
    return sorted(modules | beside)


def _is_data(path: Path) -> bool:
    return path.is_file() and path.suffix not in CODE and path.name != "py.typed"


@cache
def imported_by(path: str) -> tuple[str, ...]:
    """List the files of this project that a file imports."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return tuple(dict.fromkeys(file for name in imports(tree) for file in _files(name)))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every imported module, and module.name, except below `if TYPE_CHECKING`.

    Raises ValueError for a relative import.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(other)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"line {node.lineno}: relative import; write the full name")
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


def _files(name: str) -> Iterator[str]:
    """Yield the files of a dotted name within glta or pipeline, with the packages above it."""
    parts = name.split(".")
    if parts[0] not in ("glta", "pipeline"):
        return
    for n in range(1, len(parts) + 1):
        base = Path(*parts[:n])
        candidates = (base / "__init__.py", base.with_suffix(".py"))
        yield from (path.as_posix() for path in candidates if path.is_file())


@cache
def _is_empty_package(path: str) -> bool:
    if not path.endswith("/__init__.py"):
        return False
    return not any(imports(ast.parse(Path(path).read_text(encoding="utf-8"))))
