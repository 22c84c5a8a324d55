"""Define the trained parts of GLTA around the frozen language model.

The projectors turn node embeddings into input tokens. The head turns the model's states into item
logits.
"""

# B prompts, T tokens, K read-outs, U users, I items, D graph width, H language width
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from glta.methods.glta.heads import Head, new_head
from glta.methods.glta.settings import AlignSettings
from glta.methods.shared.graph_nodes import Nodes
from glta.nn.language.frozen import Language
from glta.nn.language.node_prompts import (
    ITEM,
    USER,
    Prompt,
    Tokens,
    read_all,
    read_outs,
    token_projector,
)
from glta.storage.tensors import copy_weights
from glta.training.devices import Devices


def _projected(project: nn.Linear, table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return project(table[ids])


class Aligner(nn.Module):
    """Compute item logits with a frozen language model that reads graph nodes as tokens.

    The saved weights are item_projector, user_projector (None without a user token), head and, with
    LoRA, the adapters. The weights of the language model itself are not among them.
    """

    def __init__(
        self,
        language: Language,
        item_projector: nn.Linear,
        user_projector: nn.Linear | None,
        head: Head,
    ):
        super().__init__()
        self.item_projector = item_projector
        self.user_projector = user_projector
        self.head = head
        # (I,) bool, the items with training users; None when all have some. Others are no targets.
        self.known: torch.Tensor | None = None
        # the list hides the model from nn.Module, which would count its weights as the aligner's
        self._language = [language]

    @property
    def language(self) -> Language:
        return self._language[0]

    def states(self, prompts: Sequence[Prompt], nodes: Nodes) -> torch.Tensor:
        """Compute the read-out states (B, K, H) of prompts.

        All prompts must have the same length and the same number of read-outs.
        """
        return read_outs(self.language, prompts, self.tokens(nodes))

    def tokens(self, nodes: Nodes) -> Tokens:
        """Return how nodes become tokens."""
        project = {ITEM: (self.item_projector, nodes.item)}
        if self.user_projector is not None:
            project[USER] = (self.user_projector, nodes.user)
        return {kind: partial(_projected, *found) for kind, found in project.items()}

    def read(
        self,
        prompts: Sequence[Prompt],
        nodes: Nodes,
        note: str,
        devices: Devices | None = None,
    ) -> torch.Tensor:
        """Compute the states of many prompts, without gradients: (N, K, H). See `read_all`."""
        return read_all(self.language, prompts, self.tokens(nodes), note, devices)

    def logits(self, states: torch.Tensor, nodes: Nodes) -> torch.Tensor:
        """Map states (..., H) to item logits (..., I), -inf for items without training users."""
        logits = self.head(states, self.item_projector(nodes.item))
        return logits if self.known is None else logits.masked_fill(~self.known, -torch.inf)

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that the optimizer updates, by name, adapters included."""
        own = {n: p for n, p in self.named_parameters() if p.requires_grad}
        return own | {f"language.{n}": p for n, p in self.language.adapters().items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all weights to save, trained or frozen, adapters included.

        The frozen language model is not among them.
        """
        return self.state_dict() | {
            f"language.{n}": p.detach() for n, p in self.language.adapters().items()
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load weights that `tensors` returned. Raises ValueError if a name or a shape differs."""
        mine = (
            dict(self.named_parameters())
            | dict(self.named_buffers())
            | {f"language.{n}": p for n, p in self.language.adapters().items()}
        )
        copy_weights(mine, tensors)


def new_aligner(
    language: Language, nodes: Nodes, shared: AlignSettings, *, seed: int, known_I: np.ndarray
) -> Aligner:
    """Make an untrained aligner: item projector, head and, with lora_rank, adapters.

    seed: decides all its random weights. known_I: (I,) bool, the items with training users. Raises
    ValueError for a language model whose tokens are narrower than its states.
    """
    if language.token_width != language.width:
        raise ValueError(
            f"language.model = {language.name}: its tokens have the width {language.token_width}, "
            f"its states {language.width}; the alignment of glta needs one width, so name another "
            "model, or take glta out of methods"
        )
    if shared.lora_rank:
        language.add_lora(
            shared.lora_rank, alpha=shared.lora_alpha, dropout=shared.lora_dropout, seed=seed
        )
    if shared.checkpoint_layers:
        language.checkpoint_layers()
    generator = torch.Generator().manual_seed(seed)
    project = token_projector(nodes.item, language, generator)
    num_items = nodes.item.shape[0]
    head = new_head(shared, language.width, num_items, generator, language.word_scale)
    aligner = Aligner(language, project, None, head).to(language.device)
    if not known_I.all():
        aligner.known = torch.from_numpy(known_I).to(language.device)
    return aligner
