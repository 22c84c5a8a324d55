"""Tell what the report needs to know about methods; it is read from their specs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

from glta.methods.registry import needed, specs, title, units
from glta.methods.spec import Ablation

__all__ = [
    "base_of",
    "change_text",
    "is_ablation",
    "makes_model",
    "order",
    "places",
    "shards_beside",
    "title",
    "training_stages",
    "whole_stage",
]


def _ablation(name: str) -> Ablation | None:
    return units()[name].ablation if name in units() else None


def is_ablation(name: str) -> bool:
    """Tell whether a name is that of an ablation."""
    return _ablation(name) is not None


def makes_model(stage: str) -> bool:
    """Tell whether a stage, by its name before the @, makes the model of a method or ablation."""
    return stage in units() and units()[stage].model


def base_of(ablation: str) -> str:
    """Return the method that an ablation changes.

    Raises KeyError for a name that is no ablation.
    """
    if not is_ablation(ablation):
        raise KeyError(ablation)
    return units()[ablation].method.name


def change_text(ablation: str) -> str:
    """Write the settings that an ablation changes: align_users.tag_tokens = 0.

    Raises KeyError for a name that is no ablation.
    """
    found = _ablation(ablation)
    if found is None:
        raise KeyError(ablation)
    return found.text


def order() -> list[str]:
    """List all methods. A method's place decides its colour and mark in the figures."""
    return list(specs())


def training_stages(method: str) -> list[str]:
    """Name the stages whose cost counts for a method.

    Not counted are the stages before the methods, prepare and profile. Each name has the
    placeholder {cell}, which stands for DATASET-SEED. An unknown method has none.
    """
    if method not in units():
        return []
    return [f"{name}@{{cell}}" for name in needed([method]) if name in units()]


def places(dataset: str, seeds: Iterable[int]) -> dict[str, tuple[int | None, str | None]]:
    """Return the seed and the method of what follows the @ in the names of a dataset's stages.

    Datasets and methods may contain hyphens, so a name cannot be split. It is looked up among all
    that can be, in any order of their parts.
    """
    found: dict[str, tuple[int | None, str | None]] = {dataset: (None, None)}
    for seed in seeds:
        for method in (None, *units()):
            parts = [dataset, str(seed), *([method] if method else [])]
            found |= {"-".join(order): (seed, method) for order in permutations(parts)}
    return found


def whole_stage(stage: str) -> str:
    """Return the stage that a shard, or the join of shards, stands for; any other stage itself.

    profile-part@books-0-4-1, the second of four shards, and profile-join@books-0-4 stand for
    profile@books-0.
    """
    name, place, _ = _shard(stage)
    return f"{name}@{place}" if place else stage


def shards_beside(stage: str) -> list[str]:
    """Return the shards and the join that a shard or a join belongs to; [] for any other stage."""
    name, place, of = _shard(stage)
    if not place:
        return []
    shards = [f"{name}-part@{place}-{of}-{part}" for part in range(int(of))]
    return [*shards, f"{name}-join@{place}-{of}"]


def _shard(stage: str) -> tuple[str, str, str]:
    """Split the name of a shard or a join into stage, place and number of shards, "" for others."""
    name, _, place = stage.partition("@")
    kind, _, ending = name.rpartition("-")
    if name in units() or ending not in ("part", "join"):
        return name, "", ""
    if ending == "part":
        place = place.rpartition("-")[0]
    place, _, of = place.rpartition("-")
    return kind, place, of
