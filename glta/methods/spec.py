"""Describe a method: its settings, its steps and what they read.

A method is a folder `glta/methods/NAME/`. Its `spec.py` defines `SPEC`, a `MethodSpec`, and the
class of its settings. It must import nothing heavier than pydantic, because the command line, the
parameters, the engines (DVC, Snakemake), tuning and the report read the specs of all methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from glta.config import Section

Capability = Literal["histories", "sequences", "new_items"]
"""What a recommender can do beyond scoring the users that it was trained on.

histories: score users by a list of items (`Recommender.score_histories`).
sequences: score users by a list of items in order (`Recommender.with_histories`).
new_items: take items that were not in the training data (`Recommender.extended`).
"""


@dataclass(frozen=True)
class StepSpec:
    """Describe one step of a method. A step reads folders, trains, and writes one artefact.

    name: of the stage in DVC and Snakemake; unique among all steps of all methods. The last step of
        a method has the name of the method.
    run: "module:class" of a `glta.methods.base.Step`.
    reads: the stages and steps whose folders the step reads.
    settings: the sections of the method's settings that the step reads; empty: all of the settings.
    shared: the sections of params.yaml outside of the method's settings that the step reads.
    threads, memory_mb: the CPU threads and the megabytes that Snakemake reserves for a process.
    shares: whether several processes can share the step: it trains by `glta.training.trainer`, and
        each process computes its share of every batch.
    """

    name: str
    run: str
    reads: tuple[str, ...] = ("prepare",)
    settings: tuple[str, ...] = ()
    shared: tuple[Literal["language", "causal", "profile"], ...] = ()
    threads: int = 1
    memory_mb: int = 4000
    shares: bool = False


@dataclass(frozen=True)
class Ablation:
    """Describe an ablation: the method with other values of some settings.

    changes: the other values, by dotted keys within the method's settings. The first step that
        reads one of them and all steps after it run again. Artefacts of earlier steps are shared
        with the method.
    reads: further stages and steps whose folders these steps read.
    """

    changes: Mapping[str, Any]
    reads: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Describe the changes, such as "align_users.tag_tokens = 0"."""
        return ", ".join(f"{key} = {str(value).lower()}" for key, value in self.changes.items())


@dataclass(frozen=True)
class MethodSpec:
    """Describe a method.

    name: in params.yaml. title: in the report. paper: where the method was published.
    settings: the class of `settings.NAME` in params.yaml.
    recommender: "module:class" of the `glta.methods.base.Recommender`.
    steps: in the order in which they run; the last one returns the recommender.
    ablations: by name without the method's: "tied-head" is `glta-tied-head`.
    capabilities: see `Capability`.
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
    """Import an object. where: "module:name"."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def file_of(where: str) -> str:
    """Return the path of an object's module, relative to the repository. where: "module:name"."""
    return where.partition(":")[0].replace(".", "/") + ".py"
