"""Compare a training step of GAL-Rec with one of the same prompts without contrast and queue.

The packaged model reads made-up users and items; the step is that of the default settings. Also
printed: the examples a second, and the time of an epoch over as many users as Amazon Beauty has.
"""

# U users, I items
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import torch

from benchmarks.graph import power_law_graph
from benchmarks.timing import Row, in_turns
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.methods.gal_rec.spec import GALRecSettings
from glta.methods.gal_rec.view_examples import Examples, ViewExample
from glta.methods.gal_rec.view_network import new_network
from glta.methods.gal_rec.view_prompts import View, ViewTemplates
from glta.methods.gal_rec.view_training import ViewTraining
from glta.methods.shared.graph_nodes import GraphNodes, Nodes
from glta.nn.language.frozen import load_language
from glta.nn.language.settings import LanguageSettings

BEAUTY_USERS = 22_363
WIDTH = 128
WORDS = ("light", "cream", "skin", "hair", "red", "natural", "oil", "brush", "nail", "care")


class WithoutContrast(ViewTraining):
    """Read the same prompts, and send a gradient through all of them, without the losses."""

    def _hops(
        self,
        examples: Sequence[ViewExample],
        anchors: Mapping[View, torch.Tensor],
        keys: Mapping[View, torch.Tensor],
    ) -> Iterator[tuple[int, torch.Tensor]]:
        yield 0, sum(rows.sum() for rows in keys.values())  # type: ignore[misc]

    def _push_keys(self, count: int) -> None:
        pass


def made_up(num_users: int, num_items: int, num_edges: int) -> Prepared:
    """Make data whose graph has a power law, with one further item for each user as target."""
    graph = power_law_graph(num_users, num_items, num_edges)
    rng = np.random.default_rng(0)
    user, item = np.arange(num_users), rng.integers(0, num_items, num_users)
    new = ~graph.contains(user, item)
    target = Interactions.of(user[new], item[new], num_users, num_items)
    none = Interactions.of([], [], num_users, num_items)
    tables = pl.DataFrame()
    return Prepared(graph.union(target), none, none, graph, target, tables, tables)


def training(
    kind: Callable[..., ViewTraining], prepared: Prepared, settings: GALRecSettings
) -> ViewTraining:
    """Make a training with random external vectors and item texts."""
    num_users, num_items = prepared.train.num_users, prepared.train.num_items
    generator = torch.Generator().manual_seed(0)
    user, item = (
        torch.randn(count, WIDTH, generator=generator) for count in (num_users, num_items)
    )
    language = load_language(LanguageSettings(precision="float32"), "cpu")
    nodes = GraphNodes(Nodes(user, item), Nodes(user, item))
    network = new_network(language, nodes.training, settings, seed=0)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(num_items)]
    templates = ViewTemplates(language, texts, settings.item_words)
    examples = Examples(prepared, settings, 0)
    half = WIDTH // 2
    return kind(network, templates, examples, nodes, settings, (half, half), 0)


def run(quick: bool) -> list[Row]:
    """Time steps in turns; packaged model, CPU."""
    prepared = made_up(*((50, 40, 300) if quick else (BEAUTY_USERS, 12_101, 110_000)))
    settings = GALRecSettings(lora_dropout=0.0)
    if quick:
        settings = settings.model_copy(update={"batch_size": 4, "queue": 16})
    ours, plain = (training(kind, prepared, settings) for kind in (ViewTraining, WithoutContrast))
    numbers = {"ours": 0, "plain": 0}

    def stepped(name: str, task: ViewTraining) -> Callable[[], None]:
        optimizer = task.optimizer()

        def step() -> None:
            batch = next(iter(task._drawn([numbers[name]])))
            numbers[name] += 1
            optimizer.zero_grad()
            task.backward(batch)
            optimizer.step()

        return step

    cross_entropy = [task.losses(task.examples.at(0))[0].item() for task in (ours, plain)]
    np.testing.assert_allclose(*cross_entropy, rtol=1e-5)
    steps = {"ours": stepped("ours", ours), "plain": stepped("plain", plain)}
    seconds = in_turns(steps, rounds=2 if quick else 9)
    size = settings.batch_size
    epoch = seconds["ours"] * len(ours.examples.users) / size / 60
    note = f"{size / seconds['ours']:.1f} examples/s, {epoch:.0f} minutes for each user once"
    row = Row(
        "GAL-Rec, a step of " + f"{size} examples",
        seconds["ours"],
        "the same prompts, allowed 1.3 times as long",
        1.3 * seconds["plain"],
        target=None if quick else 1.0,
        note=f"{note}; {seconds['ours'] / seconds['plain']:.2f} times the plain step",
    )
    return [row]
