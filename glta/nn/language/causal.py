"""Write text with a causal language model. It decodes greedily, and reads safetensors only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class CausalModel:
    """Answer prompts with a causal language model of Hugging Face.

    name: hub id or folder. max_new_tokens: longest answer. batch: prompts of one forward pass.
    The model is loaded for the first prompt only, so that a run whose answers are all in the cache
    never loads it.
    """

    name: str
    max_new_tokens: int
    batch: int = 16

    @cached_property
    def folder(self) -> Path:
        """The folder of the model's files. Raises ValueError when the model cannot be found."""
        from glta.nn.language.frozen import model_folder

        return model_folder(self.name)

    @cached_property
    def identity(self) -> dict:
        """All that the answers depend on besides the prompts, as plain values for the cache."""
        from glta.nn.language.frozen import weights_sha256
        from glta.storage.files import sha256_of_all

        sha256 = weights_sha256(self.folder)
        # the answers also depend on the tokenizer, the chat template and the configuration
        others = [
            path
            for path in self.folder.iterdir()
            if path.suffix in (".json", ".txt", ".model", ".jinja")
        ]
        return {
            "provider": "language_model",
            "model": self.name,
            "sha256": sha256,
            "settings": sha256_of_all(others),
            "max_new_tokens": self.max_new_tokens,
            "precision": self.precision,  # float32 and bfloat16 may give different answers
        }

    @cached_property
    def device(self) -> str:
        """The device of the model: cuda if there is one, else cpu."""
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def precision(self) -> str:
        """The type of the model's numbers."""
        return "bfloat16" if self.device == "cuda" else "float32"

    @cached_property
    def loaded(self) -> tuple[Any, PreTrainedTokenizerBase]:
        """The model and its tokenizer, loaded at first use.

        Raises ValueError when the folder holds no causal language model.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        dtype = getattr(torch, self.precision)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                self.folder, trust_remote_code=False, padding_side="left"
            )
            model = AutoModelForCausalLM.from_pretrained(
                self.folder, use_safetensors=True, trust_remote_code=False, dtype=dtype
            )
        except Exception as error:  # transformers raises many types, all with the same fix
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ValueError(
                f"profile.generator = {self.name}: not a loadable causal language model "
                f"({reason}); name another one"
            ) from error
        if tokenizer.pad_token_id is None:
            if tokenizer.eos_token_id is None:
                raise ValueError(
                    f"profile.generator = {self.name}: its tokenizer has neither a padding nor an "
                    "end token; name another model"
                )
            tokenizer.pad_token = tokenizer.eos_token
        return model.eval().to(self.device), tokenizer

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Return the answers to prompts. Raises ValueError when a prompt is too long."""
        import torch

        model, tokenizer = self.loaded
        texts = [self.as_chat(prompt) for prompt in prompts]
        # a chat template has already added the special tokens
        inputs = tokenizer(
            texts, padding=True, return_tensors="pt", add_special_tokens=not tokenizer.chat_template
        )
        inputs = {name: inputs[name].to(self.device) for name in ("input_ids", "attention_mask")}
        length = inputs["input_ids"].shape[1]
        needed = length + self.max_new_tokens
        room = getattr(model.config, "max_position_embeddings", None) or needed
        if needed > room:
            raise ValueError(
                f"profile.generator = {self.name}: reads {room} tokens, but a prompt and its "
                f"answer take {needed}; lower profile.items_shown, profile.max_words or "
                "profile.max_new_tokens"
            )
        with torch.inference_mode():
            out = model.generate(
                **inputs,
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=tokenizer.pad_token_id,
            )
        return list(tokenizer.batch_decode(out[:, length:], skip_special_tokens=True))

    def as_chat(self, prompt: str) -> str:
        """Return a prompt in the model's chat template, or unchanged without a template."""
        _, tokenizer = self.loaded
        if not tokenizer.chat_template:
            return prompt
        turn = [{"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
