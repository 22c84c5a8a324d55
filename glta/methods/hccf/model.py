"""HCCF: a graph's local view contrasted with a global one over learnt hyperedges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.methods.base import Job
from glta.methods.hccf.spec import HCCFSettings
from glta.methods.shared.hypergraph import hypergraph_parts
from glta.methods.shared.trained import TrainedEmbeddings, TrainRanker

if TYPE_CHECKING:
    from glta.nn.graph.ranker import Ranker


class HCCF(TrainedEmbeddings):
    """Score by the node embeddings of HCCF."""

    name = "hccf"


class TrainHCCF(TrainRanker):
    """Train hypergraph contrastive collaborative filtering (Xia et al., SIGIR 2022, 2204.12200).

    This is the variant of its authors' torch code (akaxlh/HCCF, torchVersion): no map between
    hyperedges, BPR, and a contrast averaged over the distinct users and positives of the batch with
    the gradient stopped in the local view. `activation` puts the paper's LeakyReLU back.
    Departures: L2 on the batch's layer-0 rows, as in all our graph models, instead of on all
    parameters; an edge is dropped in both directions at once; layer 0 starts from a normal
    distribution, not Xavier's.
    """

    result = HCCF

    def ranker(self, job: Job, device: str) -> Ranker:
        from glta.nn.graph.ranker import Ranker

        settings = job.own(HCCFSettings)
        encoder, contrast = hypergraph_parts(job.prepared.train, settings, job.seed, device)
        terms = {"contrast": (settings.contrast_weight, contrast)}
        return Ranker(encoder, settings, terms).to(device)
