"""Text from a causal language model: greedy, in batches, from safetensors only."""

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
    """Answer prompts with a Hugging Face causal model. name: hub id or folder. batch: prompts of
    one forward pass.

    The weights' hash is read at once, the model itself only for the first prompt: a cached run
    never loads it.
    """

    name: str
    max_new_tokens: int
    batch: int = 16

    @cached_property
    def folder(self) -> Path:
        """Where the model's files are. Raises ValueError when it cannot be found."""
        from glta.nn.language.frozen import model_folder

        return model_folder(self.name)

    @cached_property
    def identity(self) -> dict:
        from glta.nn.language.frozen import weights_sha256
        from glta.storage.files import sha256_of_all

        sha256 = weights_sha256(self.folder)
        # the tokenizer, the chat template and the configuration are part of what answers
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
            "precision": self.precision,  # greedy answers differ between the two
        }

    @cached_property
    def device(self) -> str:
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def precision(self) -> str:
        return "bfloat16" if self.device == "cuda" else "float32"

    @cached_property
    def loaded(self) -> tuple[Any, PreTrainedTokenizerBase]:
        """Load model and tokenizer.

        Raises ValueError when they are not those of a causal language model.
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
        except (
            Exception
        ) as error:  # transformers raises many types; the user can do the same about all of them
            reason = (
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
            raise ValueError(
                f"profile.generator = {self.name}: not a loadable causal language model ({reason})"
            ) from error
        if tokenizer.pad_token_id is None:
            if tokenizer.eos_token_id is None:
                raise ValueError(
                    f"profile.generator = {self.name}: its tokenizer has neither a padding nor an "
                    "end token"
                )
            tokenizer.pad_token = tokenizer.eos_token
        return model.eval().to(self.device), tokenizer

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Answer each prompt. Raises ValueError when a prompt is longer than the model can read."""
        import torch

        model, tokenizer = self.loaded
        texts = [self.as_chat(prompt) for prompt in prompts]
        # a chat template has put the special tokens in already
        inputs = tokenizer(
            texts, padding=True, return_tensors="pt", add_special_tokens=not tokenizer.chat_template
        )
        inputs = {name: inputs[name].to(self.device) for name in ("input_ids", "attention_mask")}
        length = inputs["input_ids"].shape[1]
        room = (
            getattr(model.config, "max_position_embeddings", None) or length + self.max_new_tokens
        )
        if length + self.max_new_tokens > room:
            raise ValueError(
                f"profile.generator = {self.name}: reads {room} tokens, but a prompt and its "
                "answer take "
                f"{length + self.max_new_tokens}; lower profile.items_shown, profile.max_words or "
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
        """Put a prompt into the model's chat template, where it has one."""
        _, tokenizer = self.loaded
        if not tokenizer.chat_template:
            return prompt
        turn = [{"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
