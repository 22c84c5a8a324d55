"""RLMRec-Gen: LightGCN that predicts the profiles of nodes whose own embedding is hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.methods.base import Job
from glta.methods.rlmrec_gen.spec import RLMRecGenSettings
from glta.methods.shared.text_contrast import profile_states
from glta.methods.shared.trained import TrainedEmbeddings, TrainRanker

if TYPE_CHECKING:
    from glta.nn.graph.ranker import Ranker


class RLMRecGen(TrainedEmbeddings):
    """Score by the node embeddings of RLMRec-Gen."""

    name = "rlmrec-gen"


class TrainRLMRecGen(TrainRanker):
    """Train RLMRec's generative form (Ren et al., WWW 2024, arXiv 2310.15950, "Gen") on LightGCN.

    In each step, one learnt vector replaces the layer-0 embedding of a random share of the nodes.
    L = L_base + reconstruction_weight * NCE(g(h_v), s_v; masked nodes), a mean over the masked
    nodes v, as in the authors' code (HKUDS/RLMRec, lightgcn_gene). h is the node embedding, s the
    text state of the node's profile, and g a map of two layers from graph to text. L_base is
    computed from the same masked embeddings.
    Differences from that code, so that only the term differs from our LightGCN: layers are
    averaged, not summed; the L2 penalty is on the batch's layer-0 embeddings, not on all
    parameters; an edge is dropped in both directions at once.
    Profiles are what the stage `profile` wrote, encoded by the model of the section `language`.
    """

    result = RLMRecGen

    def ranker(self, job: Job, device: str) -> Ranker:
        from glta.nn.graph.encoders import MaskedEncoder
        from glta.nn.graph.ranker import Ranker
        from glta.nn.graph.terms import Reconstruction

        settings = job.own(RLMRecGenSettings)
        encoder = MaskedEncoder(
            job.prepared.train,
            settings,
            job.seed,
            keep=settings.keep,
            mask_share=settings.mask_share,
            device=device,
        )
        term = Reconstruction(
            profile_states(job),
            embedding_dim=settings.embedding_dim,
            temperature=settings.temperature,
            seed=job.seed,
        )
        terms = {"reconstruction": (settings.reconstruction_weight, term)}
        return Ranker(encoder, settings, terms).to(device)
