"""Prompts: what stands where, and batches without padding."""

import numpy as np
import pytest

from glta.methods.glta.prompts import CHOOSE, REORDER, Templates
from glta.nn.language.frozen import load_language
from glta.nn.language.node_prompts import (
    ITEM,
    READ_OUT,
    USER,
    WORD,
    equal_length_batches,
    packed,
    unpacked,
)
from glta.nn.language.settings import LanguageSettings
from tests.tiny import LONGEST, WORDS


@pytest.fixture(scope="module", params=["encoder", "causal"])
def language(request, tiny):
    return load_language(LanguageSettings(model=str(tiny[request.param])), "cpu")


def spelled(prompt) -> list[str]:
    """The prompt as words: tokens as they are, nodes and read-outs marked."""
    show = {
        WORD: lambda v: WORDS[v],
        ITEM: lambda v: f"[item {v}]",
        USER: lambda v: f"[user {v}]",
        READ_OUT: lambda v: f"[read {WORDS[v]}]",
    }
    return [
        show[kind](value)
        for kind, value in zip(prompt.kind.tolist(), prompt.value.tolist(), strict=True)
    ]


def framed(language, body: list[str], read_outs: int) -> list[str]:
    if language.causal:
        return [*body, *["[read <end>]"] * read_outs]
    return ["<start>", *body, *["[read <mask>]"] * read_outs, "<sep>"]


def known(text: str) -> list[str]:
    import re

    return [
        word if word in WORDS else "<unk>" for word in re.findall(r"\w+|[^\w\s]+", text.lower())
    ]


def test_reorder(language):
    garden, robot, space = language.tokens(["garden soil", "robot", "space"])
    prompt = Templates(language).reorder([7, 3, 9], [garden, robot, space], [2, 0, 1])
    body = [*known(REORDER), *known("descriptions: space ; garden soil ; robot ; items:")]
    body += ["[item 7]", "[item 3]", "[item 9]", *known("order:")]
    assert spelled(prompt) == framed(language, body, 3)
    assert prompt.kind.dtype == np.int8
    assert prompt.value.dtype == np.int64


def test_choose(language):
    tags, interests = language.tokens(["garden , soil", "robot"])
    prompt = Templates(language).choose(5, np.array([7, 3]), tags, interests, 4)
    body = [*known(CHOOSE), *known("user:"), "[user 5]", *known("items:"), "[item 7]", "[item 3]"]
    body += [*known("tags: garden , soil interests: robot answer:")]
    assert spelled(prompt) == framed(language, body, 4)


def test_choose_leaves_out_empty_slots(language):
    prompt = Templates(language).choose(language.tokens(["user robot"])[0], [], [], [], 1)
    assert spelled(prompt) == framed(
        language, [*known(CHOOSE), *known("user: user robot answer:")], 1
    )


CHAT = (
    "{% for m in messages %}[ {{ m.role }} ] {{ m.content }} ; {% endfor %}"
    "{% if add_generation_prompt %}[ answer ]{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system line') }}{% endif %}" + CHAT
)


@pytest.mark.parametrize(
    ("template", "before"),
    [(CHAT, f"[ system ] {CHOOSE} ; [ user ]"), (NO_SYSTEM, f"[ user ] {CHOOSE}")],
    ids=["system", "no system line"],
)
def test_a_chat_template_has_the_task_as_its_system_line(language, monkeypatch, template, before):
    monkeypatch.setattr(language.tokenizer, "chat_template", template)
    prompt = Templates(language).choose(5, [7], language.tokens(["garden"])[0], [], 2)
    read_out = "[read <end>]" if language.causal else "[read <mask>]"
    assert spelled(prompt) == [
        *known(before),
        *[*known("user:"), "[user 5]", *known("items:"), "[item 7]"],
        *known("tags: garden answer: ; [ answer ]"),
        *[read_out] * 2,
    ]
    reorder = Templates(language).reorder([7], [[]], [0])
    assert spelled(reorder)[-4:] == [*known("[ answer ]"), read_out]


def test_a_chat_template_that_leaves_the_slots_out_is_refused(language, monkeypatch):
    monkeypatch.setattr(language.tokenizer, "chat_template", "hello")
    with pytest.raises(ValueError, match="chat template leaves the prompt out"):
        Templates(language)


def test_only_closing_tokens_follow_the_read_outs(language):
    templates = Templates(language)
    for prompt in (
        templates.reorder([0, 1], [[5], [6, 7]], [1, 0]),
        templates.choose(1, [2, 3], [5, 6], [7], 3),
    ):
        last = int(np.flatnonzero(prompt.kind == READ_OUT)[-1])
        assert prompt.value[last + 1 :].tolist() == language.frame[1]
        assert set(np.diff(np.flatnonzero(prompt.kind == READ_OUT))) == {1}


def test_too_long_a_prompt_names_what_to_lower(language):
    templates = Templates(language)
    longest = LONGEST - len(templates.choose(0, [1], [], [], 1)) + 1
    assert len(templates.choose(0, range(longest), [], [], 1)) == LONGEST
    said = rf"has {LONGEST + 1} tokens, .* {LONGEST} at most: lower .*align_users\.context_items"
    with pytest.raises(ValueError, match=said):
        templates.choose(0, range(longest + 1), [], [], 1)


LENGTHS = np.random.default_rng(0).integers(5, 12, 200)


@pytest.mark.parametrize("rng", [None, 1])
def test_batches_are_a_partition_of_equal_lengths(rng):
    batches = list(equal_length_batches(LENGTHS, 7, rng and np.random.default_rng(rng)))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(np.ptp(LENGTHS[batch]) == 0 for batch in batches)
    sizes = {
        length: [len(b) for b in batches if LENGTHS[b[0]] == length]
        for length in np.unique(LENGTHS)
    }
    for found in sizes.values():
        assert sum(size < 7 for size in found) <= 1  # no more batches than are needed
        assert max(found) <= 7


def test_batches_depend_on_the_generator_alone():
    def order(seed):
        rng = None if seed is None else np.random.default_rng(seed)
        return np.concatenate(list(equal_length_batches(LENGTHS, 7, rng))).tolist()

    assert order(1) == order(1) != order(2)
    assert order(None) == np.argsort(LENGTHS, kind="stable").tolist()


def test_no_prompts_no_batches():
    assert list(equal_length_batches(np.array([], np.int64), 7)) == []


def test_items_that_are_fed_back_follow_the_prompt(language):
    """The first read-out stays, after them, and what closes the prompt."""
    prompt = Templates(language).choose(5, [7], [], [], 3)
    grown = prompt.followed_by(np.array([2, 9]))
    body = [*known(CHOOSE), *known("user:"), "[user 5]", *known("items:"), "[item 7]"]
    body += [*known("answer:"), "[item 2]", "[item 9]"]
    assert spelled(grown) == framed(language, body, 1)
    assert spelled(prompt.followed_by(np.array([], np.int64)))[-1] == spelled(grown)[-1]
    assert len(prompt.followed_by(np.array([], np.int64))) == len(prompt) - 2


def test_packed_prompts_come_back(language):
    templates = Templates(language)
    prompts = [templates.choose(user, [7] * user, [], [], 2) for user in range(4)]
    found = unpacked(packed(prompts))
    assert [p.kind.tolist() for p in found] == [p.kind.tolist() for p in prompts]
    assert [p.value.tolist() for p in found] == [p.value.tolist() for p in prompts]
    assert {(p.kind.dtype, p.value.dtype) for p in found} == {(np.dtype("i1"), np.dtype("i8"))}
