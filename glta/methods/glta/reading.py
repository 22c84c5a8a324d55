"""Compute read-out states of many prompts, without gradients."""

# N prompts, K read-outs, H language width
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch

from glta.methods.glta.aligner import Aligner
from glta.methods.glta.nodes import Nodes
from glta.methods.glta.prompts import READ_OUT, Prompt, equal_length_batches
from glta.progress import bar, quiet
from glta.training.devices import Devices


def read_states(
    aligner: Aligner,
    prompts: Sequence[Prompt],
    nodes: Nodes,
    note: str,
    devices: Devices | None = None,
) -> torch.Tensor:
    """Compute the read-out states of prompts: (N, K, H) float32 on the CPU.

    All prompts must have the same number of read-outs. Each forward pass has at most
    language.batch_tokens tokens, or a single prompt. note: label of the progress bar. devices: each
    process reads its share, and receives all states; without it, this process reads all prompts.
    """
    devices = devices or Devices(aligner.language.device)
    mine = prompts[devices.share(len(prompts))]
    lengths = np.array([len(p) for p in mine], np.int64)
    read_outs = int((prompts[0].kind == READ_OUT).sum())
    out = torch.empty(len(mine), read_outs, aligner.language.width)
    shown = nullcontext() if devices.is_main else quiet()
    with torch.inference_mode(), shown, bar(len(mine), note) as advance:
        batches = equal_length_batches(lengths, 1024)
        for batch in _by_tokens(batches, lengths, aligner.language.batch_tokens):
            states = aligner.states([mine[i] for i in batch], nodes)
            out[torch.from_numpy(batch)] = states.cpu()
            advance(len(batch))
    return devices.gather_rows(out, len(prompts))


def _by_tokens(
    batches: Iterable[np.ndarray], lengths: np.ndarray, batch_tokens: int
) -> Iterator[np.ndarray]:
    """Cut batches so that each has at most batch_tokens tokens, or a single prompt."""
    for batch in batches:
        tokens = batch.size * int(lengths[batch[0]])
        yield from np.array_split(batch, min(batch.size, -(-tokens // batch_tokens)))
