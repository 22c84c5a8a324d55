"""AlphaRec: a map of text states, trained with LightGCN's propagation and no embeddings of ids."""

# U users, I items, J new items, W language width, D width of the vectors, B users of a block
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array

from glta.data.histories import fold_in, mean_of_items
from glta.data.interactions import Interactions
from glta.methods.alpharec.spec import AlphaRecSettings
from glta.methods.base import Job
from glta.methods.shared.mapped_text import MappedText, TrainMap
from glta.methods.shared.text_space import text_states, unit_rows

if TYPE_CHECKING:
    from glta.nn.text.text_rankers import AlphaRanker


@dataclass(frozen=True, kw_only=True)
class AlphaRec(MappedText):
    """Score by the cosine of mapped and propagated text states.

    states: (I, W), text states of the items. message: (I, D), what each item adds by propagation to
    the mapped state of a user (`fold_in`). It is the sum of the item's layers 0 to L - 1, divided
    by the root of its number of users.
    """

    name = "alpharec"
    states: np.ndarray
    message: np.ndarray

    @classmethod
    def of(
        cls,
        weights: dict[str, np.ndarray],
        states_IW: np.ndarray,
        train: Interactions,
        num_layers: int,
        **trained: Any,
    ) -> Self:
        """Place users and items. trained: count, best_epoch and history of the training."""
        import torch

        from glta.nn.graph.propagation import mean_of_layers, normalized_adjacency
        from glta.nn.text.state_map import mapped_rows
        from glta.nn.text.text_rankers import node_states

        layer0 = torch.from_numpy(mapped_rows(weights, node_states(train, states_IW)))
        adjacency = normalized_adjacency(train)
        nodes = unit_rows(mean_of_layers(adjacency, layer0, num_layers).numpy())
        user, item = np.split(nodes, [train.num_users])
        message = np.zeros_like(item)
        if num_layers:
            below = num_layers * mean_of_layers(adjacency, layer0, num_layers - 1).numpy()
            message = below[train.num_users :] / np.sqrt(np.maximum(train.item_degree, 1))[:, None]
        return cls(
            user,
            item,
            weights=weights,
            states=states_IW,
            message=message.astype(np.float32),
            **trained,
        )

    def placed(self, history_BI: csr_array) -> np.ndarray:
        own = self.mapped(mean_of_items(history_BI, self.states))
        return unit_rows(own + fold_in(history_BI, self.message))

    def extended(self, text_JW: np.ndarray) -> Self:
        # an item without users has nothing but its layer 0
        layer0 = self.mapped(text_JW)
        return replace(
            self,
            item=np.concatenate([self.item, unit_rows(layer0)]),
            states=np.concatenate([self.states, text_JW]),
            message=np.concatenate([self.message, layer0]),
        )


class TrainAlphaRec(TrainMap):
    """Train AlphaRec (Sheng et al., ICLR 2025, arXiv 2407.05441; LehengTHU/AlphaRec).

    x_i is the text state of an item, and x_u the mean of those of a user's training items. Layer 0
    is f(x), where f is the map, and LightGCN's propagation averages the layers 0 to L. The loss is
    a softmax over cosines, see `AlphaRanker`.
    Differences from that code: the best epoch is chosen on validation pairs; a negative that the
    user has is left out instead of drawn again; the text is all of the item's text instead of the
    title, and the model of the section `language` encodes it.
    """

    result = AlphaRec

    def ranker(self, job: Job, device: str) -> AlphaRanker:
        from glta.nn.text.text_rankers import AlphaRanker, PropagatedText

        settings = job.own(AlphaRecSettings)
        train = job.prepared.train
        _, states = text_states(job)
        encoder = PropagatedText(
            train, states, settings, settings.num_layers, seed=job.seed, device=device
        )
        return AlphaRanker(encoder, settings, train, settings.negatives)

    def recommender(
        self, job: Job, weights: dict[str, np.ndarray], states_IW: np.ndarray, **trained: Any
    ) -> AlphaRec:
        num_layers = job.own(AlphaRecSettings).num_layers
        return AlphaRec.of(weights, states_IW, job.prepared.train, num_layers, **trained)
