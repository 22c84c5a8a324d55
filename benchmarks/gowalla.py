"""Train LightGCN on the reference split of Gowalla.

python -m benchmarks.gowalla DATA --parity    20 steps beside the forms of benchmarks/graph.py:
                                              losses must be equal; prints times
python -m benchmarks.gowalla DATA             100 epochs with the reference settings; writes a
                                              learning curve; resumes when interrupted; other
                                              settings need an --out of their own

DATA: folder with train.txt.gz and test.txt.gz ("user item item ..." a line). The split has no
validation part. So the curve is measured on the test set at fixed epochs, and nothing is selected
by it.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.graph import REFERENCE, compare
from benchmarks.public_data import read_split
from glta.data.interactions import Interactions
from glta.evaluation.metrics import accuracy, hits
from glta.evaluation.ranking import rank_all
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.nn.graph.node_embeddings import train
from glta.nn.graph.sampling import epoch_size


def curve(
    graph: Interactions,
    test: Interactions,
    params: LightGCNSettings,
    out: Path,
    *,
    seed: int,
    every: int,
) -> None:
    """Train, and append epoch, loss, recall@20, ndcg@20 to a CSV file after every evaluation.

    every: epochs between evaluations; an epoch is one pass through the training interactions. The
    loss is the mean since the last evaluation.
    """
    users = np.flatnonzero(test.user_degree > 0)
    out.mkdir(parents=True, exist_ok=True)
    table = out / "gowalla.csv"
    latest = {}
    begin = time.perf_counter()

    def evaluate(user, item):
        catalogue = torch.from_numpy(item).T.contiguous()
        lists, _ = rank_all(
            lambda ids: torch.from_numpy(user[ids]) @ catalogue, users, k=20, exclude=graph
        )
        values = accuracy(hits(lists, users, relevant=test), test.user_degree[users], k=20)
        latest.update({f"{name}@20": float(values[name].mean()) for name in ("recall", "ndcg")})
        return latest["ndcg@20"]

    def on_epoch(record):
        epoch = (record["epoch"] + 1) * every
        row = [epoch, record["loss"], latest["recall@20"], latest["ndcg@20"]] if latest else []
        if row:
            with open(table, "a", newline="") as f:
                csv.writer(f).writerow(row)
        latest.clear()
        print(
            f"epoch {epoch}: loss {record['loss']:.5f}, "
            + (f"recall@20 {row[2]:.4f}, ndcg@20 {row[3]:.4f} " if row else "read again ")
            + f"({time.perf_counter() - begin:.0f} s)",
            flush=True,
        )

    if not table.exists():
        table.write_text("epoch,loss,recall@20,ndcg@20\n")
    train(
        graph,
        params,
        seed=seed,
        evaluate=evaluate,
        checkpoint=out / "checkpoint",
        on_epoch=on_epoch,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--parity", action="store_true")
    parser.add_argument("--batch-size", type=int, default=REFERENCE.batch_size)
    parser.add_argument("--learning-rate", type=float, default=REFERENCE.learning_rate)
    parser.add_argument("--schedule", choices=["constant", "cosine"], default=REFERENCE.schedule)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--every", type=int, default=5, help="epochs between evaluations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--sampled-neighbours", type=int, help="train by sampled neighbours, so many a node"
    )
    parser.add_argument(
        "--snapshot-every", type=int, default=REFERENCE.snapshot_every, help="then: steps between"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    args = parser.parse_args()
    graph, test = read_split(args.data)
    print(
        f"{graph.num_users} users, {graph.num_items} items, {len(graph)} training and "
        f"{len(test)} test interactions"
    )
    if args.parity:
        rows = compare(graph, rounds=18, batch_size=REFERENCE.batch_size, targets={})
        for row in rows:
            print(
                f"{row.case}: {row.ours:.0f} ms, {row.against}: {row.rival:.0f} ms, "
                f"{row.ratio:.1f} times as fast; {row.note}"
            )
    else:
        in_an_epoch = -(-epoch_size(graph, REFERENCE.sampling) // args.batch_size)
        changed = {
            "batch_size": args.batch_size,
            "learning_rate": args.learning_rate,
            "schedule": args.schedule,
            "steps": args.epochs * in_an_epoch,
            "evaluate_every": args.every * in_an_epoch,
        }
        if args.sampled_neighbours:
            changed |= {
                "max_whole_edges": 1,
                "sampled_neighbours": args.sampled_neighbours,
                "snapshot_every": args.snapshot_every,
            }
        settings = REFERENCE.model_copy(update=changed)
        curve(graph, test, settings, args.out, seed=args.seed, every=args.every)


if __name__ == "__main__":
    main()
