"""Define the trained parts of GLTA around the frozen language model.

The projectors turn node embeddings into input tokens. The head turns the model's states into item
logits.
"""

# B prompts, T tokens, K read-outs, U users, I items, D graph width, H language width
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from glta.methods.glta.heads import Head, new_head
from glta.methods.glta.nodes import Nodes
from glta.methods.glta.prompts import ITEM, READ_OUT, USER, WORD, Prompt
from glta.methods.glta.settings import AlignSettings
from glta.nn.language.frozen import Language


def projector(nodes_ND: torch.Tensor, language: Language, generator: torch.Generator) -> nn.Linear:
    """Make the linear map V = W h + b from node embeddings to input embeddings (GLTA, projectors).

    W starts random. b is set so that the projected tokens have the mean and the spread of the word
    embeddings. A default start would be lost beside the position embeddings, because LightGCN's
    embeddings are short and nearly parallel.
    """
    table = language.model.get_input_embeddings().weight.detach().float()
    centre_H, spread = table.mean(0), table.std(0).norm()
    mean_D = nodes_ND.mean(0)
    length = (nodes_ND - mean_D).norm(dim=1).mean().clamp_min(1e-12)
    linear = nn.Linear(nodes_ND.shape[1], language.width)
    with torch.no_grad():
        weight = torch.randn(linear.weight.shape, generator=generator).to(table.device)
        linear.weight.copy_(weight * spread / (length * language.width**0.5))
        linear.bias.copy_(centre_H.cpu() - linear.weight @ mean_D.cpu())
    return linear


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
        device = self.language.device
        kind_BT = torch.from_numpy(np.stack([p.kind for p in prompts])).to(device)
        value_BT = torch.from_numpy(np.stack([p.value for p in prompts])).to(device)
        is_word = (kind_BT == WORD) | (kind_BT == READ_OUT)
        embeds_BTH = self.language.embed(value_BT.masked_fill(~is_word, 0)).float()
        for which, project, table in (
            (ITEM, self.item_projector, nodes.item),
            (USER, self.user_projector, nodes.user),
        ):
            at = (kind_BT == which).nonzero(as_tuple=True)
            if at[0].numel():
                # prompts have user tokens only if there is a user projector
                assert project is not None
                embeds_BTH = embeds_BTH.index_put(at, project(table[value_BT[at]]))
        hidden_BTH = self.language.hidden(embeds_BTH.to(self.language.model.dtype))
        return hidden_BTH[kind_BT == READ_OUT].view(len(prompts), -1, self.language.width)

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
        with torch.no_grad():
            for name, parameter in mine.items():
                found = tensors.get(name)
                if found is None or found.shape != parameter.shape:
                    raise ValueError(
                        f"saved weights do not fit: {name} is "
                        f"{None if found is None else tuple(found.shape)}"
                    )
                parameter.copy_(found)


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
    project = projector(nodes.item, language, generator)
    head = new_head(shared, language.width, nodes.item.shape[0], generator)
    aligner = Aligner(language, project, None, head).to(language.device)
    if not known_I.all():
        aligner.known = torch.from_numpy(known_I).to(language.device)
    return aligner
