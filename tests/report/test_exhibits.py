"""The report shows what methods show of themselves, whichever methods they are."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import pipeline.stages.evaluate
from glta.methods.exhibit import Exhibit, ExhibitPicture, ExhibitTable
from glta.params.model import Params
from glta.pictures.svg import Drawing
from glta.report.cells import load_cells
from glta.report.page.render import render
from tests.report.made_up import SKILL
from tests.report.test_report import Page, make

METHODS = ("popularity", "ease", "glta", "glta-tied-head")
SKILLS = SKILL | {"glta-tied-head": SKILL["glta"]}
HEADING = ">Inside the methods</h3>"


TEXT = "A value of 1 & more is good."


def exhibit_of(
    share: float, *, label: str = "between <hops>", used: int = 7, text: str = TEXT
) -> Exhibit:
    drawing = Drawing(40, 20, "Tree of codes", "Two levels")
    drawing.text(1, 9, "level & code")
    tables = (
        ExhibitTable(
            title="Similarities",
            columns=("pair", "share", "loss", "items"),
            rows=((label, share, -1.5, 1200), ("within", None, 2.25, used)),
            note="Lower is better.",
            digits=3,
        ),
    )
    picture = ExhibitPicture(title="Codes", caption="Each line & level.", svg=drawing.svg())
    return Exhibit(
        title="What the <model> learned",
        text=text,
        tables=tables,
        pictures=(picture,),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    params = Params(
        datasets=["sample"],
        seeds=[0, 3],
        methods=list(METHODS),
        report={"resamples": 100},
        evaluate={"cutoffs": [20]},
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("exhibits")
        methods = {name: SKILLS[name] for name in METHODS}
        data = make(folder, monkeypatch, params=params, methods=methods, users=30, items=25)
    return params, load_cells(data / "evaluate", params), data


@pytest.fixture
def page(world, monkeypatch):
    """Evaluate methods again with exhibits by method and seed, and return the page."""
    params, before, data = world
    monkeypatch.chdir(data.parent)

    def made(exhibits: dict[tuple[str, int], Exhibit]) -> str:
        for (method, seed), exhibit in exhibits.items():
            exhibit.save(Path(f"data/sample/{seed}/models/{method}"))
            pipeline.stages.evaluate.main(params.for_dataset("sample"), "sample", seed, method)
        return render(params, load_cells(data / "evaluate", params)).html

    yield made
    for method in METHODS:
        for seed in params.seeds:
            Path(f"data/sample/{seed}/models/{method}/exhibit.json").unlink(missing_ok=True)
            before["sample"][method][seed].save(data / f"evaluate/sample/{seed}/{method}")


def section(html: str) -> str:
    return html.partition(HEADING)[2].partition("<h3")[0]


def test_without_exhibits_there_is_no_section(page):
    html = page({})
    assert HEADING not in html and "#exhibits-sample" not in html


def test_exhibits_of_methods_and_ablations_are_shown_with_a_link(page):
    html = page({("ease", 0): exhibit_of(0.5), ("glta-tied-head", 0): exhibit_of(0.25)})
    read = Page(html)
    assert "exhibits-sample" in read.ids
    assert "#exhibits-sample" in {address for _, _, address in read.addresses}
    assert all(b - a <= 1 for a, b in zip(read.headings, read.headings[1:], strict=False))
    shown = section(html)
    names = re.findall(r"<h4>.*?</svg> ([^<]+)</h4>", shown)
    assert names == [f"{m}: What the &lt;model&gt; learned" for m in ("EASE", "GLTA tied head")]
    assert html.index(">Training</h3>") < html.index(HEADING)
    assert shown.count("<p>A value of 1 &amp; more is good.</p>") == 2
    assert shown.count(exhibit_of(0).pictures[0].svg) == 2
    assert shown.count("<strong>Codes.</strong> Each line &amp; level.") == 2
    # one seed: no spread, and nothing about seeds
    assert "<caption>Similarities. Lower is better.</caption>" in shown
    assert '<th scope="row">between &lt;hops&gt;</th><td>0.500</td><td>-1.500</td>' in shown
    assert "<td>1,200</td></tr>" in shown and "<td>–</td><td>2.250</td>" in shown  # noqa: RUF001
    assert "±" not in shown and "seed" not in shown.lower()


def test_numbers_are_means_over_seeds_with_their_spread(page):
    html = page({("ease", 0): exhibit_of(0.5, used=7), ("ease", 3): exhibit_of(0.7, used=10)})
    shown = section(html)
    assert "Similarities. Lower is better. Mean over seeds 0, 3, ± standard deviation." in shown
    # of 0.5 and 0.7: mean 0.6, deviation 0.1 * sqrt(2)
    assert "<td>0.600<small>± 0.141</small></td>" in shown
    assert "<td>-1.500<small>± 0.000</small></td>" in shown
    assert "<td>1,200<small>± 0</small></td>" in shown
    # of 7 and 10: 3 / sqrt(2)
    assert "<td>8.500<small>± 2.121</small></td>" in shown
    assert "<td>–</td>" in shown  # noqa: RUF001
    assert ">Pictures: seed 0.<" in shown
    assert shown.count("<svg") == 2  # the mark of the method, and one picture


def test_a_text_that_seeds_do_not_share_is_that_of_the_first(page):
    shown = section(page({("ease", 0): exhibit_of(1), ("ease", 3): exhibit_of(1, text="Other")}))
    assert ">Text and pictures: seed 0.<" in shown and "Other" not in shown


def test_tables_of_another_form_are_those_of_the_first_seed(page):
    html = page({("ease", 0): exhibit_of(0.5), ("ease", 3): exhibit_of(0.7, label="other")})
    shown = section(html)
    assert "Seed 0 alone, as the tables of the seeds differ in more than numbers." in shown
    assert '<th scope="row">between &lt;hops&gt;</th><td>0.500</td>' in shown
    assert "±" not in shown and "other" not in shown


def test_results_with_an_unsafe_picture_are_refused(page, world):
    """The report checks again, as results may have come from another machine."""
    params, _, data = world
    page({("ease", 3): exhibit_of(0.5)})
    path = data / "evaluate/sample/3/ease/summary.json"
    text = path.read_text()
    path.write_text(text.replace("<text ", "<text onclick='alert(1)' "))
    assert path.read_text() != text
    with pytest.raises(ValueError, match=r"3/ease/summary\.json: pictures\.0\.svg: .*'onclick'"):
        render(params, load_cells(data / "evaluate", params))


def test_another_exhibit_makes_evaluation_and_report_stale(page, world):
    """As with the history of a training: it goes from the model through the results to the page."""
    _, _, data = world
    path = data / "evaluate/sample/0/ease/summary.json"
    pages = []
    summaries = []
    for share in (0.5, 0.25):
        pages.append(page({("ease", 0): exhibit_of(share)}))
        summaries.append(json.loads(path.read_text()))
    assert "<td>0.500</td>" in pages[0] and "<td>0.250</td>" in pages[1]
    assert [s.pop("exhibit")["tables"][0]["rows"][0][1] for s in summaries] == [0.5, 0.25]
    assert summaries[0] == summaries[1]
    # both engines read this file: the folder of the model and that of the results are inputs
    stages = YAML(typ="safe").load(Path(__file__).parents[2] / "dvc.yaml")["stages"]
    cell = "data/${item.dataset}/${item.seed}"
    assert f"{cell}/models/${{item.method}}" in stages["evaluate"]["deps"]
    assert {f"{cell}/models/ease": {"type": "dir"}} in stages["ease"]["outs"]
    results = "data/evaluate/${item.dataset}/${item.seed}/${item.method}/summary.json"
    assert results in stages["evaluate"]["outs"]
    assert "data/evaluate" in stages["report"]["deps"]
