"""Every benchmark in its quick form: it runs, and what it compares is equal (each raises
otherwise).
"""

import json
from dataclasses import asdict
from importlib import import_module

import numpy as np
import pytest

from benchmarks import graph, grid, least_squares, performance_page, ranking, timing
from benchmarks.__main__ import NAMES
from benchmarks.timing import Row
from glta.methods.ials import conjugate_gradients
from glta.params.model import Params
from tests.forks import start


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_compares_equal_things(name, monkeypatch, tmp_path):
    def child(module: str, *arguments: object) -> dict:
        """Do what `timing.child` does, in a fork that begins at once."""
        process = start(module, arguments, output := tmp_path / "output")
        process.join()
        said = output.read_text()
        assert process.exitcode == 0, said
        return json.loads(said.splitlines()[-1])

    benchmark = import_module(f"benchmarks.{name}")
    if hasattr(benchmark, "child"):
        monkeypatch.setattr(benchmark, "child", child)
    for row in benchmark.run(quick=True):
        assert row.ours > 0
        assert row.rival > 0


def test_other_losses_are_noticed(monkeypatch):
    def wrong(graph_, start):
        parameter, hidden = graph.reference_coo(graph_, start)
        return parameter, lambda: hidden() * 1.01

    monkeypatch.setitem(graph.FORMS, "reference, COO", wrong)
    with pytest.raises(AssertionError, match="reference, COO"):
        graph.run(quick=True)


def test_other_lists_are_noticed(monkeypatch):
    monkeypatch.setattr(
        ranking, "rivals", lambda: {"wrong": lambda user, item: ranking.with_numpy(user, -item)}
    )
    with pytest.raises(AssertionError, match="wrong"):
        ranking.run(quick=True)


@pytest.mark.parametrize("factor", [0.5, 2])
def test_other_losses_of_ials_are_noticed(monkeypatch, factor):
    right = least_squares.WithIrspack

    def wrong(pairs, settings, start):
        return right(pairs, settings.model_copy(update={"l2": factor * settings.l2}), start)

    monkeypatch.setattr(least_squares, "WithIrspack", wrong)
    with pytest.raises(AssertionError, match="irspack"):
        least_squares.run(quick=True)


def test_fewer_steps_of_ials_are_noticed(monkeypatch):
    """Our loss is higher then."""
    improve = conjugate_gradients.improve
    monkeypatch.setattr(
        conjugate_gradients, "improve", lambda *values: improve(*values[:-1], steps=1)
    )
    with pytest.raises(AssertionError, match="irspack"):
        least_squares.run(quick=True)


def test_grid_measures_every_combination(world, monkeypatch, capsys):
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    monkeypatch.setattr("benchmarks.grid.load_params", Params)
    values = ["neighbours=1,20", "settings.item-knn.shrinkage=0,9"]
    monkeypatch.setattr("sys.argv", ["grid", "item-knn", "blocks", *values])
    grid.main()
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("| settings.item-knn.neighbours | settings.item-knn.shrinkage |")
    cells = [[cell.strip() for cell in row.split("|")[1:4]] for row in rows]
    assert [row[:2] for row in cells] == [["1", "0"], ["1", "9"], ["20", "0"], ["20", "9"]]
    assert float(cells[0][2]) < float(cells[2][2]) <= 1


def test_page_is_written_between_its_marks(tmp_path):
    out, docs = tmp_path / "out", tmp_path / "docs"
    (docs / "images").mkdir(parents=True)
    out.mkdir()
    record = {"machine": {"cores": "2"}, "rows": [asdict(Row("x", 2, "y", 3, target=2))]}
    (out / "a.json").write_text(json.dumps(record))
    begin, end = performance_page.BEGIN, performance_page.END
    (docs / "performance.md").write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    performance_page.write_page(out, docs)
    text = (docs / "performance.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{performance_page.END}\nafter\n")
    assert "| x | 2 s | y | 3 s | 1.5 | 2 missed |  |" in text
    assert "old" not in text
    assert "<svg" in (docs / "images" / "performance.svg").read_text()


def test_ratio_and_target():
    assert Row("a", 2.0, "b", 6.0, target=3).met
    assert not Row("a", 2.0, "b", 5.0, target=3).met
    assert Row("a", 2.0, "b", 5.0).met is None
    assert np.isclose(Row("a", 2.0, "b", 5.0).ratio, 2.5)


def test_a_child_prints_its_numbers_last():
    found = timing.child("benchmarks.ranking", 10, 60)
    assert found["shown"] == 10 * ranking.K
    assert found["peak_bytes"] > 10**7
