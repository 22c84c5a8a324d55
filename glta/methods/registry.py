"""Find every method by its spec. Nothing heavy is imported before a method is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import glta.methods
from glta.methods.spec import Ablation, MethodSpec, StepSpec, load

if TYPE_CHECKING:
    from glta.methods.base import Recommender

STAGES = ("prepare", "profile")
"""The stages before the methods, whose folders a step may read."""

OTHERS = ("code", "download", "models", "recommend", "evaluate", "report")
"""Names of other stages and folders, which no step may have."""


@cache
def specs() -> dict[str, MethodSpec]:
    """Return the spec of every method by name, in the order of lists.

    Raises ValueError when two methods or steps have one name, or when a step reads what nobody
    writes.
    """
    files = [path for root in glta.methods.__path__ for path in Path(root).glob("*/spec.py")]
    found = [import_module(f"glta.methods.{path.parent.name}.spec").SPEC for path in files]
    ordered = sorted(found, key=lambda spec: (spec.place, spec.name))
    _check(ordered)
    return {spec.name: spec for spec in ordered}


def _check(found: Iterable[MethodSpec]) -> None:
    names = [name for spec in found for name in (*(s.name for s in spec.steps), *_names(spec))]
    taken = [*STAGES, *OTHERS, *names]
    if twice := [name for name in taken if taken.count(name) > 1]:
        raise ValueError(f"{twice[0]}: two stages, steps or methods have this name")
    known = {*STAGES, *names}
    for spec in found:
        if spec.steps[-1].name != spec.name:
            raise ValueError(f"method {spec.name}: its last step must be called {spec.name}")
        later = {step.name for step in spec.steps}
        for step in spec.steps:
            _check_reads(f"step {step.name}", step.reads, known)
            if early := [name for name in step.reads if name in later]:
                raise ValueError(
                    f"step {step.name}: reads {early[0]}, which does not come before it"
                )
            later.remove(step.name)
        for name, ablation in spec.ablations.items():
            _check_reads(f"ablation {spec.name}-{name}", ablation.reads, known)


def _check_reads(who: str, reads: Iterable[str], known: Iterable[str]) -> None:
    if missing := [name for name in reads if name not in known]:
        raise ValueError(f"{who}: reads {missing[0]}, which no step writes")


def _names(spec: MethodSpec) -> list[str]:
    """Name a method's ablations."""
    return [f"{spec.name}-{name}" for name in spec.ablations]


@dataclass(frozen=True)
class Unit:
    """Hold what one stage of both engines trains: a step of a method, or an ablation.

    name: of the stage. method: whose settings are read, with `changes` put in place.
    steps: run one after the other; what the last one makes is kept.
    reads: stages and other units whose folders are read.
    model: whether it makes a recommender.
    """

    name: str
    method: MethodSpec
    steps: tuple[StepSpec, ...]
    reads: tuple[str, ...]
    model: bool
    ablation: Ablation | None = None

    @property
    def changes(self) -> dict[str, Any]:
        return dict(self.ablation.changes) if self.ablation else {}

    @property
    def values(self) -> dict[str, Any]:
        """Return the changed parameters by their dotted keys in params.yaml."""
        prefix = f"settings.{self.method.name}"
        return {f"{prefix}.{key}": value for key, value in self.changes.items()}

    @property
    def sections(self) -> list[str]:
        """Name the sections of params.yaml that are read."""
        own = f"settings.{self.method.name}"
        found: list[str] = []
        for step in self.steps:
            found += [f"{own}.{part}" for part in step.settings] or [own]
            found += step.shared
        return list(dict.fromkeys(found))

    @property
    def folder(self) -> tuple[str, ...]:
        """Return the place of the artefact below data/DATASET/SEED."""
        return ("models", self.name) if self.model else (self.name,)


@cache
def units() -> dict[str, Unit]:
    """Return all units by name: the steps of every method in their order, then its ablations."""
    found = {}
    for spec in specs().values():
        for step in spec.steps:
            found[step.name] = Unit(step.name, spec, (step,), step.reads, step is spec.steps[-1])
        for name, ablation in spec.ablations.items():
            found[f"{spec.name}-{name}"] = _ablation_unit(spec, name, ablation)
    return found


def _ablation_unit(spec: MethodSpec, name: str, ablation: Ablation) -> Unit:
    """Find the steps that an ablation runs again: from the first that reads a changed key."""
    changed = {key.partition(".")[0] for key in ablation.changes}
    touched = [n for n, s in enumerate(spec.steps) if not s.settings or changed & {*s.settings}]
    if not touched:
        raise ValueError(f"{spec.name}-{name}: no step of {spec.name} reads {sorted(changed)}")
    steps = spec.steps[touched[0] :]
    made = {step.name for step in steps}
    needed = [read for step in steps for read in step.reads if read not in made]
    reads = tuple(dict.fromkeys([*needed, *ablation.reads]))
    return Unit(f"{spec.name}-{name}", spec, steps, reads, True, ablation)


def models() -> list[str]:
    """Name everything that `methods` may name: methods and their ablations."""
    return [name for name, unit in units().items() if unit.model]


def needed(methods: Iterable[str]) -> list[str]:
    """Name the stages and units that these methods are made by, each after those that it reads."""
    found: list[str] = []

    def visit(name: str) -> None:
        if name in found:
            return
        for read in units()[name].reads if name in units() else ("prepare",):
            if read not in (name, "prepare"):
                visit(read)
        found.append(name)

    for method in methods:
        visit(method)
    return found


def title(method: str) -> str:
    """Return how a method or an ablation is written: GLTA without profile."""
    unit = units().get(method)
    if unit is None:
        return method
    if unit.ablation is None:
        return unit.method.title
    return unit.method.title + method.removeprefix(unit.method.name).replace("-", " ")


def recommender_class(method: str) -> type[Recommender]:
    """Import the class that serves a method or an ablation. Raises KeyError for an unknown name."""
    return load(units()[method].method.recommender)
