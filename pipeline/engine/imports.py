"""Find the files that a program consists of, by following its imports within this project."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOTS = ("glta", "pipeline")

UNTRACKED = re.compile(
    r"""
    # parameter values are recorded as they come out of this code, so its own text does not matter
    glta/config\.py | glta/params/.*
    # they show progress and write messages, and compute nothing
    | glta/progress\.py | glta/nearest\.py
    """,
    re.VERBOSE,
)
"""Files that no result depends on."""

SETTINGS = re.compile(r"glta/.*/settings\.py | glta/methods/\w+/spec\.py", re.VERBOSE)
"""Files of settings. Parameter values are recorded one by one, so a new default, range or comment
makes nothing stale. The rest of such a file is code as any other (`rest_of`)."""

BY_SPEC = ("glta/methods/registry.py", "glta/methods/spec.py")
"""Files that import the classes which specs name. Programs begin with these classes."""

DYNAMIC = {
    "import_module",
    "__import__",
    "run_module",
    "run_path",
    "exec",
    "spec_from_file_location",
}
"""Functions that run a module by a name or path which may be computed."""

CODE = {".py", ".pyc"}


def modules_of(*programs: str) -> list[str]:
    """Return all files that programs import, directly or not, sorted. The programs are among them.

    Imports inside functions count too. Packages whose __init__.py holds no code are left out. Data
    files beside a module, such as templates, are included, those in folders without code too.
    Raises ValueError, with file, line and fix, for an import that cannot be followed.
    """
    found: set[str] = set()
    todo = list(programs)
    while todo:
        path = todo.pop()
        if path in found or UNTRACKED.fullmatch(path):
            continue
        found.add(path)
        todo += imported_by(path)
    modules = {path for path in found if path in programs or not is_empty_package(path)}
    folders = {Path(path).parent for path in modules}
    return sorted(modules | {path.as_posix() for folder in folders for path in _data(folder)})


@cache
def behind_parameters() -> frozenset[str]:
    """Return the files that every program loads to read params.yaml, and may not use."""
    found: set[str] = set()
    # the registry imports the specs of all methods
    starts = (*Path("glta/params").glob("*.py"), *Path("glta/methods").glob("*/spec.py"))
    todo = [file for path in starts for file in _files(".".join(path.with_suffix("").parts))]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += imported_by(path)
    return frozenset(found)


@cache
def _data(folder: Path) -> tuple[Path, ...]:
    """Return the data files of a folder, and those of the folders in it that hold no code."""
    return tuple(_data_in(folder))


def _data_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        # editors leave hidden copies and copies that end with ~
        if path.name.startswith((".", "__pycache__")) or path.name.endswith("~"):
            continue
        if path.is_dir():
            if not any(path.rglob("*.py")):
                yield from _data_in(path)
        elif path.suffix not in CODE and path.name != "py.typed":
            yield path


def _parsed(path: str) -> ast.Module:
    """Parse a file. Raises ValueError, with file and line, for wrong syntax."""
    return _parsed_text(Path(path).read_text(encoding="utf-8"), path)


def _parsed_text(text: str | bytes, path: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"{path} line {error.lineno}: {error.msg}") from None


@cache
def imported_by(path: str) -> tuple[str, ...]:
    """List the files of this project that a file imports. Raises as `modules_of` does."""
    package = ".".join(Path(path).parent.parts)
    found: dict[str, None] = {}
    for line, name in imports(_parsed(path), package):
        if name is None:
            if path in BY_SPEC:
                continue
            raise ValueError(
                f"{path} line {line}: runs a module by a computed name, so no stage would notice "
                "an edit of it; use import statements, which may be inside functions"
            )
        if name.partition(".")[0] in ROOTS:
            found |= dict.fromkeys(_files(name))
        elif path.partition("/")[0] in ROOTS and (outside := _files(name)):
            raise ValueError(
                f"{path} line {line}: imports {outside[-1]}, which lies outside of glta/, so no "
                "stage would notice an edit of it; move it into the folder of the method"
            )
    return tuple(found)


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str | None]]:
    """Yield (line, name) of every imported module, and module.name, except for TYPE_CHECKING.

    The name is None where it is computed. package: of the file, for relative imports.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(other, package)
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            parts = [*(above if node.level else []), *([node.module] if node.module else [])]
            module = ".".join(parts)
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in DYNAMIC:
            first = node.args[0] if node.args else None
            is_text = isinstance(first, ast.Constant) and isinstance(first.value, str)
            named = is_text and _called(node) in ("import_module", "__import__", "run_module")
            yield node.lineno, first.value if named else None  # type: ignore[union-attr]
        yield from imports(node, package)


def _called(node: ast.Call) -> str:
    """Return the last part of the name of a called function."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


@cache
def _files(name: str) -> tuple[str, ...]:
    """Return the files of a dotted name below this folder, with the packages above it.

    PACKAGE.* stands for all modules of the package.
    """
    found: list[str] = []
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        base = Path(*parts[:n])
        if parts[n - 1] == "*":
            candidates = sorted(base.parent.glob("*.py"))
        else:
            candidates = [base / "__init__.py", base.with_suffix(".py")]
        found += [path.as_posix() for path in candidates if path.is_file()]
    return tuple(found)


@cache
def is_empty_package(path: str) -> bool:
    """Tell whether a file is an __init__.py without code."""
    return path.endswith("/__init__.py") and not _code(_parsed(path).body)


def _code(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements of a module or a class that are neither text nor its __version__."""
    return [node for node in body if not _is_text(node) and not _is_version(node)]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_version(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"


@cache
def rest_of(path: str) -> str:
    """Return the code of a file of settings without the settings: "" when nothing else is in it.

    Left out are the fields of sections and their validators, the spec itself, types, docstrings and
    comments. The values that come out of them are recorded, and so are the steps of the spec.
    """
    return rest_in(Path(path).read_text(encoding="utf-8"), path)


def rest_in(text: str | bytes, path: str) -> str:
    """Return what `rest_of` does, of a text in place of the file. path: for errors."""
    sections = {"Section"}
    rest = []
    for node in _code(_parsed_text(text, path).body):
        if isinstance(node, ast.ImportFrom) and _defines_settings(node.module or ""):
            sections |= {alias.asname or alias.name for alias in node.names}
            continue
        if isinstance(node, ast.ClassDef) and sections & {ast.unparse(b) for b in node.bases}:
            sections.add(node.name)
            node.body = [part for part in _code(node.body) if not _is_field(part)]
            if not node.body:
                continue
        if not _declares(node):
            rest.append(ast.unparse(node))
    return "\n".join(rest)


def _defines_settings(module: str) -> bool:
    known = ("__future__", "typing", "pydantic", "glta.config", "glta.methods.spec")
    return module in known or module.endswith((".settings", ".spec"))


def _is_field(node: ast.stmt) -> bool:
    """Tell whether a part of a section is a field, or a function that checks fields."""
    marks = getattr(node, "decorator_list", [])
    return isinstance(node, ast.AnnAssign) or any(
        isinstance(mark, ast.Call) and _called(mark).endswith("_validator") for mark in marks
    )


def _declares(node: ast.stmt) -> bool:
    """Tell whether a statement gives a name to a type, a mark of fields, or the spec."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if isinstance(value, ast.Subscript):
        return ast.unparse(value.value) in ("Annotated", "Literal")
    return isinstance(value, ast.Call) and _called(value) in ("MethodSpec", "When", "Search")


def forget() -> None:
    """Forget the files that were read, which may have been edited since."""
    for cached in (imported_by, behind_parameters, is_empty_package, rest_of, _data, _files):
        cached.cache_clear()
