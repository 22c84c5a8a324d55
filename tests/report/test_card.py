"""Check the data card: it shows what the stage prepare counted and what a check did not find.

Results of older versions, which lack some parts, are shown too.
"""

import copy
import re
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

import pipeline.stages.evaluate
import pipeline.stages.report
from glta.data.statistics import QUANTILES
from glta.datasets import sample
from glta.datasets.presets import PRESETS
from glta.datasets.readers import read_dataset
from glta.evaluation.evaluated import Evaluated
from glta.params.model import Params
from glta.report.analysis import Analysis
from glta.report.cells import load_cells
from glta.report.page.card import LEAK_TEST, ROWS, SPLIT, card, checks, time_range
from glta.report.page.render import render
from glta.report.wording import percent
from glta.storage.files import read_json
from tests.report.made_up import SKILL, write_world
from tests.report.test_report import Page

METHODS = ["popularity", "glta"]
# the first seed is not the lowest
PARAMS = Params(
    datasets=["sample"],
    seeds=[7, 0],
    methods=METHODS,
    report={"resamples": 100},
)
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in PARAMS.seeds:
            write_world(
                Path("data"),
                "sample",
                seed=seed,
                methods={method: SKILL[method] for method in METHODS},
                num_users=60,
                num_items=40,
                num_new=2,
            )
            for method in METHODS:
                pipeline.stages.evaluate.main(PARAMS, "sample", seed, method)
    return folder


@pytest.fixture(scope="module")
def cells(folder) -> dict:
    return load_cells(folder / "data/evaluate", PARAMS)


@pytest.fixture(scope="module")
def counts(folder) -> dict:
    """Return the counts of the first seed, as the stage prepare wrote them."""
    return read_json(folder / "data/sample/7/prepare/counts.json")


@pytest.fixture(scope="module")
def found(cells) -> dict:
    return card(Analysis("sample", PARAMS, cells["sample"]))


def section(html: str, dataset: str = "sample") -> str:
    """Return the card of a dataset from a page, after checking the page."""
    Page(html)
    return re.search(rf'<div class="card long" id="card-{dataset}">.*?</section>', html, re.S)[0]


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def changed(cells: dict, edit) -> dict:
    """Edit the summaries of all cells of one dataset. edit: takes a summary and its seed."""
    cells = copy.deepcopy(cells)
    for seeds in cells["sample"].values():
        for seed, cell in seeds.items():
            edit(cell.summary, seed)
    return cells


def test_cards_json_holds_what_prepare_counted(folder, found, counts, monkeypatch):
    other = read_json(folder / "data/sample/0/prepare/counts.json")
    assert found["counts"] == counts != other
    assert found["source"] == read_json(folder / "data/sample/download/source.json")
    assert found["splits"] == {
        str(c["seed"]): {name: c[name] for name in SPLIT} for c in (counts, other)
    }
    assert found["published"] is None
    monkeypatch.chdir(folder)
    monkeypatch.setattr(pipeline.stages.report, "records", lambda: (None, None))
    pipeline.stages.report.main(PARAMS)
    assert read_json(folder / "data/report/cards.json") == {"sample": found}
    assert set(read_json(folder / "data/report/metrics.json")["sample"]) == set(METHODS)


def test_every_number_is_shown(cells, counts):
    html = section(render(PARAMS, cells).html)
    said = words(html)
    for name in ("users", "items", "interactions"):
        assert f"<dt>{name}</dt><dd>{counts[name]:,}</dd>" in html
    assert f"<dd>{counts['density']:.3%}</dd>" in html
    assert f"ratings 0.5 to 5 mean {counts['rating']['mean']:.2f}" in said
    assert "They are shown for seed 7, the first of 2." in said
    for step in counts["steps"]:
        numbers = " ".join(
            f"{step[name]:,}" for name in ("interactions", "dropped", "users", "items")
        )
        assert f"{step['step']} {numbers} {step['why']}" in said
    for name, number in counts["source"].items():
        assert f"<strong>{number:,}</strong> {ROWS[name]}<" in html
    for name, (side, kind) in {
        "items of a user": ("degree", "user"),
        "users of an item": ("degree", "item"),
    }.items():
        of = counts[side][kind]
        assert (
            f"{name} {of['mean']:.1f} {' '.join(str(q) for q in of['quantiles'].values())} "
            in f"{said} "
        )
    for name, of in counts["text"].items():
        numbers = (
            f"{of['distinct']} {of['mean_words']:.1f} "
            f"{' '.join(str(q) for q in of['words'].values())}"
        )
        assert f"{name} {percent(of['share'])} {numbers} " in f"{said} "
    cold = counts["cold"]
    assert cold["items"] == 2 and cold["test"] > 0
    assert f"items never seen in training {cold['items']} " in said
    assert f"test interactions with one of these {cold['test']} " in said
    assert f"All methods are trained on the {counts['train']:,} training interactions" in said
    assert said.count("least 10% 25% median 75% 90% 99% most") == 2 and len(QUANTILES) == 8
    assert "How it was split: random" in said


def test_where_it_comes_from(cells):
    said = words(section(render(PARAMS, cells).html))
    assert "Licence CC0 1.0: made by this program" in said
    assert (
        "Citation A. Author. 2015. <The> Data & their history. https://doi.org/10.1145/2827872"
        in said
    )
    assert f"ratings.csv 955 KiB, made by this program; sha256 {'ab' * 32}" in said

    def real(summary, _):
        summary["source"] |= {"synthetic": False, "homepage": "javascript:alert(1)"}
        summary["source"]["files"]["ratings.csv"]["expected"] = "first download"

    html = section(render(PARAMS, changed(cells, real)).html)
    assert (
        'from <a href="https://files.grouplens.org/x.zip">https://files.grouplens.org/x.zip</a>; '
        "sha256" in html
    )
    assert "javascript" not in html
    assert (
        f"{'ab' * 32} , equal to the hash of its first download, as its owner publishes none"
        in words(html)
    )

    def local(summary, _):
        summary["source"] = summary["source"] | {
            "synthetic": False,
            "citation": "",
            "licence": "",
            "homepage": "",
        }
        summary["source"]["files"] = {
            "mine.csv": {"sha256": "cd" * 32, "bytes": 10, "address": "folder/mine.csv"}
        }

    said = words(section(render(PARAMS, changed(cells, local)).html))
    assert (
        "Licence not stated Citation not stated mine.csv 10 B, from folder/mine.csv ; sha256 "
        f"{'cd' * 32}" in said
    )


def test_bars_are_as_long_as_their_numbers(cells, counts):
    made = render(PARAMS, cells)
    bars = [
        float(width)
        for width in re.findall(r'class="bar" style="width:([\d.]+)%"', section(made.html))
    ]
    read_rows = counts["source"]["interaction_rows"]
    steps = [100 * step["interactions"] / read_rows for step in counts["steps"]]
    texts = [100 * of["share"] for of in counts["text"].values() if of["share"]]
    assert bars == pytest.approx([*steps, *texts], abs=0.06)
    for side in ("user", "item"):
        root = ElementTree.fromstring(made.figures[f"sample-degrees-{side}.svg"])
        drawn = {r.find(f"{SVG}title").text: float(r.get("width")) for r in root.iter(f"{SVG}rect")}
        histogram = [b for b in counts["degree"][side]["histogram"] if b["count"]]
        assert [int(tip.split(": ")[1].split()[0].replace(",", "")) for tip in drawn] == [
            b["count"] for b in histogram
        ]
        top = max(b["count"] for b in histogram)
        assert list(drawn.values()) == pytest.approx(
            [max(1, 200 * b["count"] / top) for b in histogram], abs=0.01
        )
    root = ElementTree.fromstring(made.figures["sample-ratings.svg"])
    drawn = [r.find(f"{SVG}title").text for r in root.iter(f"{SVG}rect")]
    ratings = counts["rating"]["histogram"]
    assert drawn == [f"{b['from']:g}: {b['count']:,} interactions" for b in ratings]
    assert [b["from"] for b in ratings] == [n / 2 for n in range(1, 11)]
    assert sum(b["count"] for b in ratings) == counts["interactions"]
    root = ElementTree.fromstring(made.figures["sample-parts.svg"])
    widths = [
        float(r.get("width")) + 2
        for r in root.iter(f"{SVG}rect")
        if r.find(f"{SVG}title") is not None
    ]
    sizes = [counts["train"] - counts["target"], counts["target"], counts["valid"], counts["test"]]
    wanted = [max(348 * n / counts["interactions"], 2) for n in sizes]
    assert widths == pytest.approx(wanted, abs=0.02)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert all(f"{n:,}" in texts for n in sizes)


def test_what_holds_holds_and_the_code_is_not_the_data(cells, found):
    kinds = {check.name: check.kind for check in checks(found)}
    assert kinds == {
        "No pair of user and item is in two parts": "ok",
        "Every interaction is in a part": "ok",
        "Times of test and training interactions": "note",
        "No list shows an item that its user was known to have": "ok",
        "Texts about users come from their training items alone": "code",
    }
    html = section(render(PARAMS, cells).html)
    assert html.count('<span class="state ok">holds</span>') == 3
    assert html.count('<span class="state code">not checked here</span>') == 1
    assert "does not hold" not in html


def test_a_pair_in_two_parts_of_any_seed_is_seen(cells):
    def leak(summary, seed):
        summary["counts"]["leakage"]["pairs_in_two_parts"] = 3 if seed == 0 else 0

    html = section(render(PARAMS, changed(cells, leak)).html)
    assert '<span class="state bad">does not hold</span>' in html
    assert (
        "No pair of user and item is in two parts : 0 in the split of seed 7; 3 in the split of "
        "seed 0." in words(html)
    )


def test_a_lost_interaction_of_any_seed_is_seen(cells, counts):
    def lose(summary, seed):
        summary["counts"]["valid"] -= seed == 0

    html = section(render(PARAMS, changed(cells, lose)).html)
    assert html.count("does not hold") == 1
    n = counts["interactions"]
    assert (
        f"the filters left {n:,} interactions; the parts together have {n:,}, {n - 1:,}."
        in words(html)
    )


@pytest.mark.parametrize("wrong", [0, 1])
def test_published_counts_stand_beside_those_found(cells, wrong):
    name, preset = next(iter(PRESETS.items()))

    def paper(summary, _):
        summary["counts"] |= preset.published | {"users": preset.published["users"] + wrong}

    params = PARAMS.model_copy(update={"datasets": [name]})
    made = render(params, {name: changed(cells, paper)["sample"]})
    assert made.cards[name]["published"]["agrees"] == (not wrong)
    n = preset.published["users"]
    said = words(section(made.html, name))
    assert (
        f"{'does not hold' if wrong else 'holds'} The counts are the published ones : users {n:,} "
        f"published, {n + wrong:,}" in said
    )
    assert preset.table in said


@pytest.mark.parametrize(
    ("split", "older", "own", "kind", "said"),
    [
        (
            "random",
            0.99996,
            0.881,
            "note",
            "over 99.9% of the test interactions are older than the newest training interaction",
        ),
        (
            "random",
            1.0,
            0.9,
            "note",
            "A random split draws training and test interactions from the same period",
        ),
        ("given", 0.5, 0.5, "note", "They fill gaps in a history"),
        ("leave_last_out", 0.9, 0.0, "note", "The later interactions of other users may"),
        ("global_time", 0.0, 0.0, "ok", "methods know only the past"),
        ("random", None, None, "note", "not known, as not all interactions have a time"),
    ],
)
def test_what_came_later_is_explained(found, split, older, own, kind, said):
    leak = {
        "pairs_in_two_parts": 0,
        "test": {"older_than_training": older, "older_than_own_training": own},
    }
    changed = found | {
        "counts": found["counts"] | {"split": split},
        "splits": {"7": {"leakage": leak}},
    }
    check = next(
        check
        for check in checks(changed)
        if check.name == "Times of test and training interactions"
    )
    assert check.kind == kind
    assert said in f"{check.found}. {check.text}"
    assert ("random split" in check.text) == (split == "random" and older is not None)
    if own:
        assert f"{own:.1%} are older than the newest one of their own user" in check.found


def test_the_test_that_is_named_exists():
    file, test = LEAK_TEST
    assert f"\ndef {test}(" in Path(file).read_text(encoding="utf-8")


def test_all_counts_of_a_reader_have_words(tmp_path):
    sample.write(tmp_path)
    assert set(read_dataset("sample", Params().tables, tmp_path).counts) == set(ROWS)


def test_ids_for_titles_are_told(cells):
    assert "have no title in the source" not in section(render(PARAMS, cells).html)

    def untitled(summary, _):
        summary["counts"]["titles_that_are_ids"] = 12
        summary["counts"]["source"] = {
            "interaction_rows": 5,
            "bad_interaction_rows": 0,
            "items_without_table": True,
        }

    said = words(section(render(PARAMS, changed(cells, untitled)).html))
    assert "12 items have no title in the source" in said
    assert "no table of items: the id of an item is used as its title" in said


PARTS = (
    "split",
    "steps",
    "source",
    "cold",
    "degree",
    "text",
    "rating",
    "timestamp",
    "leakage",
    "target",
    "density",
    "train",
)


@pytest.mark.parametrize("lost", [*((name,) for name in PARTS), PARTS, "counts", "source", "words"])
def test_old_results_are_shown_without_what_they_lack(cells, lost):
    def forget(summary, _):
        if lost in ("counts", "source"):
            summary[lost] = None
        elif lost == "words":
            summary["counts"]["text"] = {
                n: {"share": 1.0, "mean_words": 2.5} for n in summary["counts"]["text"]
            }
        else:
            for name in lost:
                del summary["counts"][name]

    made = render(PARAMS, changed(cells, forget))
    said = words(section(made.html))
    assert ("Counts: not recorded" in said) == (lost == "counts")
    assert ("Licence, citation and files: not recorded" in said) == (lost == "source")
    assert ("Steps of the preparation: not recorded" in said) == (
        lost == "counts" or "steps" in lost
    )
    assert ("Sizes of the parts: not recorded" in said) == (
        lost == "counts" or "train" in lost or "target" in lost
    )
    assert ("No pair of user and item is in two parts" in said) == (
        lost != "counts" and "leakage" not in lost
    )
    assert "undefined" not in said.lower() and "None" not in said
    assert made.metrics == render(PARAMS, cells).metrics


def test_a_dataset_without_results_has_an_empty_card():
    made = render(PARAMS, {"sample": {}})
    Page(made.html)
    assert made.cards == {"sample": {}}
    assert "card-sample" not in made.html


def test_the_first_seed_is_described_whichever_method_has_it():
    def cell(said: str) -> Evaluated:
        return Evaluated({}, None, {"counts": {"seed": said}})

    a = Analysis(
        "sample", PARAMS, {"popularity": {0: cell("p0")}, "glta": {7: cell("g7"), 0: cell("g0")}}
    )
    assert [c.summary["counts"]["seed"] for c in a.splits.values()] == ["g7", "p0"]
    assert list(card(a)["splits"]) == ["7", "0"]


@pytest.mark.parametrize(
    ("low", "high", "ends", "note"),
    [
        (828124615, 1537799250, ["1996-03-29", "2018-09-24"], "read as seconds since 1970"),
        (
            1577843905000,
            1672443756123,
            ["2020-01-01", "2022-12-30"],
            "read as milliseconds since 1970",
        ),
        (0, 203, ["0", "203"], "in a unit of the source's own"),
        (20150101, 20231231, ["20,150,101", "20,231,231"], "in a unit of the source's own"),
        (-5, 1537799250, ["-5", "1,537,799,250"], "in a unit of the source's own"),
    ],
)
def test_times_are_dates_where_they_can_be(low, high, ends, note):
    assert time_range({"share": 1.0, "min": low, "max": high}) == {"ends": ends, "note": note}
    part = time_range({"share": 0.25, "min": low, "max": high})
    assert part["note"] == f"{note}; 25.0% of the interactions have one"


def test_nothing_is_a_time_too():
    assert time_range(None) is None
    assert time_range({"share": 0.0}) == {"ends": ["no times"], "note": ""}


def test_shares():
    assert [percent(s) for s in (0, 1.0, 0.5, 0.99996, 0.0001)] == [
        "0%",
        "100%",
        "50.0%",
        "over 99.9%",
        "under 0.1%",
    ]
