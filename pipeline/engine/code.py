"""Record which code each stage's program consists of: data/code/NAME.json, one file a program.

Stages depend on these files and not on the code itself. An edit of one method's code changes the
files of that method alone, and dvc.lock needs one hash for all code of a stage.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from glta.methods.registry import Unit, models, units
from glta.methods.spec import file_of
from glta.storage.files import sha256_of
from pipeline.engine.imports import modules_of

FOLDER = Path("data/code")
# the stage that writes the folder
STAGE = "code"
SCRIPTS = ("download", "prepare", "profile", "evaluate", "report")
"""The stages with one program each, the same for all methods."""


def code_file(name: str) -> str:
    """Return the path of a program's file."""
    return (FOLDER / f"{name}.json").as_posix()


def is_program(path: str) -> bool:
    """Tell whether a path is a program's file."""
    return path.startswith(f"{FOLDER.as_posix()}/")


def is_data(path: str) -> bool:
    """Tell whether a dependency is data, and neither code nor a program's file."""
    return path.startswith("data/") and not is_program(path)


def programs() -> dict[str, dict[str, Any]]:
    """Return the content of every program's file: {name: {"files": {path: sha256}, ...}}."""
    found: dict[str, dict[str, Any]] = {}
    for name in SCRIPTS:
        found[name] = {"files": _hashed(f"pipeline/stages/{name}.py")}
    for name, unit in units().items():
        found[name] = _of_unit(unit)
    for method in models():
        recommender = units()[method].method.recommender
        files = _hashed("pipeline/stages/recommend.py", file_of(recommender))
        found[f"recommend-{method}"] = {"recommender": recommender, "files": files}
    return found


def _of_unit(unit: Unit) -> dict[str, Any]:
    steps = [step.run for step in unit.steps]
    files = _hashed("pipeline/stages/train.py", *map(file_of, steps))
    return {"steps": steps, "changes": unit.changes, "files": files}


def _hashed(*paths: str) -> dict[str, str]:
    return {path: sha256_of(path) for path in modules_of(*paths)}


def written(content: dict[str, Any]) -> str:
    """Write the content of a program's file as text."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def changed_programs() -> set[str]:
    """Return the paths of the programs' files that the stage `code` would change."""
    found = set()
    for name, content in programs().items():
        path = Path(code_file(name))
        if not path.is_file() or path.read_text(encoding="utf-8") != written(content):
            found.add(path.as_posix())
    return found


def settled(status: Collection[str] | None) -> set[str]:
    """Return the paths of the programs' files that a stale stage `code` would leave as they are.

    status: the stale stages. Without this, an edit of one method would make all methods stale.
    """
    if status is None or STAGE not in status:
        return set()
    return {code_file(name) for name in programs()} - changed_programs()


def edited(path: str) -> list[str]:
    """Return the code files whose content no longer has the hash in a program's file.

    path: of that file.
    """
    if not is_program(path) or not Path(path).is_file():
        return []
    files = json.loads(Path(path).read_text(encoding="utf-8"))["files"]
    return [file for file, sha256 in files.items() if not _is(file, sha256)]


def _is(file: str, sha256: str) -> bool:
    return Path(file).is_file() and sha256_of(file) == sha256
