"""Both alignment stages: what moves, what may not leak, and that an interruption leaves no
trace.
"""

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from glta.data.interactions import Interactions
from glta.evaluation.validation import validation_ndcg
from glta.features.settings import ProfileSettings
from glta.methods.glta import steps
from glta.methods.glta.aligner import new_aligner
from glta.methods.glta.alignment import Alignment
from glta.methods.glta.item_alignment import reorder_prompts
from glta.methods.glta.prompts import Templates
from glta.methods.glta.settings import AlignSettings
from glta.methods.glta.user_alignment import IGNORE, add_user_projector, training_examples
from glta.methods.shared.graph_nodes import Nodes
from glta.nn.language.node_prompts import ITEM, READ_OUT, USER, token_projector
from glta.nn.language.settings import LanguageSettings
from glta.testing.blocks import LONER, NUM_ITEMS, NUM_USERS, block_states
from glta.training.checkpoint import Checkpoint
from glta.training.gradients import add_gradient
from glta.training.seeds import epoch_rng
from tests.methods.glta.small import BATCH_TOKENS, ITEMS, USERS, Small, copies, moved
from tests.tiny import write_scaled

OFF = ITEMS.model_copy(update={"enabled": False})
VARIANTS = {
    "default": {},
    "leaky": {"targets": "all"},
    "without item alignment": {"items": OFF},
    "without user alignment": {"users": USERS.model_copy(update={"user_token": False})},
    "without words": {"users": USERS.model_copy(update={"tag_tokens": 0, "interest_tokens": 0})},
    "among candidates": {"users": USERS.model_copy(update={"items_shown": "candidates"})},
    "without mask": {"users": USERS.model_copy(update={"mask_known": False})},
    "with evidence": {"users": USERS.model_copy(update={"evidence": True})},
    "without context": {"users": USERS.model_copy(update={"context_items": 0})},
    "tied": {"head": "tied", "head_rank": 4},
    "random start": {"head_init": "random"},
    "lora": {"lora_rank": 2, "lora_dropout": 0.5},
    "bfloat16": {"precision": "bfloat16"},
    "little memory": {"micro_batch": 3, "checkpoint_layers": True},
    "little memory, lora": {"micro_batch": 3, "checkpoint_layers": True, "lora_rank": 2},
    "little memory, bfloat16": {
        "micro_batch": 3,
        "checkpoint_layers": True,
        "precision": "bfloat16",
    },
}


class Interrupted(Exception):
    """Stands for a killed process."""


def weights_of(language) -> list[bytes]:
    """The language model's own weights, in order, without adapters."""
    return [
        p.detach().numpy().tobytes()
        for n, p in language.model.named_parameters()
        if "lora_" not in n
    ]


@pytest.mark.parametrize("kind", ["encoder", "causal"])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_only_what_is_meant_to_moves(small, tmp_path, kind, variant):
    run = small(kind, **variant)
    frozen = weights_of(run.language)
    untrained, _ = small(kind, **variant | {"items": OFF}).stage_2()
    head = (
        {"head.state.weight", "head.token.weight", "head.bias"}
        if "head" in variant
        else {"head.weight", "head.bias"}
    )
    project = {"item_projector.weight", "item_projector.bias"}

    aligner, history = run.stage_2(checkpoint=tmp_path)
    adapters = {f"language.{name}" for name in run.language.adapters()}
    assert bool(adapters) == ("lora_rank" in variant)
    if run.items.enabled:
        assert [record["epoch"] for record in history] == [-1, 0, 1]
        now = {
            n.removeprefix("now."): t
            for n, t in Checkpoint(tmp_path).load()[0].items()
            if n.startswith("now.")
        }
        assert moved(untrained.tensors(), now) == head | project | adapters
    else:
        assert history == []
        assert moved(untrained.tensors(), aligner.tensors()) == set()

    seen = []
    states, history = run.stage_3(
        aligner, on_epoch=lambda record: seen.append(copies(aligner.tensors()))
    )
    expected = head | adapters | (project if not run.items.enabled else set())
    if run.users.user_token:
        expected |= {"user_projector.weight", "user_projector.bias"}
    assert moved(seen[0], seen[-1]) == expected == set(aligner.trained())
    assert [record["epoch"] for record in history] == [-1, 0, 1]
    beside = run.nodes.serving.user.shape[1] + block_states().shape[1] if run.users.evidence else 0
    assert states.shape == (NUM_USERS, run.users.read_outs, run.language.width + beside)
    assert torch.isfinite(states).all()
    assert weights_of(run.language) == frozen


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_learns_the_two_blocks(small, prepared, kind):
    run = small(kind)
    aligner, _ = run.stage_2()
    states, users = run.stage_3(aligner)
    # a user has eight of the ten items of a block: which of the other two or the target it is, is
    # chance; without the mask it is one of ten
    assert np.log(3) - 0.1 < users[-1]["loss"] < np.log(3) + 0.1
    with torch.inference_mode():
        weight, bias = aligner.head.factors(aligner.item_projector(run.nodes.serving.item))
    found = validation_ndcg(prepared, lambda who: states[who, 0] @ weight.T + bias)
    assert found == pytest.approx(max(record["valid"] for record in users), abs=1e-6)
    assert (
        0.63 < found < 0.95
        # each user's one item is first or second once the blocks are known; which of the two is
        # chance
    )


def test_validates_by_the_first_read_out(small, prepared):
    run = small(head_init="random")
    aligner, _ = run.stage_2()
    states, history = run.stage_3(aligner)
    with torch.inference_mode():
        weight, bias = aligner.head.factors(aligner.item_projector(run.nodes.serving.item))
    found = [
        validation_ndcg(prepared, lambda who, k=k: states[who, k] @ weight.T + bias)
        for k in range(USERS.read_outs)
    ]
    best = max(history, key=lambda record: record["valid"])
    assert found[0] == pytest.approx(best["valid"], abs=1e-6)
    # cross-entropy of the validation pairs, by hand: without the user's training items
    valid = prepared.valid
    logits = states[valid.user, 0] @ weight.T + bias
    logits[:, ~run.known] = -torch.inf
    logits[prepared.train.rows(valid.user)] = -torch.inf
    nats = -logits.log_softmax(1)[np.arange(len(valid)), valid.item]
    assert best["valid_loss"] == pytest.approx(float(nats[nats.isfinite()].mean()), rel=1e-5)
    assert all(other != pytest.approx(best, abs=1e-3) for other in found[1:])


def test_learns_to_reorder(small):
    """Which item belongs at which place can be read from the prompt; knowing nothing costs log(20)
    = 3.0 nats.
    """
    longer = {
        "epochs": 24,
        "patience": 24,
        "batch_size": 2,
        "learning_rate": 2e-3,
        "head_learning_rate": 1e-2,
        "hidden_items": 0,
    }
    _, history = small("causal", items=ITEMS.model_copy(update=longer)).stage_2()
    assert -3.2 < history[0]["valid"] < -2.8
    assert -2.75 < history[-1]["valid"] < -1.4


def test_fits_the_same_weights_twice(small):
    aligners = []
    for _ in range(2):
        run = small()
        aligner, _ = run.stage_2()
        run.stage_3(aligner)
        aligners.append(aligner.tensors())
    assert not moved(*aligners)


def test_test_pairs_change_nothing(small, prepared):
    """Test pairs are not looked at, not even to choose an epoch."""
    other = Interactions.of(
        prepared.test.user, (prepared.test.item + 1) % NUM_ITEMS, NUM_USERS, NUM_ITEMS
    )
    found = []
    for data in (prepared, replace(prepared, test=other)):
        run = small(data=data)
        aligner, items = run.stage_2()
        states, users = run.stage_3(aligner)
        found.append((items, users, aligner.tensors() | {"states": states}))
    assert found[0][:2] == found[1][:2]
    assert not moved(found[0][2], found[1][2])


def test_validation_pairs_only_choose(small, prepared):
    """Every step of training is the same whatever the validation pairs: they pick among starts and
    epochs alone.
    """
    found = []
    for data in (prepared, replace(prepared, valid=prepared.test)):
        run, seen = small(data=data, head_init="random"), []
        aligner, items = run.stage_2()
        _, users = run.stage_3(
            aligner, on_epoch=lambda record, a=aligner, s=seen: s.append(copies(a.tensors()))
        )
        found.append(
            (
                items,
                [record.get("loss") for record in users],
                [record["valid"] for record in users],
                seen,
            )
        )
    assert found[0][:2] == found[1][:2]
    assert found[0][2] != found[1][2]
    for mine, other in zip(found[0][3], found[1][3], strict=True):
        assert not moved(mine, other)


@pytest.mark.parametrize("targets", ["held_out", "all"])
def test_no_target_is_in_the_prompt(small, prepared, targets):
    run = small(targets=targets)
    prompts, _ = run.prompts()
    seen = set()
    for epoch in range(4):
        examples = training_examples(prompts, prepared, targets, epoch_rng(0, epoch))
        assert [e.user for e in examples] == [user for user in range(NUM_USERS) if user != LONER]
        for user, prompt, target in examples:
            context, wanted = prompt.value[prompt.kind == ITEM], target[target != IGNORE]
            assert (target[wanted.size :] == IGNORE).all()
            assert not set(context) & set(wanted)
            assert context.size == np.unique(context).size == USERS.context_items
            assert prompt.value[prompt.kind == USER].tolist() == [user]
            assert (prompt.kind == READ_OUT).sum() == USERS.read_outs
            seen |= {(user, int(item)) for item in wanted}
            allowed = (
                (prepared.graph, prepared.target)
                if targets == "held_out"
                else (prepared.train, prepared.train)
            )
            for items, pairs in zip((context, wanted), allowed, strict=True):
                assert pairs.contains(np.full(items.size, user), items).all()
            if targets == "held_out":
                assert not prepared.graph.contains(np.full(wanted.size, user), wanted).any()
            assert (
                wanted.size
                == np.unique(wanted).size
                == (2 if targets == "held_out" else USERS.read_outs)
            )
    if targets == "held_out":
        assert seen == set(
            zip(prepared.target.user.tolist(), prepared.target.item.tolist(), strict=True)
        )
    else:
        assert len(seen) > len(prepared.target) * 2  # drawn anew every epoch


def test_words_of_training_prompts_do_not_tell_the_targets(small, prepared):
    """With other targets, the same graph gives the same words; the words that serve do change."""
    other = replace(
        prepared,
        train=prepared.graph.union(prepared.test),
        target=prepared.test,
        test=prepared.target,
    )
    (mine, serving), (theirs, other_serving) = (
        small(data=data).prompts() for data in (prepared, other)
    )
    assert (mine.tags, mine.interests) == (theirs.tags, theirs.interests)
    assert any(mine.tags)
    assert [p.value.tolist() for p in serving] != [p.value.tolist() for p in other_serving]
    assert small().words(prepared.train) != small().words(prepared.graph)


def test_node_embeddings_have_not_seen_the_targets(small, prepared):
    other = replace(
        prepared,
        train=prepared.graph.union(prepared.test),
        target=prepared.test,
        test=prepared.target,
    )
    mine, theirs, leaky = small().nodes, small(data=other).nodes, small(targets="all").nodes
    assert torch.equal(mine.training.user, theirs.training.user)
    assert torch.equal(mine.training.item, theirs.training.item)
    assert not torch.equal(mine.serving.user, theirs.serving.user)
    torch.testing.assert_close(
        leaky.training.user, 3 * mine.serving.user
    )  # from the embeddings of all edges
    assert leaky.training is leaky.serving


def test_training_does_not_read_the_serving_graph(small):
    """The serving embeddings have taken messages over the target edges: they may serve, but not
    teach.
    """
    found = []
    for factor in (1, -3):
        run, seen = small(head_init="random"), []
        run.nodes = run.nodes._replace(
            serving=Nodes(*(factor * t for t in (run.nodes.serving.user, run.nodes.serving.item)))
        )
        aligner, _ = run.stage_2()
        _, history = run.stage_3(
            aligner, on_epoch=lambda record, a=aligner, s=seen: s.append(copies(a.tensors()))
        )
        found.append(([record.get("loss") for record in history], seen))
    assert found[0][0] == found[1][0]
    for mine, other in zip(found[0][1], found[1][1], strict=True):
        assert not moved(mine, other)


def test_serving_prompts_show_training_items_once(small, prepared):
    _, serving = small().prompts()
    assert [p.value.tolist() for p in small().prompts()[1]] == [p.value.tolist() for p in serving]
    for user, prompt in enumerate(serving):
        context = prompt.value[prompt.kind == ITEM]
        assert context.size == (0 if user == LONER else USERS.context_items)
        assert prepared.train.contains(np.full(context.size, user), context).all()


def test_no_target_at_all_names_what_to_raise(small, prepared):
    prompts, _ = small().prompts()
    nothing = Interactions.of([], [], NUM_USERS, NUM_ITEMS)
    with pytest.raises(ValueError, match=r"raise prepare\.target_share"):
        training_examples(prompts, replace(prepared, target=nothing), "held_out", epoch_rng(0, 0))


def test_reorder_prompts_deal_every_item(small):
    run = small()
    texts = [[i] for i in range(10)]
    dealt = reorder_prompts(
        Templates(run.language), np.arange(len(texts)), texts, 4, epoch_rng(0, 0)
    )
    assert len(dealt) == 3
    assert set(np.concatenate([items for _, items in dealt]).tolist()) == set(range(10))
    for prompt, items in dealt:
        assert prompt.value[prompt.kind == ITEM].tolist() == items.tolist()
        assert np.unique(items).size == (prompt.kind == READ_OUT).sum() == 4
    assert (
        len(
            reorder_prompts(Templates(run.language), np.arange(3), texts[:3], 4, epoch_rng(0, 0))[
                0
            ][1]
        )
        == 3
    )


def test_hidden_items_are_told_by_their_texts_alone(small):
    """Prompts of groups that differ in a hidden item differ in its description alone."""
    run = small()
    items = np.arange(4)
    texts = [[1000], [1001], [1002], [1003]]
    templates = Templates(run.language)
    first = reorder_prompts(templates, items, texts, 4, epoch_rng(0, 0), num_hidden=2)[0]
    shown = first.prompt.value[first.prompt.kind == ITEM]
    hidden = [item for item in first.items if item not in shown]
    assert len(shown) == len(hidden) == 2
    # the hidden items' descriptions stand in the order of their read-outs
    found = [value - 1000 for value in first.prompt.value.tolist() if value >= 1000]
    assert sorted(found) == items.tolist()
    assert [item for item in found if item in hidden] == hidden
    # another hidden item with the same text gives the same prompt
    texts.append(texts[hidden[0]])
    order = first.items.tolist()
    replaced = [4 if item == hidden[0] else item for item in order]
    prompts = [
        templates.reorder(
            np.array(ids), [texts[i] for i in ids], np.arange(4), [order.index(hidden[0])]
        )
        for ids in (order, replaced)
    ]
    assert np.array_equal(prompts[0].value, prompts[1].value)


def test_item_tokens_must_be_shown():
    with pytest.raises(ValueError, match="hidden_items = 4: must be below items_per_prompt = 4"):
        ITEMS.model_validate(ITEMS.model_dump() | {"hidden_items": 4})


def test_items_of_the_user_are_left_out_of_the_loss(small, prepared):
    """No gradient reaches the head's rows of the user's other training items."""
    for mask in (True, False):
        run = small(users=USERS.model_copy(update={"mask_known": mask}))
        aligner, _ = run.stage_2()
        task = run.user_task(aligner)
        task.start()
        example = task.drawn(0)[0][0]
        aligner.zero_grad()
        task.nats([example]).backward()
        targets = set(example.target[example.target != IGNORE].tolist())
        known = set(prepared.train.items_of(example.user).tolist())
        moved_rows = set(aligner.head.weight.grad.abs().sum(1).nonzero().flatten().tolist())
        assert targets < known
        assert targets <= moved_rows
        assert bool((known - targets) & moved_rows) != mask
        other = set(range(NUM_ITEMS)) - known - {LONER}
        assert len(other & moved_rows) > 5


@pytest.mark.parametrize("variant", ["default", "random start", "tied"])
def test_stage_3_standardises_the_states_of_its_own_prompts(small, variant):
    run = small(**VARIANTS[variant])
    aligner, _ = run.stage_2()
    task = run.user_task(aligner)
    batch = [e.prompt for e in task._examples(epoch_rng(0, 0))]

    def off() -> float:
        states = aligner.read(batch, run.nodes.training, "prompts read")
        return float(aligner.head.standard(states).flatten(0, 1).mean(0).abs().max())

    before = off()
    task.start()
    assert before > 0.5
    assert off() < 0.2


def test_rates_rise_then_fall(small):
    run = small()
    aligner, _ = run.stage_2()
    task = run.user_task(aligner)
    task.optimizer()
    rates = [
        max(group["lr"] for group in task._optimizer.param_groups)
        for epoch in range(USERS.epochs)
        for _ in task.batches(epoch)
    ]
    assert max(rates) == USERS.learning_rate
    assert rates.index(max(rates)) < len(rates) / 4
    assert 0 < rates[-1] < 0.3 * USERS.learning_rate


def test_candidates_are_what_the_graph_ranks_highest(small, prepared):
    users = USERS.model_copy(update={"items_shown": "candidates", "context_items": 5})
    run = small(users=users)
    aligner, _ = run.stage_2()
    task = run.user_task(aligner)
    serving = task.serving_prompts
    score = run.nodes.serving.user @ run.nodes.serving.item.T
    for user in range(NUM_USERS):
        known = prepared.train.items_of(user)
        shown = serving[user].value[serving[user].kind == ITEM]
        assert shown.size == np.unique(shown).size == 5
        assert not set(shown) & set(known)
        rest = np.setdiff1d(np.arange(NUM_ITEMS), [*known, *shown])
        assert score[user, shown].min() >= score[user, rest].max()
    for epoch in range(3):
        for user, prompt, target in task._examples(epoch_rng(0, epoch)):
            shown = prompt.value[prompt.kind == ITEM]
            wanted = target[target != IGNORE]
            assert set(wanted) <= set(shown)
            assert shown.size == np.unique(shown).size == 5
            assert not (set(shown) - set(wanted)) & set(prepared.train.items_of(user))


@pytest.mark.parametrize("variant", ["default", "tied", "lora", "without item alignment"])
@pytest.mark.parametrize("stage", [2, 3])
def test_interruption_leaves_no_trace(small, tmp_path, variant, stage):
    longer = {"epochs": 4, "patience": 9}
    parameters = {"items": ITEMS, "users": USERS} | VARIANTS[variant]
    if stage == 2 and not parameters["items"].enabled:
        pytest.skip("this variant has no stage 2")
    changed = ("items", "users")[stage - 2]
    parameters[changed] = parameters[changed].model_copy(update=longer)
    if stage == 3:
        parameters["items"] = parameters["items"].model_copy(update={"epochs": 1})

    def train(checkpoint=None, on_epoch=lambda record: None):
        run = small(**parameters)
        if stage == 2:
            return run.stage_2(checkpoint, on_epoch)
        aligner, _ = run.stage_2()
        states, history = run.stage_3(aligner, checkpoint, on_epoch)
        aligner.register_buffer("served", states)
        return aligner, history

    def interrupt(record):
        if record["epoch"] == 1:
            raise Interrupted

    whole, history = train()
    with pytest.raises(Interrupted):
        train(tmp_path, interrupt)
    assert [record["epoch"] for record in Checkpoint(tmp_path).load()[1]["history"]] == [-1, 0]
    reported = []
    resumed, history_again = train(tmp_path, reported.append)
    assert history_again == reported == history
    assert [record["epoch"] for record in history] == [-1, 0, 1, 2, 3]
    assert not moved(whole.tensors(), resumed.tensors())


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_dropout_of_lora_depends_on_seed_and_epoch(small, kind):
    """The losses of one batch under the masks of two seeds and two epochs."""
    run = small(kind, lora_rank=2, lora_dropout=0.5)
    task = run.item_task()
    task.start()
    with torch.no_grad():
        for name, adapter in run.language.adapters().items():
            if "lora_B" in name:
                adapter.fill_(0.1)  # they start without effect
    batch = task.drawn(0)[0]
    found = []
    for seed, epoch in ((0, 0), (0, 0), (1, 0), (0, 1)):
        torch.rand(3)
        task.seed = seed
        task.batches(epoch)
        found.append([task.backward(batch)["loss"] for _ in range(2)])
    first, again, other_seed, other_epoch = found
    assert first == again
    assert len({*first, *other_seed, *other_epoch}) == 6
    before = torch.get_rng_state()
    assert task.validate(0) == task.validate(1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, 1])
def test_seeds_of_a_run_with_lora(small, seed):
    """The same seed gives the same weights; the next one other adapters from the start on."""
    lora = {"lora_rank": 2, "lora_dropout": 0.5}
    first, again, other = (small(seed=s, **lora).stage_2() for s in (seed, seed, seed + 1))
    assert first[1] == again[1]
    assert not moved(first[0].tensors(), again[0].tensors())
    assert [record["loss"] for record in first[1][1:]] != [r["loss"] for r in other[1][1:]]
    adapters = {name for name in first[0].tensors() if "lora_A" in name}  # lora_B starts at 0
    assert adapters <= moved(first[0].tensors(), other[0].tensors())


@dataclass(eq=False)
class MadeUp(Alignment[float]):
    """Pull some weights towards a number, with a validation that is given beforehand."""

    section = "align_users"
    values: list[float]
    patience: int

    @property
    def settings(self):
        epochs = len(self.values) - 1
        return USERS.model_copy(update={"epochs": epochs, "patience": self.patience})

    def drawn(self, epoch: int) -> list[list[float]]:
        return [[epoch_rng(0, epoch).normal()]] * 2

    def num_targets(self, examples) -> int:
        return 1

    def nats(self, examples) -> torch.Tensor:
        head, bias = self.aligner.head.weight, self.aligner.item_projector.bias
        return ((head - examples[0]) ** 2).mean() + (bias**2).mean()

    def validate(self, epoch: int) -> float:
        return self.values[epoch + 1]


def fitted(small, values: list[float], patience: int):
    """Fit with a made-up validation: (history, weights after each epoch, weights in the end)."""
    run, seen = small(items=OFF), []
    aligner, _ = run.stage_2()
    task = MadeUp(aligner, run.shared, 0, values, patience)
    found = task.train(None, lambda record: seen.append(copies(aligner.tensors())))
    return found.history, seen, aligner.tensors()


@pytest.mark.parametrize(
    ("values", "best"),
    [([0.1, 0.5, 0.2, 0.3], 1), ([0.9, 0.5, 0.2, 0.3], 0), ([0.1, 0.2, 0.3, 0.4], 3)],
)
def test_the_best_epoch_is_kept(small, values, best):
    history, seen, end = fitted(small, values, 9)
    assert [record["valid"] for record in history] == values
    assert not moved(seen[best], end)
    assert all(moved(other, end) for place, other in enumerate(seen) if place != best)


def test_training_stops_when_nothing_improves(small):
    history, seen, end = fitted(small, [0.1, 0.5, 0.2, 0.3, 0.9], 2)
    assert [record["epoch"] for record in history] == [-1, 0, 1, 2]
    assert not moved(seen[1], end)


@pytest.mark.parametrize("stage", [2, 3])
def test_divergence_names_the_learning_rate(small, stage):
    wild = {"learning_rate": 1e30, "head_learning_rate": 1e30, "epochs": 3}
    parameters = (
        {"items": ITEMS.model_copy(update=wild)}
        if stage == 2
        else {"users": USERS.model_copy(update=wild)}
    )
    run, name = small(**parameters), ("align_items", "align_users")[stage - 2]
    with pytest.raises(
        ValueError,
        match=rf"diverged in epoch \d: lower settings\.glta\.{name}\.learning_rate = 1e\+30",
    ):
        run.stage_3(run.stage_2()[0])


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_states_do_not_depend_on_the_batch(small, kind):
    run = small(kind, items=OFF)
    aligner, _ = run.stage_2()
    run.stage_3(aligner)
    _, serving = run.prompts()
    alone = torch.cat([aligner.states([prompt], run.nodes.serving).detach() for prompt in serving])
    for batch_tokens, least, most in ((1, 1, 1), (100, 2, 10), (BATCH_TOKENS, 2, NUM_USERS)):
        sizes = []
        run.language.batch_tokens = batch_tokens
        with run.language.model.register_forward_pre_hook(
            lambda _, args, given, to=sizes: to.append(given["inputs_embeds"].shape[:2]),
            with_kwargs=True,
        ):
            together = aligner.read(serving, run.nodes.serving, "users read")
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
        assert sum(prompts for prompts, _ in sizes) == NUM_USERS
        assert least <= max(prompts for prompts, _ in sizes) <= most
        assert all(prompts == 1 or prompts * length <= batch_tokens for prompts, length in sizes)


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_each_node_is_read(small, kind):
    """The state depends on the user token and on every context item."""
    run = small(kind, items=OFF)
    aligner, _ = run.stage_2()
    run.stage_3(aligner)
    prompt = run.prompts()[1][0]
    with torch.inference_mode():
        before = aligner.states([prompt], run.nodes.serving)
        for place in np.flatnonzero((prompt.kind == ITEM) | (prompt.kind == USER)):
            value = prompt.value.copy()
            value[place] += 1  # a node of the other block
            assert not torch.allclose(
                aligner.states([replace(prompt, value=value)], run.nodes.serving), before, atol=1e-4
            )


def test_projected_nodes_start_among_the_words(small):
    run = small()
    nodes = run.nodes.training.item
    words = run.language.model.get_input_embeddings().weight.detach()
    with torch.no_grad():
        tokens = token_projector(nodes, run.language, torch.Generator().manual_seed(0))(nodes)
    torch.testing.assert_close(tokens.mean(0), words.mean(0), atol=1e-4, rtol=1e-4)
    spread = (tokens - tokens.mean(0)).norm(dim=1).mean() / words.std(0).norm()
    assert 0.5 < spread < 2


def test_users_and_items_start_from_one_random_map(small):
    run = small()
    nodes = run.nodes.training
    aligner = new_aligner(run.language, nodes, run.shared, seed=3, known_I=run.known)
    add_user_projector(aligner, nodes, 3)
    ratio = aligner.user_projector.weight / aligner.item_projector.weight
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))


def test_a_tied_head_starts_alike_for_a_model_that_reads_longer_tokens(
    tmp_path, pretrained, prepared, tiny
):
    spread = []
    for folder in (write_scaled(tmp_path), tiny["causal"]):
        run = Small.make(folder, pretrained, prepared, head="tied", head_rank=16)
        nodes = run.nodes.training
        aligner = new_aligner(run.language, nodes, run.shared, seed=0, known_I=run.known)
        states = torch.randn(50, run.language.width, generator=torch.Generator().manual_seed(0))
        spread.append(aligner.logits(states, nodes).std(1).mean().item())
    assert 0.5 < spread[0] / spread[1] < 2


def test_saved_weights_of_another_shape_are_refused(small):
    aligner, _ = small(items=OFF).stage_2()
    tensors = copies(aligner.tensors())
    with pytest.raises(ValueError, match=r"saved weights do not fit: head\.bias is \(3,\)"):
        aligner.load(tensors | {"head.bias": torch.zeros(3)})
    del tensors["head.bias"]
    with pytest.raises(ValueError, match=r"head\.bias is None"):
        aligner.load(tensors)


def test_new_aligner_depends_on_the_seed_alone(small):
    run = small()
    made = [
        new_aligner(
            run.language, run.nodes.training, run.shared, seed=seed, known_I=run.known
        ).tensors()
        for seed in (0, 0, 1)
    ]
    assert not moved(made[0], made[1])
    assert {"head.weight", "item_projector.weight"} <= moved(made[0], made[2])


@pytest.mark.parametrize("step", ["align_items", "align_users"])
def test_both_steps_load_the_model_in_the_precision_of_align(
    step, tmp_path, prepared, pretrained, monkeypatch
):
    """align.precision goes before language.precision, and leaves it to the texts."""
    loaded = []

    def load_language(language):
        loaded.append(language.precision)
        raise Interrupted

    monkeypatch.setattr(steps, "load_language", load_language)
    language = LanguageSettings(precision="float32")
    for precision in (None, "bfloat16"):
        shared = AlignSettings(precision=precision)
        embeddings = pretrained / shared.edges
        inputs = steps.AlignInputs(prepared, tmp_path, embeddings, language, shared)
        with pytest.raises(Interrupted):
            if step == "align_items":
                steps.align_items(inputs, ITEMS, seed=0)
            else:
                steps.align_users(inputs, None, params=USERS, profile=ProfileSettings(), seed=0)
    assert loaded == ["float32", "bfloat16"]


@pytest.mark.parametrize("kind", ["encoder", "causal"])
@pytest.mark.parametrize("adapters", [{}, {"lora_rank": 2, "lora_dropout": 0.0}])
def test_little_memory_changes_no_result(small, kind, adapters):
    """Parts of a batch, and layers computed twice, give the gradients of whole batches and of
    activations that were kept.
    """
    results, calls = [], []
    for shared in ({}, {"micro_batch": 3}, {"checkpoint_layers": True}):
        run, prompts = small(kind, **shared, **adapters), []
        first = next(
            m
            for n, m in run.language.model.named_modules()
            if re.search(r"layers?\.0\..*", n) and is_linear(m)
        )
        first.register_forward_hook(
            lambda _, given, out, to=prompts: (
                to.append(len(given[0])) if torch.is_grad_enabled() else None
            )
        )
        aligner, items = run.stage_2()
        states, users = run.stage_3(aligner)
        results.append(([*items, *users], {"states": states} | copies(aligner.tensors())))
        calls.append(prompts)
    (history, tensors), *others = results
    for other, found in others:
        assert other == [pytest.approx(record, rel=2e-4) for record in history]
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, tensors[name], atol=2e-3, rtol=2e-3)
    whole, parts, twice = calls
    assert max(whole) > 3 == max(parts)
    assert sum(parts) == sum(whole)
    assert sum(twice) == 2 * sum(whole)


def is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear)


def test_accumulated_gradients_are_those_of_the_whole():
    weight, batch = torch.tensor([2.0, -1.0], requires_grad=True), [1.0, 2.0, 3.0, 4.0, 10.0]
    seen = []

    def nats(part):
        seen.append(len(part))
        return sum((weight * x).square().sum() for x in part)

    found = []
    for size in (0, 1, 2, 5, 9):
        weight.grad = None
        loss = add_gradient(nats, batch, 2 * len(batch), size)
        found.append((loss, weight.grad.tolist()))
    for loss, gradient in found:
        assert loss == pytest.approx(5 * 130 / 10)
        assert gradient == pytest.approx([2 * 2 * 13, 2 * -1 * 13])
    assert seen == [5, *[1] * 5, 2, 2, 1, 5, 5]
