"""Each kind of model that is understood: its states are those of transformers itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glta.nn.language.frozen import load_language
from glta.nn.language.node_prompts import token_projector
from glta.nn.language.settings import LanguageSettings
from tests.tiny import SIZES, WORDS, write_tokenizer

LONGEST = 40
TEXTS = ["garden roses", "robot", "robot laser space , garden", " ".join(["garden robot"] * 40)]
BOTH = SIZES | {"max_position_embeddings": LONGEST}
OFFSET = SIZES | {"max_position_embeddings": LONGEST + 2, "pad_token_id": 1}
T5 = {"vocab_size": len(WORDS), "d_model": 32, "d_kv": 16, "d_ff": 64}
T5 |= {"num_layers": 2, "num_heads": 2}
BART = {"vocab_size": len(WORDS), "d_model": 32, "init_std": 0.2, "scale_embedding": True}
BART |= {
    f"{part}_{key}": value
    for part in ("encoder", "decoder")
    for key, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 64))
}
OPT = {"vocab_size": len(WORDS), "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64}
OPT |= {"num_hidden_layers": 2, "num_attention_heads": 2, "init_std": 0.2}
DISTIL = {"vocab_size": len(WORDS), "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
GPT2 = {"vocab_size": len(WORDS), "n_embd": 32, "n_layer": 2, "n_head": 2}
MODERN = {f"{name}_token_id": i for i, name in enumerate(("pad", "bos", "eos", "cls", "sep"))}
GEMMA = BOTH | {"num_key_value_heads": 1, "head_dim": 16}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "BertModel": ("BertConfig", BOTH),
    "BertForSequenceClassification": ("BertConfig", BOTH),
    "BertForMaskedLM": ("BertConfig", BOTH),
    "RobertaModel": ("RobertaConfig", OFFSET),
    "RobertaForMaskedLM": ("RobertaConfig", OFFSET),
    "XLMRobertaModel": ("XLMRobertaConfig", OFFSET),
    "CamembertModel": ("CamembertConfig", OFFSET),
    "MPNetModel": ("MPNetConfig", OFFSET),
    "AlbertModel": ("AlbertConfig", BOTH | {"embedding_size": 16}),
    "ElectraModel": ("ElectraConfig", BOTH | {"embedding_size": 16}),
    "ElectraForPreTraining": ("ElectraConfig", BOTH | {"embedding_size": 16}),
    "DebertaModel": ("DebertaConfig", BOTH | RELATIVE),
    "DebertaV2Model": ("DebertaV2Config", BOTH | RELATIVE),
    "DistilBertModel": ("DistilBertConfig", DISTIL | {"max_position_embeddings": LONGEST}),
    "ModernBertModel": ("ModernBertConfig", BOTH | MODERN),
    "T5Model": ("T5Config", T5),
    "T5ForConditionalGeneration": ("T5Config", T5),
    "T5EncoderModel": ("T5Config", T5),
    "MT5EncoderModel": ("MT5Config", T5),
    "BartForConditionalGeneration": ("BartConfig", BART | {"max_position_embeddings": LONGEST}),
    "OPTForCausalLM": ("OPTConfig", OPT | {"max_position_embeddings": LONGEST}),
    "GPT2LMHeadModel": ("GPT2Config", GPT2 | {"n_positions": LONGEST}),
    "LlamaForCausalLM": ("LlamaConfig", BOTH),
    "MistralModel": ("MistralConfig", BOTH | {"num_key_value_heads": 1}),
    "Qwen3ForCausalLM": ("Qwen3Config", GEMMA),
    "GemmaForCausalLM": ("GemmaConfig", GEMMA),
}
CAUSAL = ("OPT", "GPT2", "Llama", "Mistral", "Qwen", "Gemma")


def write(folder: Path, name: str) -> Path:
    import transformers

    config, values = KINDS[name]
    torch.manual_seed(0)
    made = getattr(transformers, name)(getattr(transformers, config)(**values))
    with torch.no_grad():
        for parameter in made.parameters():  # T5 and ModernBERT start with small numbers
            parameter += 0.1 * torch.randn_like(parameter)
    made.save_pretrained(folder)
    write_tokenizer(folder, framed=not name.startswith(CAUSAL))
    return folder


def reader(folder: Path, name: str) -> Any:
    """Load by its own class, and return the part that reads text."""
    import transformers

    model = getattr(transformers, name).from_pretrained(folder).eval()
    if name.startswith(("T5", "MT5", "Bart")):
        return model.get_encoder()
    return model.base_model


def plain_states(folder: Path, name: str) -> np.ndarray:
    """Return the mean states of length 1, by a padded batch with a mask, cut at LONGEST tokens.

    Models without a limit of their own read 4096 tokens, so nothing is cut.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    cut = {} if "T5" in name else {"truncation": True, "max_length": LONGEST}
    rows = [tokenizer(text, **cut)["input_ids"] for text in TEXTS]
    length = max(map(len, rows))
    # any token may be the padding, as the mask hides it
    ids = torch.tensor([row + [1] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    with torch.no_grad():
        hidden = reader(folder, name)(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return (mean / mean.norm(dim=1, keepdim=True)).numpy()


@pytest.mark.parametrize("name", KINDS)
def test_states_are_those_of_transformers(name, tmp_path):
    folder = write(tmp_path / "model", name)
    language = load_language(LanguageSettings(model=str(folder)), "cpu")
    states = language.encode(TEXTS, cache=None)
    np.testing.assert_allclose(states, plain_states(folder, name), atol=1e-5)
    assert np.ptp(states @ states.T) > 0.01
    assert language.max_tokens == (4096 if "T5" in name else LONGEST)
    assert language.causal is name.startswith(CAUSAL)
    assert states.shape[1] == language.width == 32


SCALED = ("BartForConditionalGeneration", "GemmaForCausalLM")


@pytest.mark.parametrize("name", [*SCALED, "BertModel", "AlbertModel", "LlamaForCausalLM"])
def test_word_inputs_are_what_is_read_for_each_word(name, tmp_path):
    language = load_language(LanguageSettings(model=str(write(tmp_path / "model", name))), "cpu")
    table = language.model.get_input_embeddings()
    found = language.word_inputs()
    assert torch.equal(found, language.embed(torch.arange(len(WORDS))))
    assert torch.equal(found, table.weight) == (name not in SCALED)
    assert language.word_scale == (pytest.approx(32**0.5, rel=1e-6) if name in SCALED else 1)


@pytest.mark.parametrize("name", [*SCALED, "BertModel"])
def test_tokens_of_nodes_start_as_long_as_those_of_words(name, tmp_path):
    language = load_language(LanguageSettings(model=str(write(tmp_path / "model", name))), "cpu")
    nodes = torch.randn(200, 8, generator=torch.Generator().manual_seed(1)) * 0.01 + 3
    words = language.embed(torch.arange(len(WORDS)))
    with torch.no_grad():
        tokens = token_projector(nodes, language, torch.Generator().manual_seed(0))(nodes)
    torch.testing.assert_close(tokens.mean(0), words.mean(0), atol=1e-4, rtol=1e-4)
    spread = (tokens - tokens.mean(0)).norm(dim=1).mean() / words.std(0).norm()
    assert 0.7 < spread < 1.4


DROPPING = {
    "BartForConditionalGeneration": {"dropout": 0.3, "activation_dropout": 0.3},
    "OPTForCausalLM": {"dropout": 0.3},
    "FalconModel": {"hidden_dropout": 0.3, "attention_dropout": 0.3},
    "LlamaForCausalLM": {},
}


@pytest.mark.parametrize("name", DROPPING)
def test_checkpointed_layers_drop_nothing(name, tmp_path, monkeypatch):
    """Some layers drop values themselves in training mode, in which they are checkpointed."""
    config, values = KINDS.get(name, ("FalconConfig", BOTH))
    monkeypatch.setitem(KINDS, name, (config, values | DROPPING[name]))
    folder = write(tmp_path / "model", name)
    ids = torch.tensor([[7, 8, 9, 10, 11]])
    found = []
    for checkpointed in (False, True):
        language = load_language(LanguageSettings(model=str(folder)), "cpu")
        language.train_whole()
        shared = language.model.config.to_dict()
        if checkpointed:
            language.checkpoint_layers()
        assert language.model.config.to_dict() == shared
        state = torch.get_rng_state()
        hidden = language.hidden(language.embed(ids))
        hidden.square().sum().backward()
        assert torch.equal(torch.get_rng_state(), state)
        gradients = {n: p.grad for n, p in language.model.named_parameters() if p.requires_grad}
        found.append((hidden.detach(), gradients))
    plain, again = found
    torch.testing.assert_close(again, plain)


def test_layers_that_are_otherwise_in_training_are_not_checkpointed(tmp_path):
    folder = write(tmp_path / "model", "LlamaForCausalLM")
    language = load_language(LanguageSettings(model=str(folder)), "cpu")
    layer = language.model.layers[1]
    layer.mlp.register_forward_hook(
        lambda _, __, out: torch.nn.functional.dropout(out, 0.1, layer.training)
    )
    with pytest.raises(ValueError, match="its layers; set checkpoint_layers = false"):
        language.checkpoint_layers()


def clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    part = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    part |= {"num_attention_heads": 2}
    seen = part | {"image_size": 32, "patch_size": 16}
    return CLIPModel(CLIPConfig(text_config=part | {"vocab_size": 99}, vision_config=seen))


def clip_text() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**SIZES))


def canine() -> Any:
    from transformers import CanineConfig, CanineModel

    sizes = SIZES | {"num_hash_buckets": 64}
    return CanineModel(CanineConfig(**sizes))


def funnel() -> Any:
    from transformers import FunnelConfig, FunnelModel

    sizes = {"vocab_size": len(WORDS), "d_model": 32, "d_head": 16, "n_head": 2, "d_inner": 64}
    return FunnelModel(FunnelConfig(**sizes, block_sizes=[1, 1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (clip, "type clip has no table of word embeddings"),
        (clip_text, "does not turn embeddings of words into hidden states"),
        (canine, "type canine has no table of word embeddings"),
        (funnel, "type funnel has no table of word embeddings"),
    ],
)
def test_other_kinds_are_refused_in_one_line(make: Callable[[], Any], message, tmp_path):
    make().save_pretrained(tmp_path)
    write_tokenizer(tmp_path, framed=True)
    with pytest.raises(ValueError, match=message) as caught:
        load_language(LanguageSettings(model=str(tmp_path)), "cpu")
    assert "\n" not in str(caught.value)
