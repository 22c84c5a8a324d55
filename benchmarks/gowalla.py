"""LightGCN on the reference split of Gowalla: the same losses as plain autograd, and a learning curve of 100 epochs.

    python -m benchmarks.gowalla DATA --parity      20 steps beside the plain autograd form, and both step times
    python -m benchmarks.gowalla DATA               100 epochs with the reference settings; resumes when interrupted

DATA: folder with train.txt.gz and test.txt.gz ("user item item ..." a line). The split has no validation part, so the
curve is read on the test set at fixed epochs and nothing is selected by it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import time
from pathlib import Path

import numpy as np
import torch

from glta.data.interactions import Interactions
from glta.graph.encoders import initial_embedding
from glta.graph.lightgcn import train
from glta.graph.losses import batch_loss, bpr_loss
from glta.graph.propagation import normalized_adjacency, propagate
from glta.graph.sampling import sample_epoch
from glta.metrics import accuracy, hits
from glta.params import Pretrain
from glta.ranking import rank_all
from glta.training import epoch_rng

# gusye1234/LightGCN-PyTorch, 3 layers: its users are drawn uniformly, its settings are these
REFERENCE = Pretrain(learning_rate=1e-3, l2=1e-4, sampling="user", epochs=100, evaluate_every=5, patience=10**6)


def read_id_lists(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read lines of "user item item ..." into two id arrays (E,)."""
    with gzip.open(path, "rt") as lines:
        rows = [np.array(line.split(), np.int64) for line in lines]
    return np.concatenate([np.full(r.size - 1, r[0]) for r in rows]), np.concatenate([r[1:] for r in rows])


def parity(graph: Interactions, steps: int) -> None:
    """Train twice from the same start on the same batches: ours, and autograd through a sparse COO product a layer."""
    adjacency = normalized_adjacency(graph)
    user, item = torch.from_numpy(graph.user), torch.from_numpy(graph.item) + graph.num_users
    value, size = adjacency.to_users.values(), graph.num_users + graph.num_items
    indices = torch.stack([torch.cat([user, item]), torch.cat([item, user])])
    coo = torch.sparse_coo_tensor(indices, value.repeat(2), (size, size)).coalesce()

    def plain(embedding, batch):
        layers = [embedding]
        for _ in range(REFERENCE.num_layers):
            layers.append(torch.sparse.mm(coo, layers[-1]))
        hidden = torch.stack(layers, 1).mean(1)
        user, positive, negative = batch[0], batch[1] + graph.num_users, batch[2] + graph.num_users
        scores = [(hidden[user] * hidden[item]).sum(1) for item in (positive, negative)]
        norm = sum(embedding[ids].square().sum() for ids in (user, positive, negative)) / (2 * user.numel())
        rank_loss = bpr_loss(*scores)
        return rank_loss + REFERENCE.l2 * norm, rank_loss

    def ours(embedding, batch):
        hidden = propagate(adjacency, embedding, REFERENCE.num_layers)
        return batch_loss(hidden, embedding, batch, graph.num_users, REFERENCE)

    triples = sample_epoch(graph, epoch_rng(0, 0), REFERENCE.sampling)
    batches = list(zip(*(torch.from_numpy(t).split(REFERENCE.batch_size) for t in triples), strict=True))[:steps]
    result = {}
    for name, loss_of in (("plain autograd, COO", plain), ("this package", ours)):
        start = initial_embedding(graph.num_users + graph.num_items, REFERENCE, seed=0)
        embedding = torch.nn.Parameter(start)
        optimizer = torch.optim.Adam([embedding], lr=REFERENCE.learning_rate, fused=name == "this package")
        losses, times = [], []
        for batch in batches:
            begin = time.perf_counter()
            loss, rank_loss = loss_of(embedding, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            times.append(time.perf_counter() - begin)
            losses.append(rank_loss.item())
        result[name] = np.array(losses), float(np.median(times)) * 1e3
        print(f"{name}: {result[name][1]:.0f} ms a step (median of {steps}, {torch.get_num_threads()} threads)")
    (plain_losses, plain_ms), (our_losses, our_ms) = result.values()
    print(f"largest difference of the {steps} losses: {np.abs(plain_losses - our_losses).max():.1e}")
    print(f"speed-up: {plain_ms / our_ms:.1f} times")


def curve(graph: Interactions, test: Interactions, params: Pretrain, out: Path) -> None:
    """Train and write epoch, loss, recall@20, ndcg@20 to a CSV file after every evaluation."""
    users = np.flatnonzero(test.user_degree > 0)
    out.mkdir(parents=True, exist_ok=True)
    table, latest = out / "gowalla.csv", {}
    begin = time.perf_counter()

    def evaluate(user, item):
        catalogue = torch.from_numpy(item).T.contiguous()
        lists, _ = rank_all(lambda ids: torch.from_numpy(user[ids]) @ catalogue, users, 20, exclude=graph)
        values = accuracy(hits(lists, users, test), test.user_degree[users], 20)
        latest.update({f"{name}@20": float(values[name].mean()) for name in ("recall", "ndcg")})
        return latest["ndcg@20"]

    def on_epoch(record):
        line = f"epoch {record['epoch'] + 1}: loss {record['loss']:.5f}"
        if "valid" in record and latest:
            line += f", recall@20 {latest['recall@20']:.4f}, ndcg@20 {latest['ndcg@20']:.4f}"
            with open(table, "a", newline="") as f:
                row = [record["epoch"] + 1, record["loss"], latest["recall@20"], latest["ndcg@20"]]
                csv.writer(f).writerow(row)
            latest.clear()
        print(f"{line} ({time.perf_counter() - begin:.0f} s)", flush=True)

    if not table.exists():
        table.write_text("epoch,loss,recall@20,ndcg@20\n")
    train(graph, params, seed=0, evaluate=evaluate, checkpoint=out / "checkpoint", on_epoch=on_epoch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--parity", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    args = parser.parse_args()
    pairs = [read_id_lists(args.data / f"{part}.txt.gz") for part in ("train", "test")]
    size = [int(max(p[axis].max() for p in pairs)) + 1 for axis in (0, 1)]
    graph, test = (Interactions.of(*pair, *size) for pair in pairs)
    print(f"{size[0]} users, {size[1]} items, {len(graph)} training and {len(test)} test interactions")
    if args.parity:
        parity(graph, steps=20)
    else:
        curve(graph, test, REFERENCE, args.out)


if __name__ == "__main__":
    main()
