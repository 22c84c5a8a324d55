"""GLTA as a served method: the contract, its three ways to make lists, and what is kept on disk."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import ValidationError
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.ranking import rank_all
from glta.evaluation.validation import validation_ndcg
from glta.features.profiles import Profiles
from glta.features.settings import ProfileSettings
from glta.features.text import extractive
from glta.features.text.item_texts import item_texts
from glta.features.text.user_words import user_words
from glta.methods.chain import chain_of, run_twice, run_unit
from glta.methods.glta import artefacts
from glta.methods.glta.aligner import new_aligner
from glta.methods.glta.evidence import Evidence, scaled_texts
from glta.methods.glta.item_alignment import reorder_prompts
from glta.methods.glta.model import GLTA
from glta.methods.glta.prompts import Templates
from glta.methods.glta.settings import AlignSettings, AlignUsersSettings, ServeSettings
from glta.methods.glta.steps import AlignInputs, align_items, align_users, new_users, serve
from glta.methods.registry import units
from glta.methods.shared.graph_nodes import GraphNodes, Nodes
from glta.nn.language import frozen
from glta.nn.language.model_files import ModelFiles
from glta.nn.language.node_prompts import ITEM, READ_OUT, Prompt
from glta.nn.language.settings import LanguageSettings
from glta.params.model import Params
from glta.storage.files import read_json
from glta.testing.blocks import LONER, NUM_ITEMS, NUM_USERS, World, block_states
from glta.testing.contract import MethodContract
from tests.methods.glta.small import BATCH_TOKENS, ITEMS, USERS, Small, write_pretrained
from tests.tiny import WRITERS, write_narrow

ONE_EPOCH = {"epochs": 1}


def write_profile(prepared: Prepared, folder: Path, language: Path) -> Path:
    """Write the folder of the step profile, as far as the alignments read it. language: folder."""
    folder.mkdir()
    settings = ProfileSettings()
    texts = item_texts(prepared.items, settings)
    words, graph_words = (
        user_words(prepared.items, texts, pairs, settings)[0]
        for pairs in (prepared.train, prepared.graph)
    )
    kinds = pl.col("tags", "interests")
    words = words.with_columns(graph_words.select(kinds.name.prefix("graph_")))
    joined = words.with_columns(pl.exclude("user").list.join(", "))
    about = {"language": {"model": str(language), "sha256": ModelFiles.of(language).sha256}}
    Profiles(texts, joined, block_states(), block_states(NUM_USERS), about).save(folder)
    return folder


def build(language, folder, prepared, *, evidence: bool = False, **shared) -> GLTA:
    """Run the three steps of GLTA in a folder."""
    embeddings = write_pretrained(folder / "pretrain")
    settings = LanguageSettings(model=str(language), precision="float32", batch_tokens=BATCH_TOKENS)
    align = AlignSettings(**shared)
    inputs = AlignInputs(
        prepared,
        write_profile(prepared, folder / "profile", language),
        embeddings / align.edges,
        settings,
        align,
    )
    items = align_items(inputs, ITEMS.model_copy(update=ONE_EPOCH), seed=0)
    users = USERS.model_copy(update=ONE_EPOCH | {"evidence": evidence})
    aligned = align_users(inputs, items, params=users, profile=ProfileSettings(), seed=0)
    return serve(aligned, prepared, inputs.profile, ServeSettings())


def again(model: GLTA, folder: Path) -> GLTA:
    """Save and load a model."""
    folder.mkdir(exist_ok=True)
    model.save(folder)
    return GLTA.load(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return {kind: write(tmp_path_factory.mktemp(kind)) for kind, write in WRITERS.items()}


@pytest.fixture(scope="module", params=["encoder", "causal"])
def made(request, tiny, tmp_path_factory, prepared) -> GLTA:
    return build(tiny[request.param], tmp_path_factory.mktemp("made"), prepared)


class TestGLTA(MethodContract):
    """The contract. GLTA is made by its steps."""

    name = "glta"

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, made):
        return made

    def test_fit_twice_is_equal(self, tiny, tmp_path, prepared):
        first, second = (tmp_path / name for name in ("first", "second"))
        models = []
        for folder in (first, second):
            folder.mkdir()
            models.append(again(build(tiny["encoder"], folder, prepared), folder / "model"))
        np.testing.assert_array_equal(
            models[0].score(self.everyone), models[1].score(self.everyone)
        )
        for name in ("model.safetensors", "aligner.safetensors", "model.json", "history.json"):
            assert (first / "model" / name).read_bytes() == (second / "model" / name).read_bytes()

    def test_the_last_step_alone_names_what_is_missing(self, world):
        with pytest.raises(FileNotFoundError, match="blocks/0/align_users/"):
            run_unit(units()["glta"], world.cell, Params().section)

    def test_it_can_be_refitted(self, tiny, tmp_path):
        """The refit repeats the chosen start and the number of epochs, and validates nothing."""
        world = with_stages(World.write(tmp_path), tiny["encoder"])
        small = {
            "settings.glta.align_items": ITEMS.model_copy(update=ONE_EPOCH),
            "settings.glta.align_users": USERS,
            "language": LanguageSettings(
                model=str(tiny["encoder"]), precision="float32", batch_tokens=BATCH_TOKENS
            ),
        }
        seen = []
        first, second = run_twice(
            chain_of("glta"),
            world.cell,
            lambda name: small.get(name) or Params().section(name),
            on_epoch=seen.append,
        )
        name = "align_users/valid"
        values = {record["epoch"]: record[name] for record in seen if name in record}
        best = max(values, key=values.__getitem__)
        again = [r["epoch"] for r in seen if "refit/align_users/loss" in r]
        assert again == [*range(best + 1)]
        assert not any(record.keys() & {"refit/align_users/valid"} for record in seen)
        scores = second.score(self.everyone)
        assert np.isfinite(scores).all()
        assert not np.array_equal(scores, first.score(self.everyone))

    def test_its_own_steps_run_one_after_the_other(self, tiny, tmp_path):
        """From the folders of the stages before the method, to what the steps make by hand."""
        assert [step.name for step in chain_of("glta").steps] == [
            "align_items",
            "align_users",
            "glta",
        ]
        world = with_stages(World.write(tmp_path / "world"), tiny["encoder"])
        sections = {
            "settings.glta.align_items": ITEMS.model_copy(update=ONE_EPOCH),
            "settings.glta.align_users": USERS.model_copy(update=ONE_EPOCH),
            "language": LanguageSettings(
                model=str(tiny["encoder"]), precision="float32", batch_tokens=BATCH_TOKENS
            ),
        }
        values = {
            f"{name}.{key}": value
            for name, section in sections.items()
            for key, value in section.model_dump().items()
        }
        ours = again(world.train("glta", values), tmp_path / "ours")
        assert not world.cell.step("align_users").exists()
        theirs = build(tiny["encoder"], tmp_path, world.prepared)
        np.testing.assert_array_equal(ours.score(EVERYONE), theirs.score(EVERYONE))
        np.testing.assert_array_equal(ours.states, theirs.states)
        again(theirs, tmp_path / "theirs")
        for name in ("model.safetensors", "aligner.safetensors", "model.json", "history.json"):
            assert (tmp_path / "ours" / name).read_bytes() == (
                tmp_path / "theirs" / name
            ).read_bytes()


def with_stages(world: World, language: Path) -> World:
    """Write what the alignments read besides the data. language: folder of its model."""
    shutil.rmtree(world.cell.step("profile"))
    write_profile(world.prepared, world.cell.step("profile"), language)
    embeddings = write_pretrained(world.data / "embeddings")
    (embeddings / "graph").rename(world.cell.step("pretrain-graph"))
    return world


EVERYONE = np.arange(NUM_USERS)


def in_mode(model: GLTA, mode: str) -> GLTA:
    """The same model, with another way to make lists."""
    return replace(model, mode=mode)


def check_lists(prepared, items, scores):
    """Nothing twice, nothing excluded, everything that is left, and no score but for an item."""
    for user, shown in enumerate(items):
        expected = set(range(NUM_ITEMS)) - set(prepared.train.items_of(user).tolist())
        assert sorted(shown[shown >= 0]) == sorted(expected)
        assert (shown[len(expected) :] == -1).all()
    np.testing.assert_array_equal(np.isfinite(scores), items >= 0)


def test_first_logit_is_the_exact_ranking(made, prepared):
    for found, expected in zip(
        made.recommend(EVERYONE, 7, prepared.train),
        rank_all(made.score, EVERYONE, k=7, exclude=prepared.train),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_one_per_position_is_greedy(made, prepared):
    """Position t takes the best of what is left by read-out t; then the first read-out goes on."""
    items, scores = in_mode(made, "one_per_position").recommend(
        EVERYONE, NUM_ITEMS + 2, prepared.train
    )
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
        in_mode(made, mode).recommend(EVERYONE, 5, prepared.train)[0]
        for mode in ("first_logit", "one_per_position")
    )
    assert (first[:, 0] == greedy[:, 0]).all()
    assert (first != greedy).any()


def test_one_per_position_without_an_exclusion_and_in_any_block(made):
    nothing = Interactions.of([], [], NUM_USERS, NUM_ITEMS)
    model = in_mode(made, "one_per_position")
    items, _ = model.recommend(EVERYONE, 4, nothing)
    for user in (0, 9, LONER):
        np.testing.assert_array_equal(
            model.recommend(np.array([user]), 4, nothing)[0][0], items[user]
        )


def oracle(made: GLTA, user: int, k: int, exclude: Interactions) -> list[int]:
    """The slow way: build each grown prompt by hand and read it alone."""
    aligner, nodes = made.aligned.aligner, made.aligned.nodes
    prompt, chosen, seen = made.aligned.prompts[user], [], set(exclude.items_of(user).tolist())
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


def test_autoregressive_is_the_slow_way(made, prepared, tmp_path):
    users = np.array([0, 5, LONER])
    model = again(in_mode(made, "autoregressive"), tmp_path)
    items, scores = model.recommend(users, 6, prepared.train)
    assert items.tolist() == [oracle(made, user, 6, prepared.train) for user in users]
    assert np.isfinite(scores).all()


def test_autoregressive_needs_room_in_the_prompt(made, prepared, monkeypatch):
    longest = max(len(p) for p in made.aligned.prompts)
    # a read-out is left, and items but the last are fed back
    needed = longest - made.states.shape[1] + 6
    # a cached property: an earlier test may have filled the cache
    monkeypatch.setitem(vars(made.aligned.aligner.language), "max_tokens", needed)
    model = in_mode(made, "autoregressive")
    model.recommend(EVERYONE, 6, prepared.train)
    said = f"lists of 7 items need prompts of {needed + 1} tokens, .* reads {needed} at most: lower"
    with pytest.raises(ValueError, match=said):
        model.recommend(EVERYONE, 7, prepared.train)


def test_autoregressive_feeds_items_back(made, prepared):
    first, grown = (
        in_mode(made, mode).recommend(EVERYONE, NUM_ITEMS + 2, prepared.train)
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
    saved = again(made, tmp_path / "model").aligned
    aligner, prompts, nodes = saved.aligner, saved.prompts, saved.nodes
    with torch.inference_mode():
        for user in (0, 7, LONER):
            states = aligner.states([prompts[user]], nodes)[0]
            np.testing.assert_allclose(states.numpy(), made.states[user], atol=1e-4)
            np.testing.assert_allclose(
                aligner.logits(states, nodes)[0].numpy(), made.score(np.array([user]))[0], atol=1e-3
            )


def test_model_json_counts_what_is_trained(made, tmp_path):
    made.save(tmp_path)
    about = read_json(tmp_path / "model.json")
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
        in_mode(made, mode).recommend(np.array([0, user]), 3, nothing)


def test_new_users_are_read_by_their_items(made, prepared):
    """Users without a node are served about as well as with their own, and score alike in any
    block.
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


@pytest.mark.parametrize("items_shown", ["history", "candidates"])
def test_prompts_of_new_users_show_no_item_without_training_users(made, items_shown):
    linked = np.ones(NUM_ITEMS, bool)
    linked[[6, 8]] = False
    kept = replace(made.aligned.new_users, linked=linked)
    params = made.aligned.about.align_users.model_copy(
        update={"items_shown": items_shown, "context_items": NUM_ITEMS}
    )
    history = np.zeros((2, NUM_ITEMS))
    history[0, [0, 6]], history[1, 6] = 1, 1
    prompts = kept.prompts(
        made.aligned.aligner.language, csr_array(history), made.aligned.nodes, params
    )
    shown = [set(prompt.value[prompt.kind == ITEM].tolist()) for prompt in prompts]
    every = set(np.flatnonzero(linked).tolist())
    expected = {"history": [{0}, set()], "candidates": [every - {0}, every]}
    assert shown == expected[items_shown]


def test_candidates_must_have_room_for_the_targets():
    with pytest.raises(ValidationError, match=r"context_items = 3: .* at least read_outs = 4"):
        AlignUsersSettings(items_shown="candidates", context_items=3)
    assert AlignUsersSettings(items_shown="candidates", context_items=4).context_items == 4
    assert AlignUsersSettings(context_items=0).context_items == 0


def test_which_terms_go_together_is_found_once_for_all_new_users(made, prepared, monkeypatch):
    calls = []
    found = extractive.similarities
    monkeypatch.setattr(extractive, "similarities", lambda p: calls.append(p.shape) or found(p))
    kept, history = replace(made.aligned.new_users), history_matrix(prepared.train)
    language, params = made.aligned.aligner.language, made.aligned.about.align_users
    for users in ([0, 5], [3]):
        nodes = made.aligned.nodes
        prompts = kept.prompts(language, history[users], nodes, params)
        afresh = replace(kept).prompts(language, history[users], nodes, params)
        for prompt, same in zip(prompts, afresh, strict=True):
            np.testing.assert_array_equal(prompt.value, same.value)
    # once for what is kept, and twice for what was made afresh
    assert [shape[0] for shape in calls] == [NUM_USERS] * 3


def test_new_users_go_without_words_that_a_provider_wrote(made, prepared, tmp_path):
    """The provider is not asked again: their prompts show items alone, also after a save."""
    asked = ProfileSettings(provider="language_model", generator="some")
    inputs = AlignInputs(
        prepared,
        write_profile(prepared, tmp_path / "profile", Path(made.aligned.about.language.model)),
        write_pretrained(tmp_path / "pretrain") / "graph",
        made.aligned.about.language,
        made.aligned.about.align,
    )
    kept, history = new_users(inputs, asked, USERS), history_matrix(prepared.train)[[0, 5]]
    np.testing.assert_array_equal(kept.message, made.aligned.new_users.message)
    silent = replace(made, aligned=replace(made.aligned, new_users=kept))
    loaded = again(silent, tmp_path / "model").aligned
    language, params = made.aligned.aligner.language, made.aligned.about.align_users
    without = loaded.new_users.prompts(language, history, loaded.nodes, params)
    with_words = made.aligned.new_users.prompts(language, history, made.aligned.nodes, params)
    for short, long in zip(without, with_words, strict=True):
        assert len(short) < len(long)
        items = [prompt.value[prompt.kind == ITEM].tolist() for prompt in (short, long)]
        assert items[0] == items[1]
    assert np.isfinite(silent.score_histories(history)).all()
    # with candidates, prompts show what the graph ranks highest, and nothing of the history
    shown = params.model_copy(update={"items_shown": "candidates", "context_items": 4})
    nodes = loaded.nodes
    for user, prompt in enumerate(loaded.new_users.prompts(language, history, nodes, shown)):
        items = prompt.value[prompt.kind == ITEM]
        own = history[[user]].indices
        assert items.size == 4 and not set(items) & set(own)
        score = nodes.user[user] @ nodes.item.T
        rest = np.setdiff1d(np.arange(NUM_ITEMS), [*own, *items])
        assert score[items].min() >= score[rest].max()


def test_extended_scores_new_items_by_their_text(made, prepared):
    """New items with the texts of two known items. The others' scores stay, and new items are no
    part of prompts.
    """
    text = block_states()[:2]
    extended = made.extended(text)
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
        in_mode(extended, "autoregressive").recommend(
            np.array([0]), 2, Interactions.of([], [], NUM_USERS, NUM_ITEMS + 2)
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
    start = new_aligner(
        run.language, run.nodes.training, run.shared, seed=0, known_I=run.known
    ).head.weight
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
        folder = tmp_path / str(place)
        folder.mkdir()
        again(build(tiny["encoder"], folder, replace(prepared, test=test)), folder / "model")
    for name in ("model.safetensors", "aligner.safetensors"):
        assert (tmp_path / "0/model" / name).read_bytes() == (
            tmp_path / "1/model" / name
        ).read_bytes()


def test_a_saved_model_needs_nothing_else(tiny, tmp_path, prepared):
    """Lists of each mode and new users are served from the folder alone, wherever it lies."""
    made = build(tiny["encoder"], tmp_path, prepared)
    history = history_matrix(prepared.train)[[0, 5]]
    for mode in ("first_logit", "one_per_position", "autoregressive"):
        model = in_mode(made, mode)
        again(model, tmp_path / "here")
        (tmp_path / "here").rename(tmp_path / mode)
        found = GLTA.load(tmp_path / mode)
        assert found.mode == mode
        for ours, theirs in zip(
            model.recommend(EVERYONE, 5, prepared.train),
            found.recommend(EVERYONE, 5, prepared.train),
            strict=True,
        ):
            np.testing.assert_array_equal(theirs, ours)
        np.testing.assert_array_equal(found.score_histories(history), made.score_histories(history))
        assert found.aligned.history == made.aligned.history


def test_the_language_model_is_loaded_once(made, prepared, tmp_path, monkeypatch):
    """And not at all for lists that need none."""
    loaded = []

    def load(settings):
        loaded.append(settings)
        return frozen.load_language(settings)

    monkeypatch.setattr(artefacts, "load_language", load)
    model = again(made, tmp_path)
    model.score(EVERYONE)
    for mode in ("first_logit", "one_per_position"):
        in_mode(model, mode).recommend(EVERYONE, 3, prepared.train)
    assert loaded == []
    history = history_matrix(prepared.train)
    for _ in range(2):
        model.score_histories(history[[0, 5]])
        in_mode(model, "autoregressive").recommend(EVERYONE[:2], 3, prepared.train)
        model.extended(block_states()[:2]).score(EVERYONE)
    (settings,) = loaded
    assert settings.batch_tokens == BATCH_TOKENS == model.aligned.aligner.language.batch_tokens


def test_alignment_refuses_another_model_than_that_of_the_states(tiny, tmp_path, prepared):
    profile = write_profile(prepared, tmp_path / "profile", tiny["encoder"])
    embeddings = write_pretrained(tmp_path / "pretrain")
    settings = LanguageSettings(model=str(tiny["causal"]))
    inputs = AlignInputs(prepared, profile, embeddings / "graph", settings, AlignSettings())
    with pytest.raises(ValueError, match=r"the stage profile used .*encoder"):
        align_items(inputs, ITEMS, seed=0)


def test_alignment_refuses_a_model_with_narrow_tokens(tmp_path, prepared):
    language = write_narrow(tmp_path / "narrow")
    profile = write_profile(prepared, tmp_path / "profile", language)
    embeddings = write_pretrained(tmp_path / "pretrain")
    settings = LanguageSettings(model=str(language))
    inputs = AlignInputs(prepared, profile, embeddings / "graph", settings, AlignSettings())
    with pytest.raises(ValueError, match="tokens have the width 16, its states 32"):
        align_items(inputs, ITEMS, seed=0)


def test_other_weights_of_the_language_model_are_refused(tiny, tmp_path, prepared):
    """The served model names those that it was trained with."""
    language = shutil.copytree(tiny["encoder"], tmp_path / "language")
    made = again(build(language, tmp_path, prepared), tmp_path / "model")
    shutil.copy(tiny["causal"] / "model.safetensors", language)
    made.score(EVERYONE)
    with pytest.raises(ValueError, match=f"expected {made.aligned.about.language_sha256}"):
        made.score_histories(history_matrix(prepared.train)[[0]])


@pytest.fixture(scope="module")
def with_evidence(tiny, tmp_path_factory, prepared) -> GLTA:
    return build(tiny["causal"], tmp_path_factory.mktemp("e"), prepared, evidence=True)


def by_hand(node_BD: np.ndarray, items: list[np.ndarray], train: Interactions) -> np.ndarray:
    """Node embedding, and the mean of the centred texts of the user's items, scaled to length 1."""
    states = block_states()
    centred = states - states[train.item_degree > 0].mean(0)
    mean = np.stack([centred[some].mean(0) for some in items])
    return np.concatenate([node_BD, mean / np.linalg.norm(mean, axis=1)[:, None]], axis=1)


def test_evidence_stands_beside_the_read_outs(with_evidence, prepared):
    aligned = with_evidence.aligned
    train = prepared.train
    users = np.flatnonzero(train.user_degree)
    expected = by_hand(aligned.nodes.user.numpy()[users], [train.items_of(u) for u in users], train)
    for read_out in range(USERS.read_outs):
        found = aligned.states[users, read_out, -expected.shape[1] :]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # the head reads all of it
    assert with_evidence.weight.shape[1] == aligned.states.shape[2] > aligned.aligner.language.width
    assert np.abs(with_evidence.weight[:, -expected.shape[1] :]).max() > 0


def test_new_users_have_evidence_of_their_own_items(with_evidence, prepared, tmp_path):
    history = history_matrix(prepared.train)[:3]
    model = again(with_evidence, tmp_path)
    states = model.aligned.read_histories(history)
    items = [prepared.train.items_of(user) for user in range(3)]
    node = history @ model.aligned.new_users.message / np.sqrt(history.sum(1))[:, None]
    expected = by_hand(node, items, prepared.train)
    np.testing.assert_allclose(states[:, -expected.shape[1] :], expected, atol=1e-5)
    np.testing.assert_allclose(
        model.score_histories(history), states @ model.weight.T + model.bias, atol=1e-4
    )
    followed = model.aligned.read_after(np.arange(3), np.array([[1], [2], [3]]), "read")
    # the same evidence after an item was added to the prompt
    np.testing.assert_array_equal(
        followed[:, -expected.shape[1] :], model.states[:3, 0, -expected.shape[1] :]
    )


def test_evidence_in_training_does_not_know_the_targets(prepared):
    node = torch.randn(prepared.train.num_users, 3)
    nodes = GraphNodes(Nodes(node, node), Nodes(2 * node, node))
    text = scaled_texts(block_states(), prepared.train)
    found = Evidence.of(nodes, prepared.graph, prepared.train, text)
    known = np.flatnonzero(prepared.graph.user_degree)
    expected = by_hand(
        node.numpy()[known], [prepared.graph.items_of(user) for user in known], prepared.train
    )
    np.testing.assert_allclose(found.training[known], expected, atol=1e-5)
    assert not torch.allclose(found.training[:, 3:], found.serving[:, 3:])


def test_evidence_needs_a_free_head(tiny, tmp_path, prepared):
    with pytest.raises(ValueError, match="evidence = true needs a free head"):
        build(tiny["causal"], tmp_path, prepared, evidence=True, head="tied", head_rank=4)
