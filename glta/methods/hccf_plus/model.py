"""HCCF+: HCCF with the text term of LightGCN+."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.methods.base import Job
from glta.methods.hccf_plus.spec import HCCFPlusSettings
from glta.methods.shared.hypergraph import hypergraph_parts
from glta.methods.shared.text_contrast import text_contrast
from glta.methods.shared.trained import TrainedEmbeddings, TrainRanker

if TYPE_CHECKING:
    from glta.nn.graph.ranker import Ranker


class HCCFPlus(TrainedEmbeddings):
    """Score by the node embeddings of HCCF+."""

    name = "hccf-plus"


class TrainHCCFPlus(TrainRanker):
    """Train HCCF with the text term of LightGCN+. This is HCCF+ of the GLTA paper."""

    result = HCCFPlus

    def ranker(self, job: Job, device: str) -> Ranker:
        from glta.nn.graph.ranker import Ranker

        settings = job.own(HCCFPlusSettings)
        encoder, contrast = hypergraph_parts(job.prepared.train, settings, job.seed, device)
        text = text_contrast(job, settings, settings.embedding_dim)
        terms = {
            "contrast": (settings.contrast_weight, contrast),
            "text": (settings.text_weight, text),
        }
        return Ranker(encoder, settings, terms).to(device)
