"""LightGCN+: LightGCN with a contrast between item embeddings and item texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.methods.base import Inputs
from glta.methods.text_knn import text_vectors
from glta.methods.trained import TrainedMethod, text_states
from glta.params import Params, WithText

if TYPE_CHECKING:
    from glta.graph.loop import Ranker
    from glta.graph.terms import OfSome


class LightGCNPlus(TrainedMethod):
    """Train LightGCN with L = L_base + text_weight * mean_i NCE(h_i, P s_i; batch): the GLTA paper's LightGCN+.

    L_base is the loss of the stage `pretrain`. h_i: propagated embedding, s_i: text state of the language model, P: two
    layers. The paper names only the pair (InfoNCE between node and MiniLM description embeddings), so the candidates (the
    batch's distinct items), the map, weight and temperature are ours. text_users contrasts users too.
    """

    name = "lightgcn-plus"

    @classmethod
    def ranker(cls, inputs: Inputs, params: Params, seed: int, device: str) -> Ranker:
        from glta.graph.encoders import LightGCNEncoder
        from glta.graph.loop import Ranker

        own = params.settings.lightgcn_plus
        encoder = LightGCNEncoder(inputs.prepared.train, own, seed, device=device)
        return Ranker(encoder, own, {"text": (own.text_weight, text_contrast(inputs, own, own.embedding_dim, seed))}).to(device)


def text_contrast(inputs: Inputs, own: WithText, embedding_dim: int, seed: int) -> OfSome:
    """Build the term of LightGCN+ and HCCF+; a user's text is the mean of the centred texts of their training items."""
    import torch

    from glta.graph.terms import OfSome, TextContrast

    train, (_, item_IW) = inputs.prepared.train, text_states(inputs)
    user = torch.from_numpy(text_vectors(item_IW, train)[0]) if own.text_users else None
    term = TextContrast(torch.from_numpy(item_IW), user, train.num_users, embedding_dim, own.text_temperature, seed)
    return OfSome(term, own.contrast_batch)
