"""HCCF and HCCF+: a graph's local view contrasted with a global one over learnt hyperedges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glta.methods.base import Inputs
from glta.methods.shared.text_contrast import text_contrast
from glta.methods.shared.trained import TrainedMethod
from glta.params.model import HCCFSettings, Params

if TYPE_CHECKING:
    from glta.nn.graph.encoders import HypergraphEncoder
    from glta.nn.graph.ranker import Ranker
    from glta.nn.graph.terms import OfSome


class HCCF(TrainedMethod):
    """Train hypergraph contrastive collaborative filtering (Xia et al., SIGIR 2022, arXiv
    2204.12200).

    The variant of its authors' torch code (akaxlh/HCCF, torchVersion): no map between hyperedges,
    BPR, contrast averaged over the distinct users and positives of the batch with the gradient
    stopped in the local view. activation puts the paper's LeakyReLU back. Departures: L2 on the
    batch's layer-0 rows, as in all our graph models, instead of on all parameters; an edge is
    dropped in both directions at once; layer 0 starts from a normal distribution, not Xavier's.
    """

    name = "hccf"

    @classmethod
    def ranker(cls, inputs: Inputs, params: Params, seed: int, device: str) -> Ranker:
        from glta.nn.graph.ranker import Ranker

        own = params.settings.hccf
        encoder, term = parts(inputs, own, seed, device)
        return Ranker(encoder, own, {"contrast": (own.contrast_weight, term)}).to(device)


class HCCFPlus(TrainedMethod):
    """Train HCCF with the text term of LightGCN+ (the GLTA paper's HCCF+)."""

    name = "hccf-plus"

    @classmethod
    def ranker(cls, inputs: Inputs, params: Params, seed: int, device: str) -> Ranker:
        from glta.nn.graph.ranker import Ranker

        own = params.settings.hccf_plus
        encoder, term = parts(inputs, own, seed, device)
        text = text_contrast(inputs, own, own.embedding_dim, seed)
        return Ranker(
            encoder, own, {"contrast": (own.contrast_weight, term), "text": (own.text_weight, text)}
        ).to(device)


def parts(
    inputs: Inputs, own: HCCFSettings, seed: int, device: str
) -> tuple[HypergraphEncoder, OfSome]:
    """Build HCCF's encoder and its contrast."""
    from glta.nn.graph.encoders import HypergraphEncoder
    from glta.nn.graph.terms import LocalGlobal, OfSome

    train = inputs.prepared.train
    encoder = HypergraphEncoder(train, own, seed, own.keep, own.hyperedges, own.activation, device)
    return encoder, OfSome(LocalGlobal(train.num_users, own.temperature), own.contrast_batch)
