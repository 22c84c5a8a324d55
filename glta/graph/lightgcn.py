"""LightGCN (He et al., SIGIR 2020) with mean layer combination, trained by BPR or by softmax over the catalogue."""

# U users, I items, N = U + I nodes, D embedding width, B batch
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from glta.data.interactions import Interactions
from glta.graph.propagation import normalized_adjacency, propagate
from glta.graph.sampling import sample_epoch
from glta.methods.arrays import load_arrays
from glta.params import Pretrain
from glta.training import Checkpoint, EarlyStopping, epoch_rng, optimizer_tensors, restore_optimizer

Evaluate = Callable[[np.ndarray, np.ndarray], float]
"""Maps propagated embeddings, users (U, D) and items (I, D), to the validation metric; higher is better."""


def bpr_loss(positive_B: torch.Tensor, negative_B: torch.Tensor) -> torch.Tensor:
    """Average -log sigmoid(positive - negative) over the batch (Rendle et al. 2009). Scores (B,); returns nats a pair."""
    return F.softplus(negative_B - positive_B).mean()


def initial_embedding(num_nodes: int, params: Pretrain, seed: int) -> torch.Tensor:
    """Draw layer 0 from N(0, init_std^2), (N, D) float32, as the reference implementation does."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_nodes, params.embedding_dim, generator=generator) * params.init_std


def batch_loss(
    embedding_ND: torch.Tensor,
    adjacency: torch.Tensor,
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    num_users: int,
    params: Pretrain,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute (loss to minimise, ranking part of it) for one batch of user, positive and negative ids, each (B,).

    BPR: mean softplus(s_un - s_up) + l2 / 2 * (|e_u|^2 + |e_p|^2 + |e_n|^2) / B on the batch's *layer-0* rows, as in
    the reference implementation; regularising propagated rows costs accuracy. Softmax: cross-entropy of the positive
    against the whole catalogue, the negatives unused, the same penalty over user and positive.
    """
    user, positive, negative = batch
    hidden_ND = propagate(adjacency, embedding_ND, params.num_layers)
    used = [user, positive + num_users] + ([negative + num_users] if params.loss == "bpr" else [])
    nodes = torch.cat(used)
    # one gather each: F.embedding's backward is deterministic on CPU, index_put's is not
    hidden = F.embedding(nodes, hidden_ND).split(user.numel())
    if params.loss == "bpr":
        rank_loss = bpr_loss((hidden[0] * hidden[1]).sum(1), (hidden[0] * hidden[2]).sum(1))
    else:
        rank_loss = F.cross_entropy(hidden[0] @ hidden_ND[num_users:].T, positive)
    penalty = F.embedding(nodes, embedding_ND).square().sum() / (2 * user.numel())
    return rank_loss + params.l2 * penalty, rank_loss


@dataclass(frozen=True)
class LightGCN:
    """Hold a trained model: layer-0 embeddings, from which any graph over the same nodes can be propagated.

    user (U, D) and item (I, D): float32 layer-0 embeddings of the best epoch. history: one record an epoch.
    """

    user: np.ndarray
    item: np.ndarray
    num_layers: int
    history: list[dict] = field(default_factory=list)
    best_epoch: int = -1

    def propagated(self, graph: Interactions) -> tuple[np.ndarray, np.ndarray]:
        """Propagate over a graph: users (U, D) and items (I, D). The score of a pair is their dot product."""
        layer0 = torch.from_numpy(np.concatenate([self.user, self.item]))
        with torch.inference_mode():
            hidden = propagate(normalized_adjacency(graph), layer0, self.num_layers).numpy()
        return hidden[: graph.num_users], hidden[graph.num_users :]

    @classmethod
    def load(cls, folder: Path) -> LightGCN:
        """Read what the stage `pretrain` wrote."""
        arrays, meta = load_arrays(folder / "model.safetensors")
        return cls(arrays["user"], arrays["item"], meta["num_layers"], best_epoch=meta["best_epoch"])


def train(
    graph: Interactions,
    params: Pretrain,
    seed: int,
    evaluate: Evaluate | None = None,
    serve: Interactions | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
    device: str = "cpu",
) -> LightGCN:
    """Train on a graph and return the epoch that was best on validation (the last epoch without `evaluate`).

    graph: the edges that are messages and positives. serve: the edges propagated over for evaluation, default graph
    (alignment trains on a part of the training edges and serves from all of them). checkpoint: folder; a run that was
    interrupted continues from its last epoch and gives the same losses to the last bit (on the same thread count).
    """
    embedding = torch.nn.Parameter(initial_embedding(graph.num_users + graph.num_items, params, seed).to(device))
    # fused: one pass over weights and moments instead of five
    optimizer = torch.optim.Adam([embedding], lr=params.learning_rate, fused=True)
    adjacency = normalized_adjacency(graph, device)
    serving = adjacency if serve is None or serve is graph else normalized_adjacency(serve, device)
    stopping, saved = EarlyStopping(params.patience), Checkpoint(checkpoint)
    best, history, start = embedding.detach().clone(), [], 0
    if found := saved.load():
        tensors, meta = found
        with torch.no_grad():
            embedding.copy_(tensors["embedding"])
        best = tensors["best"].to(device)
        restore_optimizer(optimizer, tensors)
        history, start = meta["history"], meta["epoch"] + 1
        stopping.restore(meta["stopping"])
        for record in history:
            on_epoch(record)

    for epoch in range(start, params.epochs):
        if evaluate and stopping.stop:
            break
        triples = sample_epoch(graph, epoch_rng(seed, epoch), params.sampling)
        batches = zip(*(torch.from_numpy(ids).to(device).split(params.batch_size) for ids in triples), strict=True)
        losses = []
        for batch in batches:
            loss, rank_loss = batch_loss(embedding, adjacency, batch, graph.num_users, params)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(rank_loss.detach())
        record = {"epoch": epoch, "loss": torch.stack(losses).mean().item()}
        if not np.isfinite(record["loss"]):
            raise ValueError(f"LightGCN diverged in epoch {epoch}: lower pretrain.learning_rate = {params.learning_rate}")
        if evaluate and ((epoch + 1) % params.evaluate_every == 0 or epoch + 1 == params.epochs):
            with torch.inference_mode():
                hidden = propagate(serving, embedding, params.num_layers).cpu().numpy()
            record["valid"] = evaluate(hidden[: graph.num_users], hidden[graph.num_users :])
            if stopping.update(record["valid"], epoch):
                best = embedding.detach().clone()
        history.append(record)
        on_epoch(record)
        state = {"embedding": embedding, "best": best, **optimizer_tensors(optimizer)}
        saved.save(state, {"epoch": epoch, "history": history, "stopping": stopping.state()})

    final = (best if evaluate else embedding.detach()).cpu().numpy()
    best_epoch = stopping.best_epoch if evaluate else len(history) - 1
    return LightGCN(final[: graph.num_users], final[graph.num_users :], params.num_layers, history, best_epoch)
