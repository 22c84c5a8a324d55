"""What a method says about itself, before any of its code is imported.

A method is a folder `glta/methods/NAME/`. Its `spec.py` defines `SPEC`, a `MethodSpec`, and the
class of its settings. It imports pydantic and nothing heavier: parameters, both engines, tuning,
the report and the command line read specs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from glta.config import Section

Capability = Literal["histories", "new_items"]
"""histories: scores people by a list of items. new_items: takes items that came after training."""


@dataclass(frozen=True)
class StepSpec:
    """Describe one step of a method: it reads folders, trains, and writes one artefact.

    name: of the stage in both engines; unique among all steps of all methods. The last step of a
        method has the method's own name.
    run: "module:class" of a `glta.methods.base.Step`.
    reads: the stages and steps whose folders it reads.
    settings: the sections within the method's settings that it reads; empty: all of the settings.
    shared: the sections of params.yaml outside of the method's settings that it reads.
    threads, memory_mb: what Snakemake plans with.
    """

    name: str
    run: str
    reads: tuple[str, ...] = ("prepare",)
    settings: tuple[str, ...] = ()
    shared: tuple[Literal["language", "profile"], ...] = ()
    threads: int = 1
    memory_mb: int = 4000


@dataclass(frozen=True)
class Ablation:
    """Describe a variant of a method: some settings have other values.

    changes: values by dotted keys within the method's settings. Steps that read one of them, and
        the steps after these, run again; what earlier steps made is used as it is.
    reads: what these steps read in addition.
    """

    changes: Mapping[str, Any]
    reads: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Say what changes: align_users.tag_tokens = 0."""
        return ", ".join(f"{key} = {str(value).lower()}" for key, value in self.changes.items())


@dataclass(frozen=True)
class MethodSpec:
    """Describe a method.

    name: as in params.yaml. title: as in the report. paper: where it was published.
    settings: class of `settings.NAME`. recommender: "module:class" of what serves.
    steps: in their order; the last one makes the recommender.
    ablations: by the last part of their names: "tied-head" is `glta-tied-head`.
    capabilities: what the recommender does beyond scoring known users.
    devices: what the steps can train on.
    place: lists of methods are sorted by it, then by name.
    """

    name: str
    title: str
    paper: str
    settings: type[Section]
    recommender: str
    steps: tuple[StepSpec, ...]
    ablations: Mapping[str, Ablation] = field(default_factory=dict)
    capabilities: frozenset[Capability] = frozenset()
    devices: tuple[Literal["cpu", "cuda"], ...] = ("cpu",)
    place: int = 100


def load(where: str) -> Any:
    """Import what "module:name" names."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def file_of(where: str) -> str:
    """Return the file of the module in "module:name"."""
    return where.partition(":")[0].replace(".", "/") + ".py"
