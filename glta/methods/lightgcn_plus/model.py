"""LightGCN+: LightGCN with a contrast between item embeddings and item texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.methods.base import Inputs
from glta.methods.shared.text_contrast import text_contrast
from glta.methods.shared.trained import TrainedMethod
from glta.params.model import Params

if TYPE_CHECKING:
    from glta.nn.graph.ranker import Ranker


class LightGCNPlus(TrainedMethod):
    """Train LightGCN with L = L_base + text_weight * mean_i NCE(h_i, P s_i; batch): the GLTA
    paper's LightGCN+.

    L_base is the loss of the stage `pretrain`. h_i: propagated embedding, s_i: text state of the
    language model, P: two layers. The paper names only the pair (InfoNCE between node and MiniLM
    description embeddings), so the candidates (the batch's distinct items), the map, weight and
    temperature are ours. text_users contrasts users too.
    """

    name = "lightgcn-plus"

    @classmethod
    def ranker(cls, inputs: Inputs, params: Params, seed: int, device: str) -> Ranker:
        from glta.nn.graph.encoders import LightGCNEncoder
        from glta.nn.graph.ranker import Ranker

        own = params.settings.lightgcn_plus
        encoder = LightGCNEncoder(inputs.prepared.train, own, seed, device=device)
        return Ranker(
            encoder,
            own,
            {"text": (own.text_weight, text_contrast(inputs, own, own.embedding_dim, seed))},
        ).to(device)
