"""Check that the tables show what the analysis computes, as valid Markdown and LaTeX."""

import re
from dataclasses import replace

import pytest

from glta.params.model import Params
from glta.report.analysis import Analysis
from glta.report.cells import load_cells
from glta.report.known import title, training_stages, whole_stage
from glta.report.page.view import dataset_view
from glta.report.paper_tables import (
    PaperTable,
    cost_table,
    decimal,
    escaped,
    overview_tables,
    tables,
)
from glta.report.standings import standings_text
from glta.storage.files import write_json
from tests.report.made_up import SKILL, records
from tests.report.test_report import make

SEEDS = [0, 3]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory) -> Analysis:
    params = Params(
        datasets=["sample"], seeds=SEEDS, methods=list(SKILL), report={"resamples": 200}
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        data = make(tmp_path_factory.mktemp("tables"), monkeypatch, params=params, methods=SKILL)
        return Analysis(
            "sample", params.for_dataset("sample"), load_cells(data / "evaluate", params)["sample"]
        )


@pytest.fixture(scope="module")
def made(analysis) -> list[PaperTable]:
    return tables(analysis, records(analysis.params)[0])


def row_of(table: PaperTable, method: str) -> dict[str, str]:
    """Return a method's row by heading."""
    row = next(row for row in table.rows if row[0] == method)
    return dict(zip(table.headings, row, strict=True))


def test_accuracy_is_the_mean_over_seeds_and_its_spread(analysis, made):
    row = row_of(made[0], "EASE")
    first, second = (analysis.cells["ease"][seed].metrics["ndcg@20"] for seed in SEEDS)
    mean = (first + second) / 2
    spread = abs(first - second) / 2**0.5
    assert row["N@20"] == f"{mean:.4f} ±{spread:.4f}".replace("0.", ".")
    assert len(made[0].headings) == 10
    assert {r[0] for r in made[0].rows} == {title(method) for method in SKILL}


def test_rows_go_from_the_best_to_the_last(analysis, made):
    means = [analysis.mean(method, "ndcg@20") for method in analysis.methods]
    assert means == sorted(means, reverse=True) and len(set(means)) > 5
    titles = [title(method) for method in analysis.methods]
    assert [row[0] for row in made[0].rows] == titles != [title(method) for method in SKILL]
    assert [row[0] for row in made[1].rows] == [t for t in titles if t != "GLTA"]


def test_the_best_of_each_column_is_bold(made):
    for column in range(1, 10):
        values = [float(row[column].partition(" ")[0]) for row in made[0].rows]
        assert {r for r, n in made[0].best if n == column} >= {values.index(max(values))}
        assert all(values[r] == max(values) for r, n in made[0].best if n == column)
    assert made[0].markdown().count("**") == 2 * len(made[0].best)


def test_overview_has_a_column_a_dataset_and_a_row_a_method(analysis):
    fewer = replace(
        analysis,
        dataset="books",
        cells={m: c for m, c in analysis.cells.items() if m != "cease"},
    )
    table, across = overview_tables([analysis, replace(analysis, dataset="none", cells={}), fewer])
    assert table.headings == ["method", "sample", "books"]
    assert [row[0] for row in table.rows] == [title(method) for method in analysis.methods]
    row = row_of(table, "EASE")
    mean = analysis.mean("ease", "ndcg@20")
    spread = analysis.spread("ease", "ndcg@20")
    assert row["sample"] == row["books"] == decimal(mean, spread)
    assert row_of(table, "CEASE")["sample"] != row_of(table, "CEASE")["books"] == "–"  # noqa: RUF001
    for column, a in ((1, analysis), (2, fewer)):
        assert [table.rows[r][0] for r, n in table.best if n == column] == [
            title(a.best("ndcg@20"))
        ]
    # CEASE was not evaluated on both
    assert {row[0] for row in across.rows} == {title(m) for m in SKILL} - {"GLTA", "CEASE"}
    assert overview_tables([analysis]) == []


@pytest.fixture
def uneven(analysis) -> Analysis:
    """Return results in which LightGCN has the first seed alone."""
    cells = {m: {0: c[0]} if m == "lightgcn" else c for m, c in analysis.cells.items()}
    return replace(analysis, cells=cells)


def test_a_method_with_fewer_seeds_says_so_and_nothing_is_bold(analysis, uneven):
    accuracy, comparison, groups, *_ = tables(uneven, None)
    marked = {title("lightgcn") + " (1 of 2 seeds)"}
    for table in (accuracy, comparison, groups):
        assert {row[0] for row in table.rows if "seeds" in row[0]} == marked
        assert not table.best
    words = "over 2 seeds, where no other number is named. Bold: highest on test; nothing where"
    assert words in accuracy.caption
    assert tables(analysis, None)[0].best
    books = replace(analysis, dataset="books")
    table, across = overview_tables([uneven, books])
    row = row_of(table, "LightGCN")
    assert row["sample"].endswith(" (1 of 2 seeds)") and "seeds" not in row["books"]
    assert {column for _, column in table.best} == {2}
    assert {row[0] for row in across.rows if "seeds" in row[0]} == {
        "LightGCN (fewer seeds on sample)"
    }


def test_a_caption_counts_the_seeds_that_were_evaluated(analysis):
    alone = replace(analysis, cells={m: {3: c[3]} for m, c in analysis.cells.items()})
    accuracy = tables(alone, None)[0]
    assert accuracy.caption.startswith("sample: test, seed 3. Bold: highest on test. ")
    assert accuracy.best
    caption = overview_tables([alone, replace(analysis, dataset="books")])[0].caption
    assert "sample: seed 3; books: mean ± standard deviation over 2 seeds" in caption


def test_the_page_says_so_too(uneven):
    view = dataset_view(uneven, {})
    rows = [row for results in view["results"] for row in results["rows"]]
    assert {row["title"] for row in rows if "seeds" in row["title"]} == {"LightGCN (1 of 2 seeds)"}
    assert not any(value["best"] for row in rows for value in row["values"])


def test_the_terminal_says_so_too(tmp_path, monkeypatch):
    metrics = tmp_path / "metrics.json"
    monkeypatch.setattr("glta.report.standings.METRICS", metrics)
    high, low = {"ndcg@20": 0.5}, {"ndcg@20": 0.25}
    both = {"ease": {"0": high, "3": low}, "slim": {"0": low, "3": low}}
    write_json(metrics, {"a": both, "b": both | {"slim": {"0": high}}})
    lines = standings_text("ndcg@20").splitlines()
    assert lines[0].endswith("* is the highest, none where methods have different seeds:")
    found = {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines[2:]}
    assert found == {
        "ease": ["0.3750*", "0.3750"],
        "slim": ["0.2500", "0.5000 (1 of 2 seeds)"],
    }
    write_json(metrics, {"a": both})
    assert standings_text("ndcg@20").startswith("Test NDCG@20, mean over seeds, * is the highest:")


def test_comparisons_are_those_of_the_report(analysis, made):
    values = analysis.comparisons["ease"]["ndcg@20"]
    test = analysis.tests["ease"]
    row = next(r for r in made[1].rows if r[0] == "EASE")
    assert row[1].startswith(f"{values.difference:+.4f}".replace("-", "−"))  # noqa: RUF001
    assert float(row[2]) == pytest.approx(
        analysis.difference_spread("glta", "ease", "ndcg@20"), abs=5e-5
    )
    assert float(row[3]) == pytest.approx(test.corrected_p, rel=0.05)
    assert len(made[1].rows) == len(SKILL) - 1
    assert f"Holm over these {len(SKILL) - 1} tests" in made[1].caption
    assert "says nothing about another training" in made[1].caption


def test_groups_are_told_apart(analysis, made):
    row = row_of(made[2], "LightGCN")
    assert {"cold users", "warm users"} <= set(row)
    for group in made[2].headings[1:]:
        assert row[group] == decimal(
            analysis.mean("lightgcn", f"{group.replace(' ', '_')}/ndcg@20")
        )


def test_cost_adds_up_the_stages_of_a_method(made):
    """Every stage took 2 s and 1 GiB. EASE has one stage, LightGCN two and GLTA four; the sum of
    LightGCN and text-kNN has one beside those of its parts.
    """
    table = made[-1]
    assert {row[0]: row[1] for row in table.rows} == {
        "Popularity": "2 s",
        "Text-kNN": "2 s",
        "Item-kNN": "2 s",
        "EASE": "2 s",
        "LightGCN": "4 s",
        "LightGCN + text-kNN": "8 s",
        "CEASE": "2 s",
        "GLTA": "8 s",
    }
    assert table.rows[3][2:] == ["1.00 GiB", "123,456", "0.25 s"]
    assert "profile (2 s, once for all methods)" in table.caption


def test_cost_names_what_all_stages_of_the_dataset_took(analysis):
    own = ["download@sample", "prepare@sample-0", "recommend@sample-0-ease"]
    own += ["pretrain-all@sample-0", "recommend@sample-3-lightgcn-plus"]
    others = [
        "report",
        "code@ease",
        "prepare@sample-1",
        "download@sample-2",
        "prepare@sample-b-0",
        "prepare@a-sample-0",
    ]
    costs = {stage: {"seconds": 45.0, "peak_memory_bytes": 2**30} for stage in own}
    costs |= {stage: {"seconds": 9e9, "peak_memory_bytes": 2**40} for stage in others}
    assert (
        "All stages of the dataset, one after the other: 4 min; the largest took 1.00 GiB"
        in cost_table(analysis, costs).caption
    )


def test_shards_cost_what_they_cost_together(analysis):
    """Each of two machines made half of the lists, and each of three a third of the profile."""

    def table(costs: dict[str, dict[str, float]]) -> PaperTable:
        return cost_table(analysis, costs)

    known = records(analysis.params)[0]
    cell = "sample-3"
    part = {"seconds": 20.0, "peak_memory_bytes": 2**28}
    divided = {**known}
    divided.pop(f"profile@{cell}")
    divided |= {f"profile-part@{cell}-3-{i}": part for i in range(3)}
    divided[f"profile-join@{cell}-3"] = part
    lists = divided.pop(f"recommend@{cell}-ease")
    for i, seconds in enumerate((0.1, 0.3)):
        # one shard has three times as many users, and one has none
        measured = {"seconds_per_1000_lists": seconds, "lists": 300 - 200 * i}
        divided[f"recommend-part@{cell}-ease-3-{i}"] = part | measured
    divided[f"recommend-part@{cell}-ease-3-2"] = part
    divided[f"recommend-join@{cell}-ease-3"] = part
    whole = known | {f"profile@{cell}": {"seconds": 80.0, "peak_memory_bytes": 2**28}}
    whole[f"recommend@{cell}-ease"] = lists | {
        "seconds": 80.0,
        "peak_memory_bytes": 2**28,
        "seconds_per_1000_lists": 0.15,
    }
    assert table(divided) == table(whole)
    assert table(whole) != table(known)
    divided.pop(f"profile-part@{cell}-3-1")
    assert "profile (" not in table({k: v for k, v in divided.items() if cell in k}).caption
    assert whole_stage("profile-join@a-join-0-12") == "profile@a-join-0"
    assert whole_stage("recommend-part@a-0-text-knn-2-1") == "recommend@a-0-text-knn"
    assert whole_stage("evaluate@a-part-0-ease") == "evaluate@a-part-0-ease"


def test_the_stages_of_a_method_are_stages_of_dvc_yaml(analysis):
    known = records(analysis.params)[0]
    for method in analysis.methods:
        assert {stage.format(cell="sample-3") for stage in training_stages(method)} <= set(known)


def test_without_records_there_is_no_cost(analysis):
    assert all("cost" not in table.caption for table in tables(analysis, None))


def test_one_seed_has_no_spread(analysis):
    alone = replace(
        analysis,
        params=analysis.params.model_copy(update={"seeds": [0]}),
        cells={m: {0: c[0]} for m, c in analysis.cells.items()},
    )
    assert "±" not in tables(alone, None)[0].markdown()


def test_markdown_has_equally_many_cells_in_every_line(made):
    for table in made:
        lines = table.markdown().splitlines()[2:]
        assert {line.count("|") for line in lines} == {len(table.headings) + 1}


def test_latex_escapes_what_it_would_read_as_commands():
    table = PaperTable("50% of a_b & c", ["x"], [["−1 ±2 #3 <4"]], frozenset({(0, 0)}))  # noqa: RUF001
    assert r"\caption{50\% of a\_b \& c}" in table.latex()
    assert r"\textbf{$-$1 $\pm$2 \#3 $<$4} \\" in table.latex()
    assert escaped(r"a\b {c} $5 x^2 ~6") == (
        r"a\textbackslash{}b \{c\} \$5 x\textasciicircum{}2 \textasciitilde{}6"
    )


def test_latex_has_no_stray_marks(made):
    for table in made:
        assert not re.search(r"(?<!\\)[_%#]|[±−–]", table.latex())  # noqa: RUF001


def test_the_command_prints_one_dataset_and_refuses_unknown_names(analysis, monkeypatch, tmp_path):
    import pipeline.stages.report

    monkeypatch.setattr("glta.params.check.load_params", lambda: analysis.params)
    monkeypatch.setattr(
        "glta.report.cells.load_cells", lambda folder, params: {"sample": analysis.cells}
    )
    monkeypatch.setattr(pipeline.stages.report, "records", lambda: (None, None))
    assert pipeline.stages.report.tables("sample", "markdown").startswith(
        "sample: test, mean ± standard deviation"
    )
    with pytest.raises(
        ValueError, match=r"books: is not in `datasets` of params\.yaml, which has sample"
    ):
        pipeline.stages.report.tables("books", "markdown")
