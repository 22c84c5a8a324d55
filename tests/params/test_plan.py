"""plan.yaml names the datasets for which each stage runs, and nothing that no method needs."""

import pytest
from ruamel.yaml import YAML

from glta.methods.registry import models, units
from glta.params.model import Params
from glta.params.plan import (
    bundles_of,
    is_enough,
    plan_of,
    profile_stage,
    render_plan,
    sync_plan,
)
from tests.starting import starting_params


def planned(*methods: str) -> set[str]:
    """Name the stages that these methods need."""
    found = plan_of(Params(datasets=["books"], methods=list(methods)))
    assert all(datasets in ([], ["books"]) for datasets in found.values())
    return {name for name, datasets in found.items() if datasets} - {"recommend"}


def test_the_plan_has_a_line_for_every_stage_that_a_method_may_need():
    text = render_plan(starting_params())
    found = YAML(typ="safe").load(text)["plan"]
    assert found == plan_of(starting_params())
    assert "ease: [sample]" in text and "hccf: []" in text


OF_BOTH = {"profile", "text-knn", "pretrain-all", "lightgcn"}
COMPONENTS = OF_BOTH | {"ease", "cease", "text-ridge", "word-ridge"}


@pytest.mark.parametrize(
    ("methods", "stages"),
    [
        (["ease"], {"ease"}),
        (["popularity", "text-knn"], {"popularity", "profile", "text-knn"}),
        (["lightgcn"], {"pretrain-all", "lightgcn"}),
        (["cease"], {"profile", "cease"}),
        (["lightgcn-text-knn"], OF_BOTH | {"lightgcn-text-knn"}),
        (["blend"], COMPONENTS | {"blend"}),
        (["blend-cease"], COMPONENTS | {"blend-cease"}),
        (["glta"], {"profile", "pretrain-graph", "align_items", "align_users", "glta"}),
        # an ablation needs the steps that it leaves alone, and not those that it runs again
        (["glta-tied-head"], {"profile", "pretrain-graph", "glta-tied-head"}),
        (["glta-one-per-position"], {*planned("glta"), "glta-one-per-position"} - {"glta"}),
        (
            ["glta-leaky-targets"],
            {"profile", "pretrain-graph", "pretrain-all"} | {"glta-leaky-targets"},
        ),
    ],
)
def test_a_plan_holds_what_the_methods_need_and_no_more(methods, stages):
    assert planned(*methods) == stages


@pytest.mark.parametrize("method", models())
def test_what_is_read_is_planned(method):
    stages = planned(method)
    assert method in stages
    for name in stages & units().keys():
        assert {*units()[name].reads} - {"prepare"} <= stages


def test_every_stage_is_named_also_those_that_do_not_run():
    """DVC reads an entry for every stage of dvc.yaml."""
    found = YAML(typ="safe").load(render_plan(Params(methods=["ease"])))["plan"]
    stages = ["profile", "profile-join", *units(), "recommend", "recommend-join"]
    assert list(found) == stages
    assert found["ease"] == ["sample"]
    assert found["glta"] == []


def test_a_plan_is_written_when_it_differs(tmp_path):
    path = tmp_path / "plan.yaml"
    one = Params(methods=["ease"])
    assert sync_plan(one, path)
    assert not sync_plan(one, path)
    other = one.model_copy(update={"datasets": ["sample", "ml-1m"]})
    assert sync_plan(other, path)
    assert YAML(typ="safe").load(path)["plan"]["ease"] == ["sample", "ml-1m"]


def test_the_plan_tells_bundles_with_texts_from_others(tmp_path):
    path = tmp_path / "plan.yaml"
    params = Params(serve=["glta", "ease", "lightgcn"])
    with_texts = {"bundle": ["ease", "lightgcn"], "bundle-with-profile": ["glta"]}
    assert bundles_of(params) == with_texts
    assert sync_plan(params, path)
    assert YAML(typ="safe").load(path)["bundles"] == with_texts
    assert is_enough(Params(serve=["ease"]), path)
    assert not is_enough(Params(serve=["popularity"]), path)


def test_shards_take_the_place_of_a_stage(tmp_path):
    path = tmp_path / "plan.yaml"
    whole = Params(methods=["text-knn"])
    divided = Params(methods=["text-knn"], shards={"profile": 3, "recommend": 2})
    assert sync_plan(divided, path)
    found = YAML(typ="safe").load(path)
    assert found["plan"] | {"profile": [], "profile-join": ["sample"]} == found["plan"]
    assert found["plan"] | {"recommend": [], "recommend-join": ["sample"]} == found["plan"]
    assert profile_stage(divided, "sample", 3) == "profile-join@sample-3-3"
    assert profile_stage(whole, "sample", 3) == "profile@sample-3"
    assert found["parts"] == {"profile": [0, 1, 2], "recommend": [0, 1]}
    assert found["of"] == {"profile": [3], "recommend": [2]}
    assert not is_enough(whole, path)
    # shards of another division are never enough
    assert not is_enough(Params(methods=["text-knn"], shards={"profile": 2, "recommend": 2}), path)
    assert sync_plan(whole, path)
    found = YAML(typ="safe").load(path)
    assert found["plan"] | {"profile": ["sample"], "profile-join": []} == found["plan"]
    assert found["plan"] | {"recommend": ["sample"], "recommend-join": []} == found["plan"]
    assert not is_enough(divided, path)
