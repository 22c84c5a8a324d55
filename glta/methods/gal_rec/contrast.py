"""The contrastive losses of GAL-Rec, as sums over the examples of a batch."""

# B examples, C width of a representation, Q length of a queue, I items
from __future__ import annotations

import torch

from glta.methods.gal_rec.key_queue import EMPTY, KeyQueue


def nce(
    anchor_BC: torch.Tensor,
    key_BC: torch.Tensor,
    ids_B: torch.Tensor,
    *,
    temperature: float,
    queue: KeyQueue,
    others_BI: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute -log softmax of each anchor's own key among the keys {own} and negatives: (B,).

    Representations have length 1; similarities are divided by the temperature.
    ids_B: the nodes of the keys. queue: the negatives; keys of the same node are left out. A queue
        of length 0 stands for the other keys of the batch.
    others_BI: (B, I) bool by node id, further nodes that are no negatives of an anchor; None: none.
    """
    own_B1 = (anchor_BC * key_BC).sum(1, keepdim=True)
    keys_QC, ids_Q = (queue.keys, queue.ids) if len(queue.ids) else (key_BC, ids_B)
    left_out_BQ = (ids_Q == ids_B[:, None]) | (ids_Q == EMPTY)
    if others_BI is not None:
        left_out_BQ = left_out_BQ | others_BI[:, ids_Q.clamp_min(0)]
    negative_BQ = (anchor_BC @ keys_QC.T).masked_fill(left_out_BQ, -torch.inf)
    logits = torch.cat([own_B1, negative_BQ], 1) / temperature
    return logits.logsumexp(1) - logits[:, 0]


def weighted_means(
    states_NC: torch.Tensor, owner_N: torch.Tensor, weight_N: torch.Tensor, num_owners: int
) -> torch.Tensor:
    """Average the neighbours' representations of each owner, and scale to length 1: (B, C).

    owner_N: the example of each neighbour. weight_N: 1 / sqrt(degree of owner x degree of
    neighbour), as in LightGCN. An owner without neighbours gets zeros.
    """
    total = states_NC.new_zeros(num_owners, states_NC.shape[1])
    total = total.index_add(0, owner_N, states_NC * weight_N[:, None])
    return torch.nn.functional.normalize(total, dim=1)
