"""Causal models with code tokens: losses, prefixes of prompts, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from glta.nn.generation.catalogue_scores import catalogue_scores
from glta.nn.generation.item_generator import ItemGenerator
from glta.nn.generation.prefix_tree import PrefixTree
from glta.nn.generation.settings import GenerationSettings
from glta.nn.language.causal_language import load_causal
from glta.nn.language.code_language import Answered, CodeLanguage
from glta.nn.language.settings import CausalSettings
from tests.tiny import SIZES as SIZES_OF_TINY
from tests.tiny import write_scaled, write_tokenizer

SIZES = (4, 3, 2)
CODES = np.array([[a, b, c] for a in range(4) for b in range(3) for c in range(2)])[::2]
SHAPE = CausalSettings(width=16, layers=2, heads=2, hidden_dim=32)
PROMPTS = [np.array([7, 9, 11, 8]), np.array([12]), np.array([30, 31, 40, 41, 42, 43])]


def network_of(settings: CausalSettings = SHAPE) -> CodeLanguage:
    return CodeLanguage(load_causal(settings, seed=3), SIZES, seed=3)


@pytest.fixture(scope="module")
def small() -> CodeLanguage:
    network = network_of()
    network.code.data *= 10  # so that scores differ clearly
    return network


@pytest.fixture(scope="module")
def llama(tiny) -> CodeLanguage:
    """A pretrained model with a head of its own."""
    return network_of(CausalSettings(model=str(tiny["causal"])))


def plain_scores(network: CodeLanguage, prompt: np.ndarray) -> np.ndarray:
    """Score every item by a pass of its own over prompt and codes, with valid codes alone."""
    found = []
    for codes in CODES:
        token = np.r_[prompt, network.code_tokens(codes[None])[0]]
        with torch.no_grad():
            hidden = network.language.hidden(network.embed(torch.tensor(token)[None]))[0]
        total = 0.0
        for level, code in enumerate(codes):
            logits = network.code_logits(hidden[len(prompt) - 1 + level], level)
            same = (CODES[:, :level] == codes[:level]).all(1)
            valid = np.unique(CODES[same, level]).tolist()
            total += (logits[code] - logits[valid].logsumexp(0)).item()
        found.append(total)
    return np.array(found, np.float32)


@pytest.mark.parametrize("kind", ["small", "llama"])
def test_prefixes_under_a_mask_are_read_as_each_alone(kind, request, monkeypatch):
    network = request.getfixturevalue(kind)
    expected = np.stack([plain_scores(network, prompt) for prompt in PROMPTS])
    assert expected.std(1).min() > 0.1
    # rows of two prefixes: those of one prompt are then in several rows
    for size in (2, 64):
        monkeypatch.setattr("glta.nn.language.code_language.GROUP", size)
        tree = PrefixTree.of(CODES)
        scores = catalogue_scores(tree, network.read(PROMPTS), len(PROMPTS), rows=5)
        np.testing.assert_allclose(scores.numpy(), expected, atol=2e-4)
        np.testing.assert_allclose(np.exp(scores.numpy()).sum(1), 1, atol=1e-4)
    network.check_generation(100)


def test_beams_over_the_catalogue_are_the_exact_lists(small):
    settings = GenerationSettings(beams=len(CODES), block_users=2)
    windows = np.arange(3)[:, None]
    generator = ItemGenerator(CODES, lambda w: small.read([PROMPTS[i] for i in w[:, 0]]), settings)
    row, item = np.array([0, 0, 2]), np.array([1, 5, 0])
    exact = generator.scores(windows)
    exact[row, item] = -np.inf
    items, scores = generator.lists(windows, 5, row, item)
    np.testing.assert_array_equal(items, np.argsort(-exact, 1, kind="stable")[:, :5])
    np.testing.assert_allclose(scores, np.take_along_axis(exact, items, 1), atol=1e-4)


def test_losses_are_those_of_one_prompt_at_a_time(small):
    v = small.num_words
    prompts = [
        Answered(np.array([5, 6, v + 1, v + 4 + 2, v + 7]), np.array([0, 0, 1, 1, 1], bool)),
        Answered(np.array([9, v + 3, 20, 21]), np.array([0, 0, 1, 1], bool)),
    ]
    found = small.losses(prompts)
    expected = []
    for prompt in prompts:
        with torch.no_grad():
            state = small.language.hidden(small.embed(torch.tensor(prompt.token)[None]))[0]
        for place in np.flatnonzero(prompt.answer):
            token = int(prompt.token[place])
            before = state[place - 1]
            if token < v:
                logits, own = small.causal.head(before), token
            else:
                level = int(np.searchsorted(np.cumsum(SIZES), token - v, side="right"))
                logits = small.code_logits(before, level)
                own = token - v - sum(SIZES[:level])
            expected.append(-F.log_softmax(logits, 0)[own].item())
    assert found.row.tolist() == [0, 0, 0, 1, 1]
    assert found.is_word.tolist() == [False, False, False, True, True]
    np.testing.assert_allclose(found.loss.detach(), expected, rtol=1e-4)


@pytest.mark.parametrize("train", ["lora", "whole"])
def test_new_rows_move_and_only_what_is_trained(tiny, train):
    network = network_of(CausalSettings(model=str(tiny["causal"])))
    before = network.causal.head.weight.detach().clone()
    if train == "lora":
        network.language.add_lora(4, alpha=8.0, dropout=0.0, seed=0)
    else:
        network.train_whole()
    trained = network.trained()
    assert {"code", "code_head"} <= trained.keys()
    assert (any("lora" in name for name in trained)) == (train == "lora")
    old = {name: p.detach().clone() for name, p in trained.items()}
    v = network.num_words
    prompt = Answered(np.array([5, v + 1, v + 4, 9]), np.array([0, 1, 1, 1], bool))
    optimizer = torch.optim.SGD(trained.values(), lr=0.5)
    network.losses([prompt]).loss.sum().backward()
    optimizer.step()
    moved = {name for name, p in network.trained().items() if not torch.equal(p, old[name])}
    assert {"code", "code_head"} <= moved
    assert network.code.grad[1].abs().sum() > 0 and network.code.grad[2].abs().sum() == 0
    assert torch.equal(network.causal.head.weight, before) == (train == "lora")
    again = network_of(CausalSettings(model=str(tiny["causal"])))
    if train == "lora":
        again.language.add_lora(4, alpha=8.0, dropout=0.0, seed=1)
    else:
        again.train_whole()
    again.load(network.tensors())
    torch.testing.assert_close(again.losses([prompt]).loss, network.losses([prompt]).loss)


def test_codes_are_read_as_long_as_words_and_answered_as_their_rows(tmp_path):
    network = network_of(CausalSettings(model=str(write_scaled(tmp_path))))
    assert network.causal.tied and network.code_head is network.code
    words = network.embed(torch.arange(network.num_words))
    tokens = network.num_words + torch.arange(sum(SIZES))
    codes = network.embed(tokens)
    assert 0.8 < codes.norm(dim=1).mean() / words.norm(dim=1).mean() < 1.25
    torch.testing.assert_close(codes, network.code * network.code.shape[1] ** 0.5)
    state = torch.randn(3, codes.shape[1], generator=torch.Generator().manual_seed(0))
    rows = network.code[SIZES[0] : SIZES[0] + SIZES[1]]
    assert torch.equal(network.code_logits(state, 1), state @ rows.T)
    network.check_generation(20)


def test_the_small_model_has_its_shape_and_its_seed():
    one, same, other = (load_causal(SHAPE, seed) for seed in (1, 1, 2))
    weights = [dict(x.language.model.named_parameters()) for x in (one, same, other)]
    name = "layers.1.mlp.up_proj.weight"
    assert tuple(weights[0][name].shape) == (32, 16) and one.tied
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])
    with pytest.raises(ValueError, match=r"causal.width = 16 must be a multiple of .* = 24"):
        CausalSettings(width=16, heads=12)


def test_other_models_are_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="or name a causal model that has its head"):
        load_causal(CausalSettings(model=str(tiny["encoder"])), 0)
    with pytest.raises(ValueError, match=r"expected 0{64} \(causal.sha256\)"):
        load_causal(CausalSettings(model=str(tiny["causal"]), sha256="0" * 64), 0)
    without_tokenizer(tiny["causal"], tmp_path)
    with pytest.raises(ValueError, match="holds no usable tokenizer"):
        load_causal(CausalSettings(model=str(tmp_path)), 0)


def without_tokenizer(folder: Path, to: Path) -> None:
    for path in folder.iterdir():
        if "token" not in path.name:
            (to / path.name).write_bytes(path.read_bytes())


def test_a_model_that_sees_only_near_words_is_refused(tmp_path):
    """Prefixes would see the whole prompt, but training the near words alone."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(**SIZES_OF_TINY, num_key_value_heads=2, sliding_window=8)
    MistralForCausalLM(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path, framed=False)
    network = network_of(CausalSettings(model=str(tmp_path)))
    network.check_generation(5)
    with pytest.raises(ValueError, match="reads several prefixes of a prompt otherwise"):
        network.check_generation(20)


def test_weights_that_are_trained_whole_are_held_in_float32(tiny):
    network = network_of(CausalSettings(model=str(tiny["causal"])))
    network.language.model.bfloat16()
    network.causal.head.bfloat16()
    network.train_whole()
    assert {p.dtype for p in network.trained().values()} == {torch.float32}


def test_checkpointed_layers_generate_and_learn_as_others(tiny):
    settings = CausalSettings(model=str(tiny["causal"]))
    plain, network = network_of(settings), network_of(settings)
    prompt = Answered(np.array([5, 60, 7, 8]), np.array([0, 0, 1, 1], bool))
    for each in (plain, network):
        each.train_whole()
    network.language.checkpoint_layers()
    for each in (plain, network):
        each.losses([prompt]).loss.sum().backward()
    ours, theirs = network.trained(), plain.trained()
    for name, parameter in theirs.items():
        torch.testing.assert_close(ours[name].grad, parameter.grad, msg=name)
    tree = PrefixTree.of(CODES)
    scores = [catalogue_scores(tree, each.read(PROMPTS), 3) for each in (plain, network)]
    torch.testing.assert_close(*scores)
    again = network.losses([prompt]).loss
    torch.testing.assert_close(again, plain.losses([prompt]).loss)
