"""The trained parts of GAL-Rec around a language model."""

# B prompts or users, U users, I items, E token width, H language width, F width of external
# vectors, C width of compared representations
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from glta.methods.gal_rec.spec import GALRecSettings
from glta.methods.gal_rec.view_prompts import VIEWS, Side, View
from glta.methods.shared.graph_nodes import Nodes
from glta.methods.shared.state_scale import centre_and_scale
from glta.nn.language.frozen import Language
from glta.nn.language.node_prompts import (
    ITEM,
    TASK,
    USER,
    Prompt,
    Tokens,
    equal_length_batches,
    read_all,
    read_outs,
    token_projector,
)
from glta.storage.tensors import copy_weights
from glta.training.devices import Devices

# width and spread of vectors that are trained in place of external ones
OWN_WIDTH = 128
OWN_SPREAD = 0.1


class ViewNetwork(nn.Module):
    """Read prompts about nodes, and score items.

    A state s is read at a prompt's read-out. Its representation is C s' / |C s'|, where s' is s
    with mean 0 and spread 1 in each dimension among the states of its view, fixed by `calibrate`.
    Otherwise what all prompts of a view share would be most of their similarity.

    A user's vector is e + A s' + B e, with the external vector e; without `direct` it is A s'. An
    item's vector is w f + D f, with its external vector f and one weight w for each part. Scores
    are dot products plus a bias for each item. A, B and D start at zero.
    """

    centre: torch.Tensor
    scale: torch.Tensor
    part_F: torch.Tensor

    def __init__(
        self, language: Language, nodes: Nodes, settings: GALRecSettings, generator: torch.Generator
    ):
        """Make an untrained network. nodes: external vectors, for widths and spreads alone."""
        super().__init__()
        self.own_user: nn.Parameter | None = None
        self.own_item: nn.Parameter | None = None
        if settings.external == "none":
            user, item = (
                torch.randn(len(table), OWN_WIDTH, generator=generator) * OWN_SPREAD
                for table in (nodes.user, nodes.item)
            )
            self.own_user, self.own_item = nn.Parameter(user), nn.Parameter(item)
            nodes = Nodes(user, item)
        width, state = nodes.item.shape[1], language.width
        self.direct = settings.direct
        self.user_project = token_projector(nodes.user, language, generator)
        self.item_project = token_projector(nodes.item, language, generator)
        table = language.word_inputs().cpu()
        spread = table.std(0) * torch.randn(len(VIEWS), language.token_width, generator=generator)
        self.task = nn.Parameter(table.mean(0) + spread)
        compare = torch.randn(settings.contrast_width, state, generator=generator) * state**-0.5
        self.compare = nn.Parameter(compare)
        self.state_map = nn.Parameter(torch.zeros(width, state))
        self.user_map = nn.Parameter(torch.zeros(width, width))
        self.item_map = nn.Parameter(torch.zeros(width, width))
        self.bias = nn.Parameter(torch.zeros(len(nodes.item)))
        self.register_buffer("centre", torch.zeros(len(VIEWS), state))
        self.register_buffer("scale", torch.ones(len(VIEWS), state))
        self.register_buffer("part_F", torch.ones(width))
        # the list hides the model from nn.Module, which would count its weights as the network's
        self._language = [language]

    @property
    def language(self) -> Language:
        return self._language[0]

    def nodes(self, external: Nodes) -> Nodes:
        """Return the vectors of nodes: those given, or those that are trained here."""
        if self.own_user is None or self.own_item is None:
            return external
        return Nodes(self.own_user, self.own_item)

    def tokens(self, nodes: Nodes) -> Tokens:
        """Return how node ids and tasks become tokens. nodes: their vectors."""
        return {
            ITEM: partial(_projected, self.item_project, nodes.item),
            USER: partial(_projected, self.user_project, nodes.user),
            TASK: self._tasks,
        }

    def _tasks(self, ids: torch.Tensor) -> torch.Tensor:
        return self.task[ids]

    def states(self, prompts: Sequence[Prompt], nodes: Nodes) -> torch.Tensor:
        """Compute the states (B, H) of prompts of any lengths; equal lengths are read together."""
        lengths = np.array([len(p) for p in prompts], np.int64)
        tokens = self.tokens(nodes)
        order, found = [], []
        for batch in equal_length_batches(lengths, len(prompts)):
            order.append(batch)
            found.append(read_outs(self.language, [prompts[i] for i in batch], tokens)[:, 0])
        back = torch.from_numpy(np.argsort(np.concatenate(order))).to(self.centre.device)
        return torch.cat(found)[back]

    def read(
        self, prompts: Sequence[Prompt], nodes: Nodes, note: str, devices: Devices | None = None
    ) -> torch.Tensor:
        """Compute the states of many prompts, without gradients: (B, H) on the CPU."""
        if not prompts:
            return torch.zeros(0, self.language.width)
        return read_all(self.language, prompts, self.tokens(nodes), note, devices)[:, 0]

    @torch.no_grad()
    def calibrate(self, states_BH: torch.Tensor, view: View) -> None:
        """Fix the mean and the spread of the states of a view."""
        place = VIEWS.index(view)
        self.centre[place], self.scale[place] = centre_and_scale(states_BH)

    def standard(self, states_BH: torch.Tensor, view: View) -> torch.Tensor:
        """Standardise the states of a view."""
        place = VIEWS.index(view)
        return (states_BH - self.centre[place]) / self.scale[place]

    def representations(self, states_BH: torch.Tensor, view: View) -> torch.Tensor:
        """Map the states of a view to what is compared: (B, C), rows of length 1."""
        return F.normalize(self.standard(states_BH, view) @ self.compare.T, dim=1)

    def users(self, states_BH: torch.Tensor, vectors_BF: torch.Tensor) -> torch.Tensor:
        """Compute users' vectors for scores: (B, F).

        states_BH: of their two-hop prompts. vectors_BF: their external vectors.
        """
        read = self.standard(states_BH, (Side.USERS, 2)) @ self.state_map.T
        return vectors_BF + vectors_BF @ self.user_map.T + read if self.direct else read

    def items(self, nodes: Nodes) -> torch.Tensor:
        """Compute items' vectors for scores: (I, F)."""
        return nodes.item * self.part_F + nodes.item @ self.item_map.T

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that the optimizer updates, by name."""
        own = dict(self.named_parameters())
        return own | {f"language.{n}": p for n, p in self.language.trained().items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all weights to save by name; a language model that is not trained has none."""
        return self.state_dict() | {
            f"language.{n}": p.detach() for n, p in self.language.trained().items()
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load weights that `tensors` returned. Raises ValueError if a name or a shape differs."""
        mine = self.state_dict(keep_vars=True)
        mine |= {f"language.{n}": p for n, p in self.language.trained().items()}
        copy_weights(mine, tensors)


def _projected(project: nn.Linear, table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return project(table[ids])


def new_network(
    language: Language, nodes: Nodes, settings: GALRecSettings, seed: int
) -> ViewNetwork:
    """Make an untrained network, and make the language model trainable as the settings say.

    seed: decides all random weights.
    """
    if settings.train == "lora":
        language.add_lora(
            settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
            seed=seed,
        )
    if settings.train == "whole":
        language.train_whole()
    if settings.checkpoint_layers:
        language.checkpoint_layers()
    generator = torch.Generator().manual_seed(seed)
    return ViewNetwork(language, nodes, settings, generator).to(language.device)
