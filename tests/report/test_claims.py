"""Check what the report claims: one family of tests, the rival of validation, no weak rivals."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from glta.evaluation.significance import holm, randomisation_test
from glta.params.check import ParamsError, check_params
from glta.params.model import Params
from glta.report.across_datasets import compared_across
from glta.report.analysis import Analysis
from glta.report.cells import load_cells
from glta.report.known import title
from glta.report.page.render import render
from glta.report.paper_tables import accuracy_table, comparison_table, overview_tables
from glta.report.protocol_words import protocol_text
from glta.report.verdict import verdict
from glta.report.wording import covers_text, p_cell
from tests.report.made_up import SKILL
from tests.report.test_report import Page, make

METHODS = ["popularity", "text-knn", "ease", "lightgcn", "glta"]
METRIC = "ndcg@20"
WHY = "searched with 3 trials"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two datasets of different sizes, two seeds, five methods."""
    params = Params(
        datasets=["sample", "ml-latest-small"],
        seeds=[0, 3],
        methods=METHODS,
        report={"resamples": 200},
    )
    skill = {method: SKILL[method] for method in METHODS}
    cells = {}
    for dataset, users in (("sample", 60), ("ml-latest-small", 120)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            only = params.model_copy(update={"datasets": [dataset]})
            folder = tmp_path_factory.mktemp(dataset)
            data = make(folder, monkeypatch, params=only, methods=skill, users=users, items=70)
            cells |= load_cells(data / "evaluate", only)
    return params, cells


@pytest.fixture
def a(world) -> Analysis:
    params, cells = world
    return Analysis("sample", params, cells["sample"])


def weaker(params: Params, entries: dict[str, str]) -> Params:
    """Return the parameters with entries in report.not_tuned."""
    return params.with_values({"report.not_tuned": entries})


def test_the_report_metric_against_the_other_methods_is_the_whole_family(a):
    assert list(a.tests) == list(a.comparisons) and len(a.tests) == len(METHODS) - 1
    p = np.array([test.p for test in a.tests.values()])
    assert [test.corrected_p for test in a.tests.values()] == holm(p).tolist()
    for method, test in a.tests.items():
        frame = a.differences("glta", method, [METRIC])
        alone = randomisation_test(frame[METRIC].to_numpy()[:, None], flips=20_000, seed=5)[0]
        assert test.p == pytest.approx(alone, abs=0.015)
    # the least p of 100,000 flips is far below any level
    assert p.min() < 1e-4


def test_other_metrics_have_intervals_and_no_p(world):
    params, cells = world
    page = render(params, cells).html
    Page(page)
    section = page.partition('id="tests-sample"')[2].partition('<div class="card long">')[0]
    first, *rest = section.split("<table>")[1:]
    assert "p corrected" in first and len(rest) == 17
    assert all("p corrected" not in table and "Effect d_z" in table for table in rest)
    assert "by Holm over 4 tests" in section
    # marks of significance stand in the column of the tested metric alone
    results = page.partition('id="results-sample"')[2].partition("</table>")[0]
    top_20, _, below = results.partition("Top 10")
    assert below.count("significantly") == 0
    assert top_20.count("significantly") == sum(
        Analysis("sample", params, cells["sample"]).significant(m) != 0 for m in METHODS
    )


def test_spread_over_seeds_stands_beside_the_interval(a):
    ours, theirs = (
        [a.cells[method][seed].metrics[METRIC] for seed in (0, 3)] for method in ("glta", "ease")
    )
    first, second = np.subtract(ours, theirs)
    spread = a.difference_spread("glta", "ease", METRIC)
    assert spread == pytest.approx(abs(first - second) / 2**0.5)
    assert f"standard deviation over seeds {spread:.4f}" in verdict(only(a, "ease")).text
    one = replace(a, cells={m: {0: seeds[0]} for m, seeds in a.cells.items()})
    assert one.difference_spread("glta", "ease", METRIC) is None
    assert "no spread over seeds" in verdict(one).text
    assert "says nothing about another training" in covers_text(1)
    assert "The test pairs are the same for all seeds" in covers_text(3)


def only(a: Analysis, *others: str) -> Analysis:
    """Return the analysis of the reference and some other methods."""
    return replace(a, cells={m: a.cells[m] for m in (*others, "glta")})


def with_validation(a: Analysis, values: dict[str, float | None]) -> Analysis:
    """Replace validation values by method; None removes them."""
    cells = copy.deepcopy(a.cells)
    for method, value in values.items():
        for cell in cells[method].values():
            cell.metrics.pop(f"valid/{METRIC}")
            if value is not None:
                cell.metrics[f"valid/{METRIC}"] = value
    return replace(a, cells=cells)


def test_the_rival_is_the_best_on_validation_and_not_on_test(a):
    assert a.known_mean("ease", METRIC) > a.known_mean("text-knn", METRIC)
    found = with_validation(only(a, "text-knn", "ease"), {"text-knn": 0.9, "ease": 0.8})
    assert found.rival == "text-knn"
    said = verdict(found)
    assert said.headline.startswith("GLTA beats Text-kNN by 0.")
    highest = found.known_mean("ease", METRIC)
    assert said.text.endswith(f"On test, EASE is the highest of the other methods: {highest:.4f}.")
    usual = with_validation(only(a, "text-knn", "ease"), {"text-knn": 0.8, "ease": 0.9})
    assert usual.rival == "ease" and "On test" not in verdict(usual).text
    assert "On validation, Text-kNN is the best" in comparison_table(found).caption


def test_a_loss_to_another_method_is_in_the_headline_of_a_win(a):
    """The reference beats the rival of validation and loses to another: no win is claimed."""
    options = a.params.report.model_copy(update={"reference": "text-knn"})
    found = replace(
        with_validation(a, {"popularity": 0.9}),
        params=a.params.model_copy(update={"report": options}),
    )
    assert found.significant("glta") == 1
    said = verdict(found)
    assert said.kind == "tie"
    assert said.headline.startswith("Text-kNN beats Popularity by")
    assert said.headline.endswith(", and loses to GLTA, EASE, LightGCN")


def test_without_validation_values_no_rival_is_named(a):
    found = with_validation(a, dict.fromkeys(METHODS))
    said = verdict(found)
    assert (found.rival, said.kind) == (None, "untested")
    assert "no method was measured on validation" in said.text


def test_a_method_that_is_not_tuned_has_a_reason_and_no_p(world, a):
    params, cells = world
    best = a.rival
    assert best is not None
    weak = weaker(params, {f"sample/{best}": WHY, "text-knn": "no search"})
    found = Analysis("sample", weak, cells["sample"])
    assert set(found.comparisons) == set(a.comparisons)
    assert set(found.tests) == set(a.tests) - {best, "text-knn"}
    assert found.rival not in (best, "text-knn", None)
    # the family is smaller
    assert max(t.corrected_p / t.p for t in found.tests.values()) <= 2
    table = comparison_table(found)
    row = next(row for row in table.rows if row[0] == title(best))
    assert row[3] == "not tested" and row[1][0] in "+−"  # noqa: RUF001
    assert f"{title(best)} ({WHY})" in table.caption
    page = render(weak, cells).html
    Page(page)
    of_sample = page.partition('id="data-sample"')[2].partition('id="data-ml-latest-small"')[0]
    elsewhere = page.partition('id="data-ml-latest-small"')[2]
    warning = "Not at their best here, and therefore not tested"
    assert warning in of_sample and f"{title(best)} ({WHY})" in of_sample
    assert f"{title(best)} ({WHY})" not in elsewhere and "Text-kNN (no search)" in elsewhere
    assert of_sample.count(f"{title(best)}<small>not tuned</small>") > 1


def test_a_reference_that_is_not_tuned_is_not_tested(world):
    params, cells = world
    weak = weaker(params, {"glta": WHY})
    found = Analysis("sample", weak, cells["sample"])
    said = verdict(found)
    assert (found.tests, said.kind) == ({}, "untested")
    assert said.text.endswith(f"GLTA, the reference, is not tested. It is not at its best: {WHY}.")
    assert {row[3] for row in comparison_table(found).rows} == {"not tested"}
    assert "p = 0" not in render(weak, cells).html


def test_datasets_together_count_alike_and_are_a_family_of_their_own(world):
    params, cells = world
    analyses = [Analysis(d, params.for_dataset(d), cells[d]) for d in params.datasets]
    across = compared_across(analyses)
    assert set(across) == set(METHODS) - {"glta"}
    for method, found in across.items():
        each = [a.comparisons[method][METRIC] for a in analyses]
        assert found.values.difference == pytest.approx(np.mean([v.difference for v in each]))
        assert found.values.effect == pytest.approx(np.mean([v.effect for v in each]))
        assert found.wins == sum(v.difference > 0 for v in each)
    assert [found.test.corrected_p for found in across.values()] == holm(
        np.array([found.test.p for found in across.values()])
    ).tolist()
    # flips within datasets, each user weighted by one over the dataset's users
    parts = [a.differences("glta", "lightgcn", [METRIC])[METRIC].to_numpy() for a in analyses]
    values = np.concatenate([part / part.size for part in parts])
    alone = randomisation_test(values[:, None], flips=20_000, seed=3)[0]
    assert across["lightgcn"].test.p == pytest.approx(alone, abs=0.015)
    assert compared_across(analyses[:1]) == {}
    table = overview_tables(analyses)[1]
    assert "over these 4 tests" in table.caption
    assert [row[3] for row in table.rows] == [
        p_cell(found.test.corrected_p) for found in across.values()
    ]
    page = render(params, cells).html
    assert "All 2 datasets together: GLTA minus the other method" in page


def test_datasets_together_leave_out_what_is_not_tuned_on_one_of_them(world):
    params, cells = world
    weak = weaker(params, {"ml-latest-small/ease": WHY})
    analyses = [Analysis(d, weak.for_dataset(d), cells[d]) for d in params.datasets]
    across = compared_across(analyses)
    assert across["ease"].test is None
    assert across["ease"].reason == f"ml-latest-small: {WHY}"
    assert sum(found.test is not None for found in across.values()) == len(METHODS) - 2
    table = overview_tables(analyses)[1]
    assert f"EASE (ml-latest-small: {WHY})" in table.caption
    assert "over these 3 tests" in table.caption
    assert next(row for row in table.rows if row[0] == "EASE")[3] == "not tested"


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"not_tuned": {"eas": WHY}}, "report.not_tuned.eas: unknown method; nearest is ease"),
        (
            {"not_tuned": {"sampel/ease": WHY}},
            "report.not_tuned.sampel/ease: unknown dataset; nearest is sample",
        ),
        ({"not_tuned": {"ease": " "}}, "report.not_tuned.ease: has no reason"),
        ({"flips": 2000}, "report.flips = 2000: must be >= 100000"),
    ],
)
def test_wrong_entries_are_errors(report, message):
    with pytest.raises(ParamsError, match=message):
        check_params({"report": report})


def test_an_entry_of_a_dataset_is_taken_before_one_of_all():
    params = Params(report={"not_tuned": {"sample/ease": "here", "ease": "everywhere"}})
    assert params.report.reasons("sample") == {"ease": "here"}
    assert params.report.reasons("ml-1m") == {"ease": "everywhere"}


def test_the_protocol_and_its_leak_are_named(world, a):
    protocol = {
        "train_later_than_test": 0.42,
        "users_without_history": 0,
        "tested_without_history": 0,
        "users_without_valid": 1,
        "users_without_test": 1700,
    }
    text = protocol_text({"split": "leave_last_out", "protocol": protocol})
    assert text.startswith("Leave-last-out split: each user's last item is for test. ")
    assert "42.0% of the training pairs are later than a test pair of another user" in text
    assert "1 user has no validation item" in text and "1,700 users have no test item" in text
    assert "history" not in text and "no training item" not in text
    by_time = {"train_later_than_test": 0.0, "users_without_history": 12}
    by_time |= {"users_without_valid": 0, "users_without_test": 0}
    text = protocol_text({"split": "global_time", "protocol": by_time})
    assert "No training pair is later than a test pair of another user." in text
    assert text.endswith("12 users have no training item.")
    # older results have no such counts
    assert protocol_text({}) == "" == protocol_text({"split": "unknown", "protocol": {}})
    random = protocol_text({"split": "random", "protocol": {"train_later_than_test": None}})
    assert random == "Random split: each user's test items are a random part of the user's items."

    params, cells = world
    cells = copy.deepcopy(cells)
    for seeds in cells["sample"].values():
        for cell in seeds.values():
            cell.summary["counts"] |= {"split": "leave_last_out", "protocol": protocol}
    page = render(params, cells).html
    card, part = page.split('id="data-sample"')
    assert "42.0% of the training pairs" in card and "42.0% of the training pairs" in part
    found = replace(a, cells=cells["sample"])
    assert "42.0% of the training pairs" in accuracy_table(found).caption
