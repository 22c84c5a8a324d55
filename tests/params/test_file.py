"""params.yaml is what the code generates; tuning and experiments change what they name, and no
more.
"""

import subprocess

import pytest
from ruamel.yaml import YAML

from glta.params.check import ParamsError, check_params, load_params, read_mapping, whole_overrides
from glta.params.file import changes, override, render_params, renewed, use
from glta.params.model import SECTIONS, MethodSettings, Params
from glta.params.plan import render_plan
from tests.starting import EXPERIMENTS, QUICKSTART, starting_params, starting_text

TEXTS = [
    "",
    "no",
    "on",
    "null",
    "1e3",
    "12",
    "a: b",
    "#",
    "a#b",
    '"',
    "\\",
    "ü",
    " x ",
    "~",
    "x\ny",
    "2024-01-01",
    "-",
    "|",
    "nan",
    "my/📚.csv",
    "CC-BY 😀",
    "\x07",
    "a\x7f",
    "a\x85b",
    "a\u2028b",
    "\ufeffa",
    "a\xa0b",
]

NAMES = ["2024", "1e5", "null", "true", "off", "0x1f", "0o7", "2024-01-01", "1-2", "books"]
"""Names that a dataset may have, and that YAML reads as something else where they have no quotes.
"""


def test_what_is_rendered_loads_as_the_same(tmp_path):
    tables = {
        f"t{i}": {"interactions": text or "a.csv", "title": text, "rating": None}
        for i, text in enumerate(TEXTS)
    }
    own = {
        "settings": {
            "lightgcn": {"learning_rate": 1e-7},
            "rlmrec-con": {"l2": 1e-9},
            "glta": {"align_users": {"head_learning_rate": 1e-8}},
        },
        "language": {"model": "a/b-c.d"},
        "profile": {"text": ["title"]},
    }
    values = {
        "prepare.min_rating": 3.5,
        "prepare.max_bad_share": 1e-05,
        "settings.lightgcn.l2": 1e-12,
        "settings.lightgcn.init_std": 1e16,
    }
    whole = Params().with_values(values).model_dump()
    params = check_params(
        whole | {"tables": tables, "seeds": [3, 1], "overrides": {"sample": whole_overrides(own)}}
    )
    path = tmp_path / "params.yaml"
    path.write_text(render_params(params), encoding="utf-8")
    loaded = load_params(path)
    assert loaded.model_dump(exclude={"overrides"}) == params.model_dump(exclude={"overrides"})
    assert loaded.for_dataset("sample") == params.for_dataset("sample").model_copy(
        update={"overrides": loaded.overrides}
    )
    assert render_params(loaded) == render_params(params)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_as_it_was_written(name, tmp_path):
    experiment = {
        "datasets": [name],
        "tables": {name: {"interactions": "a.csv"}},
        "overrides": {name: {"settings": {"ease": {"l2": 7.0}}}},
        "report": {"not_tuned": {f"{name}/ease": "no time"}},
    }
    path = tmp_path / "params.yaml"
    path.write_text(use(starting_text(), experiment, "some.yaml"), encoding="utf-8")
    params, current, text = renewed(path)
    assert text == path.read_text(encoding="utf-8") == render_params(current)
    assert params.datasets == [name] and params.report.not_tuned == {f"{name}/ease": "no time"}
    assert params.for_dataset(name).settings.ease.l2 == 7.0
    plan = YAML(typ="safe").load(render_plan(params))["plan"]
    assert plan["ease"] == [name]


def test_a_text_that_would_be_read_as_another_is_not_written(monkeypatch, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(starting_text())
    renewed(path)
    for written, said in (
        (
            lambda params: render_params(params).replace("seeds: [0]", "seeds: [1]"),
            r"seeds: .0. -> .1.",
        ),
        (lambda _: '"', "while scanning a quoted scalar"),
        (lambda _: "seed: [0]", "seed = .0.: unknown key"),
    ):
        monkeypatch.setattr("glta.params.file.render_params", written)
        with pytest.raises(ParamsError, match=rf"^.*params\.yaml: is left as it is, .*: .*{said}"):
            renewed(path)


def test_every_key_is_rendered_with_its_comment():
    lines = render_params(Params()).splitlines()
    for section in (*SECTIONS, "report"):
        start = lines.index(f"{section}:")
        keys = list(getattr(Params(), section).model_dump())
        entries = [
            line for line in lines[start + 1 :] if not line.startswith("    ")
        ]  # less those of nested sections
        for key, line in zip(keys, entries, strict=False):
            assert line.startswith(f"  {key}:")
            assert "  # " in line


def test_override_changes_one_line_and_keeps_what_people_wrote():
    text = starting_text()
    assert override(text, "sample", {}) == text
    values = {
        "settings.ease.l2": 1.5e-7,
        "settings.item-knn.neighbours": 7,
        "settings.lightgcn.l2": 0.00123,
        "recommend.k": 40,
    }
    own = text.replace("seeds: [0]", "# our seeds\nseeds: [0]   # one is enough")
    changed = override(own, "sample", values)
    lost = [
        old for old, new in zip(own.splitlines(), changed.splitlines(), strict=True) if old != new
    ]
    assert [line.partition(":")[0] for line in lost] == ["    settings", "    recommend"]
    assert "# our seeds\nseeds: [0]   # one is enough" in changed
    for expected in ("item-knn: {neighbours: 7}", "ease: {l2: 1.5e-7}", "lightgcn: {l2: 0.00123}"):
        assert f", {expected}, " in changed
    again = override(changed, "sample", {"settings.ease.l2": 3.0})
    for expected in ("item-knn: {neighbours: 7}", "ease: {l2: 3.0}", "lightgcn: {l2: 0.00123}"):
        assert f", {expected}, " in again


def test_override_completes_the_settings_of_a_dataset():
    """Of one that is not named under `datasets`, which check_params leaves alone."""
    text = starting_text() + "  ml-1m: {settings: {ease: {l2: 2.0}}}\n"
    changed = override(text, "ml-1m", {"settings.ease.max_gb": 5.0})
    found = YAML(typ="safe").load(changed)["overrides"]["ml-1m"]["settings"]
    assert list(found) == list(MethodSettings().model_dump())
    assert found["ease"] == {"l2": 2.0, "max_gb": 5.0}


def test_override_writes_what_sync_would(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(
        override(
            starting_text(),
            "sample",
            {"settings.glta.align_users.learning_rate": 2e-5},
        )
    )
    assert render_params(load_params(path)) == path.read_text()
    before, after = (
        params.for_dataset("sample").settings.glta.align_users
        for params in (starting_params(), load_params(path))
    )
    assert after.epochs == before.epochs != Params().settings.glta.align_users.epochs
    assert after.learning_rate == 2e-5


def test_override_refuses_what_the_file_may_not_hold():
    with pytest.raises(ParamsError, match=r"overrides\.sample\.settings\.ease\.l2 = -1"):
        override(starting_text(), "sample", {"settings.ease.l2": -1})


def used(text: str, **experiment) -> str:
    return use(text, experiment, "some.yaml")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_is_valid_and_leaves_the_form_of_the_file(path, tmp_path):
    text, experiment = starting_text(), read_mapping(path, "")
    changed = used(text, **experiment)
    (tmp_path / "params.yaml").write_text(changed)
    params = load_params(tmp_path / "params.yaml")
    assert render_params(params) == changed
    assert used(changed, **experiment) == changed
    for key in ("datasets", "seeds", "methods"):
        assert getattr(params, key) == experiment[key]
    assert params.tables.keys() >= experiment.get("tables", {}).keys()


@pytest.mark.parametrize("name", ["ablations", "cold-start", "gal-rec-ablations", "goodbooks"])
def test_tuned_values_are_those_of_the_table(name):
    table, found = (
        read_mapping(QUICKSTART.with_stem(each), "")["overrides"] for each in ("table", name)
    )
    assert found
    for dataset, sections in found.items():
        for section, values in sections.items():
            for key, value in values.items():
                assert value == table[dataset][section][key], f"{dataset}.{section}.{key}"


def test_quickstart_goes_back_to_the_start():
    text = starting_text()
    other = used(text, **read_mapping(QUICKSTART.with_stem("table"), ""))
    back = used(other, **read_mapping(QUICKSTART, ""))
    found, expected = (YAML(typ="safe").load(each) for each in (back, text))
    assert found["overrides"]["sample"] == expected["overrides"]["sample"]
    kept = ("tables", "overrides")
    assert {k: v for k, v in found.items() if k not in kept} == {
        k: v for k, v in expected.items() if k not in kept
    }


def test_the_repository_starts_with_the_defaults_of_the_code():
    """A default that is changed in the code, and not in params.yaml, would hold for nobody."""
    shown = subprocess.run(["git", "show", "HEAD:params.yaml"], capture_output=True, text=True)
    found = YAML(typ="safe").load(shown.stdout) if shown.returncode == 0 else {}
    if found.get("datasets") != ["sample"] or found.get("tables"):
        pytest.skip("params.yaml is the user's own")
    expected = YAML(typ="safe").load(starting_text())
    assert found["overrides"]["sample"] == expected["overrides"]["sample"]
    assert found | {"overrides": {}} == expected | {"overrides": {}}


def test_an_experiment_keeps_what_was_tuned_unless_it_names_the_key():
    tuned = override(
        starting_text(),
        "sample",
        {"settings.ease.l2": 7.0, "settings.ease.max_gb": 9.0},
    )
    own = tuned.replace("seeds: [0]", "# our seeds\nseeds: [0]")
    changed = used(
        own,
        seeds=[4, 5],
        overrides={"sample": {"settings": {"ease": {"max_gb": 8.0}}}},
        settings={"lightgcn": {"l2": 0.5}},
    )
    assert ", ease: {l2: 7.0, max_gb: 8.0}, " in changed
    assert "# our seeds\nseeds: [4, 5]  # one validation part and one training each\n" in changed
    different = [
        new for old, new in zip(own.splitlines(), changed.splitlines(), strict=True) if old != new
    ]
    assert [line.partition(":")[0] for line in different] == ["seeds", "    l2", "    settings"]
    assert changes(YAML(typ="safe").load(own), YAML(typ="safe").load(changed)) == [
        "seeds: [0] -> [4, 5]",
        "settings.lightgcn.l2: 0.001 -> 0.5",
        "overrides.sample.settings.ease.max_gb: 9.0 -> 8.0",
    ]


def test_an_experiment_adds_tables_and_keeps_others():
    text = used(starting_text(), tables={"mine": {"interactions": "a.csv"}})
    changed = used(
        text,
        tables={"ours": {"interactions": "b.csv"}, "mine": {"items": "c.csv"}},
        datasets=["ours"],
    )
    found = YAML(typ="safe").load(changed)
    assert found["tables"] == {
        "mine": {"interactions": "a.csv", "items": "c.csv"},
        "ours": {"interactions": "b.csv"},
    }
    assert found["overrides"]["ours"] == whole_overrides({})
    assert "\n\n# Clean, filter and split the dataset.\nprepare:\n" in changed


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        ({"dataset": ["sample"]}, r"some.yaml dataset = .*unknown key; nearest is datasets"),
        (
            {"overrides": {"sample": {"setings": {}}}},
            r"some.yaml overrides\.sample\.setings: unknown key; nearest is settings",
        ),
        ({"datasets": 3}, r"some.yaml datasets = 3"),
        ({"overrides": 3}, r"some.yaml overrides = 3"),
        ({"methods": ["glta-tied-haed"]}, r"some.yaml methods: .*nearest is glta-tied-head"),
        ({"ablations": []}, r"^some.yaml ablations: is gone: name ablations under `methods`$"),
        ({"pretrain": {"l2": 1}}, r"^some.yaml pretrain: is settings\.lightgcn now$"),
    ],
)
def test_a_wrong_experiment_is_refused(experiment, said):
    with pytest.raises(ParamsError, match=said):
        used(starting_text(), **experiment)
