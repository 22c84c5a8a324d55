"""Check the report of a made-up world: complete, correct, offline, and always the same bytes."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import pipeline.stages.evaluate
import pipeline.stages.report
from glta.params.model import Params
from glta.report.analysis import Analysis
from glta.report.cells import load_cells, ranking, summary
from glta.report.draw.axes import nice_ticks
from glta.report.draw.marks import mark_number
from glta.report.known import title
from glta.report.page.render import render, safe_link
from glta.report.paper_tables import ablation_table
from glta.report.verdict import verdict
from glta.report.wording import effect_text, p_text, seconds, signed, size
from glta.storage.files import read_json
from tests.report.made_up import SKILL, fake_hash, records, write_world

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Read a page: check that tags are nested, and collect addresses, ids, headings and tags."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.tags: list[tuple[str, dict]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.addresses += [
            (tag, name, v)
            for name, v in attributes
            if name in ("src", "href", "xlink:href", "action", "srcset")
        ]
        self.ids += [v for name, v in attributes if name == "id"]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()


def make(
    folder: Path,
    monkeypatch,
    *,
    params: Params,
    methods: dict,
    users: int = 150,
    items: int = 90,
) -> Path:
    """Write and evaluate a world below folder/data, make folder the working directory."""
    monkeypatch.chdir(folder)
    for dataset in params.datasets:
        for seed in params.seeds:
            write_world(
                Path("data"), dataset, seed=seed, methods=methods, num_users=users, num_items=items
            )
            for method in methods:
                pipeline.stages.evaluate.main(params.for_dataset(dataset), dataset, seed, method)
    return folder / "data"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two datasets, two seeds, all methods; few resamples, to be quick."""
    params = Params(
        datasets=["sample", "ml-latest-small"],
        seeds=[0, 3],
        methods=list(SKILL),
        report={"resamples": 200},
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        data = make(tmp_path_factory.mktemp("world"), monkeypatch, params=params, methods=SKILL)
    return params, load_cells(data / "evaluate", params), data


@pytest.fixture(scope="module")
def report(world):
    params, cells, _ = world
    costs, provenance = records(params)
    # two runs that take long
    for step in ("pretrain-all", "pretrain-graph"):
        costs[f"{step}@sample-0"] = {"seconds": 75.2, "peak_memory_bytes": 3 * 2**30}
    return render(params, cells, costs=costs, provenance=provenance)


def test_valid_and_offline(report):
    page = Page(report.html)
    assert report.html.startswith("<!doctype html>")
    assert len(page.ids) == len(set(page.ids))
    for tag, name, address in page.addresses:
        local = address.startswith("#") and address[1:] in page.ids
        link = tag == "a" and name == "href" and address.startswith("https://")
        assert local or link or address == "data:,", (tag, address)
    assert not re.search(r"url\(|@import|<script|<img|<iframe", report.html)


def test_new_items_have_a_section_where_there_are_any(tmp_path, report):
    """The section shows the means, and the test compares with the reference."""
    assert "New items" not in report.html
    methods = {name: SKILL[name] for name in ("popularity", "glta")}
    params = Params(
        datasets=["sample"],
        methods=list(methods),
        report={"resamples": 200},
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path)
        write_world(
            Path("data"),
            "sample",
            seed=0,
            methods=methods,
            num_users=60,
            num_items=50,
            num_new=8,
        )
        for method in methods:
            pipeline.stages.evaluate.main(params.for_dataset("sample"), "sample", 0, method)
        cells = load_cells(Path("data/evaluate"), params)
    found = Analysis("sample", params.for_dataset("sample"), cells["sample"])
    assert set(found.new_comparisons["popularity"]) == set(found.new_columns)
    values = found.new_comparisons["popularity"]["among_new/ndcg@20"]
    mean = {method: found.mean(method, "among_new/ndcg@20") for method in methods}
    assert values.difference == pytest.approx(mean["glta"] - mean["popularity"])
    html = render(params, cells, provenance=[]).html
    section = html.partition(">New items</h3>")[2].partition("<h3")[0]
    assert "8 items have no training user" in section
    assert "These values are not tested" in section and "p = " not in section
    assert f"<small>{signed(values.low)} to {signed(values.high)}</small>" in section
    for method in methods:
        assert all(f"{found.mean(method, column):.4f}" in section for column in found.new_columns)


def test_rows_have_the_marks_of_the_figures_and_go_by_result(world, report):
    params, cells, _ = world
    a = Analysis("sample", params.for_dataset("sample"), cells["sample"])
    part = report.html.partition('id="results-sample"')[2].partition("</tbody>")[0]
    rows = re.findall(r'href="#(mark-\d+)"/></svg>([^<]+)', part)
    assert [name for _, name in rows] == [title(method) for method in a.methods]
    assert [mark for mark, _ in rows] == [f"mark-{mark_number(a, m)}" for m in a.methods]
    assert len({mark for mark, _ in rows}) == len(rows)
    assert {mark for mark, _ in rows} <= set(Page(report.html).ids)


def test_every_part_of_a_dataset_has_a_link(report):
    page = Page(report.html)
    links = {address for _, _, address in page.addresses}
    for dataset in ("sample", "ml-latest-small"):
        parts = [i for i in page.ids if i.endswith(f"-{dataset}")]
        assert len(parts) >= 7
        assert {f"#{part}" for part in parts} <= links


def test_a_method_alone_leaves_no_room_for_others(world):
    """No column is kept for a figure that needs two methods."""
    params, cells, _ = world
    alone = params.model_copy(update={"datasets": ["sample"], "methods": ["ease"]})
    html = render(alone, {"sample": {"ease": cells["sample"]["ease"]}}).html
    assert 'class="split"' not in html and "minus" not in html.partition("</main>")[0]


def test_accessible(report):
    page = Page(report.html)
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
    pictures = [a for tag, a in page.tags if tag == "svg"]
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in pictures)
    assert sum("aria-hidden" not in a for a in pictures) >= 2 * 8
    assert ("html", {"lang": "en"}) in page.tags


def test_figures_are_files_of_their_own(report):
    for name, svg in report.figures.items():
        root = ElementTree.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert "nan" not in svg.lower().replace("nance", "")
        assert re.fullmatch(r"((sample|ml-latest-small)-[a-z-]+|overview)\.svg", name)
    assert "sample-curve-glta-align-users.svg" in report.figures


def test_the_overview_shows_every_method_on_every_dataset_as_a_share_of_the_best(report, world):
    params, cells, _ = world
    drawing = ElementTree.fromstring(report.figures["overview.svg"])
    tips = {e.text for e in drawing.iter("{http://www.w3.org/2000/svg}title")}
    said = drawing.find("{http://www.w3.org/2000/svg}desc").text
    for dataset in params.datasets:
        a = Analysis(dataset, params.for_dataset(dataset), cells[dataset])
        best = a.mean(a.best("ndcg@20"), "ndcg@20")
        for method in a.methods:
            value = a.mean(method, "ndcg@20")
            assert f"{title(method)}, {dataset}: {value:.4f}" in tips
            assert re.search(
                rf"(^|; ){re.escape(title(method))} [^;]*{value / best:.0%} on {dataset}(,|;|$)",
                said,
            )
        assert f">{dataset}: 1 is {best:.4f}, {title(a.best('ndcg@20'))}</text>" in report.html
    rows = report.html.partition('aria-label="Overview"')[2].partition("</table>")[0]
    assert f'<td class="best">{best:.4f}<small>±'.replace("0.", ".") in rows
    assert rows.count("<tr>") == 1 + len(a.methods)
    only = render(params.model_copy(update={"datasets": ["sample"]}), cells)
    assert "overview.svg" not in only.figures
    assert "on all datasets" in report.html
    assert "on all datasets" not in only.html


def test_numbers_are_those_of_the_metrics(report, world):
    params, _, data = world
    for dataset in params.datasets:
        for method in params.methods:
            runs = [
                read_json(data / "evaluate" / dataset / str(seed) / method / "metrics.json")
                for seed in params.seeds
            ]
            for metric in ("precision@5", "ndcg@20", "hit_rate@10"):
                mean = sum(run[metric] for run in runs) / len(runs)
                assert f">{mean:.4f}<" in report.html
            shown = report.metrics[dataset][method]
            assert list(shown) == ["0", "3"]
            assert shown["3"]["warm_items/recall@20"] == runs[1]["warm_items/recall@20"]
            assert not any(name.startswith("valid/") for name in shown["0"])
    json.dumps(report.metrics, allow_nan=False)


def test_synthetic_data_are_labelled_and_real_data_are_not(report, world):
    params, cells, _ = world
    only = params.model_copy(update={"datasets": ["ml-latest-small"]})
    assert report.html.count("synthetic data</span>") == 3
    assert "made up by a program" in report.html
    assert "synthetic" not in render(only, cells).html


def test_equal_inputs_give_equal_bytes(report, world):
    params, cells, _ = world
    assert render(params, cells) == render(params, cells)
    assert render(params, cells).figures == report.figures


def test_stage_writes_everything(world, monkeypatch):
    params, _, data = world
    monkeypatch.chdir(data.parent)
    monkeypatch.setattr(pipeline.stages.report, "records", lambda: (None, None))
    pipeline.stages.report.main(params)
    first = {p: p.read_bytes() for p in (data / "report").rglob("*") if p.is_file()}
    pipeline.stages.report.main(params)
    assert first == {p: p.read_bytes() for p in (data / "report").rglob("*") if p.is_file()}
    assert {"index.html", "metrics.json"} <= {p.name for p in first}
    assert b"Not recorded" in first[data / "report/index.html"]


def test_costs_and_provenance(report):
    # one long run for one split of one dataset, and 2 s for each of the three other runs
    assert "1 min 21 s" in report.html
    assert "3.00 GiB" in report.html
    assert "<code>cccccccccccc</code>" in report.html


def test_lineage_of_every_dataset(report, world):
    """Each dataset has a picture, a command that traces its number, and its sources' hashes."""
    params, _, _ = world
    page = Page(report.html)
    pictures = [
        a["aria-label"]
        for tag, a in page.tags
        if tag == "svg" and "come from" in a.get("aria-label", "")
    ]
    assert len(pictures) == 2 and all("evaluate, made from" in said for said in pictures)
    for dataset, picture in zip(params.datasets, pictures, strict=True):
        assert picture.startswith(f"Where the numbers of {dataset} come from.")
        command = f"glta lineage trace data/report/metrics.json#{dataset}/glta/0/ndcg@20"
        assert f'<pre tabindex="0">{command}</pre>' in report.html
        value = report.metrics
        for key in command.partition("#")[2].split("/"):
            value = value[key]
        assert f'font-weight="600" fill="currentColor">{value:.4f}</text>' in report.html
        assert (
            "<dt>ratings.csv</dt><dd>sha256 "
            f"<code>{fake_hash(f'download@{dataset}') * 2}</code></dd>" in report.html
        )
    assert (
        f"<dt>org/mini-model</dt><dd>weights, sha256 <code>{fake_hash('weights') * 2}</code></dd>"
        in report.html
    )
    assert "Where the numbers of" not in "".join(report.figures.values())


def test_text_from_data_is_escaped(report):
    assert "&lt;The&gt; Data &amp; their history" in report.html
    assert safe_link("javascript:alert(1)") == ""


def test_one_dataset_one_seed_one_method_and_missing_ones(tmp_path, monkeypatch):
    params = Params(
        datasets=["sample"], seeds=[0], report={"resamples": 100}, evaluate={"cutoffs": [20]}
    )
    data = make(
        tmp_path,
        monkeypatch,
        params=params,
        methods={"popularity": SKILL["popularity"]},
        users=30,
        items=25,
    )
    page = render(params, load_cells(data / "evaluate", params)).html
    Page(page)
    assert "Only Popularity was run" in page
    assert "Not shown, because there are no results: Text-kNN (seed 0)" in page
    assert "GLTA" in page
    one = params.model_copy(update={"methods": ["popularity"]})
    Page(render(one, load_cells(data / "evaluate", one)).html)
    none = params.model_copy(update={"datasets": ["ml-1m"]})
    page = render(none, load_cells(data / "evaluate", none)).html
    Page(page)
    assert "Nothing evaluated yet" in page


def test_without_the_reference_nothing_is_tested(world):
    params, cells, _ = world
    part = {"sample": {m: s for m, s in cells["sample"].items() if m != "glta"}}
    page = render(params.model_copy(update={"datasets": ["sample"]}), part).html
    assert "has no results to test against" in page
    assert "Is the difference real?" not in page


def test_ablations_have_a_table_of_their_own(world, report):
    """An ablation is compared with its base method, and p is corrected over the ablations alone."""
    assert ">Ablations<" not in report.html
    params, cells, _ = world
    of = cells["sample"]
    cells = {
        "ease": of["ease"],
        "glta": of["glta"],
        "glta-tied-head": of["glta"],
        "glta-without-profile": of["text-knn"],
    }
    options = params.report.model_copy(update={"reference": "ease"})
    changed = {
        "datasets": ["sample"],
        "methods": list(cells),
        "report": options,
    }
    params = params.model_copy(update=changed)
    a = Analysis("sample", params, cells)
    same, worse = a.ablation_comparisons.values()
    same_test, worse_test = a.ablation_tests.values()
    assert (same.difference, same_test.corrected_p) == (0, 1)
    assert worse.difference == pytest.approx(
        a.mean("glta", "ndcg@20") - a.mean("glta-without-profile", "ndcg@20")
    )
    assert worse_test.p <= worse_test.corrected_p == 2 * worse_test.p < 0.05
    # the reference is tested against whole methods alone
    assert set(a.tests) == set(a.comparisons) == {"glta"}
    made = render(params, {"sample": cells})
    Page(made.html)
    assert ">Ablations<" in made.html
    assert "<code>align_users.tag_tokens = 0</code>" in made.html
    assert f">{signed(worse.difference)}<" in made.html
    assert "</svg>GLTA without profile</th>" in made.html
    shown = made.metrics["sample"]["glta-without-profile"]["0"]["ndcg@20"]
    assert shown == of["text-knn"][0].metrics["ndcg@20"]
    without_base = render(params, {"sample": {m: s for m, s in cells.items() if m != "glta"}})
    assert ">Ablations<" not in without_base.html


def test_an_ablation_is_compared_with_the_method_that_it_changes(world, monkeypatch):
    """Two methods with ablations: each ablation has its own base, in the test and the tables."""
    base_of = {"glta-tied-head": "ease", "glta-without-profile": "glta"}
    for module in ("analysis", "page.view", "paper_tables"):
        monkeypatch.setattr(f"glta.report.{module}.base_of", base_of.__getitem__)
    params, cells, _ = world
    of = cells["sample"]
    cells = {
        "ease": of["ease"],
        "glta": of["glta"],
        "glta-tied-head": of["popularity"],
        "glta-without-profile": of["text-knn"],
    }
    changed = {"datasets": ["sample"], "methods": list(cells)}
    params = params.model_copy(update=changed)
    a = Analysis("sample", params, cells)
    for ablation, base in base_of.items():
        difference = a.known_mean(base, "ndcg@20") - a.known_mean(ablation, "ndcg@20")
        assert a.ablation_comparisons[ablation].difference == pytest.approx(difference)
    assert [row[0] for row in ablation_table(a).rows] == [
        "GLTA",
        "GLTA without profile",
        "EASE",
        "GLTA tied head",
    ]
    assert '<td class="left">EASE</td>' in render(params, {"sample": cells}).html


def test_a_metric_that_was_not_measured_is_named(world):
    params, cells, _ = world
    a = Analysis("sample", params, cells["sample"])
    with pytest.raises(ValueError, match="sample, ease: warm/ndcg@20 was not measured"):
        a.known_mean("ease", "warm/ndcg@20")


@pytest.mark.parametrize(
    ("reference", "kind", "words"),
    [
        ("lightgcn", "win", "LightGCN beats Text-kNN by 0."),
        ("text-knn", "loss", "LightGCN beats Text-kNN by 0."),
        ("twin", "tie", "No clear winner"),
    ],
)
def test_verdicts_in_plain_words(world, reference, kind, words):
    params, cells, _ = world
    cells = {m: cells["sample"][m] for m in ("popularity", "text-knn", "lightgcn")}
    if reference == "twin":
        cells["twin"] = cells["lightgcn"]
    options = params.report.model_copy(update={"reference": reference})
    params = params.model_copy(update={"report": options, "methods": list(cells)})
    a = Analysis("sample", params, cells)
    found = verdict(a)
    assert found.kind == kind
    assert found.headline.startswith(words)
    if kind == "loss":
        assert "below LightGCN at" in found.text
        assert a.significant("lightgcn") == 1
    if kind == "win":
        effect = a.comparisons["text-knn"]["ndcg@20"].effect
        assert found.headline.endswith(f"(effect d_z {effect:.2f}, large)") and effect > 0.8
        assert "the best other method on validation" in found.text
        assert (
            f"over seeds {a.difference_spread('lightgcn', 'text-knn', 'ndcg@20'):.4f}" in found.text
        )


def test_number_formats():
    assert [signed(0.00001), signed(-0.12), signed(0.5)] == ["0.0000", "−0.1200", "+0.5000"]  # noqa: RUF001
    assert [p_text(p) for p in (0.0004, 0.0312, 0.99999, 1.0, 1e-5, 0.000987)] == [
        "p = 0.00040",
        "p = 0.031",
        "p = 1",
        "p = 1",
        "p = 0.000010",
        "p = 0.00099",
    ]
    assert effect_text(-0.51) == "d_z 0.51, medium"
    assert [seconds(4.21), seconds(59.99), seconds(200), seconds(7500)] == [
        "4.2 s",
        "60.0 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
    assert [size(None), size(512), size(3 * 2**20), size(2.5 * 2**30)] == [
        "–",  # noqa: RUF001
        "512 B",
        "3 MiB",
        "2.50 GiB",
    ]
    assert nice_ticks(0, 0.13, 5) == [0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12] or nice_ticks(
        0, 0.13, 5
    ) == [0, 0.05, 0.1]


def test_the_summary_has_one_number_a_method(world):
    params, cells, _ = world
    found = summary(cells, "ndcg@20")
    for dataset in params.datasets:
        analysis = Analysis(dataset, params, cells[dataset])
        means = {method: analysis.mean(method, "ndcg@20") for method in SKILL}
        assert found["ndcg@20"][dataset] == pytest.approx(means)
    assert summary(cells, "no such metric") == {"no such metric": {name: {} for name in cells}}
    rows = ranking(cells, "ndcg@20")
    assert len(rows) == len(SKILL) * len(cells)
    assert rows[0]["method"].endswith(", sample")
    one = ranking({"sample": cells["sample"]}, "ndcg@20")
    assert [row["value"] for row in one] == sorted(found["ndcg@20"]["sample"].values())[::-1]
    assert "EASE" in {row["method"] for row in one}
