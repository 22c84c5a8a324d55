"""A bundle answers as the project does, from its folder alone, or says what is wrong with it."""

import json
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.data.made_from import note_data
from glta.data.prepared import Prepared
from glta.features.text.item_texts import item_texts
from glta.methods.chain import REFIT
from glta.methods.hccf.model import HCCF
from glta.nn.language.frozen import load_language
from glta.nn.language.settings import LanguageSettings
from glta.params.model import Params
from glta.serving.batch import recommend_to_file
from glta.serving.bundle import ABOUT, load
from glta.serving.cached_lists import cache
from glta.serving.recommend import recommend
from glta.storage.files import full_disk, sha256_of, write_json
from glta.testing.blocks import (
    LONER,
    NUM_ITEMS,
    World,
    block_embeddings,
    block_prepared,
    block_profiles,
)
from pipeline.stages.recommend import make_lists
from tests.serving.bundles import Shop
from tests.tiny import write_encoder

K = 6


@pytest.fixture
def shop(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    return Shop.open(world, tmp_path)


@pytest.fixture
def ease(shop):
    return shop.train("ease")


def listed(table: pl.DataFrame) -> dict[str, tuple[list[str], list[float]]]:
    """Return the lists of a stage by user id."""
    found = {}
    for (user,), rows in table.sort("user", "rank").group_by("user", maintain_order=True):
        items = [f"i{item}" for item in rows["item"]]
        found[f"u{user}"] = (items, rows["score"].to_list())
    return found


def test_lists_equal_those_of_the_stage_to_the_last_bit(shop, tmp_path):
    expected = {}
    for method in ("ease", "lightgcn", "transitions"):
        model = shop.train(method)
        shop.export(method, tmp_path / "boxes" / method)
        lists = make_lists(model, shop.world.prepared, k=K, seen_at_test=False)
        expected[method] = listed(lists.test)
        assert len(expected[method]) == LONER
    # a process that has neither params.yaml nor data/
    code = f"""
import json, sys
from glta.serving.bundle import load
for method, users in json.load(sys.stdin).items():
    found = load({str(tmp_path)!r} + "/boxes/" + method).lists(users, {K})
    print(json.dumps([(one.way, one.items, one.scores) for one in found]))
"""
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "empty",
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        input=json.dumps({method: [*lists] for method, lists in expected.items()}),
        check=True,
        capture_output=True,
        text=True,
    )
    for line, lists in zip(done.stdout.splitlines(), expected.values(), strict=True):
        found = json.loads(line)
        assert [(items, scores) for _, items, scores in found] == [*lists.values()]
        assert {way for way, *_ in found} == {"live"}
    assert [*(tmp_path / "empty").iterdir()] == []


def test_a_refit_and_histories_of_test_time_are_those_of_the_stage(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    shop = Shop.open(world, tmp_path, {"recommend": {"test_history": "seen", "refit": True}})
    first, second = world.refit("transitions")
    shop.save("transitions", first)
    (world.cell.model("transitions") / REFIT).mkdir()
    second.save(world.cell.model("transitions") / REFIT)
    note_data(world.cell.model("transitions") / REFIT, world.prepared.digest)
    lists = make_lists(first, world.prepared, k=K, seen_at_test=True, refitted=second)
    expected = listed(lists.test)
    bundle = load(shop.export("transitions"))
    assert bundle.about.fitted == bundle.served.fitted == "seen"
    assert [(one.items, one.scores) for one in bundle.lists([*expected], K)] == [*expected.values()]
    assert [(one.items, one.scores) for one in bundle.lists([*expected], K)] != [
        *listed(lists.valid).values()
    ]


def test_test_pairs_are_left_out_unless_they_are_wanted(shop, ease):
    test = shop.world.prepared.test
    shown = f"i{test.items_of(4)[0]}"
    bundle = load(shop.export("ease"))
    assert len(bundle.served.prepared.test) == 0
    assert shown in bundle.recommend("u4", k=NUM_ITEMS).items
    everything = load(shop.export("ease", with_test=True))
    assert shown not in everything.recommend("u4", k=NUM_ITEMS).items
    assert len(everything.served.prepared.test) == len(test)


def with_test_pairs_alone(user: int) -> Prepared:
    """Return the small dataset, in which a user has four test pairs and no others."""
    whole = block_prepared()

    def without(pairs: Interactions) -> Interactions:
        keep = pairs.user != user
        return Interactions(pairs.user[keep], pairs.item[keep], pairs.num_users, pairs.num_items)

    own = Interactions.of(np.full(4, user), whole.train.items_of(user)[:4], 24, NUM_ITEMS)
    names = ("train", "valid", "graph", "target")
    parts = {name: without(getattr(whole, name)) for name in names}
    return replace(whole, **parts, test=without(whole.test).union(own))


@pytest.mark.parametrize("method", ["ease", "transitions", "text-knn"])
def test_a_user_with_test_pairs_alone_gets_one_list_in_every_way(tmp_path, monkeypatch, method):
    monkeypatch.chdir(tmp_path)
    world = World.write(tmp_path, with_test_pairs_alone(21))
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    shop = Shop.open(world, tmp_path)
    shop.train(method)
    # a method that reads items in order scores by test pairs, where they count as the user's
    way = "popularity" if method == "text-knn" else "live"
    box = load(shop.export(method, with_test=True))
    expected = box.recommend("u21", k=K)
    assert expected.way == way
    assert (box.lists(["u4", "u21"], K)[1].way, box.lists(["u21"], K)[0].items) == (
        way,
        expected.items,
    )
    assert box.lists(["u21"], 3, without=expected.items[:2])[0].items == expected.items[2:5]
    assert cache(method, "blocks", K, with_test=True).lookup("u21").items == expected.items
    found = recommend(method, "blocks", user="u21", k=K)
    assert [row["item_id"] for row in found] == expected.items
    assert {row["way"] for row in found} == {"store"}
    shutil.rmtree(world.cell.store(method))
    found = recommend(method, "blocks", user="u21", k=K)
    assert [row["item_id"] for row in found] == expected.items
    assert {row["way"] for row in found} == {way}
    measured = load(shop.export(method, tmp_path / "measured"))
    assert measured.recommend("u21", k=K) == measured.lists(["u21"], K)[0]
    assert measured.recommend("u21", k=K).way == "popularity"


def test_equal_models_give_equal_bytes(shop, ease, tmp_path):
    one, two = (shop.export("ease", tmp_path / name) for name in ("one", "two"))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {".safetensors", ".json", ".parquet", ".md"}
    for name in files:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_it_knows_what_it_was_made_of(shop, ease):
    evaluated = shop.world.cell.evaluated("ease")
    write_json(evaluated / "summary.json", {"prepared": shop.world.prepared.digest})
    write_json(
        evaluated / "metrics.json",
        {"ndcg@20": 0.25, "valid/ndcg@20": 0.125, "ndcg@5": 0.5, "cold_users/ndcg@20": 0.75},
    )
    folder = shop.export("ease", commit="c0ffee")
    about = load(folder).about
    assert (about.method, about.dataset, about.seed, about.commit) == (
        "ease",
        "blocks",
        0,
        "c0ffee",
    )
    assert about.files["README.md"] == sha256_of(folder / "README.md")
    card = (folder / "README.md").read_text()
    assert card.startswith("# EASE, trained on blocks\n")
    for words in (
        "| NDCG@5 | 0.5000 |  |\n| NDCG@20 | 0.2500 | 0.1250 |",
        "Embarrassingly Shallow",
        "pairs.csv: sha256 1111",
        "c0ffee",
        "new users, by a list of items",
    ):
        assert words in card
    assert "0.7500" not in card
    said = (folder / "NOTICES.md").read_text()
    assert {*said.splitlines()} >= SOURCE_WORDS


SOURCE_WORDS = {
    "- Licence: CC0 1.0: made for tests",
    "- Please cite: Nobody, A dataset, 2020",
    "- Homepage: https://example.org/blocks",
}


def test_every_damaged_file_is_named(shop, ease, tmp_path):
    shop.store("ease", ease)
    folder = shop.export("ease")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(files) == 12
    for name in files:
        for damage in ("gone", "half", "bit"):
            copy = tmp_path / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
            whole = (copy / name).read_bytes()
            if damage == "gone":
                (copy / name).unlink()
            elif damage == "half":
                (copy / name).write_bytes(whole[: len(whole) // 2])
            else:
                middle = len(whole) // 2
                (copy / name).write_bytes(
                    whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
                )
            with pytest.raises(ValueError, match=f"{name}.*; copy the bundle again, or export"):
                load(copy)


def test_another_version_a_stranger_and_no_folder_are_refused(shop, ease, tmp_path):
    folder = shop.export("ease")
    (folder / "model.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.pkl: is no part of the bundle; take it out$"):
        load(folder)
    (folder / "model.pkl").unlink()
    whole = json.loads((folder / ABOUT).read_text())
    write_json(folder / ABOUT, whole | {"schema": 2})
    with pytest.raises(ValueError, match=r"bundle\.json: has schema 2, this version of glta reads"):
        load(folder)
    about = whole["about"]
    for name in ("../outside.json", "/etc/hostname", "a/../../b"):
        files = about["files"] | {name: "0" * 64}
        write_json(folder / ABOUT, whole | {"about": about | {"files": files}})
        with pytest.raises(ValueError, match=r"bundle\.json: is damaged"):
            load(folder)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"bundle\.json: no such file: the folder is no bundle"):
        load(tmp_path)


def test_an_export_replaces_a_bundle_alone(shop, ease, tmp_path, monkeypatch):
    place = shop.export("ease", tmp_path / "box")
    assert shop.export("ease", place) == place
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="is there already, and is no bundle"):
        shop.export("ease", mine)
    assert (mine / "thesis.tex").read_text() == "all of it"
    # an export that fails leaves what was there
    monkeypatch.setattr("glta.serving.export.notices", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shop.export("ease", place)
    assert load(place).recommend("u3", k=2).items
    assert {path.name for path in tmp_path.iterdir() if "partial" in path.name} == set()


@contextmanager
def largest_file(size: int):
    """Let no file grow beyond a size in bytes, as on a disk that gets full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_bundle_or_none(shop, ease, tmp_path):
    shop.store("ease", ease)
    whole = shop.export("ease", tmp_path / "whole")
    sizes = {path.stat().st_size for path in whole.rglob("*") if path.is_file()}
    assert len(sizes) > 8
    for place in (tmp_path / "new", shop.export("ease", tmp_path / "old", with_test=True)):
        before = load(place).about.digest if place.exists() else None
        for size in sorted(sizes):
            with largest_file(size - 1), pytest.raises(OSError) as error:
                shop.export("ease", place)
            assert full_disk(error.value).startswith("the disk is full, or a limit is reached (")
            assert (load(place).about.digest if place.exists() else None) == before
            assert not list(tmp_path.glob(".*"))
        assert load(shop.export("ease", place)).about.digest == load(whole).about.digest


def test_files_that_can_run_a_program_are_not_exported(shop, ease):
    (shop.world.cell.model("ease") / "weights.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"weights\.pt: a bundle may have \.safetensors, \.json"):
        shop.export("ease")


def test_the_store_answers_first_and_the_model_where_the_row_ends(shop, ease, monkeypatch):
    shop.store("ease", ease, k=4)
    bundle = load(shop.export("ease"))
    items, scores = ease.recommend(np.array([3]), 9, shop.world.prepared.seen)
    names = [f"i{item}" for item in items[0]]
    assert bundle.recommend("u3", k=4) == ("store", names[:4], scores[0, :4].tolist())
    longer = bundle.recommend("u3", k=9)
    assert (longer.way, longer.items) == ("live", names)
    some = bundle.recommend("u3", k=2, without=names[:2])
    assert (some.way, some.items) == ("store", names[2:4])
    rest = bundle.recommend("u3", k=3, without=names[:2])
    assert (rest.way, rest.items) == ("live", names[2:5])
    chosen = bundle.recommend("u3", k=2, only=[names[8], names[5]])
    assert (chosen.way, chosen.items) == ("live", [names[5], names[8]])
    assert bundle.recommend("u3", k=2, only=[]).items == []
    # several users at once, one of whom has no history
    two = ["u3", f"u{LONER}"]
    for only in ([names[8], names[5], "i0"], [names[1]], []):
        for user, found in zip(two, bundle.lists(two, 2, only=only), strict=True):
            expected = bundle.compute(user, k=2, only=only)
            assert (found.way, found.items) == (expected.way, expected.items)


def test_a_store_of_other_pairs_is_left_out(shop, ease):
    shop.store("ease", ease)
    assert load(shop.export("ease")).store
    assert load(shop.export("ease", with_test=True)).store is None


@pytest.mark.parametrize("method", ["ease", "lightgcn"])
def test_a_list_of_items_is_scored(shop, method):
    model = shop.train(method)
    bundle = load(shop.export(method))
    found = bundle.recommend(None, ["i4", "i0"], k=5, without=["i2"])
    assert found.way == "live"
    # the even items are one block
    assert all(int(item[1:]) % 2 == 0 for item in found.items)
    assert not {*found.items} & {"i0", "i2", "i4"}
    if method == "ease":
        history = Interactions.of([0, 0], [0, 4], 1, NUM_ITEMS)
        score = model.score_histories(history_matrix(history))[0]
        score[[0, 2, 4]] = -np.inf
        np.testing.assert_allclose(found.scores, -np.sort(-score)[:5], rtol=1e-6)
    assert bundle.similar("i4", 3) == bundle.recommend(None, ["i4"], 3)


def test_a_method_without_fold_in_says_so_or_shows_what_is_popular(shop):
    shop.save("hccf", HCCF(**block_embeddings()))
    bundle = load(shop.export("hccf"))
    assert bundle.recommend("u3", k=2).way == "live"
    assert bundle.recommend("u3", ["i5"], k=2).way == "live"
    assert bundle.recommend(None, ["i5"], k=2).way == "popularity"
    assert bundle.recommend(f"u{LONER}", k=2) == bundle.recommend(None, k=2)
    assert bundle.reasons("u3", [], ["i1"]) == [[]]
    with pytest.raises(ValueError, match="hccf cannot score a list of items"):
        bundle.similar("i4")


def test_the_reason_is_the_item_without_which_the_score_falls_most(shop, ease):
    bundle = load(shop.export("ease"))
    own = ["i1", "i4", "i0", "i6"]
    found = bundle.recommend(None, own, k=3)
    because = bundle.reasons(None, own, found.items, most=2)

    def score(items: list[int], of: str) -> float:
        pairs = Interactions.of(np.zeros(len(items)), items, 1, NUM_ITEMS)
        return ease.score_histories(history_matrix(pairs))[0, int(of[1:])]

    for item, reasons in zip(found.items, because, strict=True):
        has = [0, 1, 4, 6]
        whole = score(has, item)
        fall = {f"i{n}": whole - score([m for m in has if m != n], item) for n in has}
        assert reasons == [i for i in sorted(fall, key=fall.get, reverse=True) if fall[i] > 0][:2]
        # the item of the other block speaks for none of these
        assert reasons and "i1" not in reasons
    assert bundle.reasons(None, ["i4"], found.items) == [["i4"]] * 3
    # those of a user of the data are their own items
    own = {f"i{item}" for item in shop.world.prepared.train.items_of(3)}
    [reasons] = bundle.reasons("u3", [], bundle.recommend("u3", k=1).items)
    assert len(reasons) == 3
    assert {*reasons} <= own


def test_new_items_are_recommended_by_their_texts(shop, tmp_path):
    encoder = write_encoder(tmp_path / "tiny")
    settings = LanguageSettings(model=str(encoder))
    language = load_language(settings)
    texts = item_texts(shop.world.prepared.items, Params().profile)["text"].to_list()
    about = {"language": {"model": language.name, "sha256": language.sha256}}
    profiles = replace(block_profiles(), item_states=language.encode(texts), about=about)
    profiles.save(shop.world.cell.step("profile"))
    shop = Shop.open(shop.world, tmp_path, {"language": settings.model_dump()})
    shop.train("text-knn")
    bundle = load(shop.export("text-knn"))
    # one item has the words of item 6, and the other one has none
    titles = ["garden roses soil number6", None]
    kinds = [["Outdoors"], None]
    new = pl.DataFrame({"item_id": ["fresh", "other"], "title": titles, "categories": kinds})
    answers = bundle.accept(new)
    found = answers.recommend(None, ["i0", "i2"], k=NUM_ITEMS + 2)
    assert {"fresh", "other"} <= {*found.items}
    score = dict(zip(found.items, found.scores, strict=True))
    assert score["fresh"] == pytest.approx(score["i6"], abs=1e-5)
    assert score["other"] != pytest.approx(score["i6"], abs=1e-3)
    assert answers.titles(["fresh"]) == titles[:1]
    assert "fresh" in answers.recommend("u4", k=NUM_ITEMS).items
    before = bundle.recommend(None, ["i0", "i2"], k=NUM_ITEMS)
    assert [item for item in found.items if item not in ("fresh", "other")] == before.items
    with pytest.raises(ValueError, match="item i3 is not new"):
        bundle.accept(new.with_columns(item_id=pl.Series(["i3", "n"])))
    moved = encoder.rename(tmp_path / "moved")
    assert bundle.accept(new, language=str(moved)).recommend(None, ["i0"], k=1).items
    with pytest.raises(ValueError, match="was made with a language model of sha256"):
        bundle.accept(new, language="all-MiniLM-L6-v2")


def test_a_method_of_interactions_takes_no_new_items(shop, ease):
    new = pl.DataFrame({"item_id": ["n"]})
    with pytest.raises(ValueError, match="ease needs interactions to score an item"):
        load(shop.export("ease")).accept(new)


@pytest.fixture
def crowd(tmp_path) -> Path:
    file = tmp_path / "users.parquet"
    users = ["u3", "stranger", "u0", "nobody", f"u{LONER}", "u5", "u6"]
    given = [None, ["i0", "i2"], [], None, None, ["i1"], None]
    kind = {"user_id": pl.String, "items": pl.List(pl.String)}
    pl.DataFrame({"user_id": users, "items": given}, schema=kind).write_parquet(file)
    return file


def test_a_batch_has_the_lists_of_its_users_and_goes_on(shop, ease, crowd, tmp_path, monkeypatch):
    bundle = load(shop.export("ease"))
    out = tmp_path / "lists.parquet"
    assert recommend_to_file(bundle, crowd, out, 4, without=["i8"], block=2) == 7
    table = pl.read_parquet(out)
    for row in pl.read_parquet(crowd).iter_rows(named=True):
        found = table.filter(user_id=row["user_id"])
        expected = bundle.compute(row["user_id"], row["items"] or (), 4, without=["i8"])
        assert found["item_id"].to_list() == expected.items
        assert found["rank"].to_list() == [1, 2, 3, 4]
        assert {*found["way"]} == {expected.way}
        np.testing.assert_allclose(found["score"], expected.scores, rtol=1e-5)
    assert table["user_id"].unique(maintain_order=True).to_list() == [
        "u3", "stranger", "u0", "nobody", f"u{LONER}", "u5", "u6",
    ]  # fmt: skip
    whole = out.read_bytes()
    # an interruption after two blocks; the next call computes the others alone
    out.unlink()
    done = []
    stop_at = 2
    compute = type(bundle).lists

    def counted(self, users, *args, **options):
        if len(done) == stop_at:
            raise KeyboardInterrupt
        done.append(users)
        return compute(self, users, *args, **options)

    monkeypatch.setattr(type(bundle), "lists", counted)
    with pytest.raises(KeyboardInterrupt):
        recommend_to_file(bundle, crowd, out, 4, without=["i8"], block=2)
    assert not out.exists()
    stop_at = 99
    recommend_to_file(bundle, crowd, out, 4, without=["i8"], block=2)
    assert len(done) == 4
    assert out.read_bytes() == whole
    assert not list(tmp_path.glob("*.parts"))


def test_a_full_disk_keeps_the_blocks_that_are_written(shop, ease, crowd, tmp_path):
    bundle = load(shop.export("ease"))
    expected, out = tmp_path / "expected.parquet", tmp_path / "lists.parquet"
    recommend_to_file(bundle, crowd, expected, 4, block=2)
    size = expected.stat().st_size
    # the last size has room for every block, and none for the whole
    for room in (0, size // 3, size - 1):
        with largest_file(room), pytest.raises(OSError) as error:
            recommend_to_file(bundle, crowd, out, 4, block=2)
        assert full_disk(error.value)
        assert not out.exists()
        assert not list(tmp_path.rglob(".*"))
    parts = tmp_path / "lists.parquet.parts"
    assert len([*parts.glob("*.parquet")]) == 4
    recommend_to_file(bundle, crowd, out, 4, block=2)
    assert out.read_bytes() == expected.read_bytes()
    assert not parts.exists()


def test_blocks_of_another_job_are_not_used(shop, ease, crowd, tmp_path, monkeypatch):
    bundle = load(shop.export("ease"))
    out = tmp_path / "lists.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(
            "glta.serving.batch.write_table", lambda *_: (_ for _ in ()).throw(OSError("full"))
        )
        with pytest.raises(OSError, match="full"):
            recommend_to_file(bundle, crowd, out, 4)
    part = out.with_name("lists.parquet.parts") / f"{0:012}.parquet"
    pl.DataFrame({"stale": [1]}).write_parquet(part)
    recommend_to_file(bundle, crowd, out, 3)
    assert pl.read_parquet(out)["rank"].max() == 3
    mine = tmp_path / "lists.parquet.parts"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is no folder of `glta bundle batch`"):
        recommend_to_file(bundle, crowd, out, 3)
    assert (mine / "notes.txt").exists()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"user": ["u1"]}, "needs a column user_id of text"),
        ({"user_id": [1]}, "needs a column user_id of text"),
        ({"user_id": ["u1", None]}, "user_id must not be null"),
        ({"user_id": ["u1"], "items": ["i1"]}, "must hold lists of text, not String"),
        ({"user_id": ["u1"], "items": [["i99"]]}, "item i99: unknown id"),
    ],
)
def test_a_wrong_file_of_users_is_one_error(shop, ease, tmp_path, columns, said):
    file = tmp_path / "users.parquet"
    pl.DataFrame(columns).write_parquet(file)
    bundle = load(shop.export("ease"))
    with pytest.raises(ValueError, match=said):
        recommend_to_file(bundle, file, tmp_path / "out.parquet")
