"""Parameters: every mistake is named with its file, key, value and fix, and params.yaml is what the
code generates.
"""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from glta.config import Choices, Section, file_fields
from glta.methods.registry import specs, units
from glta.params.check import MOVED, ParamsError, check_params, load_params, whole_overrides
from glta.params.file import changes, render_params
from glta.params.model import Params, nested

ABLATIONS = [name for name, unit in units().items() if unit.ablation]


def defaults(**changes) -> dict:
    """A whole, valid mapping, with some sections or entries changed."""
    whole = Params().model_dump() | {"overrides": {"sample": whole_overrides({})}}
    for key, value in changes.items():
        whole[key] = whole[key] | value if isinstance(whole[key], dict) else value
    return whole


def overridden(**sections) -> dict:
    return {"overrides": {"sample": whole_overrides(sections)}}


def lightgcn(**value) -> tuple[dict, str]:
    """Return a change of one setting of LightGCN, and how an error names it."""
    ((key, given),) = value.items()
    return {"settings": {"lightgcn": value}}, f"settings.lightgcn.{key} = {given!r}"


def mistake(**changes) -> str:
    with pytest.raises(ParamsError) as caught:
        check_params(defaults(**changes), "some.yaml")
    return str(caught.value)


def test_defaults_are_valid():
    assert check_params(defaults()).datasets == ["sample"]


@pytest.mark.parametrize(
    ("changes", "where", "nearest"),
    [
        (
            {"settings": {"lightgcn": {"learning_rat": 0.1}}},
            "settings.lightgcn.learning_rat = 0.1",
            "learning_rate",
        ),
        (
            {"settings": {"glta": {"align_users": {"readouts": 3}}}},
            "settings.glta.align_users.readouts = 3",
            "read_outs",
        ),
        (
            {"tables": {"mine": {"interactions": "a.csv", "titel": "t"}}},
            "tables.mine.titel = 't'",
            "title",
        ),
        ({"settings": {"hccf-puls": {}}}, "settings.hccf-puls = {}", "hccf-plus"),
        ({"settings": {"hccf": {"hyperedge": 3}}}, "settings.hccf.hyperedge = 3", "hyperedges"),
        (
            overridden(settings={"item-knn": {"neighbors": 3}}),
            "overrides.sample.settings.item-knn.neighbors = 3",
            "neighbours",
        ),
        (
            overridden(settings={"lightgcn": {"step": 3}}),
            "overrides.sample.settings.lightgcn.step = 3",
            "steps",
        ),
        (
            overridden(settings={"glta": {"align": {"haed": "tied"}}}),
            "overrides.sample.settings.glta.align.haed = 'tied'",
            "head",
        ),
        (overridden(recomend={}), "overrides.sample.recomend", "recommend"),
        ({"datasets": ["sampel"]}, "datasets: unknown dataset sampel", "sample"),
        (
            {"methods": ["lightgcn", "glta", "lihgtgcn"]},
            "methods: unknown method lihgtgcn",
            "lightgcn",
        ),
        ({"methods": ["text-kn", "popularity"]}, "methods: unknown method text-kn", "text-knn"),
        (
            {"methods": ["glta-without-profiles"]},
            "methods: unknown method glta-without-profiles",
            "glta-without-profile",
        ),
        (
            {"methods": ["glta", "glta-tied-haed"]},
            "methods: unknown method glta-tied-haed",
            "glta-tied-head",
        ),
        ({"report": {"metric": "ncdg@20"}}, "report.metric = ncdg@20", "ndcg@20"),
    ],
)
def test_unknown_name_is_told_with_the_nearest(changes, where, nearest):
    said = mistake(**changes)
    assert said.startswith("some.yaml ")
    assert where in said
    assert f"nearest is {nearest}" in said


@pytest.mark.parametrize("digest", ["ab" * 31, "xy" * 32, "md5:" + "ab" * 32])
def test_a_checksum_that_is_none_is_refused(digest):
    assert f"tables.mine.items_sha256 = '{digest}'" in mistake(
        tables={"mine": {"interactions": "a.csv", "items_sha256": digest}}
    )
    assert f"language.sha256 = '{digest}'" in mistake(language={"sha256": digest})


def test_a_checksum_may_be_written_as_others_write_it():
    written = {"interactions": "a.csv", "items": "b.csv", "items_sha256": "SHA256:" + "AB" * 32}
    assert check_params(defaults(tables={"mine": written})).tables["mine"].items_sha256 == "ab" * 32


def test_unknown_section_is_told_with_the_nearest():
    with pytest.raises(
        ParamsError, match=r"some.yaml recomend = .*unknown key; nearest is recommend"
    ):
        check_params(defaults() | {"recomend": {"k": 3}}, "some.yaml")


@pytest.mark.parametrize(
    ("changes", "where", "must"),
    [
        (*lightgcn(learning_rate=-1), "> 0"),
        (*lightgcn(learning_rate=1.5), "<= 1"),
        ({"prepare": {"test_share": 1.0}}, "prepare.test_share = 1.0", "< 1"),
        ({"prepare": {"user_core": 0}}, "prepare.user_core = 0", ">= 1"),
        (*lightgcn(steps="many"), "whole number"),
        (*lightgcn(steps=2.5), "whole number"),
        (*lightgcn(steps="8000"), "whole number"),
        ({"recommend": {"k": 40_000}}, "recommend.k = 40000", "<= 32767"),
        (
            {"evaluate": {"cutoffs": [10, 20, 20]}},
            "evaluate.cutoffs = [10, 20, 20]",
            "names 20 twice; name it once",
        ),
        (
            overridden(evaluate={"cutoffs": [20, 20]}),
            "overrides.sample.evaluate.cutoffs = [20, 20]",
            "names 20 twice; name it once",
        ),
        (
            {"profile": {"text": ["title", "title"]}},
            "profile.text = [title, title]",
            "names title twice; name it once",
        ),
        (
            {"prepare": {"since": date(2019, 1, 1)}},
            "prepare.since = 2019-01-01",
            "this date (UTC) is 1546300800000 in milliseconds since 1970",
        ),
        (
            {"prepare": {"until": datetime(2019, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))}},
            "prepare.until = 2019-01-01 01:00:00+01:00",
            "and 1546300800 in seconds",
        ),
        (
            overridden(prepare={"since": "2019-01-01"}),
            "overrides.sample.prepare.since = '2019-01-01'",
            "whole number in the dataset's unit of time",
        ),
        ({"prepare": {"since": "soon"}}, "prepare.since = 'soon'", "must be a whole number"),
        ({"report": {"metric": "ndcg@020"}}, "report.metric = ndcg@020", "nearest is ndcg@20"),
        ({"report": {"metric": "ndcg@²"}}, "report.metric = ndcg@²", "unknown metric"),
        (
            {"prepare": {"split": "randon"}},
            "prepare.split = 'randon'",
            "'random', 'leave_last_out', 'global_time' or 'given'",
        ),
        ({"seeds": [0, -3]}, "seeds.1 = -3", ">= 0"),
        ({"datasets": []}, "datasets = []", "must have an entry"),
        (
            overridden(settings={"lightgcn": {"steps": 0}}),
            "overrides.sample.settings.lightgcn.steps = 0",
            ">= 1",
        ),
        (
            overridden(settings={"hccf": {"keep": 1.1}}),
            "overrides.sample.settings.hccf.keep = 1.1",
            "<= 1",
        ),
        ({"tables": {"mine": {"interactions": 7}}}, "tables.mine.interactions = 7", "must be text"),
        ({"tables": {"mine": {"items": "a.csv"}}}, "tables.mine.interactions", "is required"),
        (
            {"prepare": {"valid_share": 0.5, "test_share": 0.5}},
            "prepare.valid_share + prepare.test_share = 1.0",
            "< 1",
        ),
        ({"recommend": {"k": 10}}, "recommend.k = 10", ">= the largest of evaluate.cutoffs, 20"),
        (
            overridden(recommend={"k": 10}),
            "recommend.k = 10 (dataset sample)",
            ">= the largest of evaluate.cutoffs, 20",
        ),
        (
            {"profile": {"provider": "language_model"}},
            "profile.generator",
            "needs a hub id or folder",
        ),
        (
            {"profile": {"provider": "endpoint"}},
            "profile.endpoint",
            "needs endpoint and endpoint_model",
        ),
        (
            {"serve": ["eas"]},
            "serve: unknown method eas",
            "nearest is ease",
        ),
        (
            {"serve": ["hccf"]},
            "serve: hccf is not trained",
            "add it to methods",
        ),
        ({"serve": ["ease", "ease"]}, "serve: names ease twice", "name it once"),
        (
            {"report": {"reference": "svd"}},
            "report.reference = svd",
            "must be null or one of methods",
        ),
        ({"tables": {"ml-1m": {"interactions": "a.csv"}}}, "tables.ml-1m", "choose another"),
        (
            {"tables": {"code": {"interactions": "a.csv"}}},
            "tables.code",
            "choose another",
        ),
        (
            {"overrides": {"sampel": {}}},
            "overrides.sampel",
            "unknown dataset; nearest is sample; rename or remove overrides.sampel",
        ),
        (
            {
                "methods": ["glta", "glta-leaky-targets"],
                **overridden(settings={"glta": {"align": {"targets": "all"}}}),
            },
            "methods: glta-leaky-targets (dataset sample)",
            "would be glta itself, which has align.targets = all already",
        ),
    ],
)
def test_wrong_value_is_told_with_its_range(changes, where, must):
    said = mistake(**changes)
    assert where in said.splitlines()[0]
    assert must in said.splitlines()[0]


def test_wrong_override_is_named_once_and_within_its_dataset():
    wrong = {"lightgcn": {"steps": 0, "batch_size": 0}}
    assert mistake(**overridden(settings=wrong)).count("\n") == 1


def whole_numbers(section: Section, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys of all values of whole numbers, and of lists of them, one tuple each."""
    for name, field in file_fields(type(section)).items():
        value = getattr(section, name.replace("-", "_"))
        if isinstance(value, Section):
            yield from whole_numbers(value, (*path, name))
        elif re.search(r"\bint\b", str(field.annotation)):
            yield (*path, name)


def test_whole_numbers_are_written_as_such():
    """Pydantic takes 1.0 and true for 1; they would stay in params.yaml, and break a stage later.

    Where several mistakes are made at once, each has its line.
    """
    keys = {".".join(path): path for path in whole_numbers(Params())}
    assert {"seeds", "prepare.since", "settings.ease.neighbours", "evaluate.cutoffs"} <= {*keys}
    assert len(keys) > 100
    for value, text in ((1.0, "1.0"), (True, "true"), ("1", "'1'")):
        given = defaults()
        for *outer, last in keys.values():
            inner = given
            for part in outer:
                inner = inner[part]
            inner[last] = [value] if isinstance(inner[last], list) else value
        with pytest.raises(ParamsError) as caught:
            check_params(given, "some.yaml")
        lists = ("seeds", "evaluate.cutoffs")
        assert {*str(caught.value).splitlines()} == {
            f"some.yaml {key}{'.0' * (key in lists)} = {text}: must be a whole number"
            for key in keys
        }


@pytest.mark.parametrize("key", ["datasets", "seeds", "methods"])
def test_duplicate_entries_are_refused(key):
    twice = defaults()[key] * 2
    said = mistake(**{key: twice}).splitlines()
    assert said == [
        f"some.yaml {key}: names {value} twice; name it once" for value in defaults()[key]
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"datasets": ["My Books"]}, "; write my-books"),
        (
            {"tables": {"a_b": {"interactions": "a.csv"}}},
            "tables.a_b = 'a_b': must have small letters",
        ),
        ({"language": {"sha256": "abc"}}, "must be the 64 digits 0-9 and a-f of a sha256"),
        (
            overridden(prepare=3),
            "sample.prepare = 3: must be keys with values, such as {key: value}",
        ),
        ({"prepare": {"user_core": True}}, "prepare.user_core = true: must be a whole number"),
        ({"prepare": {"min_rating": float("nan")}}, "min_rating = nan: must be a number, neither"),
        ({"settings": {"ease": {"l2": float("inf")}}}, "l2 = inf: must be a number, neither"),
        ({"report": {"metric": None}}, "report.metric = null: must be text"),
        ({"datasets": None}, "datasets = null: must be a list, such as [a, b]"),
        ({"seeds": ["x" * 999]}, f"seeds.0 = '{'x' * 76}...: must be a whole number"),
        (
            {"tables": {"mine": {"interactions": "a", "items": "b", "features": ["title"]}}},
            "tables.mine.features = [title]: title is the name of a column",
        ),
    ],
)
def test_messages_have_neither_patterns_nor_names_of_classes(changes, said):
    message = mistake(**changes)
    assert said in message
    assert not re.search(r"\^|\[a-z0-9|instance of|Settings|None|Value error", message)


def test_missing_override_entry_names_the_command_that_adds_it():
    whole = defaults()
    del whole["overrides"]["sample"]["settings"]["hccf"]
    with pytest.raises(
        ParamsError, match=r"overrides\.sample\.settings: has no hccf; .*glta params sync"
    ):
        check_params(whole)
    del whole["overrides"]["sample"]["settings"]["glta"]["align"]
    with pytest.raises(
        ParamsError,
        match=r"overrides\.sample\.settings: has no hccf, glta\.align; .*glta params sync",
    ):
        check_params(whole)
    del whole["overrides"]["sample"]["language"]
    with pytest.raises(
        ParamsError, match=r"overrides\.sample: has no language; .*glta params sync"
    ):
        check_params(whole)
    with pytest.raises(
        ParamsError, match=r"overrides\.ml-1m: has no prepare, profile, language and 4 more; "
    ):
        check_params(defaults() | {"datasets": ["ml-1m"]})


def test_overrides_hold_for_one_dataset_only():
    params = check_params(defaults(**overridden(settings={"lightgcn": {"steps": 3}})))
    usual = Params().settings.lightgcn
    assert params.for_dataset("sample").settings.lightgcn.steps == 3
    assert params.for_dataset("sample").settings.lightgcn.batch_size == usual.batch_size
    assert params.for_dataset("ml-1m") == params
    assert params.settings.lightgcn.steps == usual.steps != 3


def test_an_override_of_one_setting_keeps_the_others():
    whole = defaults(
        settings={"hccf": {"keep": 0.7}},
        **overridden(settings={"hccf": {"steps": 3}, "ease": {"l2": 7}}),
    )
    found = check_params(whole).for_dataset("sample").settings
    assert (found.hccf.steps, found.hccf.keep, found.ease.l2) == (3, 0.7, 7)
    assert found.rlmrec_gen == Params().settings.rlmrec_gen


def test_search_spaces_lie_within_the_ranges_and_hold_the_defaults():
    spaces = {name: spec.settings.search_space() for name, spec in specs().items()}
    tunable = {name for name, space in spaces.items() if space}
    assert tunable >= {"lightgcn", "item-knn", "ease", "hccf-plus", "rlmrec-gen", "glta"}
    for method in tunable:
        for key, search in spaces[method].items():
            name = f"settings.{method}.{key}"
            section, _, last = name.rpartition(".")
            default = getattr(Params().section(section), last)
            if isinstance(search, Choices):
                assert default in search.values, name
                tried = search.values
            else:
                assert search.low <= default <= search.high, name
                tried = (search.low, search.high)
            for value in tried:
                given = int(value) if type(default) is int else value
                found = Params().with_values({name: given}).section(section)
                assert getattr(found, last) == value, name


def test_never_changes():
    with pytest.raises(ValidationError):
        Params().settings.lightgcn.steps = 3
    with pytest.raises(ValidationError):
        Params().seeds = [3]


def test_numbers_are_those_of_yaml_1_2(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(render_params(Params()).replace("learning_rate: 0.005", "learning_rate: 1e-3"))
    assert load_params(path).settings.lightgcn.learning_rate == 1e-3


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\t- x", "a: 1\na: 2"])
def test_unreadable_file_is_named(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=r"broken\.yaml: not readable as YAML"):
        load_params(path)


@pytest.mark.parametrize("text", ["", "- a\n", "word"])
def test_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "other.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match=r"other\.yaml: must be a mapping.*glta params sync"):
        load_params(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParamsError, match=r"binary\.yaml: not readable"):
        load_params(path)


def test_missing_file_names_the_command_that_writes_it(tmp_path):
    with pytest.raises(ParamsError, match=r"absent\.yaml: no such file; `glta params sync`"):
        load_params(tmp_path / "absent.yaml")


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_changes_just_what_it_says(name):
    values = units()[name].values
    found = changes(Params().model_dump(), Params().with_values(values).model_dump())
    assert [line.partition(":")[0] for line in found] == list(values)
    assert check_params(defaults() | {"methods": ["glta", name]})


@pytest.mark.parametrize("key", MOVED)
def test_a_key_of_an_older_file_is_told_with_its_place(key):
    """At the top of the file or within a section, and among a dataset's overrides."""
    value = {} if "." not in key else "first_logit"
    said = mistake(**nested({key: value})) if "." in key else older({key: value})
    assert said == f"some.yaml {key}: {MOVED[key]}"
    said = mistake(**overridden(**nested({key: value})))
    assert said == f"some.yaml overrides.sample.{key}: {MOVED[key]}"


def older(keys: dict) -> str:
    """Return what is said of a file with keys that no longer are."""
    with pytest.raises(ParamsError) as caught:
        check_params(defaults() | keys, "some.yaml")
    return str(caught.value)


def test_moved_keys_name_a_section_that_is_there():
    for key, words in MOVED.items():
        if words.endswith(" now"):
            section, _, last = words.split()[1].rpartition(".")
            parent = Params().section(section) if section else Params()
            assert hasattr(parent, last.replace("-", "_")), key


def test_the_last_method_is_the_reference_unless_one_is_named():
    assert check_params(defaults()).reference == Params().methods[-1]
    assert check_params(defaults(report={"reference": "ease"})).reference == "ease"
    assert check_params(defaults(methods=["glta", "ease"])).reference == "ease"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_data", "must have small letters, digits and - only, .*; write my-data"),
        ("Tables 2", "; write tables-2"),
        (2020, 'must be text; write it in quotes: "2020"'),
        ("report", "is the name of a folder of results; choose another"),
    ],
)
def test_a_name_that_a_dataset_cannot_have_is_told_in_words(name, words):
    with pytest.raises(ParamsError, match=rf"params\.yaml tables\.{name}.*: .*{words}"):
        check_params({"tables": {name: {"interactions": "a.csv"}}})
