"""Test `glta recommend`: raw ids, users, new users, new items, and mistakes."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from glta.features.text.item_texts import item_texts
from glta.methods.registry import recommender_class
from glta.nn.language.frozen import load_language
from glta.params.check import load_params, whole_overrides
from glta.params.file import render_params
from glta.params.model import Params
from glta.serving.cached_lists import cache, read_new_interactions, refresh_cache
from glta.serving.new_items import read_new_items
from glta.serving.recommend import recommend
from glta.storage.files import read_json, write_json
from glta.testing.blocks import NUM_ITEMS, NUM_USERS, block_profiles
from pipeline.cli.main import app
from pipeline.stages import train
from tests.tiny import mark_project, write_encoder


@pytest.fixture
def shop(world, monkeypatch, tmp_path):
    """Make two models on texts that a tiny language model has encoded.

    params.yaml is in the working folder.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    params = Params(
        datasets=["blocks"],
        tables={"blocks": {"interactions": "none.csv"}},
        language={"model": str(write_encoder(tmp_path / "tiny"))},
        overrides={"blocks": whole_overrides({})},
    )
    (tmp_path / "params.yaml").write_text(render_params(params))
    mark_project(tmp_path)
    params = load_params().for_dataset("blocks")
    language = load_language(params.language)
    states = language.encode(item_texts(world.prepared.items, params.profile)["text"].to_list())
    about = {"language": {"model": language.name, "sha256": language.sha256}}
    profiles = replace(block_profiles(), item_states=states, about=about)
    profiles.save(world.cell.step("profile"))
    for method in ("text-knn", "cease", "popularity", "ease", "lightgcn", "blend"):
        train.main(params, "blocks", 0, method)
    return world


@pytest.fixture
def novelties(tmp_path):
    file = tmp_path / "new.csv"
    text = "robot laser space number3,,Science fiction|Gadgets"
    file.write_text(
        "item_id,title,description,categories\nfresh,garden roses soil "
        f"number4,,Outdoors\nother,{text}\n"
    )
    return file


def ids(rows: list[dict]) -> list[str]:
    return [row["item_id"] for row in rows]


@pytest.mark.parametrize("method", ["text-knn", "cease", "blend"])
def test_a_new_user_by_items(shop, method):
    found = recommend(method, "blocks", ["i0", "i2", "i4"], k=5)
    assert len(found) == 5
    assert not {"i0", "i2", "i4"} & set(ids(found))
    assert all(int(item[1:]) % 2 == 0 for item in ids(found))
    assert found[0]["title"].startswith("garden")
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)


def test_a_refit_is_what_serves(shop):
    params = load_params().for_dataset("blocks").with_values({"recommend.refit": True})
    before = recommend("popularity", "blocks", ["i0"], k=19)
    train.main(params, "blocks", 0, "popularity")
    found = recommend("popularity", "blocks", ["i0"], k=19)
    degree = shop.prepared.seen.item_degree
    assert {row["item_id"]: row["score"] for row in found} == {
        f"i{item}": degree[item] for item in range(1, NUM_ITEMS)
    }
    assert before != found


def test_a_user_gets_what_the_model_ranks_without_all_they_have(shop):
    prepared = shop.prepared
    model = recommender_class("blend").load(shop.cell.model("blend"))
    expected, _ = model.recommend(np.array([5]), 6, prepared.seen.union(prepared.test))
    assert ids(recommend("blend", "blocks", user="u5", k=6)) == [f"i{i}" for i in expected[0]]
    more = recommend("blend", "blocks", ["i0", "i2", "i4"], user="u5", k=20)
    assert not {"i0", "i2", "i4"} & set(ids(more))


def test_a_method_of_order_takes_the_last_item_for_the_newest(shop):
    train.main(load_params().for_dataset("blocks"), "blocks", 0, "transitions")
    model = recommender_class("transitions").load(shop.cell.model("transitions"))
    prepared = shop.prepared

    def expected(history: list[int], has: list[int]) -> list[str]:
        """Return the best item by the transitions from the last one."""
        follows = model.follows.toarray()[history[-1]]
        follows[has] = -1
        return [f"i{follows.argmax()}"]

    assert ids(recommend("transitions", "blocks", ["i0", "i8"], k=1)) == expected([0, 8], [0, 8])
    assert ids(recommend("transitions", "blocks", ["i8", "i0"], k=1)) == expected([8, 0], [0, 8])
    assert expected([0, 8], [0, 8]) != expected([8, 0], [0, 8])
    # a user's newest item is a test item here, as a recommendation is no measurement
    user = 5
    whole = prepared.ordered("train", "valid", "test").of_user(user).item.tolist()
    assert whole[-1] in prepared.test.items_of(user)
    found = recommend("transitions", "blocks", ["i6"], user="u5", k=1)
    assert ids(found) == expected([*whole, 6], [*whole, 6])


@pytest.mark.parametrize("method", ["text-knn", "cease", "blend"])
def test_new_items_are_listed_by_their_text(shop, novelties, method):
    place = {}
    for side, items in ((0, ["i0", "i2", "i4"]), (1, ["i1", "i3", "i5"])):
        found = recommend(method, "blocks", items, new_items=novelties, k=30)
        assert {row["item_id"] for row in found if row["new"]} == {"fresh", "other"}
        place[side] = [ids(found).index(item) for item in ("fresh", "other")]
    assert place[0][0] < place[0][1]
    assert place[1][0] > place[1][1]
    assert recommend(method, "blocks", ["fresh"], new_items=novelties, k=30)
    novelties.write_text("item_id,title\nfresh,garden roses soil number4\n")
    assert "fresh" in ids(recommend(method, "blocks", ["i0"], new_items=novelties, k=30))


def test_a_model_of_another_method_is_refused(shop):
    """The model of an ablation can be served: see tests/pipeline/test_stages.py."""
    models = shop.data / "blocks/0/models"
    (models / "blend").rename(models / "glta-without-profile")
    with pytest.raises(ValueError, match=r"model\.json: is a model of blend, not of glta"):
        recommend("glta-without-profile", "blocks", ["i0"], k=3)


def test_mistakes_are_one_line(shop, novelties):
    for arguments, message in (
        (
            {"method": "blnd", "items": ["i0"]},
            "blnd: unknown method; nearest is blend",
        ),
        ({"method": "text-knn", "items": ["i0", "i111"]}, "item i111: unknown id; nearest is i11"),
        ({"method": "text-knn", "user": "u99"}, "user u99: unknown id; nearest is u9"),
        ({"method": "text-knn"}, "neither items nor a user"),
        (
            {"method": "popularity", "items": ["i0"], "new_items": novelties},
            "popularity needs interactions to score an item: it cannot take new items",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            recommend(dataset="blocks", **arguments)
    with pytest.raises(FileNotFoundError, match="snakemake"):
        recommend("item-knn", "blocks", ["i0"])
    novelties.write_text("item_id,title,description,categories\ni3,twice,,\n")
    with pytest.raises(ValueError, match=r"item i3 is not new, blocks has it already"):
        recommend("text-knn", "blocks", ["i0"], new_items=novelties)


def test_another_language_model_is_refused(shop, novelties):
    profiles = block_profiles()
    other = {"language": {"model": "another", "sha256": "0"}}
    replace(profiles, about=other).save(shop.cell.step("profile"))
    with pytest.raises(ValueError, match="the stage profile used another of sha256 0"):
        recommend("text-knn", "blocks", ["i0"], new_items=novelties)


def test_the_command_prints_a_table_or_json(shop):
    run = CliRunner().invoke(
        app, ["recommend", "text-knn", "blocks", "--items", "i0, i2", "-k", "3"]
    )
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert "garden roses soil" in lines[0]
    run = CliRunner().invoke(
        app, ["recommend", "text-knn", "blocks", "--items", "i0,i2", "-k", "3", "--json"]
    )
    found = json.loads(run.stdout)
    assert [row["item_id"] for row in found] == [line.split()[1] for line in lines]
    assert set(found[0]) == {"item_id", "title", "score", "new", "way"}
    assert pl.DataFrame(found).height == 3


def command(*arguments: str) -> tuple[list[str], str]:
    """Run `glta`. Returns the item ids that it prints, or its only line, and what is on stderr."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.exception
    lines = done.stdout.splitlines()
    if arguments[0] == "recommend":
        lines = [line.split()[1] for line in lines]
    return lines, done.stderr


@pytest.mark.parametrize("method", ["cease", "blend", "lightgcn"])
def test_a_user_is_looked_up_in_the_store(shop, method):
    live = recommend(method, "blocks", user="u5", k=6)
    assert {row["way"] for row in live} == {"live"}
    (said,), _ = command("cache", method, "blocks", "-k", "8")
    assert said == f"{shop.cell.store(method)}/lists.safetensors: 24 users, 8 items each"
    found = recommend(method, "blocks", user="u5", k=6)
    if method == "cease":
        assert found == live, "the store does not score by test items, and this method does"
        command("cache", method, "blocks", "-k", "8", "--with-test")
        found = recommend(method, "blocks", user="u5", k=6)
    assert {row["way"] for row in found} == {"store"}
    assert ids(found) == ids(live)
    # batches of other sizes differ in the last bits
    scores = [row["score"] for row in found]
    np.testing.assert_allclose(scores, [row["score"] for row in live], rtol=1e-5)
    assert command("recommend", method, "blocks", "--user", "u5", "-k", "6") == (
        ids(live),
        "looked up in the store\n",
    )
    # if the test item is in the row, it is the first of it, and there are 7 others
    longest = 8 if method == "cease" else 7
    for k, way in ((longest, "store"), (longest + 1, "live")):
        assert {row["way"] for row in recommend(method, "blocks", user="u5", k=k)} == {way}
    # the catalogue has 10 other items for the user, and then the row is whole
    command("cache", method, "blocks", "-k", "12", "--with-test")
    found = recommend(method, "blocks", user="u5", k=12)
    assert [row["way"] for row in found] == ["store"] * 10
    more = recommend(method, "blocks", ["i0"], user="u5", k=6)
    assert {row["way"] for row in more} == {"live"}


def test_with_test_items_the_store_has_what_is_computed_live(shop):
    train.main(load_params().for_dataset("blocks"), "blocks", 0, "transitions")
    users = [f"u{user}" for user in range(0, NUM_USERS, 3)]
    live = [recommend("transitions", "blocks", user=user, k=5) for user in users]
    command("cache", "transitions", "blocks", "-k", "5", "--with-test")
    found = [recommend("transitions", "blocks", user=user, k=5) for user in users]
    assert [ids(rows) for rows in found] == [ids(rows) for rows in live]
    assert {row["way"] for rows in found for row in rows} == {"store"}


@pytest.mark.parametrize("with_test", [False, True])
@pytest.mark.parametrize("method", ["text-knn", "lightgcn", "blend"])
def test_an_answer_is_the_same_with_and_without_a_store(shop, novelties, method, with_test):
    """In a split by time, methods that score lists of items know the validation items."""
    counts = shop.cell.prepare / "counts.json"
    write_json(counts, read_json(counts) | {"split": "leave_last_out"})
    live = recommend(method, "blocks", user="u4", k=3)
    assert cache(method, "blocks", 8, with_test=with_test).about.histories == "seen"
    found = recommend(method, "blocks", user="u4", k=3)
    assert ({row["way"] for row in live}, {row["way"] for row in found}) == ({"live"}, {"store"})
    assert ids(found) == ids(live)
    np.testing.assert_allclose(
        [row["score"] for row in found], [row["score"] for row in live], rtol=1e-5
    )
    if method == "text-knn":
        wider = recommend(method, "blocks", user="u4", k=30, new_items=novelties)
        assert [row["item_id"] for row in wider if not row["new"]][:3] == ids(live)


def test_the_store_has_the_lists_of_the_stage_recommend(shop):
    from pipeline.stages import recommend as stage

    counts = shop.cell.prepare / "counts.json"
    params = load_params().for_dataset("blocks")
    for split in ("random", "leave_last_out"):
        write_json(counts, read_json(counts) | {"split": split})
        for refit in (False, True):
            params = params.with_values({"recommend.refit": refit})
            train.main(params, "blocks", 0, "cease")
            stage.main(params, "blocks", 0, "cease")
            table = pl.read_parquet(shop.cell.lists("cease") / "test.parquet")
            store = cache("cease", "blocks", 7)
            for (user,), rows in table.group_by("user"):
                shown = rows.sort("rank").head(7)
                found = store.lookup(f"u{user}")
                assert [f"i{item}" for item in shown["item"]][: len(found.items)] == found.items
                np.testing.assert_allclose(shown["score"], found.scores, rtol=1e-5)
            assert store.about.histories == (
                "seen" if refit or split == "leave_last_out" else "train"
            )
            assert store.about.fitted == ("seen" if refit else "train")


def test_new_interactions_come_into_the_store(shop, tmp_path):
    file = tmp_path / "later.csv"
    with pytest.raises(FileNotFoundError, match="glta cache METHOD DATASET"):
        refresh_cache("ease", "blocks", file)
    command("cache", "ease", "blocks")
    with pytest.raises(FileNotFoundError, match=r"later\.csv: no such file"):
        refresh_cache("ease", "blocks", file)
    before = ids(recommend("ease", "blocks", user="u5", k=4))
    file.write_text(f"item_id,user_id\n{before[0]},u5\ni0,novice\ni2,novice\n")
    said, _ = command("cache", "ease", "blocks", "--new-interactions", str(file))
    assert said == ["new lists by fold-in: 1 known users, 1 new users"]
    after = recommend("ease", "blocks", user="u5", k=4)
    assert before[0] not in ids(after)
    novice = recommend("ease", "blocks", user="novice", k=4)
    assert ids(novice) == ids(recommend("ease", "blocks", ["i0", "i2"], k=4))
    # more than the store has: the model answers by the items that the store knows
    command("cache", "ease", "blocks", "-k", "3", "--forget-refreshes")
    command("cache", "ease", "blocks", "--new-interactions", str(file))
    assert recommend("ease", "blocks", user="novice", k=3)[0]["way"] == "store"
    longer = recommend("ease", "blocks", user="novice", k=4)
    assert ids(longer) == ids(novice)
    assert longer[0]["way"] == "live"
    assert before[0] not in ids(recommend("ease", "blocks", user="u5", k=9))
    arguments = ["cache", "ease", "blocks", "-k", "3", "--new-interactions", str(file)]
    said = CliRunner().invoke(app, arguments).exception
    assert str(said) == "-k, --with-test: a refresh does not change them; leave them out"


def test_refreshes_are_not_forgotten_in_silence(shop, tmp_path):
    file = tmp_path / "later.csv"
    file.write_text("item_id,user_id\ni0,novice\ni2,novice\n")
    command("cache", "ease", "blocks", "-k", "5")
    # no new interaction yet
    command("cache", "ease", "blocks", "-k", "4")
    command("cache", "ease", "blocks", "--new-interactions", str(file))
    path = shop.cell.store("ease") / "lists.safetensors"
    refreshed = path.read_bytes()
    said = CliRunner().invoke(app, ["cache", "ease", "blocks", "-k", "6"]).exception
    assert isinstance(said, ValueError)
    assert str(said).startswith(f"{path}: has 2 new interactions (refreshes: 1), which a new store")
    assert "--forget-refreshes" in str(said) and "\n" not in str(said)
    assert path.read_bytes() == refreshed
    both = ["--forget-refreshes", "--new-interactions", str(file)]
    said = CliRunner().invoke(app, ["cache", "ease", "blocks", *both]).exception
    assert str(said).startswith("--forget-refreshes: --new-interactions keeps them")
    # also of a model that was trained again since
    params = load_params().for_dataset("blocks")
    train.main(params.with_values({"settings.ease.l2": 3.0}), "blocks", 0, "ease")
    with pytest.raises(ValueError, match="--forget-refreshes"):
        cache("ease", "blocks", 6)
    assert cache("ease", "blocks", 6, forget_refreshes=True).about.refreshes == ()
    # what is damaged is replaced, as its message tells to
    path.write_bytes(refreshed[:-9])
    assert cache("ease", "blocks", 6).about.k == 6


def test_times_order_new_interactions(tmp_path):
    file = tmp_path / "later.jsonl"
    rows = [("b", "x", 30), ("a", "y", 10), ("b", "z", 20)]
    lines = [json.dumps({"user_id": u, "item_id": i, "timestamp": t}) for u, i, t in rows]
    file.write_text("\n".join(lines))
    found = read_new_interactions(file, "blocks", Params())
    assert found.rows() == [("a", "y"), ("b", "z"), ("b", "x")]
    file.write_text('{"user_id": "a"}')
    with pytest.raises(ValueError, match="item_id"):
        read_new_interactions(file, "blocks", Params())


def test_new_interactions_are_rated_as_those_of_the_data(tmp_path, capsys):
    file = tmp_path / "later.csv"
    rows = ["u,low,1.0,5", "u,changed,5.0,6", "u,high,4.0,8", "u,changed,2.0,9", "v,not,,3"]
    file.write_text("\n".join(["user_id,item_id,rating,timestamp", *rows]))

    def read(**values) -> list[tuple[str, str]]:
        prepare = {f"prepare.{key}": value for key, value in values.items()}
        return read_new_interactions(file, "blocks", Params().with_values(prepare)).rows()

    assert read() == [("v", "not"), ("u", "low"), ("u", "high"), ("u", "changed")]
    assert read(min_rating=4.0) == [("u", "high")]
    said = "later.csv: 3 of 4 interactions are left out, as they are rated below prepare.min_rating"
    assert said in capsys.readouterr().err
    assert read(min_rating=4.0, duplicates="first") == [("u", "changed"), ("u", "high")]
    assert read(min_rating=9.0) == []
    file.write_text("user_id,item_id\nu,high\n")
    capsys.readouterr()
    assert read(min_rating=4.0) == [("u", "high")]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_files_need_the_promised_columns_alone(form, tmp_path):
    file = tmp_path / f"later.{form}"

    def write(**columns):
        table = pl.DataFrame(columns)
        by_form = {"csv": "write_csv", "jsonl": "write_ndjson", "parquet": "write_parquet"}
        getattr(table, by_form[form])(file)

    write(user_id=["b", "a"], item_id=["x", "y"])
    assert read_new_interactions(file, "blocks", Params()).rows() == [("b", "x"), ("a", "y")]
    write(item_id=["n1", "n2"], title=["one", None])
    found = read_new_items(file, pl.Series(["x"]))
    assert found.rows() == [(0, "n1", "one", "", []), (1, "n2", "n2", "", [])]
    write(user_id=["b"], thing=["x"])
    own = Params(tables={"blocks": {"interactions": "none.csv"}})
    for params, fix in ((Params(), "rename it in the file"), (own, "set tables.blocks.item")):
        said = rf"has no column item_id.*; {fix}$"
        if form == "jsonl":
            said = "column item_id: is missing"
        with pytest.raises(ValueError, match=said):
            read_new_interactions(file, "blocks", params)


def test_a_store_of_another_model_is_not_used(shop):
    command("cache", "ease", "blocks")
    params = load_params().for_dataset("blocks").with_values({"settings.ease.l2": 3.0})
    train.main(params, "blocks", 0, "ease")
    found, said = command("recommend", "ease", "blocks", "--user", "u5", "-k", "6")
    assert "was made from another model" in said
    assert "make it again: `glta cache ease blocks`; computed without it" in said
    assert len(found) == 6
    assert {row["way"] for row in recommend("ease", "blocks", user="u5", k=6)} == {"live"}
