"""Record what each stage depends on: code in data/code/, parameter values in data/params/.

Stages depend on these files, and neither on the code itself nor on params.yaml. So an edit of one
method's code changes the files of that method alone, and an edit of a parameter changes those of
the stages and datasets for which its value counts. The stage `code` writes all of them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from glta.methods.registry import Unit, models, units
from glta.methods.spec import file_of
from glta.params.check import load_params, merged
from glta.params.inputs import SPECS, inputs
from glta.params.model import Params
from glta.storage.files import sha256_of
from pipeline.engine.imports import (
    SETTINGS,
    UNTRACKED,
    behind_parameters,
    forget,
    is_empty_package,
    modules_of,
    rest_of,
)

CODE = Path("data/code")
VALUES = Path("data/params")
# the stage that writes both folders
STAGE = "code"
SCRIPTS = (
    "download",
    "prepare",
    "profile",
    "profile-join",
    "recommend-join",
    "evaluate",
    "bundle",
    "report",
)
"""The stages with one program each, the same for all methods."""


def script_file(name: str) -> str:
    """Return the path of the script of a program that has one for itself."""
    return f"pipeline/stages/{name.replace('-', '_')}.py"


def code_file(name: str) -> str:
    """Return the path of the file with a program's code."""
    return (CODE / f"{name}.json").as_posix()


def values_file(name: str) -> str:
    """Return the path of the file with the parameter values of a stage.

    name: DATASET/STAGE, or report.
    """
    return (VALUES / f"{name}.json").as_posix()


def is_program(path: str) -> bool:
    """Tell whether a path is a file with a program's code."""
    return path.startswith(f"{CODE.as_posix()}/")


def is_values(path: str) -> bool:
    """Tell whether a path is a file with the parameter values of a stage."""
    return path.startswith(f"{VALUES.as_posix()}/")


def is_data(path: str) -> bool:
    """Tell whether a dependency is data, and not what the stage `code` writes."""
    return path.startswith("data/") and not is_program(path) and not is_values(path)


def programs() -> dict[str, dict[str, Any]]:
    """Return the content of every program's file: {name: {"files": {path: sha256}, ...}}.

    settings: the same for files of settings, whose values are recorded by themselves: the hash of
    the code that is not settings. Files without any are left out.
    """
    forget()
    _sha256_of.cache_clear()
    found: dict[str, dict[str, Any]] = {}
    for name in SCRIPTS:
        found[name] = _hashed(script_file(name))
    for name, unit in units().items():
        found[name] = _of_unit(unit)
    for method in models():
        recommender = units()[method].method.recommender
        code = _hashed("pipeline/stages/recommend.py", file_of(recommender))
        found[f"recommend-{method}"] = {"recommender": recommender} | code
    return found


def _of_unit(unit: Unit) -> dict[str, Any]:
    steps = [step.run for step in unit.steps]
    code = _hashed("pipeline/stages/train.py", *map(file_of, steps))
    return {"steps": steps, "changes": unit.changes} | code


def _hashed(*paths: str) -> dict[str, dict[str, str]]:
    files = modules_of(*paths)
    settings = [path for path in files if SETTINGS.fullmatch(path)]
    return {
        "files": {path: _sha256_of(path) for path in files if path not in settings},
        "settings": {path: _sha256_of_rest(path) for path in settings if rest_of(path)},
    }


@cache
def _sha256_of(path: str) -> str:
    """Hash a file once for all programs that share it."""
    return sha256_of(path)


def _sha256_of_rest(path: str) -> str:
    return hashlib.sha256(rest_of(path).encode()).hexdigest()


def written(content: dict[str, Any]) -> str:
    """Write the content of one of the files as text."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def contents(params: Params) -> dict[str, dict[str, Any]]:
    """Return the content of all files that the stage `code` writes, by path."""
    code = {code_file(name): content for name, content in programs().items()}
    return code | {values_file(name): values for name, values in inputs(params).items()}


def differences() -> dict[str, list[str]]:
    """Find the files that the stage `code` would change, and why: {path: [one line for each]}."""
    return {
        path: changes(_read(path), content)
        for path, content in contents(load_params()).items()
        if _read(path) != json.loads(written(content))
    }


def settled(status: Collection[str] | None, changed: Iterable[str] | None = None) -> set[str]:
    """Return the paths of the files that a stale stage `code` would leave as they are.

    status: the stale stages. changed: of `differences`; computed when None. Without this, an edit
    of one method or parameter would make all methods stale.
    """
    if status is None or STAGE not in status:
        return set()
    programs = (*SCRIPTS, *units(), *(f"recommend-{method}" for method in models()))
    written = {*map(code_file, programs), *map(values_file, inputs(load_params()))}
    return written - {*(differences() if changed is None else changed)}


def _read(path: str) -> Any:
    file = Path(path)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def values_of(content: dict[str, Any]) -> dict[str, Any]:
    """Return parameter values by their dotted names in params.yaml.

    What the report shows of specs is left out.
    """
    return {key: value for key, value in _dotted(content).items() if not _of_spec(key)}


def _dotted(content: dict[str, Any]) -> dict[str, Any]:
    from dvc.utils.flatten import flatten

    return flatten(content)


def _of_spec(key: str) -> bool:
    return key.startswith(f"{SPECS}.")


def _where(key: str) -> str:
    """Say where a value comes from. key: its dotted name in a file of values."""
    if not _of_spec(key):
        return f"params.yaml {key}"
    _, method, name = key.split(".")
    return f"the spec of {method}: {name}"


def changes(old: dict[str, Any] | None, new: dict[str, Any]) -> list[str]:
    """Describe the difference between two contents of one of the files."""
    if old is None:
        return []
    if "files" in new:
        before, after = (each["files"] | each.get("settings", {}) for each in (old, new))
        lines = {
            path: f"{path} was {_verb(path, before, after)}"
            for path in sorted({*before, *after})
            if before.get(path) != after.get(path)
        }
        return [*lines.values()] or ["its spec changed"]
    return [f"{_where(key)} {was} -> {now}" for key, (was, now) in _changed(old, new).items()]


def _changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values that differ between two files of values: {dotted name: (old, new)}.

    The report's file has a value under `overrides` where its datasets differ in it. So a new
    dataset moves values of the others, which is no change of theirs. The values of each dataset
    are compared as they count for it.
    """
    both = [name for name in old.get("datasets", []) if name in new.get("datasets", [])]
    by_dataset = {name: _differing(_as_counts(old, name), _as_counts(new, name)) for name in both}
    found = {}
    for name, differing in by_dataset.items():
        for key, pair in differing.items():
            of_all = all(other.get(key) == pair for other in by_dataset.values())
            found[key if of_all else f"overrides.{name}.{key}"] = pair
    return found or _differing(old, new)


def _as_counts(content: dict[str, Any], dataset: str) -> dict[str, Any]:
    """Return the values of the report's file with those of one dataset in their places."""
    common = {key: value for key, value in content.items() if key != "overrides"}
    return merged(common, content.get("overrides", {}).get(dataset, {}))


def _differing(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    before, after = _dotted(old), _dotted(new)
    return {
        key: (before.get(key, "unset"), after.get(key, "unset"))
        for key in before | after
        if before.get(key, ...) != after.get(key, ...)
    }


def _verb(path: str, before: dict[str, str], after: dict[str, str]) -> str:
    if path in before and path in after:
        return "edited"
    return "added" if path in after else "removed"


def edited(path: str) -> list[str]:
    """Return what has changed since one of the files was written, [] for any other path.

    These are the names of code files and of parameters.
    """
    if is_values(path):
        return _edited_values(path)
    if not is_program(path) or not Path(path).is_file():
        return []
    forget()
    content = _read(path)
    files = [file for file, sha256 in content["files"].items() if not _is(file, sha256)]
    rest = content.get("settings", {}).items()
    return files + [file for file, sha256 in rest if not _has_rest(file, sha256)]


def _edited_values(path: str) -> list[str]:
    name = Path(path).relative_to(VALUES).with_suffix("").as_posix()
    before, after = _dotted(_read(path) or {}), _dotted(inputs(load_params()).get(name, {}))
    keys = [key for key in before | after if before.get(key, ...) != after.get(key, ...)]
    return [*map(_where, keys)]


def _has_rest(file: str, sha256: str) -> bool:
    return Path(file).is_file() and _sha256_of_rest(file) == sha256


def _is(file: str, sha256: str) -> bool:
    return Path(file).is_file() and sha256_of(file) == sha256


def unnoticed(reads: Iterable[str], known: Collection[str]) -> str:
    """Describe the first file that a program has read although its stage does not depend on it.

    reads: paths from this folder. known: paths that the stage depends on or writes, and those that
    its parameters name. Returns "" when later edits of all files would be noticed.
    """
    code: set[str] = set()
    for path in filter(is_program, known):
        code |= {*_read(path)["files"], *_read(path)["settings"]}
    for path in reads:
        if path.startswith((".", *PASSED)) or is_empty_package(path):
            continue
        if path in code | behind_parameters():
            continue
        if any(f"{path}/".startswith(f"{each.rstrip('/')}/") for each in known):
            continue
        if UNTRACKED.fullmatch(path) or SETTINGS.fullmatch(path) or _is_installed(path):
            continue
        return f"it reads {path}, whose edits no stage would notice; {_fix(path)}"
    return ""


# the parameters, the checksums that `download` records, and what starts the scripts
PASSED = ("params.yaml", "plan.yaml", "checksums/", "pipeline/engine/", "pipeline/tracking/")


def _is_installed(path: str) -> bool:
    """Tell whether a file belongs to a Python environment within this folder."""
    return Path(path).absolute().is_relative_to(sys.prefix)


def _fix(path: str) -> str:
    if path.startswith("data/"):
        return "name the stage or step that writes it in `reads` of the step"
    if path.endswith(".py"):
        return "import it with an import statement"
    return "put the file into the folder of the module that reads it"
