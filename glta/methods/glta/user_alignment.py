"""Stage 3, user-item alignment: learn the user projector and go on with the head, towards each
user's held-out items.
"""

# U users, I items, K read-outs, H language width
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.validation import validation_ndcg
from glta.methods.glta.aligner import Aligner, projector
from glta.methods.glta.heads import Space, matched
from glta.methods.glta.loop import accumulated, fit, read_states
from glta.methods.glta.nodes import GraphNodes
from glta.methods.glta.prompts import Prompt, Templates, equal_length_batches
from glta.methods.glta.settings import AlignSettings, AlignUsersSettings
from glta.methods.shared.text_space import text_vectors
from glta.nn.language.frozen import Language
from glta.training.seeds import epoch_rng

SERVING = 2**31 - 1  # the "epoch" whose draw of context items serves, for validation and test alike
TEXT_WEIGHTS = (
    0.0,
    0.25,
    0.5,
    1.0,
    2.0,
)  # of the text part of a matched start, times the spread of the graph part
IGNORE = -100  # cross_entropy's mark for read-outs without a target


@dataclass(frozen=True)
class UserPrompts:
    """Build stage-3 prompts.

    who: a node id or the words of an id; tags, interests: token ids; each (U,) lists.
    """

    templates: Templates
    who: Sequence[int | list[int]]
    tags: Sequence[list[int]]
    interests: Sequence[list[int]]
    params: AlignUsersSettings

    @classmethod
    def of(
        cls,
        language: Language,
        user_ids: Sequence[str],
        tags,
        interests,
        params: AlignUsersSettings,
    ) -> UserPrompts:
        """Tokenize what the prompts say about users. user_ids, tags, interests: (U,) texts."""
        who = (
            list(range(len(user_ids)))
            if params.user_token
            else language.tokens([f"user {i}" for i in user_ids])
        )

        def cut(texts, limit: int) -> list[list[int]]:
            return language.tokens(list(texts), limit) if limit else [[] for _ in user_ids]

        words = cut(tags, params.tag_tokens), cut(interests, params.interest_tokens)
        return cls(Templates(language), who, *words, params)

    def one(self, user: int, context: np.ndarray) -> Prompt:
        """Build the prompt of one user; of the context items, in random order, the first
        context_items are shown.
        """
        context = context[: self.params.context_items]
        return self.templates.choose(
            self.who[user], context, self.tags[user], self.interests[user], self.params.read_outs
        )

    def serving(self, train: Interactions, seed: int) -> list[Prompt]:
        """Build the prompt of every user from training items, drawn once."""
        rng = epoch_rng(seed, SERVING, stream=3)
        return [
            self.one(user, rng.permutation(train.items_of(user))) for user in range(train.num_users)
        ]


class Example(NamedTuple):
    """Hold one training example: user, prompt, target (K,) int64 with IGNORE where there is
    none.
    """

    user: int
    prompt: Prompt
    target: np.ndarray


def training_examples(
    prompts: UserPrompts, prepared: Prepared, targets: str, rng: np.random.Generator
) -> list[Example]:
    """Draw one example for each user with a target, context and targets disjoint, both training
    items.

    targets "held_out": the context comes from the graph's edges, the targets from those kept out of
    it (remedy against the leak through node embeddings). "all": both from all training edges, the
    leaky variant, kept for comparison.
    """
    read_outs, examples = prompts.params.read_outs, []
    for user in range(prepared.train.num_users):
        if targets == "held_out":
            context, pool = prepared.graph.items_of(user), prepared.target.items_of(user)
            context, pool = rng.permutation(context), rng.permutation(pool)[:read_outs]
        else:
            items = rng.permutation(prepared.train.items_of(user))
            cut = min(read_outs, items.size // 2)
            context, pool = items[cut:], items[:cut]
        if not pool.size:
            continue
        target = np.full(read_outs, IGNORE, np.int64)
        target[: pool.size] = pool
        examples.append(Example(user, prompts.one(user, context), target))
    if not examples:
        raise ValueError(
            "no user has a training item to serve as target: raise prepare.target_share or "
            "prepare.user_core"
        )
    return examples


def align_users(
    aligner: Aligner,
    prepared: Prepared,
    nodes: GraphNodes,
    prompts: UserPrompts,
    serving_prompts: list[Prompt],
    shared: AlignSettings,
    states_IH: np.ndarray,
    train_item_projector: bool,
    seed: int,
    batch_tokens: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> tuple[torch.Tensor, list[dict]]:
    """Train user projector and head (GLTA stage 3), continuing the aligner of stage 2, which is
    changed in place.

    prompts: for training; their words come from the graph's items. serving_prompts: one a user,
    from all training items.
    states_IH: unit-length states of the item texts, for the start of a free head: stage 2's head,
    or one matched to the users' graph and text neighbourhoods, whichever validates better.
    train_item_projector: false (frozen) unless stage 2 was left out.
    Loss: cross-entropy over the catalogue at each read-out that has a target.
    Validation: NDCG@20 of the first read-out's logits. Returns the states of all users (U, K, H),
    and the history.
    """
    device, params = aligner.language.device, prompts.params
    training, serving = nodes.training.to(device), nodes.serving.to(device)
    if params.user_token:
        generator = torch.Generator().manual_seed(seed)
        aligner.user_projector = projector(training.user, aligner.language, generator).to(device)
    aligner.item_projector.requires_grad_(train_item_projector)

    def batches(epoch: int) -> list[list[Example]]:
        rng = epoch_rng(seed, epoch, stream=3)
        examples = training_examples(prompts, prepared, shared.targets, rng)
        lengths = np.array([len(e.prompt) for e in examples])
        return [
            [examples[i] for i in batch]
            for batch in equal_length_batches(lengths, params.batch_size, rng)
        ]

    def targets(batch: list[Example]) -> int:
        return sum(int((e.target != IGNORE).sum()) for e in batch)

    def nats(batch: list[Example]) -> torch.Tensor:
        target = torch.from_numpy(np.stack([e.target for e in batch])).to(device)
        logits = aligner.logits(aligner.states([e.prompt for e in batch], training), training)
        return F.cross_entropy(
            logits.flatten(0, 1), target.flatten(), ignore_index=IGNORE, reduction="sum"
        )

    def all_states() -> torch.Tensor:
        return read_states(aligner, serving_prompts, serving, batch_tokens, "users read")

    def ndcg(states: torch.Tensor) -> float:
        with torch.inference_mode():
            weight, bias = (
                t.cpu() for t in aligner.head.factors(aligner.item_projector(serving.item))
            )
        if aligner.known is not None:  # their rows are made afterwards
            bias = bias.masked_fill(~aligner.known.cpu(), -torch.inf)
        return validation_ndcg(prepared, lambda users: states[users, 0] @ weight.T + bias)

    kept: dict[
        int, torch.Tensor
    ] = {}  # epoch: states. Reading all users costs a third of an epoch: keep the best ones
    best = -1.0

    def evaluate(epoch: int) -> float:
        nonlocal best
        states = kept[epoch] if epoch in kept else all_states()
        value = ndcg(states)
        if value > best:
            best = value
            kept.clear()
            kept[epoch] = states
        return value

    def start() -> None:
        if shared.head != "free" or shared.head_init != "matched":
            return
        examples = training_examples(
            prompts, prepared, shared.targets, epoch_rng(seed, SERVING, stream=4)
        )
        states = read_states(
            aligner, [e.prompt for e in examples], training, batch_tokens, "prompts read"
        ).to(device)
        shown = np.array([e.user for e in examples]).repeat(states.shape[1])
        graph = prepared.graph if shared.targets == "held_out" else prepared.train
        tastes, texts = (torch.from_numpy(v).to(device) for v in text_vectors(states_IH, graph)[:2])
        spaces = [Space(training.user[shown], serving.item), Space(tastes[shown], texts)]
        starts = [aligner.head.linear(None)]
        observed = torch.from_numpy(np.concatenate([e.target for e in examples])).to(device)
        flat = states.flatten(0, 1)
        starts += [
            matched(aligner.head, flat, spaces, (1.0, weight), observed) for weight in TEXT_WEIGHTS
        ]
        starts = [tuple(t.detach().clone() for t in head) for head in starts]
        kept[-1], values = all_states(), []
        for head in starts:
            aligner.head.set(*head)
            values.append(ndcg(kept[-1]))
        aligner.head.set(*starts[int(np.argmax(values))])

    backward = accumulated(nats, targets, shared.micro_batch)
    history = fit(
        aligner, batches, backward, evaluate, params, "align_users", start, checkpoint, on_epoch
    )
    best_epoch = max(history, key=lambda record: record["valid"])["epoch"]
    return kept[
        best_epoch
    ] if best_epoch in kept else all_states(), history  # not kept: it came before a resume
