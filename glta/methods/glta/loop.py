"""The one training loop of both alignment stages: batches of prompts, early stopping, bit-exact
resume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from glta.methods.glta.aligner import Aligner
from glta.progress import bar
from glta.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from glta.training.stopping import Diverged, EarlyStopping


class Settings(Protocol):
    """What both `AlignItems` and `AlignUsers` parameters have."""

    learning_rate: float
    head_learning_rate: float
    weight_decay: float
    epochs: int
    patience: int


def accumulated(
    nats: Callable[[Sequence], torch.Tensor], targets: Callable[[Sequence], int], micro_batch: int
) -> Callable[[Sequence], float]:
    """Make a function that adds the gradient of a batch's loss to the weights' and returns the
    loss, in nats a target.

    nats: the sum over a part of a batch; targets: how many there are. Activations of micro_batch
    prompts are held at a time (0: of all); the gradient is that of the whole batch whatever its
    parts.
    """

    def backward(batch: Sequence) -> float:
        count, total = targets(batch), 0.0
        for start in range(0, len(batch), micro_batch or len(batch)):
            loss = nats(batch[start : start + (micro_batch or len(batch))]) / count
            loss.backward()
            total += loss.item()
        return total

    return backward


def fit(
    aligner: Aligner,
    epoch_batches: Callable[[int], list],
    backward: Callable[[object], float],
    evaluate: Callable[[int], float],
    params: Settings,
    name: str,
    start: Callable[[], None] = lambda: None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> list[dict]:
    """Train until `evaluate` (of an epoch; higher is better) has not improved for `patience`
    epochs; keep the best weights.

    epoch_batches: maps an epoch to its batches and must depend on nothing else. backward: adds the
    gradient of a batch's loss to the weights' and returns the loss.
    start: what is done once before the first epoch, and not again by a run that resumes.
    Returns one record an epoch: epoch (-1 is the start, before any step), loss, valid. An
    interrupted run continues from the checkpoint and gives the same losses to the last bit. Raises
    Diverged when the loss is not finite.
    """
    trained = aligner.trained()
    rates = [
        params.head_learning_rate if n.startswith("head.") else params.learning_rate
        for n in trained
    ]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(trained.values(), rates, strict=True)]
    # fused: one pass over the head, which is most of the weights, instead of six
    optimizer = torch.optim.AdamW(groups, weight_decay=params.weight_decay, fused=True)
    stopping, saved, history = EarlyStopping(params.patience), Checkpoint(checkpoint), []
    if found := saved.load():
        tensors, meta = found
        aligner.load(tensors, "now.")
        best = {n: tensors[f"best.{n}"] for n in trained}
        restore_optimizer(optimizer, tensors)
        history = meta["history"]
        stopping.restore(meta["stopping"])
        for record in history:
            on_epoch(record)
    else:
        start()
        history.append({"epoch": -1, "valid": evaluate(-1)})
        stopping.update(history[0]["valid"], -1)
        best = {n: p.detach().clone() for n, p in trained.items()}
        on_epoch(history[0])

    for epoch in range(len(history) - 1, params.epochs):
        if stopping.stop:
            break
        torch.manual_seed(epoch)  # for LoRA's dropout alone
        batches, losses = epoch_batches(epoch), []
        with bar(len(batches), f"{name} epoch {epoch + 1}") as advance, dropout(aligner):
            for batch in batches:
                optimizer.zero_grad()
                losses.append(backward(batch))
                optimizer.step()
                advance(note=f"loss {losses[-1]:.3f}")
        loss = float(np.mean(losses))
        if not np.isfinite(
            loss
        ):  # before the validation, which refuses NaN without knowing whose they are
            raise Diverged(
                f"{name} diverged in epoch {epoch}: lower {name}.learning_rate = "
                f"{params.learning_rate}"
            )
        record = {"epoch": epoch, "loss": loss, "valid": evaluate(epoch)}
        if stopping.update(record["valid"], epoch):
            best = {n: p.detach().clone() for n, p in trained.items()}
        history.append(record)
        on_epoch(record)
        state = {f"now.{n}": t for n, t in aligner.tensors().items()} | {
            f"best.{n}": t for n, t in best.items()
        }
        saved.save(
            state | optimizer_tensors(optimizer), {"history": history, "stopping": stopping.state()}
        )

    with torch.no_grad():
        for name_, parameter in trained.items():
            parameter.copy_(best[name_])
    return history


class dropout:
    """Switch LoRA's dropout on within a block; the frozen model's own dropout stays off."""

    def __init__(self, aligner: Aligner):
        self.layers = [
            m
            for n, m in aligner.language.model.named_modules()
            if n.endswith("lora_dropout.default")
        ]

    def __enter__(self) -> None:
        for layer in self.layers:
            layer.train()

    def __exit__(self, *_) -> None:
        for layer in self.layers:
            layer.eval()


def read_states(
    aligner: Aligner, prompts: list, nodes, batch_tokens: int, note: str
) -> torch.Tensor:
    """Compute the read-out states of all prompts without gradients: (len(prompts), K, H) float32 on
    the CPU.
    """
    from glta.methods.glta.prompts import equal_length_batches

    lengths = np.array([len(p) for p in prompts])
    out = None
    with torch.inference_mode(), bar(len(prompts), note) as advance:
        for batch in _by_tokens(equal_length_batches(lengths, 1024), lengths, batch_tokens):
            states = aligner.states([prompts[i] for i in batch], nodes).cpu()
            if out is None:
                out = torch.empty(len(prompts), *states.shape[1:])
            out[torch.from_numpy(batch)] = states
            advance(len(batch))
    return out


def _by_tokens(
    batches: Iterable[np.ndarray], lengths: np.ndarray, batch_tokens: int
) -> Iterable[np.ndarray]:
    """Cut batches so that none holds more than batch_tokens tokens (or a single prompt)."""
    for batch in batches:
        yield from np.array_split(
            batch, min(batch.size, -(-batch.size * int(lengths[batch[0]]) // batch_tokens))
        )
