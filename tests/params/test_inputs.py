"""Test which stages each parameter makes stale, without running any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from glta.config import Section
from glta.datasets.fetch import describe
from glta.methods import registry
from glta.methods.registry import Unit, specs, units
from glta.params.check import check_params, merged, whole_overrides
from glta.params.inputs import COLUMNS, inputs, shown
from glta.params.model import Params

TABLE = {
    "datasets": "report",
    "seeds": "report",
    "methods": "report",
    "serve": "",
    "mirror": "",
    "prepare.*": "prepare report",
    "profile.*": "profile align bundle-with-profile report",
    # of other providers of words than the chosen one
    "profile.items_shown": "",
    "profile.generator": "",
    "profile.generator_sha256": "",
    "profile.endpoint": "",
    "profile.endpoint_model": "",
    "profile.max_new_tokens": "",
    "language.*": "profile align bundle-with-profile report",
    "language.batch_tokens": "",
    "causal.*": "align report",
    "training.processes": "",
    "shards.*": "",
    "recommend.*": "recommend report",
    "recommend.refit": "steps recommend evaluate report",
    "recommend.test_history": "recommend bundle bundle-with-profile report",
    "evaluate.*": "evaluate report",
    "report.*": "report",
    "settings.METHOD.*": "METHOD report",
    # limits, and settings of parts that are not chosen
    "settings.ease.max_gb": "",
    "settings.cease.max_gb": "",
    "settings.lightgcn.heads": "",
    "settings.hccf.mult": "",
    "settings.hccf-plus.mult": "",
    "settings.glta.align.head_rank": "glta-tied-head",
    "settings.glta.align.head_init": "METHOD report -glta-tied-head",
    # a step of several depends on its own part
    "settings.glta.align_items.*": "align_items report",
    "settings.glta.align_users.*": "align_users report",
    "settings.glta.serve.*": "glta report",
}
"""The stages that depend on a parameter directly, by kind. Stages that read their results follow.

align: those that read the section of the parameter. steps: all steps of all methods and ablations.
METHOD: all steps of the method and its ablations. A name after - is left out.
"""

METHODS = [name for name, unit in units().items() if unit.model]
# these have settings in parts, or hold for other methods too; a new method need not be in the table
ELSEWHERE = {"sasrec-text", "tiger", "glta-plus", "semantic-convergence"}
OURS = {*YAML(typ="safe").load(Path("experiments/table.yaml"))["methods"]} - ELSEWHERE
BASE = check_params(
    {
        "datasets": ["sample", "mine"],
        "methods": METHODS,
        "tables": {
            "mine": {"interactions": "a.csv", "items": "b.csv"},
            "spare": {"interactions": "c.csv"},
        },
        "overrides": {name: whole_overrides({}) for name in ("sample", "mine", "spare")},
        "report": {"reference": "ease"},
    }
)
BEFORE = inputs(BASE)


def leaves(section: Section, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in section.model_dump(by_alias=True).items():
        inner = getattr(section, key.replace("-", "_"))
        name = f"{path}{key}"
        found |= leaves(inner, f"{name}.") if isinstance(inner, Section) else {name: value}
    return found


LEAVES = {
    name: value
    for name, value in leaves(BASE).items()
    if name.partition(".")[0] not in ("tables", "overrides")
    and (not name.startswith("settings.") or name.split(".")[1] in OURS)
}

OTHERS = {
    "datasets": ["sample"],
    "seeds": [1],
    "methods": ["ease", "popularity"],
    "serve": ["ease"],
    "profile.text": ["title"],
    "profile.provider": "language_model",
    "prepare.duplicates": "first",
    "prepare.split": "given",
    "prepare.published": "report",
    "language.precision": "float32",
    "causal.precision": "float32",
    "causal.width": 64,
    "causal.heads": 8,
    "report.metric": "recall@20",
    "report.not_tuned": {"popularity": "no search"},
    "evaluate.cutoffs": [5, 20],
    "settings.glta.align.targets": "all",
    "settings.glta.align.head": "tied",
    "settings.glta.align.head_init": "random",
    "settings.glta.align.precision": "float32",
    "settings.glta.align_users.items_shown": "candidates",
    "settings.glta.serve.mode": "autoregressive",
    "settings.gal-rec.external": "text",
    "settings.gal-rec.reading": "means",
    "settings.gal-rec.train": "tokens",
    "settings.gal-rec.precision": "float32",
    "settings.blend.components": ["ease", "cease"],
    "settings.ease.neighbours": 50,
    "settings.lightgcn.encoder": "sage",
    "settings.transitions-text.text": "states",
    "settings.sasrec-text.text": "tfidf",
    "settings.sasrec.embedding_dim": 66,
    "settings.sasrec.heads": 4,
    "recommend.test_history": "train",
}


def another(name: str, value: Any) -> Any:
    """Return another valid value."""
    if name in OTHERS:
        return OTHERS[name]
    if isinstance(value, bool):
        return not value
    if name.endswith(".loss"):
        return "bce" if value == "softmax" else "softmax"
    if name.endswith(".map"):
        return "linear"
    if name.endswith(".sampling"):
        return "user"
    if name.endswith(".schedule"):
        return "cosine"
    if name.endswith(".form"):
        return "sparse"
    if name.endswith("sha256"):
        return "0" * 64
    if name == "report.reference":
        return "popularity"
    if isinstance(value, str):
        return "other"
    if value is None:
        return 3
    return value + 1 if isinstance(value, int) else value * 0.9 + 0.001


def changed(params: Params) -> set[str]:
    after = inputs(params)
    return {name for name in BEFORE.keys() | after.keys() if BEFORE.get(name) != after.get(name)}


def with_value(name: str, value: Any) -> Params:
    if "." not in name:
        return BASE.model_copy(update={name: value})
    return BASE.with_values({name: value})


def expected(name: str) -> set[str]:
    """Return the stages of one dataset that TABLE names for a parameter."""
    rows = [key for key in TABLE if key == name or fits(key, name)]
    kinds = TABLE[max(rows, key=lambda key: (key == name, len(key)))].split()
    found = {stage for kind in kinds for stage in of_kind(kind, name)}
    return {stage for stage in found if f"-{stage}" not in kinds and stage[0] != "-"}


def fits(key: str, name: str) -> bool:
    parts = key.removesuffix(".*").split(".")
    own = name.split(".")[: len(parts)]
    return key.endswith(".*") and all(p in ("METHOD", o) for p, o in zip(parts, own, strict=False))


def of_kind(kind: str, name: str) -> set[str]:
    if kind == "steps":
        return {*units()}
    if kind == "align":
        return {u.name for u in units().values() if name.partition(".")[0] in u.sections}
    if kind in ("METHOD", "align_items", "align_users", "glta"):
        return {u.name for u in units().values() if _reads(u, name)}
    return {kind}


def _reads(unit: Unit, name: str) -> bool:
    """An ablation depends on the settings of its own steps, but for those that it sets itself."""
    own = name.startswith(f"settings.{unit.method.name}.")
    # a linear map has no hidden layer
    linear = unit.values.get(name.replace("hidden_dim", "map")) == "linear"
    sets = name in unit.values or linear
    return own and not sets and any(name.startswith(f"{s}.") for s in unit.sections)


@pytest.mark.parametrize("name", LEAVES)
def test_a_parameter_makes_its_own_stages_stale_and_no_others(name):
    found = changed(with_value(name, another(name, LEAVES[name])))
    if name == "datasets":
        found = {stage for stage in found if not stage.startswith("mine/")}
    stages = expected(name)
    assert found == {
        place
        for stage in stages
        for place in ([stage] if stage == "report" else [f"sample/{stage}", f"mine/{stage}"])
    }


def test_the_table_has_no_row_too_many():
    used = {key for name in LEAVES for key in TABLE if key == name or fits(key, name)}
    assert used == TABLE.keys()


def overridden(**sections: Any) -> Params:
    """Return the parameters with overrides of the dataset `mine`."""
    given = BASE.model_dump(by_alias=True)
    return check_params(merged(given, {"overrides": {"mine": sections}}))


def test_an_override_reaches_its_dataset_alone():
    found = changed(overridden(settings={"ease": {"l2": 5.0}}))
    assert found == {"mine/ease", "report"}


def test_a_general_value_leaves_a_dataset_alone_that_overrides_it():
    """Without the override, both datasets depend on the value."""
    before = overridden(prepare={"user_core": 9}, settings={"glta": {"align": {"lora_rank": 2}}})
    for name, value in (("prepare.user_core", 7), ("settings.glta.align.lora_rank", 4)):
        old, new = inputs(before), inputs(before.with_values({name: value}))
        found = {place for place in old if old[place] != new[place]}
        assert found and not [place for place in found if place.startswith("mine/")]


def test_an_override_with_the_general_value_changes_nothing():
    assert changed(overridden(prepare={"user_core": BASE.prepare.user_core})) == set()


def test_a_preset_counts_before_the_general_values():
    params = check_params(
        {
            "datasets": ["lightgcn-gowalla"],
            "methods": ["ease"],
            "overrides": {"lightgcn-gowalla": whole_overrides({})},
        }
    )
    old, new = inputs(params), inputs(params.with_values({"prepare.split": "leave_last_out"}))
    assert old["lightgcn-gowalla/prepare"]["prepare"]["split"] == "given"
    assert old == new


def table(name: str, **values: Any) -> Params:
    tables = BASE.tables | {name: BASE.tables[name].model_copy(update=values)}
    return BASE.model_copy(update={"tables": tables})


def test_a_table_reaches_its_own_dataset_alone():
    assert changed(table("spare", interactions="d.csv")) == set()
    files = {"mine/download", "mine/prepare", "report"}
    assert changed(table("mine", interactions="d.csv")) == files
    assert changed(table("mine", interactions_sha256="0" * 64)) == files
    assert changed(BASE.model_copy(update={"tables": {"mine": BASE.tables["mine"]}})) == set()


@pytest.mark.parametrize("key", COLUMNS)
def test_a_column_of_a_table_does_not_fetch_its_files_again(key):
    """What the stage `download` takes from the table is the same."""
    names = ["user_id", "item_id"]
    lists = {"features": ["price"], "null_words": ["-"], "header": names, "items_header": names}
    values = {"quotes": False, **lists}
    params = table("mine", **{key: values.get(key, "other")})
    assert changed(params) == {"mine/prepare", "report"}
    assert describe("mine", params.tables) == describe("mine", BASE.tables)


def test_another_language_model_of_one_dataset_reaches_no_other():
    found = changed(overridden(language={"model": "other"}))
    steps = {f"mine/{u.name}" for u in units().values() if "language" in u.sections}
    assert found == {"mine/profile", "mine/bundle-with-profile", "report", *steps}


def test_the_report_shows_what_is_behind_its_results():
    params = overridden(language={"batch_tokens": 99}, prepare={"user_core": 9})
    found = shown(params.model_copy(update={"methods": ["ease"]}))
    assert list(found["settings"]) == ["ease"]
    assert "language" not in found and "spare" not in found["tables"]
    assert "user_core" not in found["prepare"]
    cores = {name: values["prepare"] for name, values in found["overrides"].items()}
    assert cores == {"sample": {"user_core": 5}, "mine": {"user_core": 9}}


def with_spec_of_ease(monkeypatch, **changes: Any) -> set[str]:
    """Return the stages that another spec of EASE makes stale."""
    found = [*(specs() | {"ease": replace(specs()["ease"], **changes)}).values()]
    ordered = sorted(found, key=lambda spec: (spec.place, spec.name))
    registry.units.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "specs", lambda: {spec.name: spec for spec in ordered})
        patch.setattr("glta.params.inputs.specs", registry.specs)
        stale = changed(BASE)
    registry.units.cache_clear()
    return stale


def test_what_the_report_shows_of_a_spec_makes_the_report_alone_stale(monkeypatch):
    assert with_spec_of_ease(monkeypatch) == set()
    assert with_spec_of_ease(monkeypatch, title="Another") == {"report"}
    assert with_spec_of_ease(monkeypatch, place=10_000) == {"report"}
    assert with_spec_of_ease(monkeypatch, paper="another", devices=("cuda",)) == set()
    found = inputs(BASE.model_copy(update={"methods": ["ease", "glta-tied-head"]}))
    assert {name: [*values] for name, values in found["report"]["specs"].items()} == {
        "ease": ["title", "place"],
        "glta-tied-head": ["title", "place", "changes"],
    }


def test_values_that_change_no_result_are_few():
    """A value that is named here by mistake would leave stale results unnoticed."""
    kept = {name for values in BEFORE.values() for name in _dotted(values)}
    left_out = {name for name in LEAVES if name.partition(".")[0] != "report"} - kept
    assert left_out - {"datasets", "seeds", "methods", "serve"} == {
        "mirror",
        "profile.items_shown",
        "profile.generator",
        "profile.generator_sha256",
        "profile.endpoint",
        "profile.endpoint_model",
        "profile.max_new_tokens",
        "language.batch_tokens",
        "settings.ease.max_gb",
        "training.processes",
        "shards.profile",
        "shards.recommend",
        "settings.cease.max_gb",
        "settings.lightgcn.heads",
        "settings.hccf.mult",
        "settings.hccf-plus.mult",
    }
    asked = inputs(BASE.with_values({"profile.provider": "endpoint"}))["sample/profile"]["profile"]
    assert {"endpoint", "endpoint_model", "items_shown", "max_new_tokens"} <= asked.keys()
    assert "generator" not in asked
    gat = inputs(BASE.with_values({"settings.lightgcn.encoder": "gatv2"}))
    assert gat["sample/lightgcn"]["settings"]["lightgcn"]["heads"] == 4


def _dotted(values: dict[str, Any], path: str = "") -> set[str]:
    found = set()
    for key, value in values.items():
        inner = isinstance(value, dict)
        found |= _dotted(value, f"{path}{key}.") if inner else {f"{path}{key}"}
    return found
