"""HCCF: contrast the local embeddings of a graph with global ones over learnt hyperedges."""

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

    This is the variant of the authors' torch code (akaxlh/HCCF, torchVersion). It has no map
    between hyperedges, and trains by BPR. Its contrast is averaged over the distinct users and
    positives of the batch, and has no gradient through the local embeddings. `activation` adds the
    LeakyReLU of the paper.
    Differences from that code: the L2 penalty is on the batch's layer-0 embeddings, as in all our
    graph models, instead of on all parameters; an edge is dropped in both directions at once; layer
    0 starts from a normal distribution instead of Xavier's.
    """

    result = HCCF

    def ranker(self, job: Job, device: str) -> Ranker:
        from glta.nn.graph.ranker import Ranker

        settings = job.own(HCCFSettings)
        encoder, contrast = hypergraph_parts(job.prepared.train, settings, job.seed, device)
        terms = {"contrast": (settings.contrast_weight, contrast)}
        return Ranker(encoder, settings, terms).to(device)
