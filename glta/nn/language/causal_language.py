"""Load a causal language model that is trained to generate: its layers and its head."""

# B prompts, T tokens, H width of hidden states, V words
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from glta.nn.language.frozen import Language
from glta.nn.language.loading import load_model, load_tokenizer
from glta.nn.language.model_files import (
    PACKAGED,
    ModelFiles,
    model_folder,
    read_model_json,
    refuse_other,
)
from glta.nn.language.precision import number_type
from glta.nn.language.settings import SMALL, CausalSettings
from glta.training.devices import find_devices
from glta.training.seeds import Stream, epoch_rng


@dataclass
class CausalLanguage:
    """Hold a causal language model.

    language: its layers, which give hidden states. head: maps hidden states to logits of words,
    (..., H) -> (..., V). tied: whether the head's matrix is that of the word embeddings.
    """

    language: Language
    head: nn.Module
    tied: bool

    @property
    def num_words(self) -> int:
        """V, the rows of the table of word embeddings."""
        return self.language.model.get_input_embeddings().num_embeddings

    @property
    def end(self) -> int:
        """The token after a text. Raises ValueError for a tokenizer without one."""
        tokenizer = self.language.tokenizer
        for token in (tokenizer.eos_token_id, tokenizer.sep_token_id):
            if token is not None:
                return token
        raise ValueError(
            f"causal.model = {self.language.name}: its tokenizer has no end token; name another "
            "model"
        )


def load_causal(params: CausalSettings, seed: int) -> CausalLanguage:
    """Load or make the model, in evaluation mode, with frozen weights.

    seed: of the initial weights of the small model. Raises ValueError when a model cannot be
    loaded, has other files than params.sha256 says, or is none that generates text.
    """
    if params.model == SMALL:
        return _small(params, seed)
    files = ModelFiles.of(model_folder(params.model))
    sha256 = files.sha256
    expected = params.sha256 or sha256
    refuse_other(files.folder, sha256, expected=expected, parameter="causal.sha256")
    where, precision = _numbers(params)
    # on a CPU the weights stay in float32, and autocast converts them where that is faster
    held = precision if where.type == "cuda" else torch.float32
    model = load_model(files, generates=True, dtype=held)
    tokenizer = load_tokenizer(files, model)
    refuse_other(files.folder, files.sha256, expected=sha256, parameter="when it was loaded")
    model.to(where)
    language = Language(
        name=params.model,
        sha256=sha256,
        digests=files.digests,
        model=model.base_model,
        tokenizer=tokenizer,
        device=where,
        precision=precision,
        key="causal.model",
    )
    language.model.config.use_cache = False  # a cache is asked for where it is needed
    language.check_reading()
    if not language.causal:
        raise ValueError(
            f"causal.model = {params.model}: reads in both directions, so it cannot generate; "
            "name a causal model"
        )
    return _with_head(language, model)


def _numbers(params: CausalSettings) -> tuple[torch.device, torch.dtype]:
    """Return the device, and the type of the numbers of a forward pass."""
    where = find_devices().device
    return where, number_type(params.precision, where)


def _small(params: CausalSettings, seed: int) -> CausalLanguage:
    """Make an untrained model of LLaMA's layers (Touvron et al. 2023, arXiv 2302.13971).

    It has the tokenizer of the packaged encoder. Its weights are in float32.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    files = ModelFiles.of(model_folder(PACKAGED))
    config = LlamaConfig(
        vocab_size=read_model_json(files.root / "config.json")["vocab_size"],
        hidden_size=params.width,
        intermediate_size=params.hidden_dim,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        num_key_value_heads=params.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    where, precision = _numbers(params)
    with torch.random.fork_rng():
        torch.manual_seed(int(epoch_rng(seed, 0, Stream.SMALL_MODEL).integers(2**62)))
        model = LlamaForCausalLM(config)
    model.requires_grad_(False).eval().to(where)
    language = Language(
        name=SMALL,
        sha256=files.sha256,  # of the tokenizer's files
        model=model.base_model,
        tokenizer=load_tokenizer(files, model),
        device=where,
        precision=precision,
    )
    return _with_head(language, model)


def _with_head(language: Language, model: nn.Module) -> CausalLanguage:
    """Join layers and head. Raises ValueError when the model does more with logits than its head.

    Some models scale or cap their logits. What is trained on the head alone would not be the model.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]  # a method of transformers
    table = language.model.get_input_embeddings().weight
    probe = torch.tensor([[5, 6, 7]], device=language.device)
    with torch.inference_mode():
        whole = model(input_ids=probe).logits.float()
        ours = head(language.model(input_ids=probe).last_hidden_state).float()
    if whole.shape != ours.shape or (whole - ours).norm() > 0.01 * whole.norm():
        raise ValueError(
            f"causal.model = {language.name}: does more than a linear map from hidden states to "
            "logits; name another model"
        )
    return CausalLanguage(language, head, tied=head.weight is table)
