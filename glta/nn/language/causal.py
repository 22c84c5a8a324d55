"""Write text with a causal language model. It decodes greedily, and reads safetensors only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from glta.nn.language.chat import chat_text
from glta.nn.language.model_files import ModelFiles, first_line, model_folder, refuse_other
from glta.nn.language.unknown_words import check_known

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class CausalModel:
    """Answer prompts with a causal language model of Hugging Face.

    name: hub id or folder. max_new_tokens: longest answer. sha256: expected digest of the model's
    files; None takes any. batch: prompts of one forward pass.
    The model is loaded for the first prompt only, so that a run whose answers are all in the cache
    never loads it.
    """

    name: str
    max_new_tokens: int
    sha256: str | None = None
    batch: int = 16

    @cached_property
    def files(self) -> ModelFiles:
        """The model's files. Raises ValueError when they are not found, or not those expected."""
        files = ModelFiles.of(model_folder(self.name))
        self._refuse_other(files, self.sha256, "profile.generator_sha256")
        return files

    def _refuse_other(self, files: ModelFiles, expected: str | None, parameter: str) -> None:
        refuse_other(files.folder, files.sha256, expected=expected, parameter=parameter)

    @cached_property
    def identity(self) -> dict:
        """All that the answers depend on besides the prompts, as plain values for the cache.

        Versions of libraries are not part of it: they change the last digits of a model's numbers,
        and seldom a word.
        """
        return {
            "provider": "language_model",
            "model": self.name,
            "sha256": self.files.sha256,
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

        from glta.nn.language.loading import load_model, load_tokenizer, looks_back_alone

        identity = self.identity
        dtype = getattr(torch, self.precision)
        model = load_model(self.files, generates=True, dtype=dtype).to(self.device)
        tokenizer = load_tokenizer(self.files, model, padding_side="left")
        self._refuse_other(self.files, identity["sha256"], "when it was loaded")
        probe = torch.tensor([[5, 6], [5, 7]], device=self.device)
        with torch.inference_mode():
            if not looks_back_alone(model(input_ids=probe).logits):
                raise ValueError(
                    f"profile.generator = {self.name}: reads in both directions, so it cannot "
                    "write text; name a causal model"
                )
        if tokenizer.pad_token_id is None:
            if tokenizer.eos_token_id is None:
                raise ValueError(
                    f"profile.generator = {self.name}: its tokenizer has neither a padding nor an "
                    "end token; name another model"
                )
            tokenizer.pad_token = tokenizer.eos_token
        return model, tokenizer

    def write(self, prompts: Sequence[str]) -> list[str]:
        """Return the answers to prompts. Raises ValueError when a prompt is too long."""
        import torch

        from glta.nn.language.loading import longest_input

        model, tokenizer = self.loaded
        texts = [self.as_chat(prompt) for prompt in prompts]
        # a chat template has already added the special tokens
        inputs = tokenizer(
            texts, padding=True, return_tensors="pt", add_special_tokens=not tokenizer.chat_template
        )
        inputs = {name: inputs[name].to(self.device) for name in ("input_ids", "attention_mask")}
        check_known(
            tokenizer(list(prompts), add_special_tokens=False)["input_ids"],
            prompts,
            tokenizer.unk_token_id,
            f"profile.generator = {self.name}",
        )
        length = inputs["input_ids"].shape[1]
        needed = length + self.max_new_tokens
        room = longest_input(model, tokenizer)
        if needed > room:
            raise ValueError(
                f"profile.generator = {self.name}: reads {room} tokens, but a prompt and its "
                f"answer take {needed}; lower profile.items_shown, profile.max_words or "
                "profile.max_new_tokens"
            )
        try:
            with torch.inference_mode():
                out = model.generate(
                    **inputs,
                    tokenizer=tokenizer,
                    max_new_tokens=self.max_new_tokens,
                    do_sample=False,
                    num_beams=1,
                    num_return_sequences=1,
                    return_dict_in_generate=False,
                    pad_token_id=tokenizer.pad_token_id,
                )
        except (ValueError, TypeError) as error:  # what transformers raises for a setting
            raise ValueError(
                f"profile.generator = {self.name}: its generation_config.json has settings with "
                f"which it writes no text here ({first_line(error)}); take them out of the file"
            ) from error
        return list(tokenizer.batch_decode(out[:, length:], skip_special_tokens=True))

    def as_chat(self, prompt: str) -> str:
        """Return a prompt in the model's chat template, or unchanged without a template.

        Raises ValueError as `chat_text`.
        """
        return chat_text(self.loaded[1], prompt, f"profile.generator = {self.name}")
