"""A causal language model whose vocabulary has grown by the codes of items."""

# B prompts, T tokens, A answer tokens, H width, V words, K codes of a level, R prefixes with L
# codes, G groups of C prefixes of one prompt
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from glta.nn.generation.prefix_tree import NextLogits
from glta.nn.language.causal_language import CausalLanguage
from glta.nn.language.frozen import Language
from glta.nn.language.loading import longest_input
from glta.storage.tensors import copy_weights
from glta.training.seeds import Stream, epoch_generator

GROUP = 64
"""Most prefixes of one prompt that are read as one row: the mask grows with its square."""


class AnswerLoss(NamedTuple):
    """Hold the loss of each answer token of a batch.

    row: (A,) its prompt. loss: (A,) float32, -log p. is_word: (A,) bool, of words and not of codes.
    """

    row: torch.Tensor
    loss: torch.Tensor
    is_word: torch.Tensor


@dataclass(frozen=True)
class Answered:
    """Hold a prompt with its answer: token (T,) int64, answer (T,) bool, True where it is learned.

    A token below V is a word; V and more are codes, level by level.
    """

    token: np.ndarray
    answer: np.ndarray

    def __len__(self) -> int:
        return self.token.size


class CodeLanguage(nn.Module):
    """Read and generate words and codes.

    code: (sum of K, H), the embeddings of the code tokens. code_head: (sum of K, H), their rows of
    the head; the same matrix where the model's head has the matrix of its word embeddings. A model
    that multiplies the rows of its words by a number, as Gemma does, reads so many times a code's.
    An answer's words are chosen among words, its codes among the codes of their level, because it
    is known which of them stands at a place.
    """

    def __init__(self, causal: CausalLanguage, codes_per_level: Sequence[int], seed: int):
        """Add untrained code tokens, with the mean and the spread of word embeddings.

        Raises ValueError for a model whose tokens have another width than its states.
        """
        super().__init__()
        # the list hides the model from nn.Module, which would count its weights as the network's
        self._causal = [causal]
        language = causal.language
        table = language.model.get_input_embeddings().weight.detach().float().cpu()
        if table.shape[1] != language.width:
            raise ValueError(
                f"causal.model = {language.name}: its tokens have width {table.shape[1]}, its "
                f"states {language.width}; name a model with equal widths"
            )
        self._dropped = 0.0
        self.num_words = causal.num_words
        self.sizes = tuple(codes_per_level)
        generator = epoch_generator(seed, 1, Stream.SMALL_MODEL)
        shape = (sum(self.sizes), table.shape[1])
        rows = table.mean(0) + table.std(0) * torch.randn(shape, generator=generator)
        self.code = nn.Parameter(rows.to(language.device))
        self.code_head = self.code
        if not causal.tied:
            head = causal.head.weight.detach().float().cpu()  # type: ignore[operator]
            rows = head.mean(0) + head.std(0) * torch.randn(shape, generator=generator)
            self.code_head = nn.Parameter(rows.to(language.device))

    @property
    def causal(self) -> CausalLanguage:
        return self._causal[0]

    @property
    def language(self) -> Language:
        return self.causal.language

    @property
    def max_tokens(self) -> int:
        """Most tokens that the model reads."""
        return longest_input(self.language.model, self.language.tokenizer)

    def code_tokens(self, codes_IM: np.ndarray) -> np.ndarray:
        """Return the tokens of codes, (I, M) int64."""
        offset = np.cumsum([0, *self.sizes[:-1]])
        return codes_IM.astype(np.int64) + offset + self.num_words

    def embed(self, token: torch.Tensor) -> torch.Tensor:
        """Look up the embeddings of words and codes."""
        is_word = token < self.num_words
        words = self.language.embed(token.masked_fill(~is_word, 0)).float()
        codes = F.embedding((token - self.num_words).clamp(min=0), self.code)
        if self.language.word_scale != 1:
            codes = codes * self.language.word_scale
        found = torch.where(is_word[..., None], words, codes)
        found = F.dropout(found, self._dropped, training=self._dropped > 0)
        return found.to(self.language.model.dtype)

    def code_logits(self, hidden: torch.Tensor, level: int) -> torch.Tensor:
        """Return the logits of the codes of a level, (..., K)."""
        begin = sum(self.sizes[:level])
        return hidden @ self.code_head[begin : begin + self.sizes[level]].T

    def _words(self, state: torch.Tensor) -> torch.Tensor:
        """Return the logits of words."""
        weight = next(self.causal.head.parameters())
        return self.causal.head(state.to(weight.dtype)).float()

    def losses(self, prompts: Sequence[Answered]) -> AnswerLoss:
        """Compute the cross-entropy of each answer token, after all tokens before it."""
        token, _ = padded([p.token for p in prompts], self.language.device)
        answer, _ = padded([p.answer for p in prompts], self.language.device)
        # padding is on the right, where no answer can see it
        hidden = self.language.hidden(self.embed(token[:, :-1]))
        row, place = answer[:, 1:].nonzero(as_tuple=True)
        state = hidden[row, place]
        target = token[:, 1:][row, place]
        loss = torch.zeros(len(row), device=state.device)
        is_word = target < self.num_words
        if is_word.any():
            logits = self._words(state[is_word])
            found = F.cross_entropy(logits, target[is_word], reduction="none")
            loss = loss.masked_scatter(is_word, found)
        begin = self.num_words
        for level, size in enumerate(self.sizes):
            here = (target >= begin) & (target < begin + size)
            if here.any():
                logits = self.code_logits(state[here], level)
                found = F.cross_entropy(logits, target[here] - begin, reduction="none")
                loss = loss.masked_scatter(here, found)
            begin += size
        return AnswerLoss(row, loss, is_word)

    @torch.no_grad()
    def read(self, prompts: Sequence[np.ndarray]) -> NextLogits:
        """Read prompts, and return what computes the logits of codes after them.

        Each prompt is read once. All prefixes of a prompt are then read as one row, in which a code
        sees the prompt and the codes before it in its own prefix: nothing is copied.
        """
        token, length = padded(prompts, self.language.device)
        state, cache = self._states(self.embed(token), None, None, None)
        last = state[torch.arange(len(length), device=token.device), length - 1]

        @torch.no_grad()
        def next_logits(
            prefix_RL: torch.Tensor, owner_R: torch.Tensor, _: Any, __: torch.Tensor | None
        ) -> tuple[torch.Tensor, None]:
            level = prefix_RL.shape[1]
            if level == 0:
                return self.code_logits(last[owner_R], 0), None
            found = self._after(prefix_RL, owner_R, length, cache)
            return self.code_logits(found, level), None

        return next_logits

    def _after(
        self,
        prefix_RL: torch.Tensor,
        owner_R: torch.Tensor,
        length_B: torch.Tensor,
        cache: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        """Compute the states after prefixes: (R, H). cache: keys and values of the prompts."""
        device = prefix_RL.device
        depth = prefix_RL.shape[1]
        _, count = torch.unique_consecutive(owner_R, return_counts=True)
        slot = torch.arange(len(owner_R), device=device)
        slot = slot - (count.cumsum(0) - count).repeat_interleave(count)
        parts = len(owner_R) // GROUP + 1
        key, which = torch.unique_consecutive(owner_R * parts + slot // GROUP, return_inverse=True)
        slot = slot % GROUP
        owner = key // parts
        size = int(slot.max()) + 1
        prefix = prefix_RL.new_zeros(len(owner), size, depth)
        prefix[which, slot] = prefix_RL
        offset = torch.tensor(np.cumsum([0, *self.sizes[: depth - 1]]), device=device)
        embeds = self.embed(prefix + offset + self.num_words).flatten(1, 2)
        position = length_B[owner, None, None] + torch.arange(depth, device=device)
        position = position.expand(-1, size, -1).flatten(1)
        mask = self._mask(length_B[owner], cache[0][0].shape[2], size, depth)
        everyone = torch.arange(len(length_B), device=device)
        same = torch.equal(owner, everyone)
        mine = cache if same else [(k[owner], v[owner]) for k, v in cache]
        state, _ = self._states(embeds, mine, mask, position)
        return state.unflatten(1, (size, depth))[which, slot, -1]

    def _mask(self, length_G: torch.Tensor, width: int, size: int, depth: int) -> torch.Tensor:
        """Return what is added to the attention of prefixes: 0, or the lowest number."""
        device = length_G.device
        prompt = torch.arange(width, device=device) < length_G[:, None]
        own = torch.ones(depth, depth, dtype=torch.bool, device=device).tril()
        own = torch.block_diag(*[own] * size) if size > 1 else own
        tokens = size * depth
        seen = torch.cat(
            [
                prompt[:, None].expand(-1, tokens, -1),
                own.expand(len(length_G), -1, -1),
            ],
            2,
        )
        mask = torch.zeros(seen.shape, dtype=self.language.precision, device=device)
        return mask.masked_fill(~seen, torch.finfo(mask.dtype).min)[:, None]

    def _states(
        self,
        embeds_BTH: torch.Tensor,
        cache: list[tuple[torch.Tensor, torch.Tensor]] | None,
        mask: torch.Tensor | None,
        position: torch.Tensor | None,
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Compute hidden states, and return keys and values of each layer."""
        from transformers import DynamicCache

        language = self.language
        mixed = language.precision != torch.float32
        with (
            torch.autocast(language.device.type, language.precision, enabled=mixed),
            language.keeping_keys(),
        ):
            found = language.model(
                inputs_embeds=embeds_BTH,
                attention_mask=mask,
                position_ids=position,
                past_key_values=DynamicCache(cache or None),
                use_cache=True,
            )
        kept = [(layer.keys, layer.values) for layer in found.past_key_values.layers]
        return found.last_hidden_state.float(), kept

    def check_generation(self, length: int) -> None:
        """Check that prefixes of several prompts are read as each would be alone.

        length: tokens of the longest prompt. Raises ValueError for a model whose attention does not
        take a mask, or sees only near words.
        """
        width = self.num_words
        prompts = [5 + np.arange(length) % 5, np.array([6])]
        prefix = torch.zeros(3, min(2, len(self.sizes) - 1), dtype=torch.long)
        if not prefix.shape[1]:
            return
        prefix[1:, 0] = min(1, self.sizes[0] - 1)
        owner = torch.tensor([0, 0, 1])
        device = self.language.device
        ours, _ = self.read(prompts)(prefix.to(device), owner.to(device), None, None)
        offset = np.cumsum([0, *self.sizes[: prefix.shape[1] - 1]])
        alone = []
        with torch.no_grad():
            for row, at in zip(prefix.numpy(), owner.tolist(), strict=True):
                token = torch.tensor(np.r_[prompts[at], row + offset + width], device=device)
                state = self.language.hidden(self.embed(token[None]))[:, -1]
                alone.append(self.code_logits(state, prefix.shape[1]))
        plain = torch.cat(alone)
        near = 1e-3 if self.language.precision == torch.float32 else 0.05
        if (plain - ours).norm() > near * plain.norm():
            raise ValueError(
                f"causal.model = {self.language.name}: reads several prefixes of a prompt "
                "otherwise than one, so lists cannot be generated with it; name another model, "
                "such as one of LLaMA's kind"
            )

    def train_whole(self) -> None:
        """Let all weights of the language model be trained, those of an own head too."""
        self.language.train_whole()
        self.causal.head.requires_grad_(True).float()

    @contextmanager
    def dropout(self, share: float) -> Iterator[None]:
        """Within a `with` block, drop a share of the embeddings' values; LoRA's dropout is on."""
        self._dropped = share
        try:
            with self.language.dropout():
                yield
        finally:
            self._dropped = 0.0

    def trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters that the optimizer updates, by name."""
        own = dict(self.named_parameters())
        if self.language.whole and not self.causal.tied:
            own |= {f"head.{n}": p for n, p in self.causal.head.named_parameters()}
        return own | {f"language.{n}": p for n, p in self.language.trained().items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all weights to save by name; a language model that is not trained has none."""
        return {name: parameter.detach() for name, parameter in self.trained().items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load weights that `tensors` returned. Raises ValueError if a name or a shape differs."""
        copy_weights(self.tensors(), tensors)


def padded(rows: Sequence[np.ndarray], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Join rows, padded with 0 on the right: (B, T), and their lengths (B,) int64."""
    length = np.array([row.size for row in rows], np.int64)
    found = np.zeros((len(rows), int(length.max(initial=0))), rows[0].dtype if rows else np.int64)
    for place, row in enumerate(rows):
        found[place, : row.size] = row
    return torch.from_numpy(found).to(device), torch.from_numpy(length).to(device)
