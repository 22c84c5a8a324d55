"""Measure how well the processor is used; a GPU where there is one.

LightGCN is compared with memory bandwidth, alignment of large models with peak arithmetic. It is
also measured how much memory micro-batches and checkpointed layers save. The large models have the
shape of a Llama and random weights, because speed and memory do not depend on the weights.
"""

# B prompts, T tokens, K read-outs, I items, N nodes, E interactions, L layers
# D graph width, H language width
from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.alignment import made_up
from benchmarks.graph import GOWALLA, REFERENCE, Contestant, power_law_graph
from benchmarks.timing import Row, child, in_turns, peak_bytes, report
from glta.methods.glta.settings import AlignSettings, AlignUsersSettings
from glta.nn.language.frozen import Language
from glta.training.devices import keep_freed_memory
from glta.training.gradients import add_gradient


@dataclass(frozen=True)
class Shape:
    """Describe a decoder model.

    width: of the hidden states. inner: width of the feed-forward part. items: in the catalogue.
    prompts: in a batch.
    """

    width: int
    inner: int
    layers: int
    heads: int
    items: int
    prompts: int = 32

    @property
    def weights(self) -> int:
        """Count the weights that multiply every token.

        A layer has four square maps in its attention and three maps in its gated part.
        """
        return self.layers * self.width * (4 * self.width + 3 * self.inner)


TINY = Shape(32, 64, 2, 2, 50, prompts=6)
SHAPES = {"cpu": {"85M": Shape(768, 2048, 12, 12, 10_000, prompts=8)}}
SHAPES["cuda"] = {
    "1.2B": Shape(2048, 5632, 24, 16, 50_000),
    "6.5B": Shape(4096, 11_008, 32, 32, 50_000),
}
LITTLE = (
    {},
    {"micro_batch": 2},
    {"checkpoint_layers": True},
    {"micro_batch": 2, "checkpoint_layers": True},
)


def where() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def seconds_of(work, device: str, rounds: int = 3) -> float:
    """Return the median seconds of some work, after one round to warm up."""

    def timed() -> None:
        work()
        if device == "cuda":
            torch.cuda.synchronize()

    return in_turns({"": timed}, rounds)[""]


def random_language(shape: Shape, device: str, precision: torch.dtype) -> Language:
    """Make a frozen causal model of a shape with random weights, on the device from the start."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=30_522,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=512,
        use_cache=False,
        dtype=precision if device == "cuda" else torch.float32,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaModel(config).to(config.dtype).requires_grad_(False).eval()
    return Language("random", "", model, None, torch.device(device), precision)


def measure_alignment(shape: Shape, device: str, shared: AlignSettings) -> None:
    """Print the seconds of a training step of user alignment, its loss, and its memory.

    The memory of the model itself is not counted.
    """
    precision = torch.bfloat16 if device == "cuda" else torch.float32
    language = random_language(shape, device, precision)
    params = (
        AlignUsersSettings(read_outs=2, context_items=4) if shape == TINY else AlignUsersSettings()
    )
    prompts, target, nodes, aligner = made_up(shape.prompts, shape.items, params, shared, language)
    middle = sorted(map(len, prompts))[len(prompts) // 2]
    # all prompts of the batch have the same length
    batch = np.resize([i for i, p in enumerate(prompts) if len(p) == middle], shape.prompts)

    def nats(part) -> torch.Tensor:
        logits = aligner.logits(aligner.states([prompts[i] for i in part], nodes), nodes)
        wanted = target[torch.from_numpy(part)].to(logits.device)
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), reduction="sum"
        )

    optimizer = torch.optim.AdamW(aligner.trained().values(), lr=1e-5, fused=True)
    num_targets = target[torch.from_numpy(batch)].numel()
    losses = []

    def step() -> None:
        optimizer.zero_grad()
        losses.append(add_gradient(nats, batch, num_targets, shared.micro_batch))
        optimizer.step()

    before = held_from_now(device)
    seconds = seconds_of(step, device)
    used = (torch.cuda.max_memory_allocated() if device == "cuda" else peak_bytes()) - before
    tokens = middle * shape.prompts
    # forward and backward through frozen weights; attention counts three times
    passes = 4 * tokens * shape.weights + 12 * shape.layers * shape.width * middle * tokens
    head = 6 * shape.prompts * params.read_outs * shape.width * shape.items
    peak = (
        peak_arithmetic(device, precision)
        if not shared.micro_batch and not shared.checkpoint_layers
        else None
    )
    report(
        seconds=seconds,
        used=used,
        loss=losses[0],
        tokens=tokens,
        operations=passes + head,
        peak=peak,
    )


def held_from_now(device: str) -> int:
    """Reset the measured peak of memory. Returns the bytes that are held already."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    # proc(5): 5 sets the peak to the memory that is resident now
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def peak_arithmetic(device: str, precision: torch.dtype) -> float:
    """Measure the operations a second of a large square matrix product."""
    size = 8192 if device == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device, dtype=precision) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, device, 5)


def bandwidth(device: str) -> float:
    """Measure the bytes a second that a copy reads and writes."""
    source = torch.zeros(2**28 if device == "cuda" else 2**25, device=device)
    to = torch.empty_like(source)
    return 2 * 4 * source.numel() / seconds_of(lambda: to.copy_(source), device, 5)


def graph_rows(device: str, quick: bool) -> list[Row]:
    """Compare a step of LightGCN with the time to move all its data once.

    These are the operands of its products and of its optimizer, without any cache.
    """
    graph = power_law_graph(*((200, 100, 2000) if quick else GOWALLA))
    nodes = graph.num_users + graph.num_items
    width = REFERENCE.embedding_dim
    layers = REFERENCE.num_layers
    keep_freed_memory()
    seconds = seconds_of(Contestant("this package", graph, device=device).step, device, 20)
    table = 4 * nodes * width
    moved = 2 * layers * (2 * len(graph) * (8 + 4 * width) + table) + 7 * table
    case = f"LightGCN step, {len(graph):,} edges, {device}"
    note = (
        f"{moved / seconds / 2**30:.0f} GiB/s of indices, gathered rows and tables; what a "
        "cache keeps need not be moved"
    )
    return [
        Row(
            case,
            1e3 * seconds,
            "memory bandwidth",
            1e3 * moved / bandwidth(device),
            target=None,
            unit="ms",
            note=note,
        )
    ]


def run(quick: bool) -> list[Row]:
    """Measure the graph, then each shape of model in processes of its own.

    The losses must not depend on the settings that save memory.
    """
    device = where()
    rows = graph_rows(device, quick)
    littles = LITTLE[::3] if quick else LITTLE
    for name, shape in ({"tiny": TINY} if quick else SHAPES[device]).items():
        found = [child("benchmarks.device", name, device, json.dumps(little)) for little in littles]
        np.testing.assert_allclose(
            [one["loss"] for one in found], found[0]["loss"], rtol=1e-4 if device == "cpu" else 1e-2
        )
        whole = found[0]
        case = f"alignment, a model of {name} weights, {shape.prompts} prompts, {device}"
        note = (
            f"{whole['tokens'] / whole['seconds']:.0f} tokens/s, "
            f"{whole['operations'] / whole['seconds'] / 1e12:.2f} Tflop/s"
        )
        least = whole["operations"] / whole["peak"]
        rows.append(
            Row(case, whole["seconds"], "peak arithmetic", least, target=None, unit="s", note=note)
        )
        for little, one in list(zip(littles, found, strict=True))[1:]:
            how = ", ".join(f"{key} {str(value).lower()}" for key, value in little.items())
            slower = f"{one['seconds'] / whole['seconds']:.2f} times as long a step"
            used, all_of_it = (max(x["used"], 1) / 2**20 for x in (one, whole))
            rows.append(
                Row(
                    f"its memory beyond the model's, {how}",
                    used,
                    "whole batch",
                    all_of_it,
                    target=None,
                    unit="MiB",
                    note=slower,
                )
            )
    return rows


if __name__ == "__main__":
    name, device, little = sys.argv[1:]
    settings = AlignSettings.model_validate_json(little)
    measure_alignment({"tiny": TINY, **SHAPES[device]}[name], device, settings)
