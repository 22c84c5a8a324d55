"""Generate items for histories, exactly or by beams, with any model of the next code."""

# I items, M codes of an item, N items of a window, B windows, K list length, E masked items
from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from glta.nn.generation.beam_search import beam_search
from glta.nn.generation.catalogue_scores import catalogue_scores
from glta.nn.generation.prefix_tree import NextLogits, PrefixTree
from glta.nn.generation.settings import GenerationSettings

Reader = Callable[[np.ndarray], NextLogits]
"""Reads windows (B, N), and returns what computes the logits of the next code after prefixes."""


class ItemGenerator:
    """Generate items from windows of histories.

    A window is (N,) item ids, the newest last, -1 for no item.
    codes_IM: of the items. read: reads windows without gradients.
    """

    def __init__(
        self,
        codes_IM: np.ndarray,
        read: Reader,
        params: GenerationSettings,
        device: torch.device | str = "cpu",
    ):
        self.read = read
        self.params = params
        self.device = device
        self.tree = PrefixTree.of(codes_IM, device)

    @property
    def exact(self) -> bool:
        """Whether the catalogue is small enough to be scored item by item."""
        return self.tree.num_items <= self.params.exact_items

    def scores(self, window_BN: np.ndarray) -> np.ndarray:
        """Return the log-probability of every item, (B, I) float32."""
        found = np.empty((len(window_BN), self.tree.num_items), np.float32)
        for block in self._blocks(len(window_BN)):
            window = window_BN[block]
            scores = catalogue_scores(self.tree, self.read(window), len(window))
            found[block] = scores.cpu().numpy()
        return found

    def lists(
        self, window_BN: np.ndarray, k: int, row_E: np.ndarray, item_E: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search the best items by beams: items and log-probabilities, each (B, K).

        row_E: windows, ascending, and item_E: items that are never in their lists.
        """
        items = np.empty((len(window_BN), k), np.int64)
        scores = np.empty((len(window_BN), k), np.float32)
        for block in self._blocks(len(window_BN)):
            part = slice(*np.searchsorted(row_E, [block.start, block.stop]))
            masked = (
                torch.from_numpy(row_E[part] - block.start).to(self.device),
                torch.from_numpy(item_E[part]).to(self.device, torch.long),
            )
            window = window_BN[block]
            found = beam_search(
                self.tree,
                self.read(window),
                len(window),
                k=k,
                width=self.params.beams,
                masked=masked,
            )
            items[block], scores[block] = (x.cpu().numpy() for x in found)
        return items, scores

    def _blocks(self, num_windows: int) -> Iterator[slice]:
        """Yield the windows that are read at once."""
        size = self.params.block_users
        for start in range(0, num_windows, size):
            yield slice(start, start + size)
