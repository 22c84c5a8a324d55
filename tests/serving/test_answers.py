"""Which way a running program answers: the store, the model, or what is popular."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.data.made_from import note_data
from glta.evaluation.ranking import rank_all
from glta.methods.base import Recommender
from glta.methods.hccf.model import HCCF
from glta.methods.shared.stored_lists import write_store
from glta.serving.answers import Answers, usable_store
from glta.serving.refresh import refresh
from glta.serving.served_model import ServedModel
from glta.testing.blocks import LONER, NUM_ITEMS, World, block_embeddings, block_states

K = 6
LONELY = f"u{LONER}"


def answers(world: World, method: str, model: Recommender) -> Answers:
    """Save a model and its store where the stages have them."""
    files = world.cell.model(method)
    files.mkdir(parents=True)
    model.save(files)
    note_data(files, world.prepared.digest)
    names = {"method": method, "dataset": "blocks", "seed": 0}
    write_store(model, world.prepared, world.cell.store(method), K, model=files, **names)
    return Answers.open(method, "blocks")


@pytest.fixture(autouse=True)
def data(world, monkeypatch):
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)


@pytest.fixture
def ease(world) -> Recommender:
    return world.train("ease")


def test_a_user_with_a_row_is_looked_up_and_no_model_is_loaded(world, ease, monkeypatch):
    service = answers(world, "ease", ease)
    monkeypatch.setattr(ServedModel, "model", property(lambda _: pytest.fail("was loaded")))
    items, scores = ease.recommend(np.array([3]), K, world.prepared.seen)
    names = [f"i{item}" for item in items[0]]
    assert service.recommend("u3", k=4) == ("store", names[:4], scores[0][:4].tolist())
    # the newest items of the user are not shown, though the row is older
    given = names[1::2]
    found = service.recommend("u3", given, k=3)
    assert found == ("store", names[::2], scores[0][::2].tolist())


@pytest.mark.parametrize("user", ["stranger", None])
def test_a_user_without_a_row_is_scored_by_their_items(world, ease, user):
    service = answers(world, "ease", ease)
    history = Interactions.of([0, 0], [0, 4], 1, NUM_ITEMS)
    items, scores = rank_all(
        lambda _: ease.score_histories(history_matrix(history)),
        np.array([0]),
        k=5,
        exclude=history,
    )
    found = service.recommend(user, ["i4", "i0"], k=5)
    assert (found.way, found.items) == ("live", [f"i{item}" for item in items[0]])
    np.testing.assert_allclose(found.scores, scores[0], rtol=1e-6)


def test_a_row_of_popular_items_gives_way_to_the_given_ones(world, ease):
    """Else the list would not be made from the items that are told as its reasons."""
    service = answers(world, "ease", ease)
    row = service.recommend(LONELY, k=3)
    assert row.way == "store"
    assert service.reasons(LONELY, [], row.items) == [[], [], []]
    found = service.recommend(LONELY, ["i2", "i4"], k=3)
    assert found == service.recommend("stranger", ["i2", "i4"], k=3)
    assert found.way == "live"
    assert all(service.reasons(LONELY, ["i2", "i4"], found.items))
    # a row that was made from other items stays, as does one of a method that cannot fold in
    assert service.recommend("u3", ["i2"], k=3).way == "store"
    learnt = answers(world, "hccf", HCCF(**block_embeddings()))
    assert learnt.recommend(LONELY, ["i2"], k=3).way == "store"


def test_a_user_without_a_scored_pair_gets_no_reasons(world, ease):
    """The histories of test time may have a validation item of a user without training items."""
    train = world.prepared.train
    keep = train.user != 4
    kept = Interactions(train.user[keep], train.item[keep], train.num_users, train.num_items)
    service = answers(world, "ease", ease)
    service = Answers(service.served, histories="seen")
    service.served.__dict__["prepared"] = replace(world.prepared, train=kept)
    found = service.recommend("u4", k=3)
    assert found.way == "popularity"
    assert service.reasons("u4", [], found.items) == [[], [], []]


def test_a_method_of_order_takes_the_last_item_for_the_newest(world):
    model = world.train("transitions")
    service = answers(world, "transitions", model)
    # an item that is named twice counts at its newest place
    for items in (["i8", "i0"], ["i0", "i8"], ["i8", "i0", "i8"]):
        follows = model.follows.toarray()[int(items[-1][1:])]
        follows[[0, 8]] = -1
        found = service.recommend("stranger", items, k=1)
        assert (found.way, found.items) == ("live", [f"i{follows.argmax()}"])


def test_a_blend_scores_a_new_user_as_a_known_one_with_the_same_items_in_order(world):
    recent = {"settings.ease.recency": 0.3, "settings.blend.components": ["ease", "text-knn"]}
    service = answers(world, "blend", world.train("blend", recent))
    own = [f"i{item}" for item in world.prepared.sequences.of_user(5).item]
    rest = [f"i{item}" for item in world.prepared.valid.items_of(5)]
    known = service.compute("u5", k=K)
    found = service.compute("stranger", own, k=K, without=rest)
    assert (found.way, found.items) == ("live", known.items)
    np.testing.assert_allclose(found.scores, known.scores, atol=1e-5)
    assert service.reasons("stranger", own, found.items) == service.reasons("u5", [], known.items)


@pytest.mark.parametrize(("method", "items"), [("ease", []), ("hccf", []), ("hccf", ["i2", "i4"])])
def test_all_others_get_what_is_popular_in_training(world, ease, method, items):
    model = ease if method == "ease" else HCCF(**block_embeddings())
    degree = world.prepared.train.item_degree
    order = np.lexsort((np.arange(NUM_ITEMS), -degree))
    expected = [item for item in order if f"i{item}" not in items][:K]
    found = answers(world, method, model).recommend("stranger", items, k=K)
    assert found.way == "popularity"
    assert found.items == [f"i{item}" for item in expected]
    assert found.scores == [degree[item] for item in expected]


def test_a_list_that_is_longer_than_the_row_is_computed(world, ease):
    service = answers(world, "ease", ease)
    items, scores = ease.recommend(np.array([3]), K + 3, world.prepared.seen)
    found = service.recommend("u3", k=K + 3)
    assert (found.way, found.items) == ("live", [f"i{item}" for item in items[0]])
    np.testing.assert_allclose(found.scores, scores[0], rtol=1e-6)
    assert service.recommend("u3", k=K).way == "store"
    assert len(service.recommend("stranger", k=NUM_ITEMS).items) == NUM_ITEMS


def test_beside_new_items_users_keep_what_refreshes_added(world):
    """Their pairs are in the store alone, whose lists do not have the new items."""
    service = answers(world, "cease", world.train("cease"))
    later = [("u0", "i1"), ("fresh", "i3"), ("fresh", "i5")]
    refresh(
        world.cell.store("cease"),
        service.served.model,
        world.prepared,
        pl.DataFrame(later, ["user_id", "item_id"], orient="row"),
        model=service.served.folder,
        capabilities=service.served.capabilities,
    )
    service = Answers.open("cease", "blocks")
    new = pl.DataFrame({"item_id": ["n1"], "title": ["robot laser"]})
    wider = service.with_new_items(new, block_states(1))
    assert wider.knows("fresh") and not wider.knows("stranger")
    for user in ("u0", "fresh"):
        before = service.recommend(user, k=NUM_ITEMS)
        found = wider.recommend(user, k=NUM_ITEMS + 1)
        assert (before.way, found.way) == ("live", "live")
        assert [item for item in found.items if item != "n1"] == before.items
        assert "n1" in found.items
        assert not {item for name, item in later if name == user} & {*found.items}
    assert "i3" in wider.reasons("fresh", [], ["i7"])[0]


def test_a_look_up_imports_no_torch():
    """Its import takes longer than all else that `glta recommend` does for a user with a row."""
    modules = "glta.serving.answers, glta.serving.recommend"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mistakes_are_one_line(world, ease):
    service = answers(world, "ease", ease)
    with pytest.raises(ValueError, match="item i111: unknown id; nearest is i11"):
        service.recommend("stranger", ["i0", "i111"], k=3)
    for user, items in (("u3", []), ("stranger", ["i0"]), ("stranger", [])):
        with pytest.raises(ValueError, match="k = 0: must be at least 1"):
            service.recommend(user, items, k=0)
    with pytest.raises(FileNotFoundError, match="snakemake"):
        Answers.open("slim", "blocks")
    with pytest.raises(ValueError, match="eas: unknown method; nearest is ease"):
        Answers.open("eas", "blocks")


def test_a_store_that_does_not_fit_is_refused_or_left_alone(world, ease, capsys):
    answers(world, "ease", ease)
    served = ServedModel.of("ease", "blocks", 0)
    assert usable_store(served)
    world.train("ease", {"settings.ease.l2": 3.0}).save(served.folder)
    said = "was made from another model than the one in .*; make it again: `glta cache ease blocks`"
    with pytest.raises(ValueError, match=said):
        Answers.open("ease", "blocks")
    assert usable_store(served) is None
    assert "was made from another model" in capsys.readouterr().err
    shutil.rmtree(served.cell.store("ease"))
    assert usable_store(served) is None
    assert capsys.readouterr().err == ""


def test_a_step_may_write_the_store_into_the_folder_of_the_model(world, ease):
    place = answers(world, "ease", ease).store.path
    served = ServedModel.of("ease", "blocks", 0)
    place.rename(served.folder / place.name)
    place.parent.rmdir()
    assert Answers.open("ease", "blocks").recommend("u3", k=2).way == "store"
    ease.save(served.folder)
    assert usable_store(served)
