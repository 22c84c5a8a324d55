"""Stage 2, item-text alignment: learn the item projector and the head by putting descriptions back
into order.
"""

# n items of a prompt, I items, D graph width, H language width
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F

from glta.methods.glta.aligner import Aligner, Nodes, projector
from glta.methods.glta.heads import FreeHead, Space, TiedHead, matched
from glta.methods.glta.loop import accumulated, fit, read_states
from glta.methods.glta.prompts import Templates, equal_length_batches
from glta.methods.glta.settings import AlignItemsSettings, AlignSettings
from glta.nn.language.frozen import Language
from glta.storage.files import read_json, write_json
from glta.storage.tensors import load_tensors, save_tensors
from glta.training.seeds import epoch_rng

VALIDATION, START = (
    2**31 - 1,
    2**31 - 2,
)  # "epochs" that training never reaches, for prompts of other uses


class ItemStage(NamedTuple):
    """Hold what stage 2 has learnt.

    tensors: of the aligner. enabled: whether the item projector was trained. history: one record an
    epoch.
    """

    tensors: Mapping[str, torch.Tensor]
    enabled: bool
    history: list[dict]

    def save(self, folder: Path) -> None:
        """Write the folder of the stage `align_items`."""
        save_tensors(folder / "model.safetensors", self.tensors, {"enabled": self.enabled})
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        tensors, about = load_tensors(folder / "model.safetensors")
        return cls(tensors, about["enabled"], read_json(folder / "history.json"))


def new_aligner(
    language: Language, nodes: Nodes, shared: AlignSettings, seed: int, known_I: np.ndarray
) -> Aligner:
    """Make the untrained item projector, head and, by switch, adapters, deterministically from the
    seed.

    known_I: (I,) bool, the items with training users.
    """
    if shared.lora_rank:
        language.add_lora(shared)
    if shared.checkpoint_layers:
        language.checkpoint_layers()
    generator = torch.Generator().manual_seed(seed)
    project = projector(nodes.item, language, generator)
    num_items = nodes.item.shape[0]
    if shared.head == "tied":
        head = TiedHead(language.width, num_items, shared.head_rank, generator)
    else:
        head = FreeHead(language.width, num_items, generator)
    aligner = Aligner(language, project, None, head).to(language.device)
    if not known_I.all():
        aligner.known = torch.from_numpy(known_I).to(language.device)
    return aligner


def reorder_prompts(
    templates: Templates,
    items: np.ndarray,
    descriptions: Sequence[list[int]],
    per_prompt: int,
    rng: np.random.Generator,
) -> list[tuple]:
    """Deal items into groups of per_prompt (the last ones repeat a few) and shuffle each group's
    descriptions.

    Returns (prompt, target items (n,)) pairs. methods: GLTA section 2.3, stage 2.
    """
    order = rng.permutation(items)
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
    known_I: np.ndarray,
    params: AlignItemsSettings,
    shared: AlignSettings,
    seed: int,
    batch_tokens: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> tuple[Aligner, list[dict]]:
    """Train item projector and head (GLTA stage 2); the node embeddings and the language model stay
    frozen.

    texts: one an item; states_IH: their unit-length states, for the head's start. known_I: (I,)
    bool, the items with training users; no others are shown or are targets. The validation value is
    minus the cross-entropy (nats a read-out) on groups and orders that training does not see.
    Returns the aligner and its history.
    """
    templates = Templates(language)
    nodes = nodes.to(language.device)
    aligner, items = new_aligner(language, nodes, shared, seed, known_I), np.flatnonzero(known_I)
    descriptions = language.tokens(texts, params.description_tokens)
    start = reorder_prompts(
        templates, items, descriptions, params.items_per_prompt, epoch_rng(seed, START, stream=2)
    )[:512]
    states = read_states(aligner, [p for p, _ in start], nodes, batch_tokens, "prompts read")
    aligner.head.calibrate(states)
    if shared.head_init == "matched" and shared.head == "free":
        shown = torch.from_numpy(np.stack([group for _, group in start])).flatten()
        item, text = nodes.item.cpu(), torch.from_numpy(states_IH - states_IH[known_I].mean(0))
        spaces = [Space(item[shown], item), Space(text[shown], text)]
        aligner.head.set(*matched(aligner.head, states.flatten(0, 1), spaces, (1.0, 1.0), shown))
    if not params.enabled:
        return aligner, []

    def batches(epoch: int) -> list[list[tuple]]:
        rng = epoch_rng(seed, epoch, stream=2)
        prompts = reorder_prompts(templates, items, descriptions, params.items_per_prompt, rng)
        lengths = np.array([len(p) for p, _ in prompts])
        return [
            [prompts[i] for i in batch]
            for batch in equal_length_batches(lengths, params.batch_size, rng)
        ]

    def targets(batch: list[tuple]) -> int:
        return sum(group.size for _, group in batch)

    def nats(batch: list[tuple]) -> torch.Tensor:
        target = torch.from_numpy(np.stack([group for _, group in batch])).to(language.device)
        logits = aligner.logits(aligner.states([p for p, _ in batch], nodes), nodes)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")

    held_out = batches(VALIDATION)
    if (
        len(held_out) > 16
    ):  # a few hundred read-outs measure the loss well enough, an epoch need not double
        held_out = held_out[:16]

    def evaluate(epoch: int) -> float:
        with torch.inference_mode():
            return -float(np.mean([nats(batch).item() / targets(batch) for batch in held_out]))

    backward = accumulated(nats, targets, shared.micro_batch)
    history = fit(
        aligner,
        batches,
        backward,
        evaluate,
        params,
        "align_items",
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    return aligner, history
