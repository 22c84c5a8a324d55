"""Load the frozen language model, and compute states of texts and of prompts with node tokens."""

# B prompts, T tokens, H width of the language model, N texts
from __future__ import annotations

import copy
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from glta.nn.language.chat import chat_frame
from glta.nn.language.loading import load_model, load_tokenizer, longest_input, looks_back_alone
from glta.nn.language.model_files import (
    PACKAGED,
    PACKAGED_SHA256,
    ModelFiles,
    Pooling,
    first_line,
    model_folder,
    refuse_other,
)
from glta.nn.language.precision import number_type
from glta.nn.language.settings import LanguageSettings
from glta.nn.language.unknown_words import check_known
from glta.progress import bar
from glta.storage.shard import WHOLE, Shard
from glta.training.devices import find_devices
from glta.training.seeds import Stream, epoch_rng

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CACHE = Path(".cache/language")


@dataclass
class Language:
    """Hold a frozen language model with its tokenizer.

    name: of the model, for lineage. sha256: of all files that decide its numbers. model: maps
    inputs_embeds (B, T, E) to hidden states (B, T, H). precision: of the forward pass. digests: of
    each of the files, by its path. pooling: how the states of tokens become the state of a text.
    lora: whether the model has adapters. whole: whether its own weights are trained. batch_tokens:
    most tokens of a forward pass without gradients. key: the parameter that names the model, for
    messages.
    """

    name: str
    sha256: str
    model: Any  # a transformers model, wrapped by peft once it has adapters
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    precision: torch.dtype
    digests: dict[str, str] = field(default_factory=dict)
    pooling: Pooling = "mean"
    lora: bool = False
    whole: bool = False
    batch_tokens: int = 8192
    key: str = "language.model"

    @cached_property
    def width(self) -> int:
        """H, the width of hidden states. It is measured with one token."""
        probe = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        with torch.inference_mode():
            return self.hidden(self.embed(probe)).shape[-1]

    @property
    def token_width(self) -> int:
        """E, the width of input embeddings. ALBERT, ELECTRA and some others have E < H."""
        return self.model.get_input_embeddings().embedding_dim

    @cached_property
    def max_tokens(self) -> int:
        """Most tokens of a prompt, special ones included."""
        return longest_input(self.model, self.tokenizer)

    @cached_property
    def causal(self) -> bool:
        """Whether a token attends only to earlier tokens. It is measured with two tokens."""
        probe = torch.tensor([[5, 6], [5, 7]], device=self.device)
        with torch.inference_mode():
            return looks_back_alone(self.hidden(self.embed(probe)))

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer adds before and after a text.

        Raises ValueError when they cannot be told from the text's own.
        """
        word = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        framed = self.tokenizer("a")["input_ids"]
        starts = range(len(framed) - len(word) + 1)
        at = next((i for i in starts if framed[i : i + len(word)] == word), None)
        if at is None or not word:
            raise ValueError(
                f"{self.key} = {self.name}: its tokenizer writes a word otherwise between "
                "special tokens than alone; name another model"
            )
        return framed[:at], framed[at + len(word) :]

    def chat_frame(self, system: str) -> tuple[list[int], list[int]] | None:
        """The tokens of the chat template before and after the words of a user.

        The answer follows them. None: the model has no template. system: the task, the template's
        system line.
        """
        parts = chat_frame(self.tokenizer, system, f"{self.key} = {self.name}")
        if parts is None:
            return None
        before, after = self.tokens(parts)
        return before, after

    @property
    def placeholder(self) -> int:
        """The token at positions whose hidden state is read: mask, else end, else unknown token."""
        tokens = (
            self.tokenizer.mask_token_id,
            self.tokenizer.eos_token_id,
            self.tokenizer.unk_token_id,
        )
        return next((t for t in tokens if t is not None), 0)

    def tokens(self, texts: Sequence[str], limit: int | None = None) -> list[list[int]]:
        """Tokenize texts without special tokens, each cut to `limit` tokens."""
        if not texts:
            return []
        ids = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return [row[:limit] for row in ids]

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up the input embeddings of token ids."""
        return self.model.get_input_embeddings()(ids)

    @torch.no_grad()
    def word_inputs(self) -> torch.Tensor:
        """Return what the model reads for each of its V words: (V, E) float32.

        These are the rows of its table, or, in Gemma, mBART and others, multiples of them.
        """
        table = self.model.get_input_embeddings()
        if self.word_scale == 1:
            return table.weight.detach().float()
        rows = torch.arange(table.num_embeddings, device=self.device).split(8192)
        return torch.cat([self.embed(ids).float() for ids in rows])

    @cached_property
    def word_scale(self) -> float:
        """How many times as long as the rows of the model's table is what it reads for words.

        It is 1 for most models, and the root of E for Gemma. It is measured with some 1,000 words.
        """
        table = self.model.get_input_embeddings()
        step = max(1, table.num_embeddings // 1000)
        ids = torch.arange(0, table.num_embeddings, step, device=self.device)
        with torch.no_grad():
            read, rows = self.embed(ids).float(), table.weight[ids].float()
            return 1.0 if torch.equal(read, rows) else float(read.norm() / rows.norm())

    def hidden(self, embeds_BTE: torch.Tensor) -> torch.Tensor:
        """Compute the hidden states of the last layer: (B, T, H) float32.

        All prompts must have the same length, because there is no attention mask.
        """
        return self._run(inputs_embeds=embeds_BTE)

    def _run(self, **inputs: torch.Tensor) -> torch.Tensor:
        mixed = self.precision != torch.float32
        with (
            torch.autocast(self.device.type, self.precision, enabled=mixed),
            self._attention(),
        ):
            return self.model(**inputs).last_hidden_state.float()

    def _attention(self) -> AbstractContextManager:
        """Choose the attention kernel.

        On a CPU the gradient of fused attention takes 15 times as long in bfloat16 as in float32,
        so that the plain kernel is used.
        """
        slow = self.device.type == "cpu" and self.precision == torch.bfloat16
        return sdpa_kernel(SDPBackend.MATH) if slow else nullcontext()

    def checkpoint_layers(self) -> None:
        """Save memory: keep only the inputs of layers, and compute the layers again for gradients.

        This is gradient checkpointing (Chen et al. 2016, arXiv 1604.06174). Call it after
        `add_lora`. The model's own dropout stays off. Raises ValueError for a model that does not
        support it, or that then has other hidden states.
        """
        from transformers.modeling_layers import GradientCheckpointingLayer

        layers = [
            module
            for module in self.model.modules()
            if isinstance(module, GradientCheckpointingLayer)
        ]
        refusal = ValueError(
            f"language model {self.name}: cannot checkpoint its layers; set "
            "checkpoint_layers = false"
        )
        if not layers or not self.model.supports_gradient_checkpointing:
            raise refusal
        plain = self._probe()
        again = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), self._attention())}
        self.model.activation_checkpointing_enable(again)
        # a layer checkpoints only in training mode; the modules within it stay in evaluation mode,
        # so that their dropout stays off, and a layer's own dropout is set to 0
        for layer in layers:
            _drop_nothing(layer)
            layer.training = True
        # what a layer does otherwise in training shows here, whatever it is
        if not torch.allclose(self._probe(), plain, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise refusal

    @torch.no_grad()
    def _probe(self) -> torch.Tensor:
        """Return the hidden states of a few tokens: (1, T, H)."""
        return self.hidden(self.embed(torch.tensor([[5, 6, 7] * 4], device=self.device)))

    @contextmanager
    def keeping_keys(self) -> Iterator[None]:
        """Let layers keep keys and values within a `with` block, which checkpointed ones drop."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        layers = [
            module
            for module in self.model.modules()
            if isinstance(module, GradientCheckpointingLayer) and module.training
        ]
        for layer in layers:
            layer.training = False
        try:
            yield
        finally:
            for layer in layers:
                layer.training = True

    def add_lora(self, rank: int, *, alpha: float, dropout: float, seed: int) -> None:
        """Add trainable low-rank adapters to every linear map; the weights themselves stay frozen.

        rank, alpha: as in Hu et al. 2022, arXiv 2106.09685. dropout: of the adapters; it is active
        only within `self.dropout()`. seed: of the initial weights. At the start the adapters do not
        change the model's output.
        """
        from peft import LoraConfig, get_peft_model

        # the hidden states do not depend on the pooler
        unread = [n for n, _ in self.model.named_modules() if n.partition(".")[0] == "pooler"]
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,  # type: ignore[arg-type]  # any number will do
            lora_dropout=dropout,
            target_modules="all-linear",
            exclude_modules=unread or None,
        )
        with torch.random.fork_rng():
            torch.manual_seed(int(epoch_rng(seed, 0, Stream.ADAPTERS).integers(2**62)))
            # peft asks transformers for a name of its earlier versions
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
                self.model = get_peft_model(self.model, config).eval()  # peft leaves dropout on
        self.lora = True

    def train_whole(self) -> None:
        """Let all weights be trained that hidden states depend on. The dropout stays off.

        They are held in float32, since small steps would be lost in bfloat16; a forward pass has
        the chosen precision all the same.
        """
        self.model.float()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.partition(".")[0] != "pooler")
        self.whole = True

    @contextmanager
    def dropout(self) -> Iterator[None]:
        """Switch LoRA's dropout on within a `with` block. The dropout of the model stays off."""
        layers = [m for n, m in self.model.named_modules() if n.endswith("lora_dropout.default")]
        for layer in layers:
            layer.train()
        try:
            yield
        finally:
            for layer in layers:
                layer.eval()

    def adapters(self) -> dict[str, torch.nn.Parameter]:
        """Return the trainable adapter weights by name, {} without LoRA."""
        return {n: p for n, p in self.model.named_parameters() if self.lora and "lora_" in n}

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """Return the weights that are trained by name: adapters, all weights, or none."""
        if self.whole:
            return {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        return self.adapters()

    def encode(
        self,
        texts: Sequence[str],
        batch_tokens: int | None = None,
        cache: Path | None = CACHE,
    ) -> np.ndarray:
        """Encode texts as text states, (N, H) float32: pooled hidden states of length 1.

        A text without any token, special ones included, has zeros.
        batch_tokens: most tokens of a forward pass; None: the model's.
        cache: folder for results, by all that decides them; None: do not use a cache. A model that
            is trained uses none.
        Raises ValueError when the tokenizer knows almost no word of the texts, or when a state is
        not finite.
        """
        return self.encode_shard(texts, WHOLE, batch_tokens, cache)[1]

    def encode_shard(
        self,
        texts: Sequence[str],
        shard: Shard,
        batch_tokens: int | None = None,
        cache: Path | None = CACHE,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode the texts of one shard, in the batches in which `encode` would encode all texts.

        Returns the places of these texts, (n,) int64 ascending, and their states (n, H).
        Other arguments and errors: see `encode`.
        """
        from glta.storage.tensors import load_checked, save_checked

        batch_tokens = batch_tokens or self.batch_tokens
        path = None
        if cache and not (self.lora or self.whole):
            path = cache / f"{self._key(texts, batch_tokens, shard)}.safetensors"
        if path and (found := load_checked(path)):
            return found[0]["rows"].numpy(), found[0]["states"].numpy()
        rows, states = self._encode(texts, batch_tokens, shard)
        if not np.isfinite(states).all():
            raise ValueError(
                f"{self.key} = {self.name}: a text has a state that is NaN or infinite; set "
                "language.precision = float32, or name another model"
            )
        if path:
            # a file for each process, because another one may be encoding the same texts
            own = path.with_suffix(f".{os.getpid()}")
            arrays = {"rows": torch.from_numpy(rows), "states": torch.from_numpy(states)}
            save_checked(own, arrays, {})
            own.replace(path)
        return rows, states

    def _key(self, texts: Sequence[str], batch_tokens: int, shard: Shard) -> str:
        """Return a digest of all that decides the states of texts.

        The batches and the versions of libraries decide the last digits.
        """
        import tokenizers
        import transformers

        about = {
            "sha256": self.sha256,
            "pooling": self.pooling,
            "max_tokens": self.max_tokens,
            "precision": str(self.precision),
            "device": self.device.type,
            "batch_tokens": batch_tokens,
            "versions": [m.__version__ for m in (torch, transformers, tokenizers)],
            "texts": list(texts),
            "shard": [shard.part, shard.of],
        }
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def _encode(
        self, texts: Sequence[str], batch_tokens: int, shard: Shard
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute what `encode_shard` returns."""
        prefix, suffix = self.frame
        room = self.max_tokens - len(prefix) - len(suffix)
        if room < 1:
            raise ValueError(
                f"{self.key} = {self.name}: reads {self.max_tokens} tokens, which its special "
                "tokens fill; correct max_position_embeddings in config.json, or name another model"
            )
        own = self.tokens(texts, room)
        check_known(own, texts, self.tokenizer.unk_token_id, f"{self.key} = {self.name}")
        ids = [prefix + row + suffix for row in own]
        batches = list(shard.pick(equal_lengths([len(row) for row in ids], batch_tokens)))
        rows = np.sort(np.concatenate([np.empty(0, np.int64), *batches]))
        states = np.zeros((rows.size, self.width), np.float32)
        with torch.inference_mode(), bar(rows.size, "texts encoded") as advance:
            for batch in batches:
                if ids[batch[0]]:
                    tokens = torch.tensor([ids[i] for i in batch], device=self.device)
                    pooled = pool(self.hidden(self.embed(tokens)), self.pooling)
                    normal = torch.nn.functional.normalize(pooled, dim=1)
                    states[np.searchsorted(rows, batch)] = normal.cpu().numpy()
                advance(len(batch))
        return rows, states

    def check_reading(self) -> None:
        """Check that the model reads embeddings as it reads the tokens of its own tokenizer.

        Raises ValueError for a model that needs more than embeddings, such as pictures, or that
        does other things with tokens.
        """
        prefix, suffix = self.frame
        for text in ("a", "a a a a a a"):
            row = prefix + self.tokens([text])[0] + suffix
            try:
                with torch.inference_mode():
                    there = self.tokenizer(text, return_tensors="pt").to(self.device)
                    plain = self._run(**there)
                    ours = self.hidden(self.embed(torch.tensor([row], device=self.device)))
            except Exception as error:  # every architecture has its own way to fail
                raise ValueError(
                    f"{self.key} = {self.name}: does not turn embeddings of words into hidden "
                    f"states ({first_line(error)}); name another model"
                ) from error
            if plain.shape != ours.shape or (plain - ours).norm() > 0.05 * plain.norm():
                raise ValueError(
                    f"{self.key} = {self.name}: gives other hidden states for embeddings than "
                    "for the tokens themselves; name another model"
                )


def _drop_nothing(layer: Any) -> None:
    """Set the dropout to 0 that a layer does itself, and not by a module within it.

    Such a layer has the shares as numbers of its own (BART, OPT), or reads them from its
    configuration (Falcon), which others may share: it gets a copy.
    """
    for name in _shares(layer):
        setattr(layer, name, 0.0)
    config = getattr(layer, "config", None)
    if names := _shares(config):
        layer.config = copy.copy(config)
        for name in names:
            setattr(layer.config, name, 0.0)


def _shares(owner: object) -> list[str]:
    """Return the names of an object's numbers that are shares to drop."""
    found = getattr(owner, "__dict__", {}).items()
    return [name for name, value in found if "drop" in name and type(value) in (int, float)]


def equal_lengths(lengths: Sequence[int], batch_tokens: int) -> Iterator[np.ndarray]:
    """Divide texts into batches of equal length, (B,) int64 places of each, the shortest first.

    Texts of equal length need no padding. lengths: in tokens. batch_tokens: most tokens of a batch,
    unless a single text is longer.
    """
    length = np.array(lengths, np.int64)
    for each in np.unique(length):
        same = np.flatnonzero(length == each)
        # texts without tokens make one batch
        yield from np.array_split(
            same, max(1, min(same.size, -(-same.size * each // batch_tokens)))
        )


def pool(hidden_BTH: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Return one state a text, (B, H), from those of its tokens; no text has padding."""
    if pooling == "mean":
        return hidden_BTH.mean(1)
    return hidden_BTH[:, 0 if pooling == "cls" else -1]


def load_language(params: LanguageSettings, device: str | None = None) -> Language:
    """Load the frozen model from safetensors, without remote code, in evaluation mode.

    device: None takes that of this process. Raises ValueError when the model cannot be found or
    loaded, when its files are not whole, or when they have another digest than params.sha256.
    """
    files = ModelFiles.of(model_folder(params.model))
    sha256 = files.sha256
    expected = params.sha256 or (PACKAGED_SHA256 if params.model == PACKAGED else None)
    refuse_other(files.folder, sha256, expected=expected, parameter="language.sha256")
    where = torch.device(device) if device else find_devices().device
    precision = number_type(params.precision, where)
    # on a CPU the weights stay in float32, and autocast converts them where that is faster
    held = precision if where.type == "cuda" else torch.float32
    pooling = files.pooling
    model = load_model(files, generates=False, dtype=held)
    tokenizer = load_tokenizer(files, model)
    model.config.use_cache = False  # keys and values are cached only to generate text
    refuse_other(files.folder, files.sha256, expected=sha256, parameter="when it was loaded")
    language = Language(
        name=params.model,
        sha256=sha256,
        digests=files.digests,
        model=model.to(where),
        tokenizer=tokenizer,
        device=where,
        precision=precision,
        pooling=pooling,
        batch_tokens=params.batch_tokens,
    )
    language.check_reading()
    return language
