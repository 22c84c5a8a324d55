"""Define the head: one linear map from read-out states to item logits.

Source: GLTA, graph-language logits matching. The head is free, or tied to the item tokens.
"""

# N states, I items, F features of a node or text, H language width, R rank of the tied head
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from glta.methods.glta.settings import AlignSettings
from glta.methods.shared.state_scale import centre_and_scale

# penalty of the ridge regression, on standardised states
# on the dataset sample, 10 to 1000 give the same ranking quality within 6 %
RIDGE = 100.0
# tried for the logits of a matched start
SCALES = [2 ** (step / 2) for step in range(-12, 5)]


class Head(nn.Module):
    """Map standardised read-out states (..., H) to item logits (..., I).

    The states of a frozen model share a large common part; on the packaged model it is four times
    as long as the rest. A linear map on such states is badly conditioned. `calibrate` therefore
    sets centre and scale of the states before the training of each alignment, from its own prompts:
    states of user prompts are up to two deviations away from those of item prompts.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def calibrate(self, states: torch.Tensor) -> None:
        """Set centre and scale from states (..., H)."""
        centre, scale = centre_and_scale(states.flatten(0, -2))
        self.centre.copy_(centre)
        self.scale.copy_(scale)

    def standard(self, states: torch.Tensor) -> torch.Tensor:
        """Standardise states (..., H)."""
        return (states - self.centre) / self.scale

    def linear(self, tokens_IH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (weight (I, H), bias (I,)) on standardised states.

        tokens_IH: the projected item tokens.
        """
        raise NotImplementedError

    def forward(self, states: torch.Tensor, tokens_IH: torch.Tensor) -> torch.Tensor:
        weight_IH, bias_I = self.linear(tokens_IH)
        return self.standard(states) @ weight_IH.T + bias_I

    def factors(self, tokens_IH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (weight (I, H), bias (I,)) such that logits = states @ weight.T + bias."""
        weight_IH, bias_I = self.linear(tokens_IH)
        weight_IH = weight_IH / self.scale
        return weight_IH, bias_I - weight_IH @ self.centre


class FreeHead(Head):
    """Map states with one free linear map, H x I weights and I biases, as published."""

    def __init__(self, width: int, num_items: int, generator: torch.Generator):
        super().__init__(width)
        self.weight = nn.Parameter(torch.randn(num_items, width, generator=generator) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(num_items))

    def linear(self, tokens_IH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.weight, self.bias

    def linear_copy(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy the map. `set` can restore it later."""
        return self.weight.detach().clone(), self.bias.detach().clone()

    @torch.no_grad()
    def set(self, weight_IH: torch.Tensor, bias_I: torch.Tensor) -> None:
        """Replace the map on standardised states."""
        self.weight.copy_(weight_IH)
        self.bias.copy_(bias_I)


class TiedHead(Head):
    """Match states to item tokens at low rank: z_i = (P o) . (Q V_i) + b_i.

    Each item adds one parameter, its bias.
    """

    def __init__(
        self,
        width: int,
        num_items: int,
        rank: int,
        generator: torch.Generator,
        word_scale: float = 1.0,
    ):
        """Start with random maps. word_scale: of the language model, see `Language`."""
        super().__init__(width)
        self.state = nn.Linear(width, rank, bias=False)
        self.token = nn.Linear(width, rank, bias=False)
        self.bias = nn.Parameter(torch.zeros(num_items))
        with torch.no_grad():
            for linear in (self.state, self.token):
                linear.weight.copy_(
                    torch.randn(rank, width, generator=generator) * (rank * width) ** -0.25
                )
            # logits are as large as item tokens, so longer ones would start with larger logits
            self.token.weight /= word_scale

    def linear(self, tokens_IH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.token(tokens_IH) @ self.state.weight, self.bias


def new_head(
    settings: AlignSettings,
    width: int,
    num_items: int,
    generator: torch.Generator,
    word_scale: float = 1.0,
) -> Head:
    """Make the head that the settings name, with random weights.

    word_scale: of the language model, see `Language`; 1 where saved weights take their place.
    """
    if settings.head == "tied":
        return TiedHead(width, num_items, settings.head_rank, generator, word_scale)
    return FreeHead(width, num_items, generator)


class Space(NamedTuple):
    """Pair the targets of read-outs with the item features that they are compared to.

    target: (N, F), what each read-out should predict. item: (I, F).
    """

    target: torch.Tensor
    item: torch.Tensor


@torch.no_grad()
def matched(
    head: Head,
    states_NH: torch.Tensor,
    spaces: Sequence[Space],
    *,
    weights: Sequence[float],
    observed_N: torch.Tensor,
    left_out: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve for a start of the free map: (weight (I, H), bias (I,)) on standardised states.

    For each space, ridge regression finds the map M from states to targets. The scores item @ M.T
    then measure how well each item fits the predicted target. The scores of the spaces are added.
    Each is first scaled to the spread of the first space's scores, times its weight.

    The sum is scaled to the lowest cross-entropy on the observed items (N,), where a negative
    number means that no item was observed. The scale is chosen on the last fifth of the states,
    whose order should be random. These are left out of the ridge regression, which would be
    overconfident on the states that it was fitted to.
    left_out: maps places among the states (R,) to the items that are no candidates of the
    cross-entropy, (R, I) bool. These are the ones that the loss of the training leaves out, and the
    observed item is none of them. A free map that is trained from a random
    start over-fits before it ranks well (docs/method.md).
    """
    all_NH = head.standard(states_NH)
    known = round(0.8 * len(states_NH))
    mean_H = all_NH[:known].mean(0)
    x_NH = all_NH[:known] - mean_H
    gram_HH = x_NH.T @ x_NH + RIDGE * torch.eye(x_NH.shape[1], device=x_NH.device)
    total_IH = torch.zeros((), device=x_NH.device)
    total_I = torch.zeros((), device=x_NH.device)
    first = None
    for space, share in zip(spaces, weights, strict=True):
        target_NF = space.target[:known]
        mean_F = target_NF.mean(0)
        map_HF = torch.linalg.solve(gram_HH, x_NH.T @ (target_NF - mean_F))
        weight_IH = space.item @ map_HF.T
        bias_I = space.item @ (mean_F - mean_H @ map_HF)
        spread = (all_NH[:256] @ weight_IH.T + bias_I).std(1).mean().clamp_min(1e-12)
        first = spread if first is None else first
        total_IH = total_IH + weight_IH * share * first / spread
        total_I = total_I + bias_I * share * first / spread
    rest = torch.arange(known, len(all_NH), device=all_NH.device)
    rest = rest[observed_N[rest] >= 0]
    logits = all_NH[rest] @ total_IH.T + total_I
    if left_out is not None:
        logits = logits.masked_fill(left_out(rest), -torch.inf)
    losses = [F.cross_entropy(logits * scale, observed_N[rest]) for scale in SCALES]
    scale = SCALES[int(torch.stack(losses).argmin())] if rest.numel() else 1.0
    return total_IH * scale, total_I * scale
