"""RLMRec-Con and RLMRec-Gen: LightGCN tied to the language model's representation of user and item
profiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glta.methods.base import Inputs
from glta.methods.shared.trained import TrainedMethod, text_states
from glta.params.model import Params

if TYPE_CHECKING:
    import torch

    from glta.nn.graph.ranker import Ranker


class RLMRecCon(TrainedMethod):
    """Train RLMRec's contrastive form (Ren et al., WWW 2024, arXiv 2310.15950, "Con") on LightGCN.

    L = L_base + contrast_weight * [NCE(h_u, f(s_u); all users) + NCE(h_i, f(s_i); positives) +
    NCE(h_n, f(s_n); negatives)], means over the batch, f two layers from text to graph, as in the
    authors' code (HKUDS/RLMRec, lightgcn_plus). Departures, so that the term alone tells it from
    our LightGCN: layers are averaged, not summed; the L2 penalty is on the batch's layer-0 rows,
    not on all parameters; an edge is dropped in both directions at once. Profiles are what the
    stage `profile` wrote (tags and likely interests of a user, an item's text), encoded by
    `language`, not GPT-3.5's.
    """

    name = "rlmrec-con"

    @classmethod
    def ranker(cls, inputs: Inputs, params: Params, seed: int, device: str) -> Ranker:
        from glta.nn.graph.encoders import LightGCNEncoder
        from glta.nn.graph.ranker import Ranker
        from glta.nn.graph.terms import OfSome, ProfileContrast

        own, train = params.settings.rlmrec_con, inputs.prepared.train
        term = ProfileContrast(
            profile_states(inputs), train.num_users, own.embedding_dim, own.temperature, seed
        )
        encoder = LightGCNEncoder(train, own, seed, own.keep, device=device)
        return Ranker(
            encoder, own, {"contrast": (own.contrast_weight, OfSome(term, own.contrast_batch))}
        ).to(device)


class RLMRecGen(TrainedMethod):
    """Train RLMRec's generative form ("Gen" of the same paper) on LightGCN.

    A share of nodes loses its layer-0 embedding to one learnt vector; the same masked pass serves
    ranking and L = L_base + reconstruction_weight * NCE(g(h_v), s_v; masked nodes), mean over
    masked v, g two layers from graph to text (HKUDS/RLMRec, lightgcn_gene). Departures as for
    RLMRec-Con.
    """

    name = "rlmrec-gen"

    @classmethod
    def ranker(cls, inputs: Inputs, params: Params, seed: int, device: str) -> Ranker:
        from glta.nn.graph.encoders import MaskedEncoder
        from glta.nn.graph.ranker import Ranker
        from glta.nn.graph.terms import Reconstruction

        own = params.settings.rlmrec_gen
        term = Reconstruction(profile_states(inputs), own.embedding_dim, own.temperature, seed)
        encoder = MaskedEncoder(inputs.prepared.train, own, seed, own.keep, own.mask_share, device)
        return Ranker(encoder, own, {"reconstruction": (own.reconstruction_weight, term)}).to(
            device
        )


def profile_states(inputs: Inputs) -> torch.Tensor:
    """Stack the states of users, then items: (N, W)."""
    import torch

    return torch.from_numpy(np.concatenate(text_states(inputs)))
