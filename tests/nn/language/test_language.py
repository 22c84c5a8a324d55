"""The frozen language model: found, checked, read as transformers reads it, and never changed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from glta.nn.language.frozen import load_language
from glta.nn.language.model_files import PACKAGED_SHA256, ModelFiles, model_folder
from glta.nn.language.settings import LanguageSettings
from glta.storage.shard import Shard
from tests.tiny import LONGEST, WIDTH, WORDS

TEXTS = [
    "A quiet garden.",
    "Robots in space",
    "x",
    "The robots of the garden quietly water their roses under a violet sky",
    "Ünïcödé, 書店 & emoji 🙂",
    "roses",
]


@pytest.fixture(scope="module")
def packaged():
    return load_language(LanguageSettings(), "cpu")


@pytest.fixture
def load(tiny):
    """Load a fresh tiny model of a kind."""
    return lambda kind: load_language(LanguageSettings(model=str(tiny[kind])), "cpu")


def plain_states(language, folder: Path, texts: list[str]) -> np.ndarray:
    """The slow, obvious way: one text at a time through transformers, mean over all its tokens,
    unit length.
    """
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = (
        AutoModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    rows = []
    for text in texts:
        with torch.no_grad():
            hidden = model(
                **tokenizer(
                    text, return_tensors="pt", truncation=True, max_length=language.max_tokens
                )
            )
        mean = hidden.last_hidden_state[0].mean(0)
        rows.append((mean / mean.norm()).numpy())
    return np.stack(rows)


PUBLISHED = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_packaged_weights_are_the_published_ones(packaged):
    files = ModelFiles.of(model_folder("all-MiniLM-L6-v2"))
    assert packaged.sha256 == PACKAGED_SHA256 == files.sha256
    assert packaged.digests["model.safetensors"] == PUBLISHED
    assert packaged.width == packaged.token_width == 384
    assert packaged.pooling == "mean"


def test_packaged_model_looks_both_ways(packaged):
    assert packaged.causal is False


def test_packaged_states_are_those_of_transformers(packaged):
    states = packaged.encode(TEXTS, cache=None)
    assert states.dtype == np.float32
    np.testing.assert_allclose(
        states, plain_states(packaged, model_folder("all-MiniLM-L6-v2"), TEXTS), atol=1e-5
    )
    assert np.ptp(states @ states.T) > 0.3  # the texts are told apart


@pytest.mark.parametrize("of", [2, 3, 40])
def test_shards_give_the_states_of_a_whole_run_to_the_last_bit(packaged, tmp_path, of):
    texts = [*(f"garden {'roses ' * (i % 7)}{i}" for i in range(30)), ""]
    states = np.full((len(texts), packaged.width), np.nan, np.float32)
    for part in range(of):
        for _ in range(2):  # from the model, and from the cache
            rows, found = packaged.encode_shard(texts, Shard(part, of), 64, cache=tmp_path)
            assert found.shape == (rows.size, packaged.width)
            states[rows] = found
    assert states.tobytes() == packaged.encode(texts, 64, cache=None).tobytes()


@pytest.mark.parametrize("batch_tokens", [1, 20, 8192])
@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_states_do_not_depend_on_the_batch(load, tiny, kind, batch_tokens):
    language, texts = (
        load(kind),
        ["garden roses", "robot", "robot laser space", "garden , robot", "space"],
    )
    np.testing.assert_allclose(
        language.encode(texts, batch_tokens, cache=None),
        plain_states(language, tiny[kind], texts),
        atol=1e-5,
    )


def test_states_have_unit_length(packaged):
    states = packaged.encode([*TEXTS, ""], cache=None)
    np.testing.assert_allclose(np.linalg.norm(states, axis=1), 1, atol=1e-5)


def test_empty_text_of_a_model_without_special_tokens_is_zero(load):
    states = load("causal").encode(["", "robot"], cache=None)
    assert (states[0] == 0).all()
    assert np.linalg.norm(states[1]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_long_text_is_cut(load, tiny, kind):
    language, text = load(kind), " ".join(["garden robot"] * LONGEST)
    np.testing.assert_allclose(
        language.encode([text], cache=None), plain_states(language, tiny[kind], [text]), atol=1e-5
    )
    assert len(language.tokens([text])[0]) == 2 * LONGEST
    assert language.tokens([text], 3) == [
        [WORDS.index("garden"), WORDS.index("robot"), WORDS.index("garden")]
    ]


def test_no_texts(load):
    assert load("encoder").encode([], cache=None).shape == (0, WIDTH)


def test_second_call_reads_the_cache(load, tmp_path, monkeypatch):
    language = load("encoder")
    first = language.encode(["garden", "robot"], cache=tmp_path)
    monkeypatch.setattr(type(language), "hidden", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(language.encode(["garden", "robot"], cache=tmp_path), first)


def test_damaged_cache_is_computed_again(load, tmp_path):
    language = load("encoder")
    first = language.encode(["garden", "robot"], cache=tmp_path)
    (path,) = tmp_path.iterdir()
    for data in (path.read_bytes()[:-9], path.read_bytes()[:-1] + b"x"):
        path.write_bytes(data)
        np.testing.assert_array_equal(language.encode(["garden", "robot"], cache=tmp_path), first)


def test_cache_tells_texts_and_weights_apart(load, tmp_path):
    language, other = load("encoder"), load("causal")
    for model, texts in (
        (language, ["garden", "robot"]),
        (language, ["robot", "garden"]),
        (other, ["garden", "robot"]),
    ):
        np.testing.assert_array_equal(
            model.encode(texts, cache=tmp_path), model.encode(texts, cache=None)
        )
    assert len(list(tmp_path.iterdir())) == 3


def test_frame_is_what_the_tokenizer_adds(load):
    assert load("encoder").frame == ([WORDS.index("<start>")], [WORDS.index("<sep>")])
    assert load("causal").frame == ([], [])
    assert load("encoder").placeholder == WORDS.index("<mask>")
    assert load("causal").placeholder == WORDS.index("<end>")


def test_causal_model_does_not_look_ahead(load):
    language = load("causal")
    assert language.causal is True
    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 30, 31]])
    with torch.no_grad():
        hidden = language.hidden(language.embed(ids))
        short = language.hidden(language.embed(ids[:1, :3]))
    assert torch.equal(hidden[0, :3], hidden[1, :3])
    assert (hidden[0, 3:] != hidden[1, 3:]).any()
    torch.testing.assert_close(short[0], hidden[0, :3], atol=1e-5, rtol=1e-5)


def test_encoder_looks_ahead(load):
    language = load("encoder")
    assert language.causal is False
    with torch.no_grad():
        hidden = language.hidden(language.embed(torch.tensor([[5, 6, 7], [5, 6, 30]])))
    assert (hidden[0, :2] != hidden[1, :2]).any()


def test_other_weights_are_refused_with_both_hashes(tiny):
    right = ModelFiles.of(tiny["encoder"]).sha256
    assert (
        load_language(LanguageSettings(model=str(tiny["encoder"]), sha256=right), "cpu").sha256
        == right
    )
    with pytest.raises(ValueError, match=f"{right}, expected {'0' * 64}.*language.sha256"):
        load_language(LanguageSettings(model=str(tiny["encoder"]), sha256="0" * 64), "cpu")


def test_pickled_weights_are_refused(tiny, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny["encoder"], folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"no \.safetensors weights; pickled weights \(\.bin\) are never loaded"
    ):
        load_language(LanguageSettings(model=str(folder)), "cpu")


def test_broken_folder_is_explained_in_one_line(tiny, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(tiny["encoder"], folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="broken: not a loadable language model") as caught:
        load_language(LanguageSettings(model=str(folder)), "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "./none", "~/none", "a/b/c"])
def test_folder_that_is_not_there_is_refused(name):
    with pytest.raises(
        ValueError, match=f"language model {name}: no such folder, and not a hub id"
    ):
        model_folder(name)


def test_a_path_begins_at_the_current_folder_or_at_home(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_folder("inner") == Path("inner")
    assert model_folder("~/inner") == tmp_path / "inner"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"model\.gguf: is a file; name the folder"):
        model_folder(str(tmp_path / "model.gguf"))


def test_unreachable_hub_is_explained_in_one_line(tmp_path):
    code = (
        "from glta.nn.language.model_files import model_folder\n"
        "try: model_folder('someone/something')\nexcept ValueError as error: print(error)"
    )
    env = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.count("\n") == 1
    assert re.match(
        "language model someone/something: neither a folder here nor reachable.*check the name",
        done.stdout,
    )


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_nothing_is_trainable_without_lora(load, kind):
    language = load(kind)
    assert not any(p.requires_grad for p in language.model.parameters())
    assert language.adapters() == {}
    assert not language.model.training


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_bfloat16_is_near_float32_and_keeps_off_the_slow_kernel(load, kind):
    """The fused attention of CPUs has a bfloat16 gradient that takes 15 times as long as
    float32's.
    """
    language, ids = load(kind), torch.tensor([[5, 6, 7, 8]])
    states, gradients = [], []
    for precision in (torch.float32, torch.bfloat16):
        language.precision = precision
        embeds = language.embed(ids).clone().requires_grad_()
        hidden = language.hidden(embeds)
        assert hidden.dtype == torch.float32
        fused = any("FlashAttention" in name for name in steps(hidden))
        assert fused == (precision == torch.float32)
        states.append(hidden.detach())
        gradients += torch.autograd.grad(hidden[0, -1, :3].square().sum(), embeds)
    for exact, near in (states, gradients):
        assert 0 < (near - exact).norm() < 0.03 * exact.norm()


def test_model_that_cannot_be_checkpointed(load, monkeypatch):
    language = load("causal")
    monkeypatch.setattr(type(language.model), "supports_gradient_checkpointing", False)
    with pytest.raises(ValueError, match="its layers; set checkpoint_layers = false"):
        language.checkpoint_layers()


def steps(result: torch.Tensor) -> set[str]:
    """Names of all operations that autograd would go back through."""
    found, left = set(), [result.grad_fn]
    while left:
        if (step := left.pop()) and step not in found:
            found.add(step)
            left += [before for before, _ in step.next_functions]
    return {step.name() for step in found}


LORA = {"alpha": 16.0, "dropout": 0.05, "seed": 0}


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_lora_starts_without_effect_and_trains_nothing_else(load, kind):
    language, ids = load(kind), torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        before = language.hidden(language.embed(ids))
    frozen = {id(p) for p in language.model.parameters()}
    language.add_lora(2, **LORA)
    with torch.no_grad():
        torch.testing.assert_close(language.hidden(language.embed(ids)), before, atol=0, rtol=0)
    adapters = language.adapters()
    assert adapters
    trainable = {id(p) for p in language.model.parameters() if p.requires_grad}
    assert trainable == {id(p) for p in adapters.values()}
    assert not trainable & frozen
    assert all(2 in p.shape for p in adapters.values())
    with torch.no_grad():
        next(p for n, p in adapters.items() if "lora_B" in n).fill_(0.5)
        assert not torch.equal(language.hidden(language.embed(ids)), before)
    assert not any(
        module.training for module in language.model.modules()
    )  # dropout is off but while training
    assert language.width == WIDTH
    assert language.max_tokens == LONGEST


def test_the_start_of_lora_depends_on_the_seed_alone(load):
    adapters = []
    for seed in (0, 0, 1):
        language = load("encoder")
        torch.rand(3)
        before = torch.get_rng_state()
        language.add_lora(2, **LORA | {"seed": seed})
        assert torch.equal(torch.get_rng_state(), before)
        adapters.append(language.adapters())
    same, again, other = adapters
    for name, adapter in same.items():
        assert torch.equal(adapter, again[name])
        assert torch.equal(adapter, other[name]) == ("lora_B" in name)  # those start at 0


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_dropout_of_lora_is_on_within_its_block_alone(load, kind):
    language, ids = load(kind), torch.tensor([[5, 6, 7, 8]])
    language.add_lora(2, **LORA | {"dropout": 0.5})
    with torch.no_grad():
        for name, adapter in language.adapters().items():
            if "lora_B" in name:
                adapter.fill_(0.1)

        def read() -> torch.Tensor:
            return language.hidden(language.embed(ids))

        assert torch.equal(read(), read())
        with language.dropout():
            assert not torch.equal(read(), read())
        assert torch.equal(read(), read())
