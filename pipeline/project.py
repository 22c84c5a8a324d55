"""Find the project's folder, where the paths of parameters, stages and results start."""

from __future__ import annotations

import os
from pathlib import Path

MARKS = (".dvc", "Snakefile")
"""The folder that has both of these is a project's."""


def project_root(start: Path | None = None) -> Path | None:
    """Return the nearest project at or above a folder; None where there is none.

    start: None for the current folder.
    """
    here = (start or Path.cwd()).absolute()
    return next(
        (path for path in (here, *here.parents) if all((path / m).exists() for m in MARKS)), None
    )


def enter_project() -> None:
    """Change to the project's folder. Raises ValueError where there is none."""
    root = project_root()
    if root is None:
        raise ValueError(
            f"{Path.cwd()}: is not in a project of glta, as no folder above has "
            f"{' and '.join(MARKS)}; change to your clone first"
        )
    if root != Path.cwd():
        os.chdir(root)


def from_project(path: str | Path) -> Path:
    """Return a path, given relative to the current folder, as a path relative to the project.

    Absolute paths, and all paths where there is no project, stay as they are.
    """
    given = Path(path)
    root = project_root()
    if given.is_absolute() or root is None or root == Path.cwd():
        return given
    return Path(os.path.relpath(Path.cwd() / given, root))
