"""Test the list of what the numbers of a report were computed with."""

from __future__ import annotations

from glta.report.environments import environment_rows


def test_values_are_counted_over_stages():
    one = {"processor": "A", "threads": "1"}
    other = {"processor": "B", "threads": "2", "gpu": "X"}
    provenance = [{"environment": one}, {"environment": one}, {"environment": other}, {}]
    rows = {row.name: row for row in environment_rows(provenance)}
    assert rows["processor"].values == {"A": 2, "B": 1} and rows["processor"].differs
    assert rows["gpu"].values == {"none": 2, "X": 1}
    # part of a stage's definition
    assert not rows["threads"].differs
    assert environment_rows([{}]) == []
