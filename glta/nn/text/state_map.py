"""A small network that maps text states to the vectors that score."""

# N rows, W language width, H hidden width, D width of the vectors
from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from glta.nn.text.settings import TextTraining


class StateMap(nn.Module):
    """Map rows (N, W) to (N, D): linear, LeakyReLU, linear; or one matrix without a bias.

    sizes: (W, H, D) or (W, D). Weights and biases start from a uniform distribution between
    -1/sqrt(width) and 1/sqrt(width), where width is that of the layer's input. This is the default
    of torch, which AlphaRec uses.
    """

    def __init__(self, sizes: tuple[int, ...], seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        with_bias = len(sizes) == 3

        def drawn(limit_by: int, *shape: int) -> nn.Parameter:
            values = torch.rand(shape, generator=generator).mul_(2).sub_(1)
            return nn.Parameter(values / limit_by**0.5)

        self.layers = nn.ParameterDict()
        for place, (inner, outer) in enumerate(pairwise(sizes)):
            self.layers[f"weight{place}"] = drawn(inner, outer, inner)
            if with_bias:
                self.layers[f"bias{place}"] = drawn(inner, outer)

    @classmethod
    def sized(cls, params: TextTraining, width: int, seed: int) -> StateMap:
        """Make the map that the settings describe. width: of the text states."""
        hidden = (params.hidden_dim,) if params.map == "mlp" else ()
        return cls((width, *hidden, params.embedding_dim), seed)

    def forward(self, states_NW: torch.Tensor) -> torch.Tensor:
        return mapped(dict(self.layers.items()), states_NW)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the weights by name, for `mapped_rows`."""
        return {name: p.detach().cpu().numpy() for name, p in self.layers.items()}


def mapped(weights: Mapping[str, torch.Tensor], states_NW: torch.Tensor) -> torch.Tensor:
    """Compute the map with given weights: (N, D). weights: those of `StateMap.layers`."""
    hidden = F.linear(states_NW, weights["weight0"], weights.get("bias0"))
    if "weight1" not in weights:
        return hidden
    return F.linear(F.leaky_relu(hidden), weights["weight1"], weights["bias1"])


def mapped_rows(weights: Mapping[str, np.ndarray], states_NW: np.ndarray) -> np.ndarray:
    """Compute the map of numpy rows: (N, D) float32. weights: of `StateMap.arrays`."""
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    rows = torch.from_numpy(np.ascontiguousarray(states_NW, np.float32))
    with torch.inference_mode():
        return mapped(tensors, rows).numpy()
