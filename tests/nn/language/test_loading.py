"""What a model's folder may lack or hold besides, each refused in one line or read rightly."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from glta.nn.language import frozen
from glta.nn.language.causal import CausalModel
from glta.nn.language.frozen import Language, load_language
from glta.nn.language.loading import FALLBACK_TOKENS
from glta.nn.language.settings import LanguageSettings
from glta.storage.shard import WHOLE, Shard
from tests.tiny import SIZES, WORDS, rewrite, without, write_encoder, write_masked, write_tokenizer

TEXTS = ["garden roses", "robot", "robot laser space"]


def load(folder: Path) -> Language:
    return load_language(LanguageSettings(model=str(folder)), "cpu")


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """Return a copy of the tiny encoder, to be changed."""
    return shutil.copytree(tiny["encoder"], tmp_path / "model")


def change_json(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def configured(**values) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "config.json", **values)


def renamed(prefix: str) -> Callable[[Path], Path]:
    return lambda folder: rewrite(folder, lambda found: {prefix + n: t for n, t in found.items()})


def spoilt(value: float) -> Callable[[Path], Path]:
    def spoil(found):
        found["encoder.layer.1.output.dense.weight"][3, 4] = value
        return found

    return lambda folder: rewrite(folder, spoil)


def cast(dtype: torch.dtype) -> Callable[[Path], Path]:
    return lambda folder: rewrite(folder, lambda found: {n: t.to(dtype) for n, t in found.items()})


def written(name: str, content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def cut(num_bytes: int) -> Callable[[Path], object]:
    def shorten(folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:num_bytes])

    return shorten


def deleted(*patterns: str) -> Callable[[Path], None]:
    def delete(folder):
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()

    return delete


def in_shards(then: Callable[[Path], object] = lambda folder: None) -> Callable[[Path], None]:
    """Write the weights in several files, and spoil these."""

    def shard(folder):
        from transformers import BertModel

        model = BertModel.from_pretrained(folder, add_pooling_layer=False)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size="20KB")
        then(folder)

    return shard


def unlisted(folder: Path) -> None:
    """Take all weights of one file out of the index."""
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    there = {n: f for n, f in index["weight_map"].items() if not f.startswith("model-00002")}
    change_json(path, weight_map=there)


def pickled_shard(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    change_json(path, weight_map={"embeddings.LayerNorm.bias": "pytorch_model.bin"})


NO_TOKENIZER = "holds no usable tokenizer.*copy the tokenizer's files"
FAULTS = {
    "data-parallel prefix": (
        renamed("module."),
        r"missing are embeddings\..* and \d+ more; unexpected are module\.embeddings\..*"
        r'each name begins with "module."',
    ),
    "lacks a layer": (
        lambda f: without(f, "layer.1."),
        r"missing are encoder\.layer\.1\..* and 13 more",
    ),
    "more layers than configured": (
        configured(num_hidden_layers=1),
        r"unexpected are encoder\.layer\.1\.",
    ),
    "no layers configured": (
        configured(num_hidden_layers=0),
        r"unexpected are encoder\.layer\.0\.",
    ),
    "another vocabulary": (
        configured(vocab_size=99),
        rf"word_embeddings\.weight has the shape \[{len(WORDS)}, 32\] instead of \[99, 32\]",
    ),
    "another type": (configured(model_type="distilbert", dim=32, n_layers=2), "missing are"),
    "NaN": (spoilt(float("nan")), r"layer\.1\.output\.dense\.weight have values that are NaN"),
    "infinite": (spoilt(float("inf")), "are NaN or infinite"),
    "quantised numbers": (cast(torch.int8), "is quantised, which is not read"),
    "quantised": (configured(quantization_config={"quant_method": "gptq"}), "quantised weights"),
    "cut short": (cut(-1000), r"model\.safetensors: not a whole safetensors file"),
    "cut in its head": (cut(99), r"model\.safetensors: not a whole safetensors file"),
    "empty": (cut(0), r"model\.safetensors: not a whole safetensors file"),
    "link that leads nowhere": (
        lambda f: (
            cut(0)(f),
            deleted("model.safetensors")(f),
            (f / "model.safetensors").symlink_to("/no"),
        ),
        r"holds no \.safetensors weights",
    ),
    "Git LFS": (
        written("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "a pointer of Git LFS; run `git lfs pull`",
    ),
    "file of the index absent": (
        in_shards(deleted("model-00002*")),
        r"model-00002-of-\d+\.safetensors: no such file, but model\.safetensors\.index\.json",
    ),
    "index lacks a file": (in_shards(unlisted), "missing are embeddings"),
    "no index": (in_shards(deleted("*.index.json")), "holds neither model.safetensors nor"),
    "damaged index": (in_shards(written("model.safetensors.index.json", "{")), "not readable as"),
    "pickle in the index": (in_shards(pickled_shard), "pytorch_model.bin, which is no .safeten"),
    "no configuration": (deleted("config.json"), "not a loadable language model .no config.json"),
    "web page": (written("config.json", "<html>"), r"config\.json: not readable as JSON"),
    "no type": (written("config.json", "{}"), r"config\.json: has no model_type"),
    "unknown type": (configured(model_type="new"), "type new is not known to the installed"),
    "own code": (
        configured(model_type="new", auto_map={"AutoModel": "m.M"}),
        "type new needs Python code of its own, which is never run",
    ),
    "other weights": (configured(transformers_weights="x.bin"), "transformers_weights is not"),
    "adapters": (written("adapter_config.json", "{}"), "holds adapters of peft"),
    "GGUF": (
        lambda f: (deleted("*")(f), written("model-q4.gguf", "GGUF")(f)),
        "holds a GGUF file, which is not read",
    ),
    "no tokenizer": (deleted("*token*"), NO_TOKENIZER),
    "name of a tokenizer alone": (
        lambda f: (
            deleted("tokenizer.json")(f),
            written("tokenizer_config.json", '{"tokenizer_class": "BertTokenizer"}')(f),
        ),
        NO_TOKENIZER,
    ),
    "empty vocabulary": (
        lambda f: (deleted("*token*")(f), written("vocab.txt", "")(f)),
        NO_TOKENIZER,
    ),
    "damaged tokenizer": (written("tokenizer.json", "{}"), NO_TOKENIZER),
    "tokenizer with code": (
        lambda f: (
            deleted("tokenizer.json")(f),
            change_json(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["t.T", None]}),
        ),
        "tokenizer needs Python code of its own",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_refused_in_one_line(name, folder):
    spoil, message = FAULTS[name]
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


TEMPLATE = "chat_template.jinja"
GENERATION = "generation_config.json"
GENERATOR_FAULTS = {
    "damaged settings": (written(GENERATION, "{"), r"generation_config\.json: not readable as"),
    "no settings": (written(GENERATION, "[]"), r"generation_config\.json: holds no settings"),
    "settings of nothing": (
        written(GENERATION, '{"repetition_penalty": 0.0}'),
        r"generation_config\.json has settings with which it writes no text here \(",
    ),
    "damaged template": (written(TEMPLATE, "{{ a("), "its chat template cannot be filled in"),
    "template that refuses": (
        written(TEMPLATE, "{{ raise_exception('no users') }}"),
        r"cannot be filled in \(no users\)",
    ),
    "template for parts of a message": (
        written(TEMPLATE, "{% for m in messages %}{{ m.content[0].text }}{% endfor %}"),
        "its chat template leaves the prompt out",
    ),
}


@pytest.fixture
def generator(tiny, tmp_path) -> Path:
    """Return a copy of the tiny causal model, to be changed."""
    return shutil.copytree(tiny["causal"], tmp_path / "model")


@pytest.mark.parametrize("name", GENERATOR_FAULTS)
def test_fault_of_a_generator_is_refused_in_one_line(name, generator):
    spoil, message = GENERATOR_FAULTS[name]
    spoil(generator)
    with pytest.raises(ValueError, match=message) as caught:
        CausalModel(str(generator), 3).write(TEXTS)
    assert str(generator) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_of_a_generator_do_not_change_the_form_of_its_answers(generator, tiny):
    settings = {"return_dict_in_generate": True, "num_beams": 2, "num_return_sequences": 2}
    (generator / GENERATION).write_text(json.dumps(settings))
    answers = CausalModel(str(generator), 3).write(TEXTS)
    assert answers == CausalModel(str(tiny["causal"]), 3).write(TEXTS)


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_missing_tokenizer_of_other_kinds_is_refused(kind, tmp_path):
    from transformers import GPT2Config, GPT2Model, T5Config, T5EncoderModel

    sizes = {"vocab_size": len(WORDS), "d_model": 32, "d_kv": 16, "num_layers": 1, "num_heads": 2}
    gpt2 = {"vocab_size": len(WORDS), "n_embd": 32, "n_layer": 1, "n_head": 2}
    made = {"t5": T5EncoderModel(T5Config(**sizes)), "gpt2": GPT2Model(GPT2Config(**gpt2))}
    made[kind].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=NO_TOKENIZER):
        load(tmp_path)


def test_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(**SIZES | {"vocab_size": 20})).save_pretrained(tmp_path)
    write_tokenizer(tmp_path, framed=True)
    message = f"largest token is {len(WORDS) - 1}, but the model has embeddings for 20 tokens"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: rewrite(f, lambda t: t | {"pooler.dense.weight": torch.eye(32)}),
        lambda f: rewrite(f, lambda t: t | {"embeddings.position_ids": torch.arange(128)[None]}),
        lambda f: rewrite(f, lambda t: t | {"classifier.weight": torch.ones(2, 32)}),
        lambda f: rewrite(f, lambda t: {f"bert.{name}": tensor for name, tensor in t.items()}),
        in_shards(),
    ],
    ids=["pooler", "positions", "head", "within a task's model", "shards"],
)
def test_harmless_differences_change_no_state(change, folder, tiny):
    change(folder)
    states = load(folder).encode(TEXTS, cache=None)
    np.testing.assert_array_equal(states, load(tiny["encoder"]).encode(TEXTS, cache=None))


def test_a_tokenizer_with_a_limit_below_one_names_none(tmp_path):
    from transformers import T5Config, T5EncoderModel

    sizes = {"vocab_size": len(WORDS), "d_model": 32, "d_kv": 16, "num_layers": 1, "num_heads": 2}
    T5EncoderModel(T5Config(**sizes, d_ff=32)).save_pretrained(tmp_path)
    write_tokenizer(tmp_path, framed=False)
    change_json(tmp_path / "tokenizer_config.json", model_max_length=-1)
    assert load(tmp_path).max_tokens == FALLBACK_TOKENS


def test_a_model_without_room_for_a_text_is_refused(generator):
    write_tokenizer(generator, framed=True)
    change_json(generator / "config.json", max_position_embeddings=2)
    with pytest.raises(ValueError, match="reads 2 tokens, which its special tokens fill"):
        load(generator).encode(TEXTS, cache=None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_read(dtype, folder, tiny):
    cast(dtype)(folder)
    states = load(folder).encode(TEXTS, cache=None)
    exact = load(tiny["encoder"]).encode(TEXTS, cache=None)
    np.testing.assert_allclose(states, exact, atol=0.02)


def test_masks_of_old_files_are_no_weights(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": len(WORDS), "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**sizes)).save_pretrained(tmp_path)
    write_tokenizer(tmp_path, framed=False)
    states = load(tmp_path).encode(TEXTS, cache=None)
    masks = {"attn.bias": torch.ones(1, 1, 64, 64), "attn.masked_bias": torch.tensor(-1e4)}
    rewrite(tmp_path, lambda t: t | {f"transformer.h.0.{n}": mask for n, mask in masks.items()})
    np.testing.assert_array_equal(load(tmp_path).encode(TEXTS, cache=None), states)


def with_modules(folder: Path, pooling: dict | None, kinds: str = "Transformer Pooling") -> None:
    """Add the files of sentence-transformers."""
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = [
        {"idx": i, "name": str(i), "path": paths.get(kind, f"{i}_{kind}"), "type": f"s.m.{kind}"}
        for i, kind in enumerate(kinds.split())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))


POOLINGS = {
    "mean": {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True},
    "cls": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
    "lasttoken": {"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False},
}


@pytest.mark.parametrize("new", [False, True], ids=["to version 5", "version 6"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_of_sentence_transformers(pooling, new, folder, tiny):
    config = {"embedding_dimension": 32, "pooling_mode": pooling} if new else POOLINGS[pooling]
    with_modules(folder, config, "Transformer Pooling Normalize")
    states = load(folder).encode(TEXTS, cache=None)
    language = load(tiny["encoder"])
    for text, state in zip(TEXTS, states, strict=True):
        ids = torch.tensor([language.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            hidden = language.model(input_ids=ids).last_hidden_state[0]
        one = {"mean": hidden.mean(0), "cls": hidden[0], "lasttoken": hidden[-1]}[pooling]
        np.testing.assert_allclose(state, one / one.norm(), atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "kinds", "message"),
    [
        ({"pooling_mode_max_tokens": True}, "Transformer Pooling", "pooling by max is not und"),
        ({"pooling_mode": ["mean", "cls"]}, "Transformer Pooling", "pooling by cls and mean is"),
        (None, "Transformer Pooling", r"1_Pooling/config\.json: no such file"),
        (POOLINGS["mean"], "Transformer Pooling Dense", "its module Dense is not understood"),
        (None, "CLIPModel", "its first module is CLIPModel"),
        (None, "", "its first module is missing"),
    ],
)
def test_other_modules_of_sentence_transformers_are_refused(pooling, kinds, message, folder):
    with_modules(folder, pooling, kinds)
    with pytest.raises(ValueError, match=message):
        load(folder)


@pytest.mark.parametrize("path", ["/etc", "../other"])
def test_modules_outside_of_the_folder_are_refused(path, folder):
    modules = [{"path": path, "type": "s.m.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=r"modules\.json: must be a list of modules"):
        load(folder)


def test_model_in_a_folder_of_its_own(tiny, tmp_path):
    shutil.copytree(tiny["encoder"], tmp_path / "0_Transformer")
    with_modules(tmp_path, POOLINGS["mean"])
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    language = load(tmp_path)
    assert {"modules.json", "0_Transformer/model.safetensors", "1_Pooling/config.json"} <= set(
        language.digests
    )
    states = language.encode(TEXTS, cache=None)
    np.testing.assert_array_equal(states, load(tiny["encoder"]).encode(TEXTS, cache=None))


def fewer_words(folder: Path) -> None:
    """Let the tokenizer forget a word that the texts have."""
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"robot"', '"robota"'))


@pytest.mark.parametrize(
    "change",
    [
        fewer_words,
        configured(hidden_act="relu"),
        configured(layer_norm_eps=0.1),
        lambda folder: with_modules(folder, POOLINGS["cls"]),
        spoilt(9.0),
    ],
    ids=["tokenizer", "activation", "epsilon", "pooling", "weights"],
)
def test_states_in_the_cache_are_those_of_all_files(change, folder, tmp_path):
    """The old states do not come back after a change of any file that decides them."""
    cache = tmp_path / "cache"
    before = load(folder)
    first = before.encode(TEXTS, cache=cache)
    change(folder)
    after = load(folder)
    assert after.sha256 != before.sha256
    states = after.encode(TEXTS, cache=cache)
    assert not np.array_equal(states, first)
    np.testing.assert_array_equal(states, after.encode(TEXTS, cache=None))


def test_a_readme_is_no_part_of_the_model(folder):
    before = load(folder).sha256
    (folder / "README.md").write_text("read me")
    (folder / ".gitattributes").write_text("*.bin filter=lfs")
    assert load(folder).sha256 == before


@pytest.mark.parametrize("change", ["versions", "batch_tokens", "precision", "max_tokens", "shard"])
def test_all_that_decides_the_last_digits_is_in_the_key_of_the_cache(change, folder, monkeypatch):
    language = load(folder)
    before = language._key(TEXTS, 64, WHOLE)
    if change == "versions":
        monkeypatch.setattr("transformers.__version__", "0")
    elif change == "precision":
        language.precision = torch.bfloat16
    elif change == "max_tokens":
        language.max_tokens = 9
    batch_tokens = 65 if change == "batch_tokens" else 64
    shard = Shard(0, 2) if change == "shard" else WHOLE
    assert language._key(TEXTS, batch_tokens, shard) != before


def test_files_that_change_while_they_are_loaded_are_refused(folder, monkeypatch):
    def slow(files, **options):
        model = load_model(files, **options)
        spoilt(9.0)(folder)
        return model

    load_model = frozen.load_model
    monkeypatch.setattr(frozen, "load_model", slow)
    with pytest.raises(ValueError, match="when it was loaded"):
        load(folder)


def test_model_with_adapters_uses_no_cache(folder, tmp_path):
    language = load(folder)
    language.add_lora(2, alpha=1.0, dropout=0.0, seed=0)
    language.encode(TEXTS, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("texts", "share", "refused"),
    [
        (["кот пёс", "дом"], 100, True),
        (["кот"] * 19 + ["robot"], 95, True),
        (["кот"] * 3 + ["robot"], 75, False),
        (["кот", "", "  "], 100, True),
    ],
)
def test_texts_of_unknown_words_are_refused_or_warned_of(texts, share, refused, folder, capsys):
    language = load(folder)
    message = f"does not know {share} % of the tokens of {len(texts)} texts, such as 'кот"
    if refused:
        with pytest.raises(ValueError, match=message):
            language.encode(texts, cache=None)
    else:
        language.encode(texts, cache=None)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("texts", [[], ["", " "], ["robot", "robot кот"]])
def test_texts_of_known_words_are_no_reason_to_speak(texts, folder, capsys):
    load(folder).encode(texts, cache=None)
    assert "does not know" not in capsys.readouterr().err


def test_states_that_are_not_finite_are_refused(folder, monkeypatch):
    language = load(folder)
    monkeypatch.setattr(frozen, "pool", lambda hidden, pooling: hidden.mean(1) * float("nan"))
    with pytest.raises(ValueError, match="a text has a state that is NaN"):
        language.encode(TEXTS, cache=None)


def test_head_of_a_masked_model_is_left_out(tmp_path):
    states = load(write_masked(tmp_path / "masked")).encode(TEXTS, cache=None)
    assert states.shape == (3, 32)


def test_gap_between_embeddings_and_tokens_is_refused(tmp_path, monkeypatch):
    """As with models that look up more than embeddings for a token."""
    folder = write_encoder(tmp_path / "model")
    monkeypatch.setattr(Language, "embed", lambda self, ids: torch.ones(*ids.shape, 32))
    with pytest.raises(ValueError, match="gives other hidden states for embeddings than"):
        load(folder)
