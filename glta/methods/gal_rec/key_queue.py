"""A queue of earlier representations, which serve as negatives (MoCo, arXiv 1911.05722)."""

# Q length of the queue, B new keys, C width of a key
from __future__ import annotations

from collections.abc import Mapping

import torch

EMPTY = -1


class KeyQueue:
    """Hold the newest Q keys with the ids of their nodes, first in, first out.

    keys: (Q, C) float32, without gradients. ids: (Q,) int64, -1 where there is no key yet.
    """

    def __init__(self, length: int, width: int, device: torch.device | str = "cpu"):
        self.keys = torch.zeros(length, width, device=device)
        self.ids = torch.full((length,), EMPTY, device=device)
        self.place = 0

    def push(self, keys_BC: torch.Tensor, ids_B: torch.Tensor) -> None:
        """Add keys in their order. They replace the oldest ones."""
        length = len(self.ids)
        if not length:
            return
        keys_BC, ids_B = keys_BC.detach()[-length:], ids_B[-length:]
        at = (self.place + torch.arange(len(ids_B), device=self.ids.device)) % length
        self.keys[at] = keys_BC.to(self.keys)
        self.ids[at] = ids_B.to(self.ids)
        self.place = (self.place + len(ids_B)) % length

    def state(self) -> dict[str, torch.Tensor]:
        """Return all that a checkpoint needs."""
        return {"keys": self.keys, "ids": self.ids, "place": torch.tensor([self.place])}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state` returned. Raises ValueError for a queue of another size."""
        if state["keys"].shape != self.keys.shape:
            raise ValueError(
                f"settings.gal-rec: the checkpoint has a queue of {tuple(state['keys'].shape)}, "
                f"the settings one of {tuple(self.keys.shape)}"
            )
        self.keys.copy_(state["keys"])
        self.ids.copy_(state["ids"])
        self.place = int(state["place"].item())
