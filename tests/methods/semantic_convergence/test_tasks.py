"""Prompts of the alignment tasks: what they show, what they ask, and how they are drawn."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from glta.data.sequences import Sequences
from glta.methods.semantic_convergence.spec import TaskSettings, TemplateSettings
from glta.methods.semantic_convergence.task_prompts import TaskPrompts, words_of
from glta.methods.semantic_convergence.tasks import AlignmentTasks, counts
from glta.nn.language.causal_language import load_causal
from glta.nn.language.code_language import Answered, CodeLanguage
from glta.nn.language.settings import CausalSettings
from tests.tiny import write_byte_level

CODES = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]])
TEXTS = ["red robot laser", "green forest trail", "blue ocean wave", "old castle", "a b", "jazz"]
HISTORIES = Sequences.of_lists([[0, 1, 2, 3], [4, 5, 0], [2], [5, 4, 3, 2, 1]], len(CODES))
SHAPE = CausalSettings(width=8, layers=1, heads=2, hidden_dim=16)


@pytest.fixture(scope="module")
def network() -> CodeLanguage:
    return CodeLanguage(load_causal(SHAPE, 0), (3, 2), 0)


def tasks_of(network: CodeLanguage, shuffled: bool = False, **settings) -> AlignmentTasks:
    chosen = TaskSettings(**settings)
    return AlignmentTasks(
        HISTORIES,
        TaskPrompts(network, CODES, TEXTS, chosen),
        chosen,
        max_items=3,
        batch_size=12,
        shuffled=shuffled,
        seed=5,
    )


def read(network: CodeLanguage, prompt: Answered) -> tuple[list[str | int], list[str | int]]:
    """Return prompt and answer, as words and items."""
    names = network.code_tokens(CODES).tolist()

    def items(token: list[int]) -> list[str | int]:
        found: list[str | int] = []
        while token:
            if token[0] >= network.num_words:
                found.append(names.index(token[:2]))
                token = token[2:]
            else:
                found.append(network.language.tokenizer.convert_ids_to_tokens(token[0]))
                token = token[1:]
        return found

    token = prompt.token.tolist()
    begin = int(np.flatnonzero(prompt.answer)[0])
    assert prompt.answer[begin:].all() and not prompt.answer[:begin].any()
    return items(token[:begin]), items(token[begin:])


def drawn(tasks: AlignmentTasks, task: str, steps: int = 40) -> list[Answered]:
    return [d.prompt for step in range(steps) for d in tasks.of_step(step) if d.task == task]


def test_every_item_of_a_history_but_the_first_is_an_answer(network):
    prompts = drawn(tasks_of(network, negatives=0.0), "next_item")
    seen = {tuple(words[-1:] + answer) for words, answer in (read(network, p) for p in prompts)}
    # at most max_items + 1 of them, and all parts of a longer history
    assert seen == {(0, 1, 2, 3), (4, 5, 0), (5, 4, 3, 2), (4, 3, 2, 1)}
    assert read(network, prompts[0])[0][:-1] == ["[CLS]", "items", "in", "order", ":"]


def test_histories_without_an_order_are_shuffled(network):
    prompts = drawn(tasks_of(network, shuffled=True, negatives=0.0), "next_item", 80)
    seen = {tuple(words[-1:] + answer) for words, answer in (read(network, p) for p in prompts)}
    of_second = {items for items in seen if set(items) == {4, 5, 0}}
    assert len(of_second) == 6


def test_a_pass_has_each_user_once(network):
    tasks = tasks_of(network)
    users = [user for step in range(30) for user in tasks._users(step, 7)]
    assert {2}.isdisjoint(users)
    for start in range(0, 30 * 7 - 3, 3):
        assert sorted(users[start : start + 3]) == [0, 1, 3]


def test_twins_ask_for_what_does_not_belong(network):
    tasks = tasks_of(network, negatives=0.999)
    sides = Counter()
    for prompt in drawn(tasks, "next_item"):
        words, answer = read(network, prompt)
        at = words.index("of")
        shown = [w for w in words[:at] if isinstance(w, int)]
        candidates = [w for w in words[at:] if isinstance(w, int)]
        own = next(set(h) for h in HISTORY_SETS if set(shown) <= h)
        assert len(answer) == 1 and answer[0] in candidates and answer[0] not in own
        (other,) = set(candidates) - set(answer)
        assert other in own and other not in shown
        sides[candidates.index(answer[0])] += 1
    assert min(sides.values()) > 0.3 * sum(sides.values())
    for task in ("name", "search"):
        for prompt in drawn(tasks, task):
            words, answer = read(network, prompt)
            candidates = [w for w in words if isinstance(w, int)]
            (item,) = set(candidates) - set(answer)
            told = {w for w in words if isinstance(w, str)}
            assert told & set(TEXTS[item].split())


HISTORY_SETS = [{0, 1, 2, 3}, {4, 5, 0}, {1, 2, 3, 4, 5}]


def test_items_and_texts_belong_together(network):
    tasks = tasks_of(network, negatives=0.0, query_words=1)
    for prompt in drawn(tasks, "describe"):
        words, answer = read(network, prompt)
        (item,) = [w for w in words if isinstance(w, int)]
        assert answer == [*TEXTS[item].split(), "[SEP]"]
    for prompt in drawn(tasks, "name"):
        words, answer = read(network, prompt)
        assert words[1:-3] == TEXTS[answer[0]].split()
    found = set()
    for prompt in drawn(tasks, "search", 150):
        words, answer = read(network, prompt)
        shown = words[words.index("for") + 1 : -1]
        found.add((*shown, answer[0]))
    # words of four letters and more, one at a time; all words of a text without such a one
    assert {("robot", 0), ("laser", 0), ("jazz", 5), ("a", 4), ("b", 4)} <= found
    assert ("red", 0) not in found


def test_texts_are_cut(network):
    tasks = tasks_of(network, negatives=0.0, text_tokens=2)
    shown = {
        answer[0]: words[1:-3] for words, answer in (read(network, p) for p in drawn(tasks, "name"))
    }
    assert shown[0] == ["red", "robot"] and shown[5] == ["jazz"]


def test_draws_depend_on_seed_and_step_alone(network):
    one, two = tasks_of(network), tasks_of(network)
    two.of_step(3)
    pairs = zip(one.of_step(7), two.of_step(7), strict=True)
    assert all(a.task == b.task and (a.prompt.token == b.prompt.token).all() for a, b in pairs)
    tokens = [[d.prompt.token.tolist() for d in one.of_step(step)] for step in (7, 8)]
    assert tokens[0] != tokens[1]


def test_each_task_has_its_share_of_a_step(network):
    assert counts({"next_item": 0.5, "describe": 0.01, "name": 0.49}, 10) == {
        "next_item": 5,
        "describe": 1,
        "name": 4,
    }
    with pytest.raises(ValueError, match=r"align.batch_size = 2: the tasks are 3"):
        counts({"next_item": 0.5, "describe": 0.2, "name": 0.3}, 2)
    # the main task is never the one that gives prompts away
    assert counts({"next_item": 0.01, "describe": 0.98, "name": 0.01}, 8) == {
        "next_item": 1,
        "describe": 6,
        "name": 1,
    }
    alone = tasks_of(network, describe=0.0, name=0.0, search=0.0)
    assert {d.task for d in alone.of_step(0)} == {"next_item"}


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({"name": ["{text} and {item}"]}, r"name: '\{text\} and \{item\}' must name \{text\}"),
        ({"describe": ["of"]}, r"describe: 'of' must name \{item\}, each once"),
        ({"next_item": ["{history} then"]}, r"next_item: .* must end with \{history\}"),
        ({"search_not": []}, "at least 1 item"),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(templates, message):
    with pytest.raises(ValidationError, match=message):
        TemplateSettings(**templates)


def test_templates_are_drawn(network):
    tasks = tasks_of(network, negatives=0.0, templates={"name": ["{text} is", "find {text} :"]})
    starts = {read(network, p)[0][1] for p in drawn(tasks, "name")}
    assert "find" in starts and len(starts) > 1


def test_a_twin_has_a_true_answer(network):
    texts = ["same words", "same words", "same words here", "other things"]
    chosen = TaskSettings(negatives=0.999, query_words=2)
    lists = Sequences.of_lists([[0, 1, 2, 3], [0, 3]], 4)
    prompts = TaskPrompts(network, CODES[:4], texts, chosen)
    tasks = AlignmentTasks(
        lists, prompts, chosen, max_items=3, batch_size=12, shuffled=False, seed=0
    )
    for task in ("name", "search"):
        for prompt in drawn(tasks, task):
            words, answer = read(network, prompt)
            candidates = {w for w in words if isinstance(w, int)}
            if candidates:
                (item,) = candidates - set(answer)
                assert texts[item] != texts[answer[0]]
                assert task == "name" or {item, answer[0]} != {0, 2} or item == 2
    # a user with all items has nothing that does not belong
    histories = [read(network, prompt) for prompt in drawn(tasks, "next_item")]
    assert any(len(answer) == 3 for _, answer in histories)
    assert all("of" in words for words, _ in histories if words[-1] == "take")


def test_words_of_a_search():
    found = words_of(["Up, up and away", "It", "Über-Mütze, 2000", "コーヒー豆を買う", ""])
    assert found[:3] == [["away"], ["it"], ["über", "mütze", "2000"]]
    assert "コーヒー" in found[3] and found[4] == []


def test_a_tokenizer_that_keeps_spaces(tmp_path):
    """Byte-level tokenizers have other tokens for a word after a space."""
    settings = CausalSettings(model=str(write_byte_level(tmp_path)))
    network = CodeLanguage(load_causal(settings, 0), (3, 2), 0)
    tasks = tasks_of(network, negatives=0.3)
    names = network.code_tokens(CODES).tolist()
    for prompt in drawn(tasks, "next_item", 10):
        token, answer = prompt.token.tolist(), prompt.answer
        if (answer.sum()) > 2:
            assert all(token[i] >= network.num_words for i in np.flatnonzero(answer))
            assert token[-2:] in names
    history = tasks.prompts.history([1, 2]).tolist()
    assert history[-4:] == names[1] + names[2]
    decode = network.language.tokenizer.decode
    assert decode(history[:-4]) == " items in order:"
    (text, *_) = tasks.prompts.texts
    assert decode([*text, *tasks.prompts.comma, *text]) == " red robot laser , red robot laser"
    assert [decode(word) for word in tasks.prompts.words[0]] == [" robot", " laser"]
