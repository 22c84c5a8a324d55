"""Progress without a terminal, and the records for the stage runner."""

import json

import pytest

from glta import progress


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setenv("GLTA_PLAIN", "1")
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0)
    monkeypatch.delenv("GLTA_RECORDS", raising=False)


def test_plain_lines_count_the_steps(capsys):
    with progress.bar(3, "copying") as advance:
        advance()
        advance(2, note="done")
    assert capsys.readouterr().err == "copying: 1/3\ncopying: 3/3 done\n"


def test_plain_lines_are_rare(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 60)
    with progress.bar(3, "copying") as advance:
        advance()
    assert capsys.readouterr().err == ""


def test_quiet_shows_nothing_and_ends(capsys):
    with progress.quiet(), progress.bar(None, "hidden") as advance:
        advance(1, note="x")
    with progress.bar(None, "shown") as advance:
        advance()
    assert capsys.readouterr().err == "shown: 1/?\n"


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(progress, "plain", lambda: False)
    with progress.bar(2, "copying") as advance:
        advance(2, note="fast")
    shown = capsys.readouterr().err
    assert "copying" in shown
    assert "2/2" in shown
    assert "fast" in shown


def test_items_are_counted(capsys):
    assert list(progress.track("ab", "reading")) == ["a", "b"]
    assert list(progress.track(iter("a"), "reading")) == ["a"]
    assert capsys.readouterr().err == "reading: 1/2\nreading: 2/2\nreading: 1/?\n"


def test_epochs_and_errors_are_recorded(monkeypatch, tmp_path):
    monkeypatch.setenv("GLTA_RECORDS", str(tmp_path / "records"))
    progress.record_epoch({"epoch": 1, "loss": 0.5})
    progress.record_error("no data")
    lines = (tmp_path / "records").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "loss": 0.5}, {"error": "no data"}]


def test_without_a_runner_nothing_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    progress.record(1, loss=0.5)
    assert list(tmp_path.iterdir()) == []
