"""`glta export` in a project, and `glta bundle` outside of any."""

import json

import polars as pl
import pytest
from typer.testing import CliRunner

from glta.serving.bundle import load
from pipeline.cli.main import app
from tests.serving.bundles import Shop
from tests.tiny import mark_project


def said(*command: object) -> str:
    done = CliRunner().invoke(app, [*map(str, command)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def folder(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    mark_project(tmp_path)
    shop = Shop.open(world, tmp_path)
    shop.train("ease")
    out = tmp_path / "box"
    assert said("export", "ease", "blocks", "--out", out) == f"{out}\n"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return out


def test_the_commands_answer_as_the_bundle_does(folder, tmp_path):
    bundle = load(folder)
    rows = json.loads(said("bundle", "recommend", folder, "--user", "u3", "-k", "3", "--json"))
    expected = bundle.recommend("u3", k=3)
    assert [row["item_id"] for row in rows] == expected.items
    assert [row["score"] for row in rows] == expected.scores
    assert [row["title"] for row in rows] == bundle.titles(expected.items)
    own = ["i4", "i0"]
    options = ["--items", "i4,i0", "--without", "i2", "--reasons", "1", "-k", "2"]
    rows = json.loads(said("bundle", "recommend", folder, *options, "--json"))
    expected = bundle.recommend(None, own, 2, without=["i2"])
    assert [row["item_id"] for row in rows] == expected.items
    assert [row["because"] for row in rows] == bundle.reasons(None, own, expected.items, 1)
    text = said("bundle", "recommend", folder, *options)
    assert "because of garden roses soil number" in text
    shown = said("bundle", "similar", folder, "i4", "--only", "i6,i8", "-k", "5")
    assert sorted(line.split()[1] for line in shown.splitlines()) == ["i6", "i8"]
    # of a user and items together, the items count, too
    both = json.loads(
        said("bundle", "recommend", folder, "--user", "u3", "--items", "i4", "--json")
    )
    assert [row["item_id"] for row in both] == bundle.compute("u3", ["i4"], 10).items
    users = tmp_path / "users.parquet"
    pl.DataFrame({"user_id": ["u3", "u4"]}).write_parquet(users)
    out = tmp_path / "lists.parquet"
    assert said("bundle", "batch", folder, users, out, "-k", "2").startswith(f"{out}: 2 users")
    assert pl.read_parquet(out).height == 4


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["recommend"], "neither items nor a user"),
        (["recommend", "--user", "u333"], "user u333: unknown id"),
        (["recommend", "--items", "i99"], "item i99: unknown id"),
        (["recommend", "--user", "u3", "--new-items", "none.csv"], "none.csv: no such file"),
        (["similar", "i99"], "item i99: unknown id"),
    ],
)
def test_mistakes_are_one_line(folder, command, message):
    name, *rest = command
    done = CliRunner().invoke(app, ["bundle", name, str(folder), *rest])
    assert isinstance(done.exception, ValueError | OSError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)


def test_an_alias_needs_a_registration(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="add --register"):
        said("export", "ease", "blocks", "--alias", "champion")
