"""Compare a training step of LightGCN with torch-geometric's and the reference implementation's.

All have the same start and the same batches, and must have the same losses. So they need the same
number of epochs for any quality, and the ratio of the step times is the ratio of the training
times.
"""

# U users, I items, N = U + I nodes, E interactions
from __future__ import annotations

from itertools import cycle

import numpy as np
import torch

from benchmarks.timing import Row, in_turns
from glta.data.interactions import Interactions
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.nn.graph.encoders import LightGCNEncoder, initial_embedding
from glta.nn.graph.losses import batch_loss, bpr_loss
from glta.nn.graph.sampling import sample_epoch
from glta.training.devices import keep_freed_memory
from glta.training.seeds import epoch_rng

GOWALLA = (29_858, 40_981, 810_128)
# the settings of gusye1234/LightGCN-PyTorch, 3 layers; it draws users uniformly
REFERENCE = LightGCNSettings(learning_rate=1e-3, l2=1e-4, sampling="user", patience=10**6)


def power_law_graph(num_users: int, num_items: int, num_edges: int) -> Interactions:
    """Draw distinct pairs with a fixed seed; activity and popularity are powers of the rank."""
    rng = np.random.default_rng(0)
    key = np.zeros(0, np.int64)
    while key.size < num_edges:
        user = (num_users * rng.random(num_edges) ** 2).astype(np.int64)
        item = (num_items * rng.random(num_edges) ** 2.5).astype(np.int64)
        key = np.unique(np.concatenate([key, user * num_items + item]))
    key = rng.permutation(key)[:num_edges]
    return Interactions.of(
        rng.permutation(num_users)[key // num_items],
        rng.permutation(num_items)[key % num_items],
        num_users,
        num_items,
    )


def pairwise(
    hidden: torch.Tensor, embedding: torch.Tensor, batch, num_users: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute (loss, ranking part) by indexing, as published code does."""
    user, positive, negative = batch[0], batch[1] + num_users, batch[2] + num_users
    rank = bpr_loss(
        (hidden[user] * hidden[positive]).sum(1), (hidden[user] * hidden[negative]).sum(1)
    )
    norm = sum(embedding[ids].square().sum() for ids in (user, positive, negative)) / (
        2 * user.numel()
    )
    return rank + REFERENCE.l2 * norm, rank


def edges_both_ways(graph: Interactions) -> torch.Tensor:
    user, item = torch.from_numpy(graph.user), torch.from_numpy(graph.item) + graph.num_users
    return torch.stack([torch.cat([user, item]), torch.cat([item, user])])


class Contestant:
    """Train one form of the model on one batch at a time. device: for this package's alone."""

    def __init__(
        self,
        name: str,
        graph: Interactions,
        batch_size: int = REFERENCE.batch_size,
        device: str = "cpu",
    ):
        self.losses: list[float] = []
        start = initial_embedding(graph.num_users + graph.num_items, REFERENCE, seed=0)
        if name == "this package":
            encoder = LightGCNEncoder(graph, REFERENCE, seed=0, device=device)
            self.parameter = encoder.embedding
            self.loss = lambda batch: batch_loss(
                encoder(None).hidden, self.parameter, batch, graph.num_users, REFERENCE
            )
        else:
            self.parameter, hidden = FORMS[name](graph, start)
            self.loss = lambda batch: pairwise(hidden(), self.parameter, batch, graph.num_users)
        self.optimizer = torch.optim.Adam(
            [self.parameter], lr=REFERENCE.learning_rate, fused=name == "this package"
        )
        triples = sample_epoch(graph, epoch_rng(0, 0), REFERENCE.sampling)
        self.batches = cycle(
            zip(
                *(torch.from_numpy(ids).to(device).split(batch_size) for ids in triples),
                strict=True,
            )
        )

    def step(self) -> None:
        total, rank = self.loss(next(self.batches))
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        self.losses.append(rank.item())


def own_propagation(graph: Interactions, start: torch.Tensor):
    """Use this package's propagation with the loss of published code, which gathers rows by index.

    The difference to the whole package shows what its own loss is worth.
    """
    encoder = LightGCNEncoder(graph, REFERENCE, seed=0)
    encoder.embedding.data.copy_(start)
    return encoder.embedding, lambda: encoder(None).hidden


def torch_geometric_edges(graph: Interactions, start: torch.Tensor):
    """Use torch_geometric.nn.LightGCN with an edge_index, as in its documentation and examples."""
    from torch_geometric.nn import LightGCN

    model = LightGCN(len(start), start.shape[1], REFERENCE.num_layers)
    model.embedding.weight.data.copy_(start)
    edge_index = edges_both_ways(graph)
    return model.embedding.weight, lambda: model.get_embedding(edge_index)


def torch_geometric_csr(graph: Interactions, start: torch.Tensor):
    """Use the same model on a sparse CSR matrix that is normalised once.

    This is the fastest form that torch-geometric's documentation names.
    """
    from torch_geometric.nn import LightGCN
    from torch_geometric.nn.conv.gcn_conv import gcn_norm
    from torch_geometric.utils import to_torch_csr_tensor

    model = LightGCN(len(start), start.shape[1], REFERENCE.num_layers, normalize=False)
    model.embedding.weight.data.copy_(start)
    edge_index, weight = gcn_norm(
        edges_both_ways(graph), num_nodes=len(start), add_self_loops=False
    )
    adjacency = to_torch_csr_tensor(edge_index, weight, size=(len(start), len(start)))
    return model.embedding.weight, lambda: model.get_embedding(adjacency)


def reference_coo(graph: Interactions, start: torch.Tensor):
    """Use the form of gusye1234/LightGCN-PyTorch.

    It has a sparse COO product for each layer, stacks all layers, and uses plain autograd.
    """
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    edge_index, weight = gcn_norm(
        edges_both_ways(graph), num_nodes=len(start), add_self_loops=False
    )
    adjacency = torch.sparse_coo_tensor(edge_index, weight, (len(start), len(start))).coalesce()
    parameter = torch.nn.Parameter(start.clone())

    def hidden() -> torch.Tensor:
        layers = [parameter]
        for _ in range(REFERENCE.num_layers):
            layers.append(torch.sparse.mm(adjacency, layers[-1]))
        return torch.stack(layers, 1).mean(1)

    return parameter, hidden


FORMS = {
    "own propagation, rows gathered": own_propagation,
    "torch-geometric, edge_index": torch_geometric_edges,
    "torch-geometric, CSR": torch_geometric_csr,
    "reference, COO": reference_coo,
}
TARGETS = {"torch-geometric, edge_index": 10, "torch-geometric, CSR": 3, "reference, COO": 5}
LARGE_BATCH = 131_072


def compare(
    graph: Interactions, rounds: int, batch_size: int, targets: dict[str, float]
) -> list[Row]:
    """Time steps of all forms in turns. Raises AssertionError when their losses differ."""
    keep_freed_memory()
    contestants = {name: Contestant(name, graph, batch_size) for name in ("this package", *FORMS)}
    seconds = in_turns({name: one.step for name, one in contestants.items()}, rounds, warm_up=2)
    own = contestants["this package"].losses
    for name, one in contestants.items():
        np.testing.assert_allclose(one.losses, own, rtol=1e-5, err_msg=name)
    case = f"LightGCN step of {batch_size:,}, {len(graph):,} edges"
    note = f"{torch.get_num_threads()} threads; {len(own)} equal losses"
    return [
        Row(
            case,
            1e3 * seconds["this package"],
            name,
            1e3 * seconds[name],
            target=targets.get(name),
            unit="ms",
            note=note,
        )
        for name in FORMS
    ]


def run(quick: bool) -> list[Row]:
    """Time steps of width 64 with 3 layers on a power-law graph of Gowalla's size.

    quick: a small graph, no targets.
    """
    if quick:
        return compare(power_law_graph(300, 400, 20_000), 3, REFERENCE.batch_size, {})
    graph = power_law_graph(*GOWALLA)
    return compare(graph, 15, REFERENCE.batch_size, TARGETS) + compare(graph, 5, LARGE_BATCH, {})
