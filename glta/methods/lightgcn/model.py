"""LightGCN: node embeddings trained by a ranking loss, propagated over all training edges."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from glta.data.interactions import Interactions
from glta.methods.base import Job, Step
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.methods.shared.about import read_about
from glta.methods.shared.graph_scores import GraphScores
from glta.storage.arrays import load_arrays
from glta.storage.files import read_json, write_json

if TYPE_CHECKING:
    from glta.nn.graph.node_embeddings import NodeEmbeddings


@dataclass(frozen=True)
class LightGCN(GraphScores):
    """Score by propagated node embeddings. history: one record an epoch of their training."""

    name = "lightgcn"
    history: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        super().save(folder)
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path) -> Self:
        read_about(folder, cls.name)
        arrays, _ = load_arrays(folder / "model.safetensors")
        return cls(**arrays, history=read_json(folder / "history.json"))


class PretrainAll(Step):
    """Train node embeddings on all training edges."""

    def run(self, job: Job) -> NodeEmbeddings:
        return pretrain(job, job.prepared.train)


class PretrainGraph(Step):
    """Train node embeddings on the training edges that are not targets of the alignment."""

    def run(self, job: Job) -> NodeEmbeddings:
        return pretrain(job, job.prepared.graph)


def pretrain(job: Job, graph: Interactions) -> NodeEmbeddings:
    """Train node embeddings on a graph. Validation propagates over all training edges."""
    from glta.evaluation.validation import embeddings_ndcg
    from glta.nn.graph.node_embeddings import train
    from glta.training.devices import find_devices

    settings = job.own(LightGCNSettings)
    return train(
        graph,
        settings,
        job.seed,
        evaluate=embeddings_ndcg(job.prepared, most_users=settings.validation_users),
        serve=job.prepared.train,
        # the same for both steps and for a refit, whose numbers of edges differ
        of_size=len(job.prepared.seen),
        checkpoint=job.checkpoint,
        on_epoch=job.on_epoch,
        device=str(find_devices().device),
    )


class Propagate(Step):
    """Propagate the node embeddings over all training edges."""

    def run(self, job: Job) -> LightGCN:
        folder = job.source("pretrain-all")
        scores = GraphScores.of(folder, job.prepared.train)
        history = read_json(folder / "history.json")
        return LightGCN(scores.user, scores.item, scores.message, history=history)
