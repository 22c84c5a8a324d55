"""The one training loop of all graph models: triples, a ranking loss with further terms, early
stopping, checkpoints.
"""

# U users, I items, N = U + I nodes, D embedding width
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from glta.data.interactions import Interactions
from glta.nn.graph.losses import Batch, batch_loss
from glta.nn.graph.sampling import sample_epoch
from glta.nn.graph.settings import GraphTraining
from glta.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from glta.training.devices import keep_freed_memory
from glta.training.seeds import epoch_rng
from glta.training.stopping import Diverged, EarlyStopping

Evaluate = Callable[[np.ndarray, np.ndarray], float]
"""Maps the embeddings that score, users (U, D) and items (I, D), to the validation metric; higher
is better.
"""


class Ranker(nn.Module):
    """Rank by dot products of encoded nodes; learn by the ranking loss plus weighted terms.

    encoder: of `glta.nn.graph.encoders`. terms: name -> (weight, module of `glta.nn.graph.terms`).
    A term of weight 0 is computed and reported, and moves nothing.
    """

    def __init__(
        self,
        encoder: nn.Module,
        params: GraphTraining,
        terms: Mapping[str, tuple[float, nn.Module]] | None = None,
    ):
        super().__init__()
        self.encoder, self.params = encoder, params
        self.weights = {name: weight for name, (weight, _) in (terms or {}).items()}
        self.terms = nn.ModuleDict({name: term for name, (_, term) in (terms or {}).items()})

    def loss(
        self, batch: Batch, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Compute the loss to minimise, and its parts before their weights: "loss" (ranking) and
        each term.
        """
        encoded = self.encoder(generator)
        total, rank = batch_loss(
            encoded.hidden, self.encoder.embedding, batch, self.encoder.num_users, self.params
        )
        parts = {"loss": rank}
        for name, term in self.terms.items():
            parts[name] = term(encoded, batch)
            total = total + self.weights[name] * parts[name]
        return total, parts

    @torch.inference_mode()
    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """Encode for ranking: users (U, D) and items (I, D) float32."""
        hidden = self.encoder.serve().cpu().numpy()
        return hidden[: self.encoder.num_users], hidden[self.encoder.num_users :]


class Trained(NamedTuple):
    """history: one record an epoch. best_epoch: the one whose weights the model was left with."""

    history: list[dict]
    best_epoch: int


def train_ranker(
    model: Ranker,
    graph: Interactions,
    seed: int,
    evaluate: Evaluate | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
    section: str = "pretrain",
) -> Trained:
    """Train a model in place and leave it as it was in its best epoch on validation (the last one
    without `evaluate`).

    graph: the positives. checkpoint: folder; a run that was interrupted continues from its last
    epoch and gives the same losses to the last bit (on the same thread count). section: of the
    parameters, for messages. Raises Diverged when the loss is no longer finite.
    """
    params = model.params
    keep_freed_memory()
    # fused: one pass over weights and moments instead of five
    optimizer = torch.optim.Adam(model.parameters(), lr=params.learning_rate, fused=True)
    device = next(model.parameters()).device
    stopping, saved = EarlyStopping(params.patience), Checkpoint(checkpoint)
    best, history, start = _copy(model), [], 0
    if found := saved.load():
        tensors, meta = found
        model.load_state_dict({name: tensors[name] for name in best})
        best = {name: tensors[f"best.{name}"].to(device) for name in best}
        restore_optimizer(optimizer, tensors)
        history, start = meta["history"], meta["epoch"] + 1
        stopping.restore(meta["stopping"])
        for record in history:
            on_epoch(record)

    for epoch in range(start, params.epochs):
        if evaluate and stopping.stop:
            break
        triples = sample_epoch(graph, epoch_rng(seed, epoch), params.sampling)
        generator = torch.Generator().manual_seed(
            int(epoch_rng(seed, epoch, stream=1).integers(2**62))
        )
        batches = zip(
            *(torch.from_numpy(ids).to(device).split(params.batch_size) for ids in triples),
            strict=True,
        )
        parts: dict[str, list[torch.Tensor]] = {}
        for batch in batches:
            loss, values = model.loss(batch, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for name, value in values.items():
                parts.setdefault(name, []).append(value.detach())
        record = {
            "epoch": epoch,
            **{name: torch.stack(values).mean().item() for name, values in parts.items()},
        }
        if not np.isfinite(list(record.values())).all():
            raise Diverged(
                f"training diverged in epoch {epoch}: lower {section}.learning_rate = "
                f"{params.learning_rate}"
            )
        if evaluate and ((epoch + 1) % params.evaluate_every == 0 or epoch + 1 == params.epochs):
            record["valid"] = evaluate(*model.embeddings())
            if stopping.update(record["valid"], epoch):
                best = _copy(model)
        history.append(record)
        on_epoch(record)
        state = {
            **model.state_dict(),
            **{f"best.{k}": v for k, v in best.items()},
            **optimizer_tensors(optimizer),
        }
        saved.save(state, {"epoch": epoch, "history": history, "stopping": stopping.state()})

    if evaluate:
        model.load_state_dict(best)
    return Trained(history, stopping.best_epoch if evaluate else len(history) - 1)


def _copy(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
