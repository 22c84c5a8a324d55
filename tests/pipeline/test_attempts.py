"""Test that a stage's time has that of the attempts whose checkpoints it goes on from."""

from __future__ import annotations

import os

import pytest

from pipeline.tracking.attempts import FILE, Attempts


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a checkpoint some seconds after the attempt began."""

    def save(seconds: float, name: str = "state") -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        began = (tmp_path / FILE).stat().st_mtime
        os.utime(tmp_path / name, (began + seconds, began + seconds))

    return save


def test_attempts_up_to_their_last_checkpoints_are_added_up(tmp_path, save):
    assert Attempts(tmp_path).seconds == 0
    save(90)
    assert Attempts(tmp_path).seconds == pytest.approx(90)
    save(40, "refit/state")
    save(30)
    last = Attempts(tmp_path)
    last.look()
    assert last.seconds == pytest.approx(130)


def test_an_attempt_without_a_checkpoint_of_its_own_does_not_count(tmp_path, save):
    Attempts(tmp_path)
    # a kill while a checkpoint was written
    save(50, ".state.partial")
    assert Attempts(tmp_path).seconds == 0
    save(90)
    assert Attempts(tmp_path).seconds == pytest.approx(90)
    # the next attempt began after that checkpoint, and wrote none
    save(-5)
    assert Attempts(tmp_path).seconds == pytest.approx(90)


def test_a_training_that_starts_afresh_counts_alone(tmp_path, save):
    """It has deleted a damaged checkpoint. What it saves itself counts for the next attempt."""
    Attempts(tmp_path)
    save(90)
    second = Attempts(tmp_path)
    (tmp_path / "state").unlink()
    began = (tmp_path / FILE).stat().st_mtime
    second.look()
    assert second.seconds == 0 and (tmp_path / FILE).stat().st_mtime == began
    save(20)
    second.look()
    assert Attempts(tmp_path).seconds == pytest.approx(20)
