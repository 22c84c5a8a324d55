"""People told by their items alone, and items told by their text alone: as if they had been there
when the model was made.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from glta.data.histories import fold_in, history_matrix
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.validation import validation_ndcg
from glta.methods.cease.model import CEASE, weights_with_text
from glta.methods.hccf.model import HCCF
from glta.methods.shared.closed_form import zero_diagonal_map
from glta.methods.shared.head_rows import fit_rows
from glta.nn.graph.node_embeddings import NodeEmbeddings
from glta.params.model import Params
from glta.storage.arrays import load_arrays, save_arrays
from glta.testing.blocks import NUM_ITEMS, NUM_USERS, World

EVERYONE = np.arange(NUM_USERS)
NEW = [0, 7]


def fit(world: World, name: str, prepared: Prepared | None = None):
    return world.train(name, prepared=prepared)


def held_out(prepared: Prepared, test: Interactions) -> Prepared:
    """Take the items NEW out of everything but test."""

    def without(pairs: Interactions) -> Interactions:
        keep = ~np.isin(pairs.item, NEW)
        return Interactions(pairs.user[keep], pairs.item[keep], NUM_USERS, NUM_ITEMS)

    parts = {
        name: without(getattr(prepared, name)) for name in ("train", "valid", "graph", "target")
    }
    return replace(prepared, **parts, test=test)


def random_pairs() -> Interactions:
    """Random pairs of 30 users and 12 items; nobody has items 0 and 4."""
    present = np.random.default_rng(3).random((30, 12)) < 0.3
    present[:, [0, 4]] = False
    return Interactions.of(*np.nonzero(present), 30, 12)


RECENT = {f"settings.{name}.recency": 0.3 for name in ("item-knn", "ease", "cease")}
TEXT = np.random.default_rng(4).normal(size=(12, 5)).astype(np.float32)


@pytest.mark.parametrize("name", ["popularity", "text-knn", "item-knn", "ease", "cease"])
def test_closed_forms_know_users_by_their_items_exactly(world, name):
    model = fit(world, name)
    np.testing.assert_allclose(
        model.score_histories(history_matrix(world.prepared.train)),
        model.score(EVERYONE),
        atol=1e-5,
    )


@pytest.mark.parametrize("name", ["item-knn", "ease", "cease"])
def test_the_items_of_newcomers_are_weighed_by_their_age_as_those_of_known_users(world, name):
    model, prepared = world.train(name, RECENT), world.prepared
    known = model.score(EVERYONE)
    np.testing.assert_allclose(model.score_newcomers(prepared.sequences), known, atol=1e-6)
    unordered = model.score_histories(history_matrix(prepared.train))
    assert np.abs(unordered - known).max() > 0.1


@pytest.mark.parametrize("name", ["blend", "blend-cease", "blend-text-ridge"])
def test_a_blend_leaves_the_age_of_a_newcomers_items_to_its_components(world, name):
    model, prepared = world.train(name, RECENT), world.prepared
    alone = (1.0, 0.0, 0.0)  # the first component is the map; the vectors of LightGCN are estimates
    model = replace(model, mix=alone, new_mix=alone)
    np.testing.assert_allclose(
        model.score_newcomers(prepared.sequences), model.score(EVERYONE), atol=1e-5
    )


@pytest.mark.parametrize("name", ["lightgcn", "lightgcn-text-knn", "blend", "blend-cease"])
def test_users_are_nearly_as_well_served_by_their_items_alone(world, name):
    model, prepared = fit(world, name), world.prepared
    history = history_matrix(prepared.train)
    stored = validation_ndcg(prepared, model.score)
    alone = validation_ndcg(prepared, lambda users: model.score_histories(history[users]))
    assert 0.9 * stored < alone < 1.1 * stored


def test_received_messages_are_the_propagation_without_the_users_own_layer(prepared):
    rng = np.random.default_rng(0)
    model = NodeEmbeddings(
        np.zeros((NUM_USERS, 4), np.float32), rng.normal(size=(NUM_ITEMS, 4)).astype(np.float32), 3
    )
    received = fold_in(history_matrix(prepared.train), model.messages(prepared.train))
    np.testing.assert_allclose(received, model.propagated(prepared.train)[0], atol=1e-5)


def test_received_messages_make_up_for_the_users_own_layer(prepared):
    """What they miss of the users' embeddings is nothing that a linear map of them could add."""
    rng = np.random.default_rng(0)
    layers = (rng.normal(size=(size, 4)).astype(np.float32) for size in (NUM_USERS, NUM_ITEMS))
    model, history = NodeEmbeddings(*layers, 3), history_matrix(prepared.train)
    received = fold_in(history, model.messages(prepared.train))
    missed = (model.propagated(prepared.train)[0] - received)[prepared.train.user_degree > 0]
    assert np.abs(missed).max() > 0.01
    np.testing.assert_allclose(received[prepared.train.user_degree > 0].T @ missed, 0, atol=1e-4)


def test_methods_that_cannot_say_so(world):
    learnt = HCCF(np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32))
    with pytest.raises(
        ValueError, match="HCCF scores users that it was trained on: it cannot score a list"
    ):
        learnt.score_histories(history_matrix(world.prepared.train))
    with pytest.raises(ValueError, match="EASE needs interactions to score an item"):
        fit(world, "ease").extended(np.zeros((1, 8), np.float32))


def test_histories_of_another_catalogue_are_refused(world):
    with pytest.raises(ValueError, match="histories over 19 items: this model has 20"):
        fit(world, "ease").score_histories(history_matrix(world.prepared.train)[:, :19])


def test_the_column_of_one_new_item_is_that_of_the_joint_map():
    """With the item among regressors and targets alike; several new ones are each told by the known
    items alone.
    """
    pairs, l2, weight = random_pairs(), 3.0, 2.0
    weights, diagonal = weights_with_text(history_matrix(pairs), TEXT, l2, weight, 0.5)
    assert (diagonal[[0, 4]] == 0).all()
    assert (weights[[0, 4]] == 0).all()
    for new, other in ((0, 4), (4, 0)):
        kept = np.delete(np.arange(12), other)
        alone = history_matrix(pairs)[:, kept]
        count = np.maximum(history_matrix(pairs).sum(1), 1)
        scale = (count / count.mean()) ** -0.5
        gram = (alone.T @ (alone * scale[:, None])).toarray() + weight * TEXT[kept].astype(
            np.float64
        ) @ TEXT[kept].T
        joint, _ = zero_diagonal_map(np.asfortranarray(gram), l2)
        np.testing.assert_allclose(
            weights[kept, new], joint[:, kept.tolist().index(new)], atol=1e-5
        )


def test_a_column_left_out_is_the_map_without_the_items_users():
    pairs, l2, weight = random_pairs(), 3.0, 2.0
    weights, diagonal = weights_with_text(history_matrix(pairs), TEXT, l2, weight, 0.0)
    items = np.array([1, 9])
    found = CEASE(
        history_matrix(pairs), weights, 1.0, diagonal, TEXT, weight, 1.0
    ).columns_left_out(items)
    for place, item in enumerate(items):
        keep = pairs.item != item
        fewer = Interactions(pairs.user[keep], pairs.item[keep], 30, 12)
        np.testing.assert_allclose(
            found[:, place],
            weights_with_text(history_matrix(fewer), TEXT, l2, weight, 0.0)[0][:, item],
            atol=1e-5,
        )


@pytest.mark.parametrize("name", ["text-knn", "cease", "lightgcn-text-knn", "blend", "blend-cease"])
def test_an_extended_model_is_one_fitted_with_items_that_nobody_has(world, name, tmp_path):
    prepared = world.prepared
    more = np.random.default_rng(5).normal(size=(3, 8)).astype(np.float32)
    wide = World.write(tmp_path / "wide")
    arrays, _ = load_arrays(world.cell.step("profile") / "states.safetensors")
    save_arrays(
        wide.cell.step("profile") / "states.safetensors",
        arrays | {"item": np.concatenate([arrays["item"], more])},
    )
    items = wide.cell.step("profile") / "items.parquet"
    texts = pl.read_parquet(items)
    pl.concat([texts, texts.head(3).with_columns(pl.col("item") + NUM_ITEMS)]).write_parquet(items)
    arrays, meta = load_arrays(world.cell.step("pretrain-all") / "model.safetensors")
    arrays["item"] = np.concatenate([arrays["item"], np.ones((3, 4), np.float32)])
    save_arrays(wide.cell.step("pretrain-all") / "model.safetensors", arrays, meta)

    def wider(pairs: Interactions) -> Interactions:
        return Interactions(pairs.user, pairs.item, NUM_USERS, NUM_ITEMS + 3)

    parts = {
        part: wider(getattr(prepared, part))
        for part in ("train", "valid", "test", "graph", "target")
    }
    fitted, model = fit(wide, name, replace(prepared, **parts)), fit(world, name)
    if name == "blend-cease":  # every component counts
        shares = {"mix": (0.4, 0.3, 0.3), "new_mix": (0.5, 0.3, 0.2)}
        fitted, model = (replace(m, **shares) for m in (fitted, model))
    extended = model.extended(more)
    np.testing.assert_allclose(extended.score(EVERYONE), fitted.score(EVERYONE), atol=1e-4)
    np.testing.assert_allclose(
        extended.score(EVERYONE)[:, :NUM_ITEMS], model.score(EVERYONE), atol=1e-5
    )
    history = wider(prepared.train)
    np.testing.assert_allclose(
        extended.score_histories(history_matrix(history)),
        fitted.score_histories(history_matrix(history)),
        atol=1e-4,
    )


@pytest.mark.parametrize("name", ["text-knn", "cease", "lightgcn-text-knn", "blend", "blend-cease"])
def test_new_items_are_told_by_their_text(world, name):
    model = fit(world, name, held_out(world.prepared, world.prepared.test))
    scores = model.score(EVERYONE[:-1])
    for item in NEW:
        fans = EVERYONE[:-1] % 2 == item % 2
        assert scores[fans, item].min() > scores[~fans, item].max()


@pytest.mark.parametrize(
    "name",
    ["popularity", "text-knn", "ease", "cease", "lightgcn", "lightgcn-text-knn", "blend"],
)
def test_held_out_interactions_change_no_model(world, name, tmp_path):
    prepared = world.prepared
    tests = prepared.test, Interactions.of([3], [NEW[0]], NUM_USERS, NUM_ITEMS)
    for place, test in enumerate(tests):
        (tmp_path / str(place)).mkdir()
        fit(world, name, held_out(prepared, test)).save(tmp_path / str(place))
    first, second = ((tmp_path / place / "model.safetensors").read_bytes() for place in "01")
    assert first == second


def test_rows_that_follow_from_texts_are_found():
    rng = np.random.default_rng(0)
    text, slope = rng.normal(size=(60, 6)), rng.normal(size=(6, 5))
    row = 2 + text @ slope
    found = fit_rows(
        text[:50].astype(np.float32), row[:50, :4], row[:50, 4], rng.normal(size=(9, 4))
    )
    weight, bias = found.rows(text[50:])
    np.testing.assert_allclose(np.column_stack([weight, bias]), row[50:], rtol=0.02, atol=0.02)


def test_rows_without_a_link_to_texts_are_alike():
    """The penalty is chosen by what is left out: noise gives flat rows, whose spread the gain then
    makes up for.
    """
    rng = np.random.default_rng(0)
    text, row = rng.normal(size=(50, 40)), rng.normal(size=(50, 5))
    found = fit_rows(text.astype(np.float32), row[:, :4], row[:, 4], rng.normal(size=(9, 4)))
    assert np.isfinite(found.slope).all()
    np.testing.assert_allclose(found.centre, row.mean(0), atol=1e-5)


def test_lists_among_new_items_alone(world, monkeypatch):
    from glta.testing.blocks import write_prepared
    from pipeline.stages import evaluate as evaluate_stage
    from pipeline.stages import recommend as recommend_stage
    from pipeline.stages import train as train_stage

    prepared = world.prepared
    user, item = (array.ravel() for array in np.meshgrid(np.arange(NUM_USERS - 1), NEW))
    own = user % 2 == item % 2
    cold = held_out(prepared, Interactions.of(user[own], item[own], NUM_USERS, NUM_ITEMS))
    root = world.data / "cold" / "0"
    write_prepared(cold, root / "prepare")
    for stage in ("profile", "pretrain-all"):
        (root / stage).symlink_to(world.data / "blocks" / "0" / stage)
    components = ("ease", "cease", "lightgcn", "text-knn")
    monkeypatch.setattr("glta.storage.cell.DATA", world.data)
    for component in components:
        train_stage.main(Params(), "cold", 0, component)
    for method in ("blend-cease", "popularity"):
        for stage in (train_stage, recommend_stage, evaluate_stage):
            stage.main(Params(), "cold", 0, method)
        lists = pl.read_parquet(root / "recommend" / method / "new.parquet")
        assert set(lists["item"]) == set(NEW)
        assert lists.height == 2 * (NUM_USERS - 1)
    metrics, users = (
        world.data / "evaluate/cold/0/blend-cease" / name
        for name in ("metrics.json", "users.parquet")
    )
    from glta.storage.files import read_json

    found, frame = read_json(metrics), pl.read_parquet(users)
    assert found["among_new/ndcg@5"] == frame["among_new/ndcg@5"].mean() == 1
    assert frame["new_items/recall@20"].mean() == pytest.approx(found["new_items/recall@20"])
    assert read_json(users.parent / "summary.json")["groups"]["new_items"] == {
        "items": 2,
        "pairs": own.sum(),
    }
    assert read_json(world.data / "evaluate/cold/0/popularity/metrics.json")["among_new/ndcg@5"] < 1


def test_profile_words_hold_no_states_of_new_items():
    """A user's words come of training items: those of an item in test alone are in nobody's."""
    from glta.features.text.extractive import extract, item_terms

    texts = pl.DataFrame(
        {"item": [0, 1, 2], "text": ["roses garden", "robots space", "comets telescopes"]}
    )
    found = extract(
        item_terms(texts), Interactions.of([0, 1], [0, 1], 2, 3), num_tags=6, num_interests=6
    )
    said = {word for column in ("tags", "interests") for words in found[column] for word in words}
    assert said == {"roses", "garden", "robots", "space"}
    assert not said & {"comets", "telescopes"}
