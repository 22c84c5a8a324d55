"""Draw the prompts of a training step: from histories, and from items with their texts."""

# U users, I items, N items of a history
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from glta.data.sequences import Sequences
from glta.methods.semantic_convergence.spec import TaskSettings
from glta.methods.semantic_convergence.task_prompts import TaskPrompts, Tokens
from glta.nn.language.code_language import Answered
from glta.training.seeds import Stream, epoch_rng


class Drawn(NamedTuple):
    """Hold a prompt with its answer, and the task that it belongs to."""

    task: str
    prompt: Answered


class AlignmentTasks:
    """Draw prompts by seed and step alone, so that a run can resume.

    Where nothing is found that does not belong, such as for a user with all items, a twin is the
    plain prompt.

    histories: of training. shuffled: whether histories have no order, so that each is put into a
    random one whenever it is drawn.
    """

    def __init__(
        self,
        histories: Sequences,
        prompts: TaskPrompts,
        settings: TaskSettings,
        *,
        max_items: int,
        batch_size: int,
        shuffled: bool,
        seed: int,
    ):
        self.histories = histories
        self.prompts = prompts
        self.settings = settings
        self.max_items = max_items
        self.shuffled = shuffled
        self.seed = seed
        self.users = np.flatnonzero(histories.length > 1)
        if not self.users.size:
            raise ValueError(
                "settings.semantic-convergence: no user has two training items, so there is no "
                "next item to learn; raise prepare.user_core"
            )
        self.counts = counts(self.settings.weights, batch_size)
        self._passed: tuple[int, np.ndarray] = (-1, self.users)
        self._draws: dict[str, Callable[[np.random.Generator, bool], Answered]] = {
            "describe": self._describe,
            "name": self._name,
            "search": self._search,
        }

    def of_step(self, step: int) -> list[Drawn]:
        """Return the prompts of a step."""
        rng = epoch_rng(self.seed, step, Stream.ALIGNMENT)
        found = []
        for task, count in self.counts.items():
            negative = rng.random(count) < self.settings.negatives
            if task == "next_item":
                users = self._users(step, count)
                prompts = [
                    self._next_item(rng, *each) for each in zip(users, negative, strict=True)
                ]
            else:
                prompts = [self._draws[task](rng, turned) for turned in negative]
            found += [Drawn(task, prompt) for prompt in prompts]
        return found

    def _users(self, step: int, count: int) -> list[int]:
        """Return the users of a step: all of them once, in random order, then again."""
        found = []
        for place in range(step * count, (step + 1) * count):
            number, own = divmod(place, len(self.users))
            found.append(int(self._pass(number)[own]))
        return found

    def _pass(self, number: int) -> np.ndarray:
        """Return the users of a pass in their order. That of the last pass is kept."""
        if number != self._passed[0]:
            rng = epoch_rng(self.seed, number, Stream.SAMPLING)
            self._passed = (number, rng.permutation(self.users))
        return self._passed[1]

    def _next_item(self, rng: np.random.Generator, user: int, turned: bool) -> Answered:
        """Return a part of a history, with or without two candidates for its last item."""
        own = self.histories.of_user(user).item
        items = rng.permutation(own) if self.shuffled else own
        most = self.max_items + 1
        end = int(rng.integers(min(most, items.size), items.size + 1))
        shown = items[max(0, end - most) : end].tolist()
        which = int(rng.integers(2**31))
        other = self._other(rng, lambda item: item in own) if turned else None
        if other is None:
            return self.prompts.all_of(shown, which)
        slots = {
            "history": self.prompts.items(shown[:-1]),
            "candidates": self._candidates(rng, shown[-1], other),
        }
        return self.prompts.asked("next_item_not", which, slots, self.prompts.code[other])

    def _describe(self, rng: np.random.Generator, turned: bool) -> Answered:
        item = self._item(rng)
        texts = self.prompts.texts
        other = self._other(rng, lambda one: texts[one] == texts[item]) if turned else None
        which = int(rng.integers(2**31))
        slots = {"item": self.prompts.code[item]}
        if other is None:
            return self.prompts.asked("describe", which, slots, texts[item] + self.prompts.end)
        pair = (texts[item], texts[other])
        slots["texts"] = self.prompts.either(*(pair if rng.random() < 0.5 else pair[::-1]))
        return self.prompts.asked("describe_not", which, slots, texts[other] + self.prompts.end)

    def _name(self, rng: np.random.Generator, turned: bool) -> Answered:
        item = self._item(rng)
        texts = self.prompts.texts
        other = self._other(rng, lambda one: texts[one] == texts[item]) if turned else None
        return self._item_or_not(rng, "name", {"text": texts[item]}, item, other)

    def _search(self, rng: np.random.Generator, turned: bool) -> Answered:
        item = self._item(rng)
        words = self.prompts.words[item]
        chosen = [words[i] for i in rng.permutation(len(words))[: self.settings.query_words]]

        def has_all(one: int) -> bool:
            return all(word in self.prompts.words[one] for word in chosen)

        other = self._other(rng, has_all) if turned else None
        slots = {"words": [token for word in chosen for token in word]}
        return self._item_or_not(rng, "search", slots, item, other)

    def _item_or_not(
        self,
        rng: np.random.Generator,
        task: str,
        slots: dict[str, Tokens],
        item: int,
        other: int | None,
    ) -> Answered:
        """Return a prompt whose answer is the item, or of two candidates the other one."""
        which = int(rng.integers(2**31))
        if other is None:
            return self.prompts.asked(task, which, slots, self.prompts.code[item])
        slots = slots | {"candidates": self._candidates(rng, item, other)}
        return self.prompts.asked(f"{task}_not", which, slots, self.prompts.code[other])

    def _item(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.histories.num_items))

    def _other(self, rng: np.random.Generator, belongs: Callable[[int], bool]) -> int | None:
        """Draw an item that does not belong to what is shown; None where none is found."""
        for _ in range(100):
            drawn = self._item(rng)
            if not belongs(drawn):
                return drawn
        return None

    def _candidates(self, rng: np.random.Generator, first: int, second: int) -> Tokens:
        """Return two items in random order."""
        pair = (first, second) if rng.random() < 0.5 else (second, first)
        return self.prompts.either(*(self.prompts.code[item] for item in pair))


def counts(weights: dict[str, float], batch_size: int) -> dict[str, int]:
    """Divide the prompts of a step among the tasks, by their weights; each gets at least one.

    Raises ValueError for fewer prompts than tasks.
    """
    if batch_size < len(weights):
        raise ValueError(
            f"settings.semantic-convergence.align.batch_size = {batch_size}: the tasks are "
            f"{len(weights)}, and each needs a prompt in a step; raise it"
        )
    found = {task: max(1, int(weight * batch_size)) for task, weight in weights.items()}
    largest = max(found, key=lambda task: found[task])
    found[largest] += batch_size - sum(found.values())
    return found
