"""Fit the cost model of docs/performance.md on two sizes of graph, and check it on a third."""

# N nodes, E interactions, L layers, D embedding width
from __future__ import annotations

import sys

import numpy as np
from scipy.optimize import nnls

from benchmarks.graph import REFERENCE, Contestant, power_law_graph
from benchmarks.timing import Row, child, in_turns, report
from benchmarks.timing import peak_bytes as measure_peak
from glta.training.devices import keep_freed_memory

WIDTH, LAYERS = REFERENCE.embedding_dim, REFERENCE.num_layers
SIZES = ((10_000, 10_000, 400_000), (200_000, 50_000, 800_000), (120_000, 80_000, 3_200_000))
QUICK = ((200, 200, 4_000), (1000, 300, 8_000), (600, 400, 20_000))


def step_seconds(per_edge: float, per_node: float, num_nodes: int, num_edges: int) -> float:
    """Predict the seconds of a training step.

    A step has 2L sparse products over 2E entries, and passes over tables of N rows: layers,
    gradient, Adam.
    """
    return WIDTH * (4 * LAYERS * num_edges * per_edge + num_nodes * per_node)


def peak_bytes(num_nodes: int, num_edges: int) -> float:
    """Predict the memory of training, in bytes.

    An interaction takes 112 bytes (ids, keys, both blocks, triples). Besides, there are 8.5 tables
    (N, D) of float32.
    """
    return 112 * num_edges + 8.5 * 4 * WIDTH * num_nodes


def measure(num_users: int, num_items: int, num_edges: int) -> None:
    """Print the seconds of a step, and the memory of the process before it held the graph."""
    Contestant("this package", power_law_graph(10, 10, 20)).step()
    base = measure_peak()
    graph = power_law_graph(num_users, num_items, num_edges)
    keep_freed_memory()
    one = Contestant("this package", graph)
    seconds = in_turns({"step": one.step}, rounds=3 if num_edges < 10**5 else 12, warm_up=2)["step"]
    report(seconds=seconds, base_bytes=base)


def run(quick: bool) -> list[Row]:
    """Fit the two coefficients of time on two sizes, and compare with measurements.

    Time is compared on the third size, memory on all.
    """
    sizes = QUICK if quick else SIZES
    found = [child("benchmarks.cost", *size) for size in sizes]
    nodes, edges = np.array([[u + i, e] for u, i, e in sizes]).T
    terms = WIDTH * np.stack([4 * LAYERS * edges, nodes], 1)
    seconds = np.array([one["seconds"] for one in found])
    (per_edge, per_node), _ = nnls(terms[:2], seconds[:2])
    note = (
        f"{per_edge * 1e9:.4f} ns an entry and column, {per_node * 1e9:.2f} ns a node and "
        "column, from two smaller graphs"
    )
    predicted = step_seconds(per_edge, per_node, nodes[2], edges[2])
    case = f"step, {nodes[2]:,} nodes, {edges[2]:,} edges"
    rows = [
        Row(case, 1e3 * seconds[2], "the model", 1e3 * predicted, target=None, unit="ms", note=note)
    ]
    for one, n, e in zip(found, nodes, edges, strict=True):
        case = f"memory, {n:,} nodes, {e:,} edges"
        used = max(one["peak_bytes"] - one["base_bytes"], 1)
        rows.append(
            Row(case, used / 2**20, "the model", peak_bytes(n, e) / 2**20, target=None, unit="MiB")
        )
    return rows


if __name__ == "__main__":
    measure(*map(int, sys.argv[1:]))
