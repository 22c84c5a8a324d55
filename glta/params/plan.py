"""Write plan.yaml: the datasets for which each stage runs. It is made from params.yaml.

dvc.yaml does not depend on params.yaml: it has a stage for every step of every method. It reads
from plan.yaml for which datasets a stage runs, how many shards it has, and of which methods there
are bundles, because the templates of DVC have no conditions and cannot count.
"""

from __future__ import annotations

from pathlib import Path

from glta.methods.registry import needed, units
from glta.params.file import as_yaml
from glta.params.model import Params
from glta.storage.files import write_whole

PLAN = Path("plan.yaml")

HEAD = """\
# For which datasets each stage runs: what the methods in params.yaml need, and nothing else.
# `parts` numbers the shards of a stage, and `of` counts them.
# `bundles` has the methods of `serve`: those that read no texts, and those that need the profile.
# Made from params.yaml by `glta params sync`, and by Snakemake when it starts; do not edit.
"""

Names = dict[str, list[str]]


def plan_of(params: Params) -> Names:
    """Return the datasets of each stage that a method may need, [] for one that is not needed."""
    wanted = needed(params.methods)
    profiled = params.datasets if "profile" in wanted else []
    return {
        **_whole_or_joined("profile", profiled, params.shards.profile),
        **{name: params.datasets if name in wanted else [] for name in units()},
        **_whole_or_joined("recommend", params.datasets, params.shards.recommend),
    }


def _whole_or_joined(stage: str, datasets: list[str], shards: int) -> Names:
    """Return the datasets of a stage, and those of its other form, which joins shards."""
    return {
        stage: datasets if shards == 1 else [],
        f"{stage}-join": [] if shards == 1 else datasets,
    }


def profile_stage(params: Params, dataset: str, seed: int) -> str:
    """Return DVC's name of the stage that writes the profile of a dataset and a seed."""
    shards = params.shards.profile
    cell = f"{dataset}-{seed}"
    return f"profile@{cell}" if shards == 1 else f"profile-join@{cell}-{shards}"


def shards_of(params: Params) -> dict[str, dict[str, list[int]]]:
    """Return `parts`, the numbers of the shards of each stage, and `of`, how many there are."""
    return {
        "parts": {stage: list(range(count)) for stage, count in params.shards},
        "of": {stage: [count] for stage, count in params.shards},
    }


def bundles_of(params: Params) -> Names:
    """Return the methods of each of the two stages that write bundles."""
    with_texts = [name for name in params.serve if "profile" in needed([name])]
    return {
        "bundle": [name for name in params.serve if name not in with_texts],
        "bundle-with-profile": with_texts,
    }


def content_of(params: Params) -> dict[str, dict[str, list]]:
    """Return all that plan.yaml has."""
    return {
        "plan": plan_of(params),
        **shards_of(params),
        "bundles": bundles_of(params),
    }


def render_plan(params: Params) -> str:
    """Return the text of plan.yaml."""
    lines = []
    for part, lists in content_of(params).items():
        lines += [
            f"{part}:",
            # in quotes where YAML would read a name as a number
            *(f"  {name}: {as_yaml(names)}" for name, names in lists.items()),
        ]
    return "\n".join([HEAD.rstrip(), *lines]) + "\n"


def sync_plan(params: Params, path: Path = PLAN) -> bool:
    """Bring plan.yaml up to date. Returns whether it was written."""
    text = render_plan(params)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_whole(path, text)
    return True


def is_enough(params: Params, path: Path = PLAN) -> bool:
    """Return whether plan.yaml has all stages that the parameters need. It may have more."""
    from ruamel.yaml import YAML

    there = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return all(
        {*wanted} <= {*there.get(part, {}).get(name, [])}
        for part, lists in content_of(params).items()
        for name, wanted in lists.items()
    )
