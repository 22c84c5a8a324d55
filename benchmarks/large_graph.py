"""Train LightGCN on 50 million interactions: by sampled neighbours, and over the whole graph.

Each runs in a process of its own, which draws the graph too. An epoch is one pass through the
interactions. Its time is that of drawing the pass, and of some steps and snapshots times their
number; no epoch is run to its end. `benchmarks.gowalla --sampled-neighbours` measures what sampling
costs in quality.
"""

from __future__ import annotations

import sys
from itertools import islice

import numpy as np

from benchmarks.graph import LARGE_BATCH, REFERENCE, power_law_graph
from benchmarks.timing import Row, child, clock, report
from glta.nn.graph.encoders import LightGCNEncoder
from glta.nn.graph.ranker import Ranker, RankerTask
from glta.nn.graph.sampled_propagation import SampledEncoder, SampledRanker, SampledTask
from glta.training.devices import keep_freed_memory

SIZE = (2_000_000, 500_000, 50_000_000)
QUICK = (2_000, 500, 20_000)
LIMIT_GIB = 16


def measure(form: str, batch_size: int, steps: int, *size: int) -> None:
    """Print the seconds of a pass's draw, of a step and of a snapshot, and the last loss."""
    keep_freed_memory()
    graph = power_law_graph(*size)
    params = REFERENCE.model_copy(
        update={"sampling": "edge", "batch_size": batch_size, "snapshot_every": 10**9}
    )
    task: RankerTask
    if form == "sampled":
        encoder = SampledEncoder(graph, params, 0)
        task = SampledTask(SampledRanker(encoder, params), graph, 0, section="")
    else:
        task = RankerTask(Ranker(LightGCNEncoder(graph, params, 0), params), graph, 0, section="")
    optimizer = task.optimizer()
    begin = clock()
    task._pass(0)
    draw = clock() - begin
    times = []
    for batch in islice(task.batches(0), steps):
        begin = clock()
        optimizer.zero_grad()
        found = task.backward(batch)
        optimizer.step()
        times.append(clock() - begin)
    begin = clock()
    if form == "sampled":
        encoder.take_snapshot(encoder.embedding)
    report(
        draw=draw,
        # the first step gets fresh memory from the system
        step=float(np.median(times[1:])),
        snapshot=clock() - begin,
        loss=found["loss"].item(),
    )


def epoch(found: dict, batch_size: int, edges: int) -> float:
    """Return the hours of an epoch, extrapolated."""
    steps = -(-edges // batch_size)
    snapshots = steps / REFERENCE.snapshot_every
    return (found["draw"] + steps * found["step"] + snapshots * found["snapshot"]) / 3600


def run(quick: bool) -> list[Row]:
    """Compare a step and an epoch by sampled neighbours with those over the whole graph."""
    size = QUICK if quick else SIZE
    small = REFERENCE.batch_size
    sampled = child("benchmarks.large_graph", "sampled", small, 6 if quick else 40, *size)
    edges = f"{size[2]:,} edges"
    rows = []
    for batch_size in (small, LARGE_BATCH):
        whole = child("benchmarks.large_graph", "whole", batch_size, 3, *size)
        if not quick:
            assert abs(sampled["loss"] - whole["loss"]) < 0.02, (sampled, whole)
        against = f"whole graph, batches of {batch_size:,}"
        note = f"{sampled['snapshot']:.2g} s a snapshot, every {REFERENCE.snapshot_every} steps"
        rows += [
            Row(
                f"sampled step of {small:,}, {edges}",
                1e3 * sampled["step"],
                against,
                1e3 * whole["step"],
                unit="ms",
                note=note,
            ),
            Row(
                f"sampled epoch of {edges}",
                epoch(sampled, small, size[2]),
                against,
                epoch(whole, batch_size, size[2]),
                unit="h",
                note="extrapolated from some steps",
            ),
            Row(
                f"peak memory, {against}, {edges}",
                whole["peak_bytes"] / 2**30,
                f"{LIMIT_GIB} GiB",
                LIMIT_GIB,
                target=1,
                unit="GiB",
            ),
        ]
    rows.append(
        Row(
            f"peak memory, sampled, {edges}",
            sampled["peak_bytes"] / 2**30,
            f"{LIMIT_GIB} GiB",
            LIMIT_GIB,
            target=1,
            unit="GiB",
        )
    )
    return rows


if __name__ == "__main__":
    measure(sys.argv[1], *map(int, sys.argv[2:]))
