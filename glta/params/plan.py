"""Write plan.yaml: the datasets for which each stage runs. It is made from params.yaml.

dvc.yaml does not depend on params.yaml: it has a stage for every step of every method. It reads
from plan.yaml for which datasets a stage runs, and of which methods there are bundles, because the
templates of DVC have no conditions.
"""

from __future__ import annotations

from pathlib import Path

from glta.methods.registry import needed, units
from glta.params.model import Params
from glta.storage.files import write_whole

PLAN = Path("plan.yaml")

HEAD = """\
# For which datasets each stage runs: what the methods in params.yaml need, and nothing else.
# `bundles` has the methods of `serve`: those that read no texts, and those that need the profile.
# Made from params.yaml by `glta params sync`, and by Snakemake when it starts; do not edit.
"""


def plan_of(params: Params) -> dict[str, list[str]]:
    """Return the datasets of each stage that a method may need, [] for one that is not needed."""
    wanted = needed(params.methods)
    return {name: params.datasets if name in wanted else [] for name in ("profile", *units())}


def bundles_of(params: Params) -> dict[str, list[str]]:
    """Return the methods of each of the two stages that write bundles."""
    with_texts = [name for name in params.serve if "profile" in needed([name])]
    return {
        "bundle": [name for name in params.serve if name not in with_texts],
        "bundle-with-profile": with_texts,
    }


def _content(params: Params) -> dict[str, dict[str, list[str]]]:
    return {"plan": plan_of(params), "bundles": bundles_of(params)}


def render_plan(params: Params) -> str:
    """Return the text of plan.yaml."""
    lines = []
    for part, lists in _content(params).items():
        lines += [f"{part}:", *(f"  {name}: [{', '.join(v)}]" for name, v in lists.items())]
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
        for part, lists in _content(params).items()
        for name, wanted in lists.items()
    )
