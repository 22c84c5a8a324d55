"""Check the picture of the lineage: exactly the recorded boxes and arrows, hashes and a command."""

import copy
import re
from itertools import combinations
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from glta.params.model import Params
from glta.report.analysis import Analysis
from glta.report.draw.flow import Box, direct_sources, flow_chart
from glta.report.draw.lineage_picture import count_lines, lineage_view
from glta.report.wording import shortened
from tests.report.made_up import fake_hash, records

METHODS = [
    "popularity",
    "text-knn",
    "lightgcn",
    "lightgcn-text-knn",
    "lightgcn-plus",
    "hccf",
    "rlmrec-con",
    "cease",
    "glta",
]
PARAMS = Params(datasets=["ml", "ml-1m"], seeds=[0, 1, 7], methods=METHODS)
GRAPH = shortened("pretrain-graph", 12)
ARROWS = {
    ("raw data", "prepare"),
    ("prepare", "pretrain-all"),
    ("prepare", GRAPH),
    ("prepare", "profile"),
    ("language model", "profile"),
    (GRAPH, "align_items"),
    ("profile", "align_items"),
    ("pretrain-all", "models"),
    ("align_items", "align_users"),
    ("align_users", "models"),
    ("models", "recommend"),
    ("recommend", "evaluate"),
    ("evaluate", "0.2700"),
}


def analysis(dataset: str, params: Params = PARAMS) -> Analysis:
    cells = {
        m: {s: SimpleNamespace(metrics={"ndcg@20": (place + 1) * 0.03 + s}) for s in params.seeds}
        for place, m in enumerate(params.methods)
    }
    return Analysis(dataset, params.for_dataset(dataset), cells)


class Picture:
    """Read a picture.

    boxes: left, top, right and bottom by heading. texts, tips: by heading. arrows: pairs of the
    headings of the boxes where an arrow starts and ends.
    """

    def __init__(self, svg: str):
        root = ElementTree.fromstring(svg)
        self.width, self.height = map(float, root.get("viewBox").split()[2:])
        self.said = root.find("desc").text
        self.boxes: dict[str, tuple[float, float, float, float]] = {}
        self.texts: dict[str, list[str]] = {}
        self.tips: dict[str, str] = {}
        for group in root.iter("g"):
            heading, *texts = [text.text for text in group.iter("text")]
            x, y, width, height = (
                float(group.find("rect").get(name)) for name in ("x", "y", "width", "height")
            )
            assert heading not in self.boxes
            self.boxes[heading] = (x, y, x + width, y + height)
            self.texts[heading] = texts
            self.tips[heading] = group.find("title").text
        self.paths = [
            [float(v) for v in re.findall(r"-?[\d.]+", path.get("d"))] for path in root.iter("path")
        ]
        self.arrows = {(self._at(2, *p[:2]), self._at(0, p[-1], p[-2])) for p in self.paths}

    def _at(self, side: int, x: float, y: float) -> str:
        found = [
            h
            for h, box in self.boxes.items()
            if abs(box[side] - x) < 0.1 and abs((box[1] + box[3]) / 2 - y) < 0.1
        ]
        assert len(found) == 1, f"an arrow ends at no box: {x}, {y}"
        return found[0]


@pytest.fixture(scope="module")
def recorded():
    return records(PARAMS)


def view(
    recorded, dataset: str = "ml", change=lambda provenance: None, params: Params = PARAMS
) -> dict:
    costs, provenance = copy.deepcopy(recorded)
    change({p["stage"]: p for p in provenance})
    return lineage_view(analysis(dataset, params), provenance=provenance, costs=costs)


def test_every_box_and_arrow_and_no_other(recorded):
    picture = Picture(view(recorded)["svg"])
    assert picture.arrows == ARROWS and len(picture.paths) == len(ARROWS)
    assert set(picture.boxes) == {heading for arrow in ARROWS for heading in arrow}
    assert (
        f"align_users, made from prepare and profile and {GRAPH} and align_items and language model"
        in picture.said
    )


def test_nothing_overlaps_and_all_is_inside(recorded):
    picture = Picture(view(recorded)["svg"])
    assert picture.width <= 1000
    for (_, a), (_, b) in combinations(picture.boxes.items(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for left, top, right, bottom in picture.boxes.values():
        assert 0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height
        # a path is M x y, then for each bend C x y x y x y H x
        for path in picture.paths:
            for place in range(2, len(path), 7):
                x, y = path[place + 4], path[place + 5]
                assert not (left < x < right and top < y < bottom), "an arrow runs through a box"
    for heading, lines in picture.texts.items():
        left, _, right, _ = picture.boxes[heading]
        # a character of the widest common font takes 6.6 units
        assert max(6.6 * len(line) for line in lines) <= right - left - 8, lines


def test_sources_by_their_hash(recorded):
    found = view(recorded)
    picture = Picture(found["svg"])
    sha256 = fake_hash("download@ml") * 2
    weights = fake_hash("weights") * 2
    assert picture.texts["raw data"][:2] == ["ratings.csv", f"sha256 {sha256[:12]}"]
    assert f"ratings.csv: sha256 {sha256}" in picture.tips["raw data"]
    assert picture.texts["language model"] == ["mini-model", f"sha256 {weights[:12]}"]
    assert picture.tips["language model"] == f"org/mini-model: sha256 {weights}"
    assert found["archives"] == {"ratings.csv": sha256}
    assert found["models"] == [("org/mini-model", weights)]


def test_folding(recorded):
    """A box of one run names it. A box of several counts methods, seeds and runs, and sums time."""
    picture = Picture(view(recorded)["svg"])
    assert picture.texts["evaluate"] == [
        "9 methods",
        "× 3 seeds",  # noqa: RUF001
        "54.0 s",
        "27 runs",
        "git ccccccc",
    ]
    assert picture.texts["models"][:2] == ["9 methods", "× 3 seeds"]  # noqa: RUF001
    assert picture.texts["pretrain-all"] == ["3 seeds", "6.0 s", "3 runs", "git ccccccc"]
    assert picture.texts["prepare"] == ["3 seeds", "6.0 s", "3 runs", "git ccccccc"]
    run = fake_hash("run of download@ml")
    assert picture.texts["raw data"][2:] == ["2.0 s", f"run {run[:7]}", "git ccccccc"]
    assert (
        "evaluate@ml-7-lightgcn-text-knn: run "
        f"{fake_hash('run of evaluate@ml-7-lightgcn-text-knn')}" in picture.tips["evaluate"]
    )
    one = Params(datasets=["ml-latest-small"], seeds=[7])
    of_one = Picture(view(records(one), "ml-latest-small", params=one)["svg"])
    assert of_one.texts["prepare"][0] == "2.0 s"


@pytest.mark.parametrize("form", ["{0}-{1}-{2}", "{0}-{2}-{1}", "{2}-{0}-{1}"])
@pytest.mark.parametrize("dataset", ["sample", "my-books-2", "glta-tied-head", "7"])
def test_names_with_hyphens_are_not_split(dataset, form):
    params = Params(datasets=["sample"], seeds=[7, 10], methods=METHODS)
    a = analysis("sample", params)
    a = Analysis(dataset, a.params, a.cells)
    stages = [f"evaluate@{form.format(dataset, 7, method)}" for method in METHODS]
    assert count_lines(a, stages) == ["9 methods"]
    assert count_lines(a, [f"prepare@{dataset}-7", f"prepare@{dataset}-10"]) == ["2 seeds"]
    models = [f"cease@{dataset}-{seed}" for seed in (7, 10)]
    assert count_lines(a, [*models, f"ease@{dataset}-7"]) == ["2 methods", "× 2 seeds"]  # noqa: RUF001


def test_what_is_not_known_is_said(recorded):
    def forget(stages):
        stages["evaluate@ml-0-glta"] |= {"run_id": None, "commit": None, "dirty": None}
        stages["download@ml"] |= {"run_id": None, "commit": None}
        stages["profile@ml-1"] |= {"commit": "d" * 40, "dirty": True}

    found = view(recorded, change=forget)
    picture = Picture(found["svg"])
    assert picture.texts["evaluate"][-2:] == ["26 of 27 runs", "git ccccccc"]
    assert picture.texts["raw data"][-1] == "run not known"
    assert picture.texts["profile"][-1] == "2 commits*" and found["dirty"]
    without_costs = lineage_view(analysis("ml"), provenance=recorded[1], costs={})
    assert Picture(without_costs["svg"]).texts["prepare"][0] == "3 seeds"
    assert lineage_view(analysis("ml"), provenance=[], costs={}) is None


def test_many_files_with_long_names(recorded):
    def add(stages):
        names = ["ratings.csv", "users-and-all-that-is-known.dat", "x.dat", "y.dat", "z.dat"]
        stages["download@ml"]["archives"] = {
            name: {"sha256": fake_hash(name) * 2} for name in names
        }

    found = view(recorded, change=add)
    texts = Picture(found["svg"]).texts["raw data"]
    assert texts[2] == "users-and-al…wn.dat" and texts[6] == "and 2 more"
    assert found["archives"]["z.dat"] == fake_hash("z.dat") * 2


def test_arrows_need_equal_bytes(recorded):
    """There is no arrow where a stage read other bytes than those recorded now."""

    def edit(stages):
        for seed in PARAMS.seeds:
            stages[f"prepare@ml-{seed}"]["deps"]["data/ml/download"] = "0" * 32
        for method in METHODS:
            for seed in PARAMS.seeds:
                stages[f"evaluate@ml-{seed}-{method}"]["deps"]["data/ml/download"] = "0" * 32

    found = view(recorded, change=edit)
    assert Picture(found["svg"]).arrows == ARROWS - {("raw data", "prepare")}
    assert found["archives"] == {}


def test_datasets_whose_names_begin_alike_stay_apart(recorded):
    assert "ml-1m" not in view(recorded)["svg"]
    other = view(recorded, "ml-1m")
    assert "@ml-0" not in other["svg"] and other["archives"] == {
        "ratings.csv": fake_hash("download@ml-1m") * 2
    }


def test_the_number_is_the_one_that_the_command_traces(recorded):
    found = view(recorded)
    assert found["target"] == "data/report/metrics.json#ml/glta/0/ndcg@20"
    picture = Picture(found["svg"])
    assert picture.texts["0.2700"] == ["NDCG@20", "GLTA", "seed 0", "metrics.json"]
    assert "Text-kNN, seed 7: 7.0600" in picture.tips["0.2700"]


def test_a_source_behind_a_source_needs_no_arrow():
    sources_of = {"a": "", "b": "a", "c": "ab", "d": "ac", "e": "ad"}
    boxes = [
        Box(name, heading=name, kind="ink", lines=[], tip=name, sources=list(sources))
        for name, sources in sources_of.items()
    ]
    assert direct_sources(boxes) == {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "e": ["d"]}
    assert Picture(flow_chart("t", boxes).svg()).arrows == {
        ("a", "b"),
        ("b", "c"),
        ("c", "d"),
        ("d", "e"),
    }
