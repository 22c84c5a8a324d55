"""Check what the report knows about methods, and that it knows it in one place."""

import re
from pathlib import Path

import pytest

from glta.methods.registry import specs, units
from glta.report.known import base_of, change_text, is_ablation, order, title, training_stages

METHODS = list(specs())
ABLATIONS = [name for name, unit in units().items() if unit.ablation]
REPORT = Path("glta/report")
# an exhibit has one form, whichever method has made it
METHOD_FACTS = re.compile(r"glta\.methods\b(?!\.exhibit\b)")


def test_every_name_has_a_title():
    assert title("lightgcn-text-knn") == "LightGCN + text-kNN"
    assert title("glta-without-profile") == "GLTA without profile"
    assert title("not-registered") == "not-registered"
    titles = [title(name) for name in (*METHODS, *ABLATIONS)]
    assert len(titles) == len(set(titles))


def test_an_ablation_knows_its_base_and_its_changes():
    assert all(is_ablation(name) for name in ABLATIONS)
    assert not any(is_ablation(name) for name in METHODS)
    assert {base_of(name) for name in ABLATIONS} <= set(METHODS)
    assert change_text("glta-without-profile") == "align_users.tag_tokens = 0"


@pytest.mark.parametrize("ask", [base_of, change_text])
def test_a_method_is_no_ablation(ask):
    with pytest.raises(KeyError, match="popularity"):
        ask("popularity")


def test_the_stages_of_a_method_are_those_that_it_needs_but_the_profile():
    assert training_stages("ease") == ["ease@{cell}"]
    # its parts are methods of their own
    assert training_stages("lightgcn-text-knn") == [
        "pretrain-all@{cell}",
        "lightgcn@{cell}",
        "text-knn@{cell}",
        "lightgcn-text-knn@{cell}",
    ]
    assert training_stages("glta") == [
        "pretrain-graph@{cell}",
        "align_items@{cell}",
        "align_users@{cell}",
        "glta@{cell}",
    ]
    assert training_stages("unknown") == []
    assert order() == list(METHODS)


def test_no_other_module_of_the_report_asks_for_a_method():
    """Method names and registries may change without a change of any other module."""
    quoted = re.compile(rf"""["']({"|".join(map(re.escape, METHODS))})["']""")
    for path in sorted(REPORT.rglob("*.py")):
        if path.name == "known.py":
            continue
        text = path.read_text(encoding="utf-8")
        assert not METHOD_FACTS.search(text), path
        # "popularity" is also the name of a figure
        names = [name for name in quoted.findall(text) if name != "popularity"]
        assert not names, (path, names)
