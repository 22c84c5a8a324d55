"""Stage 3, user-item alignment: learn the user projector and go on with the head, towards each user's held-out items."""

# U users, I items, K read-outs, H language width
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from glta.align.aligner import Aligner, Nodes, projector
from glta.align.loop import fit, read_states
from glta.align.prompts import Prompt, Templates, equal_length_batches
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.params import AlignUsers
from glta.training import epoch_rng
from glta.validation import validation_ndcg

SERVING = 2**31 - 1  # the "epoch" whose draw of context items serves, for validation and test alike
IGNORE = -100  # cross_entropy's mark for read-outs without a target


@dataclass(frozen=True)
class UserPrompts:
    """Build stage-3 prompts. who: a node id or the words of an id; tags, interests: token ids; each (U,) lists."""

    templates: Templates
    who: Sequence[int | list[int]]
    tags: Sequence[list[int]]
    interests: Sequence[list[int]]
    params: AlignUsers

    def one(self, user: int, context: np.ndarray, chosen: Sequence[int] = (), read_outs: int | None = None) -> Prompt:
        return self.templates.choose(
            self.who[user], context, self.tags[user], self.interests[user], read_outs or self.params.read_outs, chosen
        )

    def serving(self, train: Interactions, seed: int) -> list[Prompt]:
        """Build the prompt of every user from training items: at most context_items of them, drawn once."""
        rng, size = epoch_rng(seed, SERVING, stream=3), self.params.context_items
        return [self.one(u, draw(train.items_of(u), size, rng)) for u in range(train.num_users)]


def user_prompts(aligner: Aligner, prepared: Prepared, tags, interests, params: AlignUsers) -> UserPrompts:
    """Tokenize what the prompts say about users. tags, interests: (U,) texts."""
    language = aligner.language
    ids = prepared.users["user_id"].to_list()
    who = list(range(len(ids))) if params.user_token else language.tokens([f"user {i}" for i in ids])

    def cut(texts, limit: int) -> list[list[int]]:
        return language.tokens(list(texts), limit) if limit else [[] for _ in ids]

    return UserPrompts(Templates(language), who, cut(tags, params.tag_tokens), cut(interests, params.interest_tokens), params)


def draw(items: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw up to `size` of the items, in random order."""
    return rng.permutation(items)[:size]


def training_examples(prompts: UserPrompts, prepared: Prepared, rng: np.random.Generator) -> list[tuple]:
    """Draw one example a user: (prompt, targets (K,)), context and targets disjoint, both training items.

    targets "held_out": the context comes from the graph's edges, the targets from those kept out of it (remedy against
    the leak through node embeddings). "all": both from all training edges, the leaky variant, kept for comparison.
    """
    params, examples = prompts.params, []
    for user in range(prepared.train.num_users):
        if params.targets == "held_out":
            context, pool = prepared.graph.items_of(user), rng.permutation(prepared.target.items_of(user))
        else:
            items = rng.permutation(prepared.train.items_of(user))
            num_targets = max(1, min(params.read_outs, items.size // 2))
            context, pool = items[num_targets:], items[:num_targets]
        if not pool.size:
            continue
        target = np.full(params.read_outs, IGNORE, np.int64)
        target[: pool.size] = pool[: params.read_outs]
        examples.append((prompts.one(user, draw(context, params.context_items, rng)), target))
    return examples


def align_users(
    aligner: Aligner,
    prepared: Prepared,
    training: Nodes,
    serving: Nodes,
    prompts: UserPrompts,
    params: AlignUsers,
    train_item_projector: bool,
    seed: int,
    batch_tokens: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> tuple[torch.Tensor, list[dict]]:
    """Train user projector and head (GLTA stage 3), continuing the aligner of stage 2, which is changed in place.

    training, serving: node embeddings propagated over the graph's edges, and over all training edges. The item projector
    stays frozen unless stage 2 was left out. Loss: cross-entropy over the catalogue at each read-out that has a target.
    Validation: NDCG@20 of the first read-out's logits. Returns the states of all users (U, K, H), and the history.
    """
    device = aligner.language.device
    training, serving = training.to(device), serving.to(device)
    if params.user_token:
        generator = torch.Generator().manual_seed(seed)
        aligner.user_projector = projector(training.user, aligner.language, generator).to(device)
    aligner.item_projector.requires_grad_(train_item_projector)
    serving_prompts = prompts.serving(prepared.train, seed)

    def batches(epoch: int) -> list[list[tuple]]:
        rng = epoch_rng(seed, epoch, stream=3)
        examples = training_examples(prompts, prepared, rng)
        lengths = np.array([len(p) for p, _ in examples])
        return [[examples[i] for i in batch] for batch in equal_length_batches(lengths, params.batch_size, rng)]

    def loss_of(batch: list[tuple]) -> torch.Tensor:
        target = torch.from_numpy(np.stack([t for _, t in batch])).to(device)
        logits = aligner.logits(aligner.states([p for p, _ in batch], training), training)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORE)

    def all_states() -> torch.Tensor:
        return read_states(aligner, serving_prompts, serving, batch_tokens, "users read")

    def evaluate() -> float:
        states = all_states()
        with torch.inference_mode():
            weight, bias = (t.cpu() for t in aligner.head.factors(aligner.item_projector(serving.item)))
        return validation_ndcg(prepared, lambda users: states[users, 0] @ weight.T + bias)

    history = fit(aligner, batches, loss_of, evaluate, params, "align_users", checkpoint, on_epoch)
    return all_states(), history
