"""GAL-Rec on the checkerboard with a tiny language model."""

from __future__ import annotations

from pathlib import Path

from glta.data.prepared import Prepared
from glta.methods.gal_rec.external_vectors import external_nodes
from glta.methods.gal_rec.spec import GALRecSettings
from glta.methods.gal_rec.view_examples import Examples
from glta.methods.gal_rec.view_network import new_network
from glta.methods.gal_rec.view_prompts import ViewTemplates
from glta.methods.gal_rec.view_training import ViewTraining
from glta.nn.graph.node_embeddings import NodeEmbeddings
from glta.nn.language.frozen import load_language
from glta.nn.language.model_files import ModelFiles
from glta.nn.language.settings import LanguageSettings
from glta.storage.files import read_json, write_json
from glta.testing.blocks import (
    TOPICS,
    World,
    block_embeddings,
    block_prepared,
    block_states,
)

QUICK = {
    "steps": 8,
    "evaluate_every": 2,
    "batch_size": 6,
    "first_neighbours": 3,
    "second_neighbours": 2,
    "item_words": 3,
    "queue": 8,
    "contrast_width": 12,
    "lora_rank": 2,
    "learning_rate": 1e-3,
}


def write_graph(folder: Path) -> Path:
    """Write the folder of the step pretrain-graph."""
    folder.mkdir(parents=True)
    layer0 = block_embeddings()
    NodeEmbeddings(layer0["user"], layer0["item"], 2, best_epoch=0).save(folder)
    return folder


def with_language(world: World, language: Path) -> World:
    """Write what GAL-Rec reads besides, as if the profiles were made by this language model."""
    write_graph(world.cell.step("pretrain-graph"))
    about = world.cell.step("profile") / "profile.json"
    found = read_json(about)
    found["language"] |= {"model": str(language), "sha256": ModelFiles.of(language).sha256}
    write_json(about, found)
    return world


def values(language: Path, **more: object) -> dict[str, object]:
    """Make the parameters of a quick training."""
    settings = {f"settings.gal-rec.{key}": value for key, value in (QUICK | more).items()}
    return settings | {"language.model": str(language), "language.precision": "float32"}


def make_task(
    language: Path, graph: Path, prepared: Prepared | None = None, **more: object
) -> ViewTraining:
    """Make a training. graph: folder of `write_graph`. more: settings."""
    prepared = prepared or block_prepared()
    settings = GALRecSettings(**(QUICK | more))
    model = load_language(LanguageSettings(model=str(language), precision="float32"), "cpu")
    nodes, parts = external_nodes(settings.external, graph, prepared, block_states())
    network = new_network(model, nodes.training, settings, seed=0)
    texts = [f"{TOPICS[item % 2]} number{item}" for item in range(prepared.items.height)]
    return ViewTraining(
        network,
        ViewTemplates(model, texts, settings.item_words),
        Examples(prepared, settings, seed=0),
        nodes,
        settings,
        (parts.graph_width, parts.width - parts.graph_width),
        seed=0,
    )
