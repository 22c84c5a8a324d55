"""A grid over the learning rate and penalty of LightGCN, chosen on validation NDCG@20 alone.

python -m benchmarks.lightgcn_grid DATASET [--seed 0]     after the stage `prepare` of that dataset and seed
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from glta.data.prepared import Prepared
from glta.graph.lightgcn import train
from glta.params import load_params
from glta.validation import validation_ndcg

GRID = {"l2": (1e-4, 1e-3, 1e-2), "learning_rate": (5e-3, 2e-3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    prepared = Prepared.load(Path("data", args.dataset, str(args.seed), "prepare"))
    base = load_params().for_dataset(args.dataset).pretrain
    results = []
    for values in itertools.product(*GRID.values()):
        changed = dict(zip(GRID, values, strict=True))
        params = base.model_copy(update=changed)
        model = train(
            prepared.train,
            params,
            args.seed,
            lambda user, item: validation_ndcg(prepared, lambda users: user[users] @ item.T),
        )
        value = max(record.get("valid", 0.0) for record in model.history)
        results.append((value, changed))
        print(f"{value:.4f}  best epoch {model.best_epoch + 1:3}  {changed}", flush=True)
    value, changed = max(results, key=lambda r: r[0])
    print(f"best on validation: {value:.4f} with {changed}")


if __name__ == "__main__":
    main()
