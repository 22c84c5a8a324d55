"""Prompts that mix words with tokens of graph nodes, and their states."""

# B prompts of a batch, T tokens, K read-outs, N prompts, E token width, H language width
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from glta.nn.language.frozen import Language
from glta.progress import bar, quiet
from glta.training.devices import Devices

WORD, ITEM, USER, READ_OUT, TASK = range(5)

Positions = list[tuple[int, int]]
"""A part of a prompt: kind and value of each position."""

Tokens = Mapping[int, Callable[[torch.Tensor], torch.Tensor]]
"""For each kind but WORD and READ_OUT: maps values (N,) to input embeddings (N, E)."""


@dataclass(frozen=True)
class Prompt:
    """Hold one prompt of T positions.

    kind: (T,) int8, WORD, ITEM, USER, READ_OUT or TASK. value: (T,) int64, the id of a word, item,
    user or trained task token.
    """

    kind: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, positions: Positions) -> Prompt:
        """Make a prompt of pairs (kind, value)."""
        parts = np.array(positions, np.int64).reshape(-1, 2)
        return cls(parts[:, 0].astype(np.int8), parts[:, 1])

    def __len__(self) -> int:
        return self.kind.size

    def followed_by(self, items: np.ndarray) -> Prompt:
        """Add items at the end of the prompt, and keep its first read-out alone."""
        first = int(np.flatnonzero(self.kind == READ_OUT)[0])
        after = first + int((self.kind == READ_OUT).sum())
        shown = np.full(items.size, ITEM, np.int8)
        read = slice(first, first + 1)
        end = slice(after, None)
        return Prompt(
            np.concatenate([self.kind[:first], shown, self.kind[read], self.kind[end]]),
            np.concatenate([self.value[:first], items, self.value[read], self.value[end]]),
        )


def packed(prompts: Sequence[Prompt]) -> dict[str, np.ndarray]:
    """Join prompts into arrays to be saved: ends (B,), and kind and value of all positions."""
    return {
        "ends": np.cumsum([len(p) for p in prompts]),
        "kind": np.concatenate([p.kind for p in prompts]),
        "value": np.concatenate([p.value for p in prompts]).astype(np.int32),
    }


def unpacked(arrays: Mapping[str, np.ndarray]) -> list[Prompt]:
    """Restore the prompts that `packed` joined."""
    kind = arrays["kind"]
    value = arrays["value"].astype(np.int64)
    starts = [0, *arrays["ends"].tolist()]
    return [Prompt(kind[a:b], value[a:b]) for a, b in pairwise(starts)]


def words(ids: Iterable[int]) -> Positions:
    """Return the positions of word tokens."""
    return [(WORD, i) for i in ids]


def nodes(kind: int, ids: Iterable[int]) -> Positions:
    """Return the positions of tokens of one kind."""
    return [(kind, int(i)) for i in ids]


def token_projector(
    nodes_ND: torch.Tensor, language: Language, generator: torch.Generator
) -> nn.Linear:
    """Make the linear map V = W h + b from node vectors to input embeddings (GLTA, projectors).

    W starts random. b is set so that the projected tokens have the mean and the spread of the word
    embeddings. A default start would be lost beside the position embeddings, because LightGCN's
    embeddings are short and nearly parallel.
    """
    table = language.word_inputs()
    centre_E, spread = table.mean(0), table.std(0).norm()
    mean_D = nodes_ND.mean(0)
    length = (nodes_ND - mean_D).norm(dim=1).mean().clamp_min(1e-12)
    linear = nn.Linear(nodes_ND.shape[1], language.token_width)
    with torch.no_grad():
        weight = torch.randn(linear.weight.shape, generator=generator).to(table.device)
        linear.weight.copy_(weight * spread / (length * language.token_width**0.5))
        linear.bias.copy_(centre_E.cpu() - linear.weight @ mean_D.cpu())
    return linear


def read_outs(language: Language, prompts: Sequence[Prompt], tokens: Tokens) -> torch.Tensor:
    """Compute the states of prompts at their read-outs: (B, K, H).

    All prompts must have the same length and the same number of read-outs.
    """
    device = language.device
    kind_BT = torch.from_numpy(np.stack([p.kind for p in prompts])).to(device)
    value_BT = torch.from_numpy(np.stack([p.value for p in prompts])).to(device)
    is_word = (kind_BT == WORD) | (kind_BT == READ_OUT)
    embeds_BTE = language.embed(value_BT.masked_fill(~is_word, 0)).float()
    for kind, token_of in tokens.items():
        at = (kind_BT == kind).nonzero(as_tuple=True)
        if at[0].numel():
            embeds_BTE = embeds_BTE.index_put(at, token_of(value_BT[at]))
    hidden_BTH = language.hidden(embeds_BTE.to(language.model.dtype))
    return hidden_BTH[kind_BT == READ_OUT].view(len(prompts), -1, language.width)


def read_all(
    language: Language,
    prompts: Sequence[Prompt],
    tokens: Tokens,
    note: str,
    devices: Devices | None = None,
) -> torch.Tensor:
    """Compute the read-out states of many prompts, without gradients: (N, K, H) on the CPU.

    All prompts must have the same number of read-outs. Each forward pass has at most
    language.batch_tokens tokens, or a single prompt. note: label of the progress bar. devices: each
    process reads its share, and receives all states; without it, this process reads all prompts.
    """
    devices = devices or Devices(language.device)
    mine = prompts[devices.share(len(prompts))]
    lengths = np.array([len(p) for p in mine], np.int64)
    per_prompt = int((prompts[0].kind == READ_OUT).sum())
    out = torch.empty(len(mine), per_prompt, language.width)
    shown = nullcontext() if devices.is_main else quiet()
    with torch.inference_mode(), shown, bar(len(mine), note) as advance:
        batches = equal_length_batches(lengths, 1024)
        for batch in by_tokens(batches, lengths, language.batch_tokens):
            states = read_outs(language, [mine[i] for i in batch], tokens)
            out[torch.from_numpy(batch)] = states.cpu()
            advance(len(batch))
    return devices.gather_rows(out, len(prompts))


def equal_length_batches(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[np.ndarray]:
    """Group prompts of equal length, so that no batch needs padding.

    Yields positions of prompts; with rng in random order.
    """
    batches = []
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        if rng is not None:
            rng.shuffle(same)
        batches += [same[start : start + batch_size] for start in range(0, same.size, batch_size)]
    order = rng.permutation(len(batches)) if rng is not None else range(len(batches))
    for index in order:
        yield batches[index]


def by_tokens(
    batches: Iterable[np.ndarray], lengths: np.ndarray, batch_tokens: int
) -> Iterator[np.ndarray]:
    """Cut batches so that each has at most batch_tokens tokens, or a single prompt."""
    for batch in batches:
        tokens = batch.size * int(lengths[batch[0]])
        yield from np.array_split(batch, min(batch.size, -(-tokens // batch_tokens)))
