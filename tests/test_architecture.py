"""A room of the house imports only rooms below it, imports within functions included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipeline.engine.imports import BY_SPEC, imports

# bottom to top, as in docs/architecture.md; a room's modules may import each other
ROOMS = """
glta.config glta.nearest glta.pictures glta.progress glta.storage | glta.io |
glta.datasets.settings glta.data.settings | glta.data | glta.datasets | glta.training |
glta.nn | glta.features | glta.evaluation |
glta.methods.spec glta.methods.base glta.methods.exhibit | glta.methods.shared | glta.methods.* |
glta.methods.registry | glta.methods.chain | glta.params |
glta.tuning glta.serving glta.report glta.testing | pipeline.project |
pipeline.stages.script | pipeline.engine | pipeline.tracking | pipeline.lineage |
pipeline.stages pipeline.tuning | pipeline.cli
"""
FLOORS = [row.split() for row in ROOMS.split("|")]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
ALONE = {  # a library, and the only places that may import it
    "transformers": ("glta.nn.language",),
    "peft": ("glta.nn.language",),
    "accelerate": ("glta.training.devices",),
    "torch_geometric": ("glta.nn.graph",),
    "dvc": ("pipeline.engine", "pipeline.lineage"),
    "mlflow": ("pipeline.tracking",),
    "fastapi": ("glta.serving.rest",),
    "starlette": ("glta.serving.rest",),
    "uvicorn": ("glta.serving.rest",),
    "prometheus_client": ("glta.serving.rest",),
}
FORKS = "pipeline/engine/warm.py"  # runs the module that it is asked for
SHARED = ("__init__.py", "spec.py", "model.py", "settings.py")  # each in its own folder
MODULES = sorted(path for top in ("glta", "pipeline") for path in Path(top).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """Find the innermost room that a module belongs to."""
    parts = module.split(".")
    found = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    known = next((name for name in found if name in LEVEL), None)
    return known or ("glta.methods.*" if module.startswith("glta.methods.") else "")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_imports_only_what_is_below(path):
    module = name_of(path)
    room = room_of(module)
    package = ".".join(path.parent.parts)
    for _, name in imports(ast.parse(path.read_text(encoding="utf-8")), package):
        if name is None:
            assert path.as_posix() in (*BY_SPEC, FORKS)
            continue
        if allowed := ALONE.get(name.partition(".")[0]):
            assert module.startswith(allowed), f"{module} imports {name}; {allowed} alone may"
        other = room_of(name)
        if other in ("", room) and not room.endswith("*"):
            continue
        if room == other:  # two methods, or one
            assert name.split(".")[2] == module.split(".")[2], f"{module} imports {name}"
        elif other:
            assert LEVEL[other] < LEVEL[room], f"{module} ({room}) imports {name} ({other})"


def test_no_name_is_used_twice():
    """A class, or a file outside of the method folders and packages, has its name for itself."""
    files: dict[str, list[str]] = {}
    classes: dict[str, list[str]] = {}
    for path in MODULES:
        # a script of a stage has the stage's name, which is that of what it runs
        if path.name not in SHARED and path.parent.name != "stages":
            files.setdefault(path.name, []).append(str(path))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, []).append(str(path))
    twice = {name: where for name, where in (files | classes).items() if len(where) > 1}
    assert not twice
