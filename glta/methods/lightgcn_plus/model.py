"""LightGCN+: LightGCN with a contrast between item embeddings and item texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.methods.base import Job
from glta.methods.lightgcn_plus.spec import LightGCNPlusSettings
from glta.methods.shared.text_contrast import text_contrast
from glta.methods.shared.trained import TrainedEmbeddings, TrainRanker

if TYPE_CHECKING:
    from glta.nn.graph.ranker import Ranker


class LightGCNPlus(TrainedEmbeddings):
    """Score by the node embeddings of LightGCN+."""

    name = "lightgcn-plus"


class TrainLightGCNPlus(TrainRanker):
    """Train LightGCN with L = L_base + text_weight * mean_i NCE(h_i, P s_i; batch).

    This is the GLTA paper's LightGCN+. L_base is the ranking loss of LightGCN. h_i: propagated
    embedding. s_i: text state of the language model. P: two layers. The paper names only the pair
    (InfoNCE between a node's and its MiniLM description embedding). So the candidates (the batch's
    distinct items), the map, weight and temperature are ours. text_users contrasts users too.
    """

    result = LightGCNPlus

    def ranker(self, job: Job, device: str) -> Ranker:
        from glta.nn.graph.encoders import LightGCNEncoder
        from glta.nn.graph.ranker import Ranker

        settings = job.own(LightGCNPlusSettings)
        encoder = LightGCNEncoder(job.prepared.train, settings, job.seed, device=device)
        text = text_contrast(job, settings, settings.embedding_dim)
        return Ranker(encoder, settings, {"text": (settings.text_weight, text)}).to(device)
