"""RLMRec-Con: LightGCN with a contrast between nodes and the profiles of users and items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.methods.base import Job
from glta.methods.rlmrec_con.spec import RLMRecConSettings
from glta.methods.shared.text_contrast import profile_states
from glta.methods.shared.trained import TrainedEmbeddings, TrainRanker

if TYPE_CHECKING:
    from glta.nn.graph.ranker import Ranker


class RLMRecCon(TrainedEmbeddings):
    """Score by the node embeddings of RLMRec-Con."""

    name = "rlmrec-con"


class TrainRLMRecCon(TrainRanker):
    """Train RLMRec's contrastive form (Ren et al., WWW 2024, arXiv 2310.15950, "Con") on LightGCN.

    L = L_base + contrast_weight * [NCE(h_u, f(s_u); all users) + NCE(h_i, f(s_i); positives) +
    NCE(h_n, f(s_n); negatives)], each a mean over the batch, as in the authors' code
    (HKUDS/RLMRec, lightgcn_plus). h is the node embedding of a user u, a positive i or a negative
    n, s the text state of its profile, and f a map of two layers from text to graph.
    Differences from that code, so that only the term differs from our LightGCN: layers are
    averaged, not summed; the L2 penalty is on the batch's layer-0 embeddings, not on all
    parameters; an edge is dropped in both directions at once.
    Profiles are what the stage `profile` wrote: tags and likely interests of a user, and the text
    of an item. The model of the section `language` encodes them, instead of a model of OpenAI.
    """

    result = RLMRecCon

    def ranker(self, job: Job, device: str) -> Ranker:
        from glta.nn.graph.encoders import LightGCNEncoder
        from glta.nn.graph.ranker import Ranker
        from glta.nn.graph.terms import ProfileContrast

        settings = job.own(RLMRecConSettings)
        train = job.prepared.train
        encoder = LightGCNEncoder(train, settings, job.seed, keep=settings.keep, device=device)
        term = ProfileContrast(
            profile_states(job),
            num_users=train.num_users,
            embedding_dim=settings.embedding_dim,
            temperature=settings.temperature,
            seed=job.seed,
        )
        terms = {"contrast": (settings.contrast_weight, term)}
        return Ranker(encoder, settings, terms).to(device)
