"""The prompts of GAL-Rec: what they name, and what they must not depend on."""

from dataclasses import replace

import numpy as np
import pytest

from glta.data.interactions import Interactions
from glta.methods.gal_rec.neighbours import Neighbours
from glta.methods.gal_rec.view_prompts import VIEWS, Side, ViewTemplates
from glta.nn.language.frozen import load_language
from glta.nn.language.node_prompts import ITEM, READ_OUT, TASK, USER
from glta.nn.language.settings import LanguageSettings
from glta.testing.blocks import NUM_ITEMS, NUM_USERS, block_prepared
from tests.methods.gal_rec.made import make_task

NEAR = Neighbours(np.array([4, 2]), np.array([7]))


@pytest.fixture(scope="module", params=["encoder", "causal"])
def templates(request, models) -> ViewTemplates:
    language = load_language(LanguageSettings(model=str(models[request.param])), "cpu")
    return ViewTemplates(language, ["robot laser", "garden"], 2)


def tokens(prompt, kind) -> list[int]:
    return prompt.value[prompt.kind == kind].tolist()


def test_each_hop_names_its_nodes(templates):
    users = [templates.prompt(Side.USERS, hop, 5, NEAR) for hop in (0, 1, 2)]
    assert [tokens(p, USER) for p in users] == [[5], [5], [5, 7]]
    assert [tokens(p, ITEM) for p in users] == [[], [4, 2], [4, 2]]
    items = [templates.prompt(Side.ITEMS, hop, 1, NEAR) for hop in (0, 1, 2)]
    assert [tokens(p, ITEM) for p in items] == [[1], [1], [1, 7]]
    assert [tokens(p, USER) for p in items] == [[], [4, 2], [4, 2]]
    for place, prompt in enumerate([*users, *items]):
        assert tokens(prompt, TASK) == [place]
        # the read-out is last but for special tokens, so that a causal model has read all
        (at,) = np.flatnonzero(prompt.kind == READ_OUT)
        assert prompt.kind[at - 1] == TASK
        assert len(prompt) - at - 1 == len(templates._suffix)
    assert len(VIEWS) == 6


def test_an_item_is_named_by_its_own_words(templates):
    first, second = (templates.prompt(Side.ITEMS, 0, item, NEAR) for item in (0, 1))
    assert len(first) == len(second) + 1


def test_a_node_without_neighbours_is_shown_alone(templates):
    nothing = Neighbours(np.array([], int), np.array([], int))
    lengths = {len(templates.prompt(Side.USERS, hop, 5, nothing)) for hop in (0, 1, 2)}
    assert len(lengths) == 1


def test_too_long_a_prompt_is_one_clear_error(templates):
    many = Neighbours(np.arange(200), np.arange(3))
    with pytest.raises(ValueError, match=r"lower settings\.gal-rec\.first_neighbours"):
        templates.prompt(Side.USERS, 1, 5, many)


def test_a_prompt_is_the_same_whatever_the_target_is(models, graph):
    """Each user's targets are replaced by items of the other block: no user prompt changes."""
    prepared = block_prepared()
    flipped = (prepared.target.item + 1) % NUM_ITEMS
    target = Interactions.of(prepared.target.user, flipped, NUM_USERS, NUM_ITEMS)
    edited = replace(prepared, target=target, train=prepared.graph.union(target))
    tasks = [make_task(models["encoder"], graph, data) for data in (prepared, edited)]
    for step in range(4):
        first, second = (task.examples.at(step) for task in tasks)
        assert all(a.item != b.item for a, b in zip(first, second, strict=True))
        for hop in (0, 1, 2):
            prompts = [
                [task.prompt(e, (Side.USERS, hop)) for e in examples]
                for task, examples in zip(tasks, (first, second), strict=True)
            ]
            for a, b in zip(*prompts, strict=True):
                np.testing.assert_array_equal(a.kind, b.kind)
                np.testing.assert_array_equal(a.value, b.value)
    # nor do the vectors that the tokens are made of, but for the text directions of all items
    np.testing.assert_array_equal(tasks[0].nodes.training.user, tasks[1].nodes.training.user)
