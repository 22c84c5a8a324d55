"""Find all methods by their specs. The code of a method is imported only when it is used."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import glta.methods
from glta.methods.spec import Ablation, Capability, MethodSpec, StepSpec, file_of, load

if TYPE_CHECKING:
    from glta.methods.base import Recommender

STAGES = ("prepare", "profile")
"""The stages before the methods. A step may read their folders."""

OTHERS = (
    "code",
    "download",
    "models",
    "profile-part",
    "profile-join",
    "recommend",
    "recommend-part",
    "recommend-join",
    "shards",
    "join",
    "evaluate",
    "bundle",
    "bundle-with-profile",
    "bundles",
    "cache",
    "report",
)
"""Names of other stages and folders, which no step may have."""


@cache
def specs() -> dict[str, MethodSpec]:
    """Return the spec of every method by name, sorted by `MethodSpec.place`.

    Raises ValueError for what would fail later, when a stage runs: two methods or steps with the
    same name; two methods with the same title; a step that reads a folder or a section that does
    not exist; a class that is not in the file that the spec names; a last step without the method's
    name; an unknown capability; a folder with another name than the method.
    """
    files = [path for root in glta.methods.__path__ for path in Path(root).glob("*/spec.py")]
    found = []
    for path in files:
        spec = import_module(f"glta.methods.{path.parent.name}.spec").SPEC
        if path.parent.name != (wanted := spec.name.replace("-", "_")):
            raise ValueError(f"{path.parent}: holds method {spec.name}; call the folder {wanted}")
        found.append(spec)
    ordered = sorted(found, key=lambda spec: (spec.place, spec.name))
    _check(ordered)
    return {spec.name: spec for spec in ordered}


def _check(found: Iterable[MethodSpec]) -> None:
    """Raise ValueError when specs contradict each other."""
    names = [name for spec in found for name in (*(s.name for s in spec.steps), *_names(spec))]
    taken = [*STAGES, *OTHERS, *names]
    if twice := [name for name in taken if taken.count(name) > 1]:
        raise ValueError(f"{twice[0]}: two stages, steps or methods have this name")
    titles = [spec.title for spec in found]
    for spec in found:
        if titles.count(spec.title) > 1:
            others = [o.name for o in found if o.title == spec.title and o.name != spec.name]
            raise ValueError(
                f'methods {spec.name} and {", ".join(others)} have the same title, "{spec.title}"; '
                "give each spec.py its own, as the report shows titles"
            )
    known = {*STAGES, *names}
    for spec in found:
        if spec.steps[-1].name != spec.name:
            raise ValueError(f"method {spec.name}: its last step must be called {spec.name}")
        if unknown := spec.capabilities - {*get_args(Capability)}:
            valid = ", ".join(get_args(Capability))
            raise ValueError(
                f"method {spec.name}: capability {min(unknown)} is unknown; valid are {valid}"
            )
        _check_class(f"method {spec.name}: recommender", spec.recommender)
        later = {step.name for step in spec.steps}
        for step in spec.steps:
            _check_reads(f"step {step.name}", step.reads, known)
            _check_class(f"step {step.name}: run", step.run)
            parts = spec.settings.model_fields
            if missing := [name for name in step.settings if name not in parts]:
                raise ValueError(
                    f"step {step.name}: settings names {missing[0]}, which "
                    f"{spec.settings.__name__} does not have"
                )
            if early := [name for name in step.reads if name in later]:
                raise ValueError(
                    f"step {step.name}: reads {early[0]}, which does not come before it"
                )
            later.remove(step.name)
        for name, ablation in spec.ablations.items():
            _check_reads(f"ablation {spec.name}-{name}", ablation.reads, known)


def _check_class(who: str, where: str) -> None:
    """Raise ValueError unless a file defines the class. where: "module:class"; not imported."""
    module, _, name = where.partition(":")
    if not re.fullmatch(r"[\w.]+:\w+", where):
        raise ValueError(f'{who} is "{where}"; write "module:class"')
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise ValueError(f"{who} is {where}: there is no {file_of(where)}")
    if not re.search(rf"^class {name}\b", Path(found.origin).read_text("utf-8"), re.MULTILINE):
        raise ValueError(f"{who} is {where}: {file_of(where)} defines no class {name}")


def _check_reads(who: str, reads: Iterable[str], known: Iterable[str]) -> None:
    if missing := [name for name in reads if name not in known]:
        raise ValueError(f"{who}: reads {missing[0]}, which no step writes")


def _names(spec: MethodSpec) -> list[str]:
    """Return the full names of a method's ablations."""
    return [f"{spec.name}-{name}" for name in spec.ablations]


@dataclass(frozen=True)
class Unit:
    """Describe one training stage of DVC and Snakemake: a step of a method, or an ablation.

    name: of the stage.
    method: whose settings the steps read. An ablation replaces some of them by `changes`.
    steps: run one after the other. Only the artefact of the last one is kept.
    reads: the stages and other units whose folders the steps read.
    model: whether the artefact is a recommender.
    ablation: None for a step of a method.
    """

    name: str
    method: MethodSpec
    steps: tuple[StepSpec, ...]
    reads: tuple[str, ...]
    model: bool
    ablation: Ablation | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Changed settings by dotted keys within the method's settings."""
        return dict(self.ablation.changes) if self.ablation else {}

    @property
    def values(self) -> dict[str, Any]:
        """Changed settings by dotted keys of params.yaml."""
        prefix = f"settings.{self.method.name}"
        return {f"{prefix}.{key}": value for key, value in self.changes.items()}

    @property
    def sections(self) -> list[str]:
        """Dotted names of the sections of params.yaml that the steps read."""
        own = f"settings.{self.method.name}"
        found: list[str] = []
        for step in self.steps:
            found += [f"{own}.{part}" for part in step.settings] or [own]
            found += step.shared
        return list(dict.fromkeys(found))

    @property
    def shares(self) -> bool:
        """Whether several processes can share one of the steps."""
        return any(step.shares for step in self.steps)

    @property
    def folder(self) -> tuple[str, ...]:
        """Parts of the artefact's path below data/DATASET/SEED."""
        return ("models", self.name) if self.model else (self.name,)


@cache
def units() -> dict[str, Unit]:
    """Return all units by name: for each method its steps in their order, then its ablations."""
    found = {}
    for spec in specs().values():
        for step in spec.steps:
            is_model = step is spec.steps[-1]
            found[step.name] = Unit(step.name, spec, (step,), step.reads, model=is_model)
        for name, ablation in spec.ablations.items():
            found[f"{spec.name}-{name}"] = _ablation_unit(spec, name, ablation)
    return found


def needed_steps(spec: MethodSpec) -> tuple[StepSpec, ...]:
    """Return those steps of a method that its recommender needs, in their order."""
    wanted = {spec.name}
    for step in reversed(spec.steps):
        if step.name in wanted:
            wanted |= set(step.reads)
    return tuple(step for step in spec.steps if step.name in wanted)


def _ablation_unit(spec: MethodSpec, name: str, ablation: Ablation) -> Unit:
    """Return the unit of an ablation: the steps from the first one that reads a changed setting.

    Raises ValueError when no step reads a changed setting.
    """
    changed = {key.partition(".")[0] for key in ablation.changes}
    own = needed_steps(spec)
    touched = [n for n, s in enumerate(own) if not s.settings or changed & {*s.settings}]
    if not touched:
        raise ValueError(f"{spec.name}-{name}: no step of {spec.name} reads {sorted(changed)}")
    steps = own[touched[0] :]
    made = {step.name for step in steps}
    needed = [read for step in steps for read in step.reads if read not in made]
    reads = tuple(dict.fromkeys([*needed, *ablation.reads]))
    return Unit(f"{spec.name}-{name}", spec, steps, reads, model=True, ablation=ablation)


def models() -> list[str]:
    """Return the names of all methods and ablations: the valid entries of `methods`."""
    return [name for name, unit in units().items() if unit.model]


def needed(methods: Iterable[str]) -> list[str]:
    """Return the names of all stages and units that methods depend on, themselves included.

    Each name comes after those that it reads. `prepare` is left out: every method depends on it.
    """
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
    """Return the title of a method or an ablation, such as "GLTA without profile".

    An unknown name is its own title.
    """
    unit = units().get(method)
    if unit is None:
        return method
    if unit.ablation is None:
        return unit.method.title
    return unit.method.title + method.removeprefix(unit.method.name).replace("-", " ")


def recommender_class(method: str) -> type[Recommender]:
    """Import the recommender's class of a method or an ablation.

    Raises KeyError for an unknown name.
    """
    return load(units()[method].method.recommender)
