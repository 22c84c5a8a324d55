"""GLTA as a served method: the contract, its three ways to make lists, and what is kept on disk."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.evaluation.ranking import rank_all
from glta.evaluation.validation import validation_ndcg
from glta.features.settings import ProfileSettings
from glta.features.text.extractive import item_terms
from glta.features.text.item_texts import item_texts
from glta.methods.glta.item_alignment import new_aligner, reorder_prompts
from glta.methods.glta.model import GLTA, load_aligner, save_aligner
from glta.methods.glta.newcomers import Newcomers
from glta.methods.glta.nodes import load_messages
from glta.methods.glta.prompts import ITEM, READ_OUT, Prompt, Templates
from glta.nn.language import frozen
from glta.nn.language.settings import LanguageSettings
from glta.params.model import Params
from tests.conftest import LONER, NUM_ITEMS, NUM_USERS, block_states
from tests.contracts import MethodContract
from tests.methods.glta.small import ITEMS, USERS, Small, write_pretrained
from tests.tiny import WRITERS

ONE_EPOCH = {"epochs": 1}


def build(model, folder, prepared, **shared) -> GLTA:
    """Train both stages and write the folder of the stage `align_users`."""
    items, users = ITEMS.model_copy(update=ONE_EPOCH), USERS.model_copy(update=ONE_EPOCH)
    run = Small.make(model, write_pretrained(folder / "pretrain"), prepared, items, users, **shared)
    aligner, _ = run.stage_2()
    states, _ = run.stage_3(aligner)
    with torch.inference_mode():
        weight, bias = aligner.head.factors(aligner.item_projector(run.nodes.serving.item))
    out = folder / "model"
    out.mkdir()
    made = GLTA.of(states.numpy(), weight.numpy(), bias.numpy(), block_states(), run.known)
    made.folder = out
    made.save(out)
    texts = item_texts(prepared.items, ProfileSettings())
    messages = load_messages(folder / "pretrain", prepared, run.shared)
    Newcomers(messages, (item_terms(texts, prepared.items), prepared.train), 6, 6).save(out)
    params = Params(
        language=LanguageSettings(model=str(model), precision="float32"),
        align=run.shared,
        align_users=users,
    )
    save_aligner(out, aligner, run.prompts()[1], run.nodes.serving, params, {})
    return made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return {kind: write(tmp_path_factory.mktemp(kind)) for kind, write in WRITERS.items()}


@pytest.fixture(scope="module", params=["encoder", "causal"])
def made(request, tiny, tmp_path_factory, prepared) -> GLTA:
    return build(tiny[request.param], tmp_path_factory.mktemp("made"), prepared)


class TestGLTA(MethodContract):
    """The contract.

    GLTA is made by its stages, and model.json comes from save_aligner beside what `save` writes.
    """

    name = "glta"

    @pytest.fixture
    def model(self, made):
        return made

    def test_fit_twice_is_equal(self, tiny, tmp_path, prepared):
        first, second = (tmp_path / name for name in ("first", "second"))
        for folder in (first, second):
            folder.mkdir()
        models = [build(tiny["encoder"], folder, prepared) for folder in (first, second)]
        np.testing.assert_array_equal(
            models[0].score(self.everyone), models[1].score(self.everyone)
        )
        for name in ("model.safetensors", "aligner.safetensors", "model.json"):
            assert (first / "model" / name).read_bytes() == (second / "model" / name).read_bytes()

    def test_save_and_load_is_equal_to_the_last_bit(self, model, tmp_path):
        model.save(tmp_path)
        assert (tmp_path / "model.safetensors").read_bytes() == (
            model.folder / "model.safetensors"
        ).read_bytes()
        np.testing.assert_array_equal(
            GLTA.load(tmp_path).score(self.everyone), model.score(self.everyone)
        )

    def test_fit_points_to_the_stages(self, world):
        with pytest.raises(ValueError, match="align_items and align_users"):
            self.fit(world)


EVERYONE = np.arange(NUM_USERS)


def check_lists(prepared, items, scores):
    """Nothing twice, nothing excluded, everything that is left, and no score but for an item."""
    for user, shown in enumerate(items):
        expected = set(range(NUM_ITEMS)) - set(prepared.train.items_of(user).tolist())
        assert sorted(shown[shown >= 0]) == sorted(expected)
        assert (shown[len(expected) :] == -1).all()
    np.testing.assert_array_equal(np.isfinite(scores), items >= 0)


def test_first_logit_is_the_exact_ranking(made, prepared):
    for found, expected in zip(
        made.recommend(EVERYONE, 7, prepared.train, "first_logit"),
        rank_all(made.score, EVERYONE, k=7, exclude=prepared.train),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_one_per_position_is_greedy(made, prepared):
    """Position t takes the best of what is left by read-out t; then the first read-out goes on."""
    items, scores = made.recommend(EVERYONE, NUM_ITEMS + 2, prepared.train, "one_per_position")
    check_lists(prepared, items, scores)
    for user in EVERYONE:
        left = set(range(NUM_ITEMS)) - set(prepared.train.items_of(user).tolist())
        for t in range(len(left)):
            state = made.states[user, t if t < USERS.read_outs else 0]
            best = max(left, key=lambda i: made.weight[i] @ state + made.bias[i])
            assert items[user, t] == best
            assert scores[user, t] == pytest.approx(
                made.weight[best] @ state + made.bias[best], abs=1e-4
            )
            left.remove(best)


def test_positions_matter(made, prepared):
    first, greedy = (
        made.recommend(EVERYONE, 5, prepared.train, mode)[0]
        for mode in ("first_logit", "one_per_position")
    )
    assert (first[:, 0] == greedy[:, 0]).all()
    assert (first != greedy).any()


def test_one_per_position_without_an_exclusion_and_in_any_block(made):
    nothing = Interactions.of([], [], NUM_USERS, NUM_ITEMS)
    items, _ = made.recommend(EVERYONE, 4, nothing, "one_per_position")
    for user in (0, 9, LONER):
        np.testing.assert_array_equal(
            made.recommend(np.array([user]), 4, nothing, "one_per_position")[0][0], items[user]
        )


def oracle(made: GLTA, user: int, k: int, exclude: Interactions) -> list[int]:
    """The slow way: build each grown prompt by hand and read it alone."""
    aligner, prompts, nodes = load_aligner(made.folder)
    prompt, chosen, seen = prompts[user], [], set(exclude.items_of(user).tolist())
    first = prompt.kind.tolist().index(READ_OUT)
    closing = [(int(k_), int(v)) for k_, v in zip(prompt.kind, prompt.value, strict=True)]
    body, read = closing[:first], closing[first]
    closing = [token for token in closing[first:] if token[0] != READ_OUT]
    for _ in range(k):
        tokens = np.array([*body, *((ITEM, i) for i in chosen), read, *closing])
        with torch.inference_mode():
            state = aligner.states([Prompt(tokens[:, 0].astype(np.int8), tokens[:, 1])], nodes)[0]
            logits = aligner.logits(state, nodes)[0].numpy()
        assert state.shape[0] == 1
        chosen.append(max(set(range(NUM_ITEMS)) - seen - set(chosen), key=lambda i: logits[i]))
    return chosen


def test_autoregressive_is_the_slow_way(made, prepared):
    users = np.array([0, 5, LONER])
    items, scores = GLTA.load(made.folder).recommend(users, 6, prepared.train, "autoregressive")
    assert items.tolist() == [oracle(made, user, 6, prepared.train) for user in users]
    assert np.isfinite(scores).all()


def test_autoregressive_needs_room_in_the_prompt(made, prepared, monkeypatch):
    _, prompts, _ = load_aligner(made.folder)
    needed = (
        max(len(p) for p in prompts) - made.states.shape[1] + 6
    )  # a read-out is left, and items but the last are fed back
    monkeypatch.setattr(frozen.Language, "max_tokens", needed)
    made.recommend(EVERYONE, 6, prepared.train, "autoregressive")
    with pytest.raises(
        ValueError,
        match=f"lists of 7 items need prompts of {needed + 1} tokens, .* takes {needed}: lower",
    ):
        made.recommend(EVERYONE, 7, prepared.train, "autoregressive")


def test_autoregressive_feeds_items_back(made, prepared):
    first, grown = (
        made.recommend(EVERYONE, NUM_ITEMS + 2, prepared.train, mode)
        for mode in ("first_logit", "autoregressive")
    )
    check_lists(prepared, *grown)
    assert (grown[1][:, 1:12] != first[1][:, 1:12]).any()


@pytest.mark.parametrize(
    "shared", [{"lora_rank": 2}, {"head": "tied", "head_rank": 4}, {"precision": "bfloat16"}]
)
def test_saved_aligner_reads_as_it_did(tiny, tmp_path, prepared, shared):
    """Projectors, head, adapters and prompts come back: the states that serve can be read again."""
    made = build(tiny["encoder"], tmp_path, prepared, **shared)
    aligner, prompts, nodes = load_aligner(made.folder)
    with torch.inference_mode():
        for user in (0, 7, LONER):
            states = aligner.states([prompts[user]], nodes)[0]
            np.testing.assert_allclose(states.numpy(), made.states[user], atol=1e-4)
            np.testing.assert_allclose(
                aligner.logits(states, nodes)[0].numpy(), made.score(np.array([user]))[0], atol=1e-3
            )


def test_model_json_counts_what_is_trained(made):
    from glta.storage.files import read_json

    about = read_json(made.folder / "model.json")
    assert about["method"] == "glta"
    assert set(about["trained"]) == {
        "user_projector.weight",
        "user_projector.bias",
        "head.weight",
        "head.bias",
    }
    width = made.weight.shape[1]
    assert about["trainable_parameters"] == 4 * width + width + NUM_ITEMS * width + NUM_ITEMS


@pytest.mark.parametrize("mode", ["one_per_position", "autoregressive"])
@pytest.mark.parametrize("user", [-1, NUM_USERS])
def test_unknown_user_is_refused_in_every_mode(made, prepared, mode, user):
    nothing = Interactions.of([], [], NUM_USERS + 1, NUM_ITEMS)
    with pytest.raises(ValueError, match=f"user {user}"):
        made.recommend(np.array([0, user]), 3, nothing, mode)


def test_people_are_read_by_their_items(made, prepared):
    """Users as lists of their items are served about as well as with their own node, and a person
    scores alike in any block.
    """
    history = history_matrix(prepared.train)
    stored, alone = (
        validation_ndcg(prepared, score)
        for score in (made.score, lambda u: made.score_histories(history[u]))
    )
    assert 0.85 * stored < alone < 1.15 * stored
    np.testing.assert_allclose(
        made.score_histories(history[[5]])[0], made.score_histories(history[[0, 5]])[1], atol=1e-4
    )
    assert np.isfinite(made.score_histories(history[[LONER]])).all()


def test_extended_scores_new_items_by_their_text(made, prepared):
    """Texts of two known items, as if they were new; the others' scores stay, and new items are no
    part of prompts.
    """
    text = block_states()[:2]
    extended = GLTA.load(made.folder).extended(text)
    scores = extended.score(EVERYONE)
    np.testing.assert_array_equal(scores[:, :NUM_ITEMS], made.score(EVERYONE))
    fans = scores[: NUM_USERS - 1, NUM_ITEMS]
    assert fans[::2].mean() > fans[1::2].mean()
    history = history_matrix(prepared.train)
    wider = csr_array(
        (history.data, history.indices, history.indptr), shape=(NUM_USERS, NUM_ITEMS + 2)
    )
    np.testing.assert_array_equal(
        extended.score_histories(wider)[:, :NUM_ITEMS], made.score_histories(history)
    )
    with pytest.raises(ValueError, match="new items have no token"):
        extended.recommend(
            np.array([0]), 2, Interactions.of([], [], NUM_USERS, NUM_ITEMS + 2), "autoregressive"
        )


def test_new_items_are_never_shown_or_aimed_at(tiny, tmp_path, prepared):
    """Two items without training users: no prompt of stage 2 has them, and no loss moves their
    rows.
    """

    def without(pairs: Interactions) -> Interactions:
        keep = pairs.item > 1
        return Interactions(pairs.user[keep], pairs.item[keep], NUM_USERS, NUM_ITEMS)

    parts = {
        name: without(getattr(prepared, name)) for name in ("train", "valid", "graph", "target")
    }
    run = Small.make(
        tiny["encoder"],
        write_pretrained(tmp_path / "pretrain"),
        replace(prepared, **parts),
        ITEMS.model_copy(update={"weight_decay": 0.0}),
        USERS.model_copy(update={"weight_decay": 0.0}),
        head_init="random",
    )
    aligner, _ = run.stage_2()
    start = new_aligner(run.language, run.nodes.training, run.shared, 0, run.known).head.weight
    run.stage_3(aligner)
    assert torch.equal(aligner.head.weight[:2], start[:2])
    assert not torch.equal(aligner.head.weight[2:], start[2:])
    assert (
        aligner.logits(torch.zeros(1, start.shape[1]), run.nodes.serving)[0, :2] == -torch.inf
    ).all()
    texts = [[token] for token in range(NUM_ITEMS)]
    dealt = reorder_prompts(
        Templates(run.language), np.flatnonzero(run.known), texts, 4, np.random.default_rng(0)
    )
    assert {item for _, items in dealt for item in items} == set(range(2, NUM_ITEMS))


def test_test_pairs_change_no_model(tiny, tmp_path, prepared):
    tests = prepared.test, Interactions.of([3], [0], NUM_USERS, NUM_ITEMS)
    for place, test in enumerate(tests):
        (tmp_path / str(place)).mkdir()
        build(tiny["encoder"], tmp_path / str(place), replace(prepared, test=test))
    for name in ("model.safetensors", "aligner.safetensors", "newcomers.safetensors"):
        assert (tmp_path / "0/model" / name).read_bytes() == (
            tmp_path / "1/model" / name
        ).read_bytes()
