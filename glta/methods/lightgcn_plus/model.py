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

    L_base is the ranking loss of LightGCN, h_i the propagated embedding of item i, s_i the text
    state of item i, and P a map of two layers. NCE is `info_nce`, whose candidates are the distinct
    items of the batch. With text_users, users have the same term.
    This is LightGCN+ of the GLTA paper. The paper describes it only as InfoNCE between a node's
    embedding and the MiniLM embedding of its description. The candidates, the map, the weight and
    the temperature are therefore our choice.
    """

    result = LightGCNPlus

    def ranker(self, job: Job, device: str) -> Ranker:
        from glta.nn.graph.encoders import LightGCNEncoder
        from glta.nn.graph.ranker import Ranker

        settings = job.own(LightGCNPlusSettings)
        encoder = LightGCNEncoder(job.prepared.train, settings, job.seed, device=device)
        text = text_contrast(job, settings, settings.embedding_dim)
        return Ranker(encoder, settings, {"text": (settings.text_weight, text)}).to(device)
