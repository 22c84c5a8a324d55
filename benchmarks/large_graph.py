"""Train LightGCN on 50 million interactions: by sampled neighbours, and over the whole graph.

An epoch is one pass through the interactions. Its time is that of drawing the pass, and of a few
steps and a snapshot times their number; no epoch is run to its end.
`benchmarks.gowalla --sampled-neighbours` measures what sampling costs in quality.
"""

from __future__ import annotations

import gc
import sys
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.graph import LARGE_BATCH, REFERENCE, power_law_graph
from benchmarks.timing import Row, child, clock, peak_bytes, report
from glta.data.interactions import Interactions
from glta.nn.graph.encoders import LightGCNEncoder
from glta.nn.graph.losses import Batch
from glta.nn.graph.ranker import Ranker, RankerTask
from glta.nn.graph.sampled_propagation import SampledEncoder, SampledRanker, SampledTask
from glta.training.devices import keep_freed_memory

SIZE = (2_000_000, 500_000, 50_000_000)
QUICK = (2_000, 500, 20_000)
LIMIT_GIB = 16
SMALL_BATCH = REFERENCE.batch_size
FORMS = {
    "2 sampled neighbours": {"sampled_neighbours": 2},
    "4 sampled neighbours": {"sampled_neighbours": 4},
    f"whole graph, batches of {SMALL_BATCH:,}": {},
    f"whole graph, batches of {LARGE_BATCH:,}": {"batch_size": LARGE_BATCH},
}


def make(graph: Interactions, form: dict[str, int]) -> RankerTask:
    """Make the training of a form."""
    params = REFERENCE.model_copy(update={"sampling": "edge", "snapshot_every": 10**9, **form})
    if "sampled_neighbours" in form:
        model = SampledRanker(SampledEncoder(graph, params, 0), params)
        return SampledTask(model, graph, 0, section="")
    return RankerTask(Ranker(LightGCNEncoder(graph, params, 0), params), graph, 0, section="")


def measure(form: dict[str, int], graph: Interactions, drawn: tuple[int, Batch]) -> dict:
    """Return the seconds of a step and of a snapshot, the last loss, and the peak of the memory.

    drawn: the triples of a pass.
    """
    gc.collect()
    # the peak begins anew
    Path("/proc/self/clear_refs").write_text("5")
    task = make(graph, form)
    task._drawn = drawn
    optimizer = task.optimizer()
    times = []
    sampled = isinstance(task, SampledTask)
    for batch in islice(task.batches(0), 12 if sampled else 3):
        begin = clock()
        optimizer.zero_grad()
        found = task.backward(batch)
        optimizer.step()
        times.append(clock() - begin)
    begin = clock()
    if sampled:
        task.before(0)
    # the first step gets fresh memory from the system
    step = median(times[1:])
    peak = peak_bytes()
    loss = found["loss"].item()
    return {"step": step, "snapshot": clock() - begin, "loss": loss, "peak": peak}


def hours(found: dict, draw: float, batch_size: int, edges: int) -> float:
    """Return the hours of an epoch, extrapolated."""
    steps = -(-edges // batch_size)
    snapshots = steps / REFERENCE.snapshot_every
    return (draw + steps * found["step"] + snapshots * found["snapshot"]) / 3600


def run(quick: bool) -> list[Row]:
    """Compare a step and an epoch by sampled neighbours with those over the whole graph."""
    size = QUICK if quick else SIZE
    edges = f"{size[2]:,} edges"
    found = child("benchmarks.large_graph", *size)
    draw, forms = found["draw"], found["forms"]
    losses = [one["loss"] for one in forms.values()]
    if max(losses) - min(losses) > 0.02:
        raise AssertionError(f"different losses: {losses}")
    rows = []
    names = list(FORMS)
    for name in names[:2]:
        own = forms[name]
        for against in names[2:]:
            whole = forms[against]
            of_whole = FORMS[against].get("batch_size", SMALL_BATCH)
            epochs = [
                hours(one, draw, size_, size[2])
                for one, size_ in ((own, SMALL_BATCH), (whole, of_whole))
            ]
            note = f"extrapolated from a step of {own['step']:.3g} s and of {whole['step']:.3g} s"
            case = f"epoch of {edges}, {name}, batches of {SMALL_BATCH:,}"
            rows.append(Row(case, epochs[0], against, epochs[1], unit="h", note=note))
    for name in names:
        gib = forms[name]["peak"] / 2**30
        case = f"peak memory, {edges}, {name}"
        rows.append(Row(case, gib, f"{LIMIT_GIB} GiB", LIMIT_GIB, target=1, unit="GiB"))
    return rows


def main(size: tuple[int, ...]) -> None:
    keep_freed_memory()
    graph = power_law_graph(*size)
    begin = clock()
    drawn = (0, make(graph, {})._pass(0))
    draw = clock() - begin
    report(draw=draw, forms={name: measure(form, graph, drawn) for name, form in FORMS.items()})


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])))
