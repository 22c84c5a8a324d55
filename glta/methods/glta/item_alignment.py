"""Train item alignment (GLTA section 2.3, stage 2).

The item projector and the head learn to put shuffled item texts back into order.
"""

# n items of a prompt, I items, H language width
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from glta.methods.glta.alignment import START_PROMPTS, Alignment
from glta.methods.glta.heads import FreeHead, Space, matched
from glta.methods.glta.prompts import Templates
from glta.methods.glta.settings import AlignItemsSettings
from glta.methods.shared.graph_nodes import Nodes
from glta.nn.language.node_prompts import Prompt
from glta.training.seeds import Stream, epoch_rng

# numbers of epochs that training never reaches: they seed the prompts of validation and start
VALIDATION = 2**31 - 1
START = 2**31 - 2
# a few hundred read-outs are enough to measure the loss
VALIDATION_BATCHES = 16


class ItemExample(NamedTuple):
    """Hold one prompt, and the items (n,) that its read-outs should predict."""

    prompt: Prompt
    items: np.ndarray


def reorder_prompts(
    templates: Templates,
    items: np.ndarray,
    descriptions: Sequence[list[int]],
    per_prompt: int,
    rng: np.random.Generator,
    *,
    num_hidden: int = 0,
) -> list[ItemExample]:
    """Put items into groups of per_prompt and shuffle the descriptions of each group.

    descriptions: token ids of each item's text, (I,) lists. Some items are used twice where the
    last group would be too small.

    num_hidden: item tokens of a group that are hidden. The read-out of a hidden item cannot copy
    its token: it must find a description that fits none of the tokens shown. The descriptions of
    hidden items stand in the order of their read-outs, between the others, so that the answer is
    unique.
    """
    order = rng.permutation(items)
    size = min(per_prompt, order.size)
    if short := -order.size % size:
        order = np.concatenate([order, order[:short]])
    examples = []
    for group in order.reshape(-1, size):
        shuffle = rng.permutation(size)
        hidden = np.sort(rng.permutation(size)[: min(num_hidden, size - 1)])
        shuffle[np.isin(shuffle, hidden)] = hidden
        texts = [descriptions[i] for i in group]
        examples.append(ItemExample(templates.reorder(group, texts, shuffle, hidden), group))
    return examples


@dataclass(eq=False)
class ItemAlignment(Alignment[ItemExample]):
    """Train item projector and head; the node embeddings and the language model stay frozen.

    nodes: of training. texts: one for each item. states_IH: unit-length states of the texts, for
    the start of the head. Items without training users are neither shown nor targets.

    Validation: minus the cross-entropy, in nats for each read-out. Its groups and orders are never
    used in training.
    """

    section = "settings.glta.align_items"
    nodes: Nodes
    texts: Sequence[str]
    states_IH: np.ndarray
    params: AlignItemsSettings

    def __post_init__(self) -> None:
        language = self.aligner.language
        self.nodes = self.nodes.to(language.device)
        self.templates = Templates(language)
        self.descriptions = language.tokens(self.texts, self.params.description_tokens)

    @property
    def settings(self) -> AlignItemsSettings:
        return self.params

    @cached_property
    def known(self) -> np.ndarray:
        """Return (I,) bool, True for items with training users."""
        if self.aligner.known is None:
            return np.ones(len(self.texts), bool)
        return self.aligner.known.cpu().numpy()

    def examples(self, rng: np.random.Generator) -> list[ItemExample]:
        """Draw examples in which every known item is shown."""
        items = np.flatnonzero(self.known)
        per_prompt = self.params.items_per_prompt
        return reorder_prompts(
            self.templates,
            items,
            self.descriptions,
            per_prompt,
            rng,
            num_hidden=self.params.hidden_items,
        )

    def drawn(self, epoch: int) -> list[list[ItemExample]]:
        rng = epoch_rng(self.seed, epoch, Stream.ITEM_PROMPTS)
        return self.batched(self.examples(rng), rng)

    def num_targets(self, examples: Sequence[ItemExample]) -> int:
        return sum(e.items.size for e in examples)

    def nats(self, examples: Sequence[ItemExample]) -> torch.Tensor:
        target = torch.from_numpy(np.stack([e.items for e in examples])).to(self.nodes.item.device)
        states = self.aligner.states([e.prompt for e in examples], self.nodes)
        logits = self.aligner.logits(states, self.nodes)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")

    def start(self) -> None:
        """Set the head's standardisation and, with head_init "matched", a free head's weights."""
        head = self.aligner.head
        rng = epoch_rng(self.seed, START, Stream.ITEM_PROMPTS)
        examples = self.examples(rng)[:START_PROMPTS]
        prompts = [e.prompt for e in examples]
        item = self.nodes.item
        states = self.aligner.read(prompts, self.nodes, "prompts read", self.devices)
        states = states.to(item.device)
        head.calibrate(states)
        if isinstance(head, FreeHead) and self.shared.head_init == "matched":
            shown = torch.from_numpy(np.stack([e.items for e in examples])).flatten()
            shown = shown.to(item.device)
            text = torch.from_numpy(self.states_IH - self.states_IH[self.known].mean(0))
            text = text.to(item.device)
            spaces = [Space(item[shown], item), Space(text[shown], text)]
            unknown = torch.from_numpy(~self.known).to(item.device)
            head.set(
                *matched(
                    head,
                    states.flatten(0, 1),
                    spaces,
                    weights=(1.0, 1.0),
                    observed_N=shown,
                    left_out=lambda rest: unknown.expand(len(rest), -1),
                )
            )

    @cached_property
    def held_out(self) -> list[list[ItemExample]]:
        """Draw the batches of validation."""
        return self.drawn(VALIDATION)[:VALIDATION_BATCHES]

    def validate(self, epoch: int) -> float:
        nats = torch.zeros(len(self.held_out), dtype=torch.float64)
        with torch.inference_mode():
            for place, batch in enumerate(self.held_out):
                if mine := batch[self.devices.share(len(batch))]:
                    nats[place] = self.nats(mine).item()
        self.devices.add_up([nats])
        counts = [self.num_targets(batch) for batch in self.held_out]
        return -float(np.mean(nats.numpy() / counts))
