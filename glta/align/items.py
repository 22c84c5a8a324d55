"""Stage 2, item-text alignment: learn the item projector and the head by putting descriptions back into order."""

# n items of a prompt, I items, D graph width, H language width
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from glta.align.aligner import Aligner, FreeHead, Nodes, TiedHead, projector
from glta.align.loop import fit
from glta.align.prompts import Templates, equal_length_batches
from glta.models.language import Language
from glta.params import Align, AlignItems
from glta.training import epoch_rng

VALIDATION = 2**31 - 1  # an "epoch" that training never reaches: its groups and orders are the validation prompts


def new_aligner(language: Language, nodes: Nodes, states_IH: np.ndarray, shared: Align, seed: int) -> Aligner:
    """Make the untrained item projector, head and, by switch, adapters, deterministically from the seed."""
    if shared.lora_rank:
        language.add_lora(shared)
    generator = torch.Generator().manual_seed(seed)
    project = projector(nodes.item, language, generator)
    num_items = nodes.item.shape[0]
    if shared.head == "tied":
        head = TiedHead(language.width, num_items, shared.head_rank, generator)
    else:
        start = torch.from_numpy(states_IH) if shared.head_init == "item_states" else None
        head = FreeHead(language.width, num_items, generator, start)
    return Aligner(language, project, None, head).to(language.device)


def reorder_prompts(
    templates: Templates, descriptions: Sequence[list[int]], per_prompt: int, rng: np.random.Generator
) -> list[tuple]:
    """Deal all items into groups of per_prompt (the last ones repeat a few) and shuffle each group's descriptions.

    Returns (prompt, target items (n,)) pairs. methods: GLTA section 2.3, stage 2.
    """
    order = rng.permutation(len(descriptions))
    size = min(per_prompt, order.size)
    if short := -order.size % size:
        order = np.concatenate([order, order[:short]])
    return [
        (templates.reorder(group, [descriptions[i] for i in group], rng.permutation(size)), group)
        for group in order.reshape(-1, size)
    ]


def align_items(
    language: Language,
    nodes: Nodes,
    texts: Sequence[str],
    states_IH: np.ndarray,
    params: AlignItems,
    shared: Align,
    seed: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> tuple[Aligner, list[dict]]:
    """Train item projector and head (GLTA stage 2); the node embeddings and the language model stay frozen.

    texts: one an item; states_IH: their states, for the head's start. The validation value is minus the cross-entropy
    (nats a read-out) on groups and orders that training does not see. Returns the aligner and its history.
    """
    templates = Templates(language)
    nodes = nodes.to(language.device)
    aligner = new_aligner(language, nodes, states_IH, shared, seed)
    if not params.enabled:
        return aligner, []
    descriptions = language.tokens(texts, params.description_tokens)

    def batches(epoch: int) -> list[list[tuple]]:
        rng = epoch_rng(seed, epoch, stream=2)
        prompts = reorder_prompts(templates, descriptions, params.items_per_prompt, rng)
        lengths = np.array([len(p) for p, _ in prompts])
        return [[prompts[i] for i in batch] for batch in equal_length_batches(lengths, params.batch_size, rng)]

    def loss_of(batch: list[tuple]) -> torch.Tensor:
        target = torch.from_numpy(np.stack([items for _, items in batch])).to(language.device)
        logits = aligner.logits(aligner.states([p for p, _ in batch], nodes), nodes)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    held_out = batches(VALIDATION)
    if len(held_out) > 16:  # a few hundred read-outs measure the loss well enough, an epoch need not double
        held_out = held_out[:16]

    def evaluate() -> float:
        with torch.inference_mode():
            return -float(np.mean([loss_of(batch).item() for batch in held_out]))

    history = fit(aligner, batches, loss_of, evaluate, params, "align_items", checkpoint, on_epoch)
    return aligner, history
