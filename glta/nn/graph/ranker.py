"""The model that all graph methods train: an encoder, a ranking loss and further loss terms."""

# U users, I items, N = U + I nodes, D embedding width
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from glta.data.interactions import Interactions
from glta.nn.graph.encoders import Encoder
from glta.nn.graph.losses import Batch, Share, batch_loss, everything
from glta.nn.graph.sampling import epoch_size, sample_epoch
from glta.nn.graph.settings import GraphTraining
from glta.training.rates import move_rates
from glta.training.seeds import Stream, epoch_generator, epoch_rng
from glta.training.trainer import Task, Trained, train

Evaluate = Callable[[np.ndarray, np.ndarray], float]
"""Maps the embeddings of users (U, D) and items (I, D) to the validation metric.

Higher is better.
"""


class PairTraining(Protocol):
    """What a training on interactions reads of its settings."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def schedule(self) -> str: ...
    @property
    def sampling(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def validation_users(self) -> int: ...
    def steps_of(self, epoch: int) -> range: ...


class NodeRanker(nn.Module):
    """Rank by dot products of encoded nodes. Subclasses define the loss."""

    encoder: Encoder
    params: PairTraining

    def loss(
        self, batch: Batch, generator: torch.Generator, share: Share = everything
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Compute the loss to minimise, and its parts: "loss" (the ranking loss) and others.

        share: which of the batch's triples are computed here. The losses and gradients of all
        shares add up to those of the batch.
        """
        raise NotImplementedError

    @torch.inference_mode()
    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """Encode for ranking. Returns the embeddings of users (U, D) and items (I, D), float32."""
        hidden = self.encoder.serve().cpu().numpy()
        return hidden[: self.encoder.num_users], hidden[self.encoder.num_users :]


class Ranker(NodeRanker):
    """Rank by dot products of encoded nodes. The loss is the ranking loss plus weighted terms.

    terms: by name, a weight and a module of `glta.nn.graph.terms`. A term of weight 0 is computed
    and recorded, but changes no weights.
    """

    params: GraphTraining

    def __init__(
        self,
        encoder: Encoder,
        params: GraphTraining,
        terms: Mapping[str, tuple[float, nn.Module]] | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.params = params
        self.weights = {name: weight for name, (weight, _) in (terms or {}).items()}
        self.terms = nn.ModuleDict({name: term for name, (_, term) in (terms or {}).items()})

    def loss(
        self, batch: Batch, generator: torch.Generator, share: Share = everything
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Compute the loss to minimise, and its parts: "loss" (the ranking loss) and each term.

        The parts are not multiplied by their weights.
        share: which of the batch's triples, and of each term's anchors, are computed here. The
        losses and gradients of all shares add up to those of the batch.
        """
        encoded = self.encoder(generator)
        total, rank = batch_loss(
            encoded.hidden,
            self.encoder.embedding,
            batch,
            self.encoder.num_users,
            self.params,
            share,
        )
        parts = {"loss": rank}
        for name, term in self.terms.items():
            parts[name] = term(encoded, batch, share)
            total = total + self.weights[name] * parts[name]
        return total, parts


class RankerTask(Task):
    """Train a ranker on the pairs of a graph.

    An epoch of the trainer is `evaluate_every` steps. The steps take one batch after another from
    passes through the pairs, so an epoch may begin and end within a pass.
    Every process encodes the whole graph, with the same edges dropped, and computes its share of
    the losses. evaluate: None trains without validation.
    """

    def __init__(
        self,
        model: NodeRanker,
        graph: Interactions,
        seed: int,
        *,
        section: str,
        evaluate: Evaluate | None = None,
    ):
        self.model = model
        self.graph = graph
        self.seed = seed
        self.section = section
        self.evaluate = evaluate
        self.learning_rate = model.params.learning_rate
        nothing = torch.zeros(0, dtype=torch.int64)
        self._drawn = (-1, (nothing, nothing, nothing))

    def trained(self) -> dict[str, nn.Parameter]:
        return dict(self.model.named_parameters())

    def optimizer(self) -> torch.optim.Optimizer:
        self._optimizer = self.new_optimizer(
            [{"params": list(self.model.parameters()), "rate": self.learning_rate}]
        )
        return self._optimizer

    def new_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Make the optimizer of groups of parameters."""
        # fused: one pass over weights and moments instead of five
        return torch.optim.Adam(groups, lr=self.learning_rate, fused=True)

    def batches(self, epoch: int) -> Iterator[Batch]:
        params = self.model.params
        size = params.batch_size
        in_a_pass = -(-epoch_size(self.graph, params.sampling) // size)
        for step in params.steps_of(epoch):
            number, place = divmod(step, in_a_pass)
            # by the step, so that the same is dropped whatever the length of an epoch
            self.dropout = epoch_generator(self.seed, step, Stream.DROPOUT)
            self.before(step)
            if params.schedule == "cosine":
                move_rates(self._optimizer, step, params.steps)
            user, positive, negative = self._pass(number)
            part = slice(place * size, (place + 1) * size)
            yield user[part], positive[part], negative[part]

    def before(self, step: int) -> None:
        """Prepare a step, which is counted from 0 over all epochs."""

    def _pass(self, number: int) -> Batch:
        """Return the triples of a pass through the pairs. The last one is kept."""
        if number != self._drawn[0]:
            rng = epoch_rng(self.seed, number)
            triples = sample_epoch(self.graph, rng, self.model.params.sampling)
            device = next(self.model.parameters()).device
            user, positive, negative = (torch.from_numpy(ids).to(device) for ids in triples)
            self._drawn = (number, (user, positive, negative))
        return self._drawn[1]

    def backward(self, batch: Batch) -> dict[str, torch.Tensor]:
        loss, parts = self.model.loss(batch, self.dropout, self.devices.share)
        loss.backward()
        return parts

    def validate(self, epoch: int) -> float | None:
        if self.evaluate is None or epoch < 0:
            return None
        return self.evaluate(*self.model.embeddings())

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.model.state_dict()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.model.load_state_dict(tensors)


def train_ranker(
    model: NodeRanker,
    graph: Interactions,
    seed: int,
    evaluate: Evaluate | None = None,
    *,
    section: str,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
    task: type[RankerTask] = RankerTask,
) -> Trained:
    """Train a model in place. It ends with the weights of its best epoch on validation.

    Without `evaluate` it ends with those of the last epoch. task: how it is trained.
    graph: its pairs are the positives. section: of the parameters, for messages, such as
    "settings.lightgcn". checkpoint, on_epoch: see `glta.training.trainer.train`.
    """
    return train(
        task(model, graph, seed, section=section, evaluate=evaluate),
        epochs=model.params.epochs,
        patience=model.params.patience,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
