"""Stage 3, user-item alignment: learn the user projector and go on with the head, towards each user's held-out items."""

# U users, I items, K read-outs, H language width
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from glta.align.aligner import Aligner, projector
from glta.align.loop import fit, read_states
from glta.align.nodes import GraphNodes
from glta.align.prompts import Prompt, Templates, equal_length_batches
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.models.language import Language
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

    @classmethod
    def of(cls, language: Language, user_ids: Sequence[str], tags, interests, params: AlignUsers) -> UserPrompts:
        """Tokenize what the prompts say about users. user_ids, tags, interests: (U,) texts."""
        who = list(range(len(user_ids))) if params.user_token else language.tokens([f"user {i}" for i in user_ids])

        def cut(texts, limit: int) -> list[list[int]]:
            return language.tokens(list(texts), limit) if limit else [[] for _ in user_ids]

        words = cut(tags, params.tag_tokens), cut(interests, params.interest_tokens)
        return cls(Templates(language), who, *words, params)

    def one(self, user: int, context: np.ndarray) -> Prompt:
        """Build the prompt of one user; of the context items, in random order, the first context_items are shown."""
        context = context[: self.params.context_items]
        return self.templates.choose(self.who[user], context, self.tags[user], self.interests[user], self.params.read_outs)

    def serving(self, train: Interactions, seed: int) -> list[Prompt]:
        """Build the prompt of every user from training items, drawn once."""
        rng = epoch_rng(seed, SERVING, stream=3)
        return [self.one(user, rng.permutation(train.items_of(user))) for user in range(train.num_users)]


def training_examples(
    prompts: UserPrompts, prepared: Prepared, targets: str, rng: np.random.Generator
) -> list[tuple[Prompt, np.ndarray]]:
    """Draw one example a user: (prompt, targets (K,)), context and targets disjoint, both training items.

    targets "held_out": the context comes from the graph's edges, the targets from those kept out of it (remedy against
    the leak through node embeddings). "all": both from all training edges, the leaky variant, kept for comparison.
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
        examples.append((prompts.one(user, context), target))
    if not examples:
        raise ValueError("no user has a training item to serve as target: raise prepare.target_share or prepare.user_core")
    return examples


def align_users(
    aligner: Aligner,
    prepared: Prepared,
    nodes: GraphNodes,
    prompts: UserPrompts,
    serving_prompts: list[Prompt],
    targets: str,
    train_item_projector: bool,
    seed: int,
    batch_tokens: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> tuple[torch.Tensor, list[dict]]:
    """Train user projector and head (GLTA stage 3), continuing the aligner of stage 2, which is changed in place.

    prompts: for training; their words come from the graph's items. serving_prompts: one a user, from all training items.
    targets: see `training_examples`. The item projector stays frozen unless stage 2 was left out.
    Loss: cross-entropy over the catalogue at each read-out that has a target.
    Validation: NDCG@20 of the first read-out's logits. Returns the states of all users (U, K, H), and the history.
    """
    device, params = aligner.language.device, prompts.params
    training, serving = nodes.training.to(device), nodes.serving.to(device)
    if params.user_token:
        generator = torch.Generator().manual_seed(seed)
        aligner.user_projector = projector(training.user, aligner.language, generator).to(device)
    aligner.item_projector.requires_grad_(train_item_projector)

    def batches(epoch: int) -> list[list[tuple]]:
        rng = epoch_rng(seed, epoch, stream=3)
        examples = training_examples(prompts, prepared, targets, rng)
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
