"""Measure a method on validation for every combination of some values.

The test pairs are not even loaded. The stages that the method reads must have run. Keys within
settings.METHOD need no prefix.

python -m benchmarks.grid METHOD DATASET KEY=VALUE,VALUE... ...

For example:

python -m benchmarks.grid hccf ml-latest-small loss=bpr,softmax batch_size=2048,4096
"""

from __future__ import annotations

import argparse
import itertools
import time

from ruamel.yaml import YAML

from glta.params.check import load_params
from glta.storage.cell import Cell
from glta.tuning.objective import objective


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method")
    parser.add_argument("dataset")
    parser.add_argument("values", nargs="+", metavar="KEY=VALUE,VALUE")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    grid = {}
    for text in args.values:
        key, _, values = text.partition("=")
        whole = key if key.startswith("settings.") else f"settings.{args.method}.{key}"
        grid[whole] = YAML(typ="safe").load(f"[{values}]")
    params = load_params().for_dataset(args.dataset)
    measure = objective(args.method, Cell(args.dataset, args.seed), params)
    print(f"| {' | '.join(grid)} | validation NDCG@20 | seconds |\n|{'---|' * (len(grid) + 2)}")
    for values in itertools.product(*grid.values()):
        start = time.perf_counter()
        found = measure(dict(zip(grid, values, strict=True)))
        print(
            f"| {' | '.join(map(str, values))} | {found:.4f} | {time.perf_counter() - start:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
