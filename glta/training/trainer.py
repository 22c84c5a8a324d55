"""The one training loop of all methods: epochs, early stopping, checkpoints, devices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from glta.progress import bar
from glta.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from glta.training.choices import choices, current_choices
from glta.training.devices import Devices, find_devices, keep_freed_memory
from glta.training.stopping import Diverged, EarlyStopping


class Task(ABC):
    """Define a training: the weights, the batches, the loss and the validation. `train` runs it.

    section: of the parameters, for messages, such as "settings.lightgcn". learning_rate: for
    messages.
    shows_batches: whether `batches` shows its own progress, as it should for long epochs.
    All processes of a run have the same task with the same weights. Each computes its share of
    every batch.
    """

    section: str
    learning_rate: float
    shows_batches: ClassVar[bool] = False

    @cached_property
    def devices(self) -> Devices:
        """The device of this process, and its part of each batch."""
        return find_devices()

    @abstractmethod
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """Return the trainable parameters by name. Those of the best epoch are kept."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """Make the optimizer. It is called once, after the weights have their initial values."""

    @abstractmethod
    def batches(self, epoch: int) -> Iterable[Any]:
        """Return the batches of an epoch, the same in every process.

        They must depend only on the seed and the epoch, so that a run can resume.
        """

    @abstractmethod
    def backward(self, batch: Any) -> Mapping[str, torch.Tensor | float]:
        """Compute the loss of this process's share of a batch, and its gradient.

        The gradient is added to the parameters' `grad`. Returns values for the record, such as
        {"loss": 0.3}. The gradients and the values of all processes must add up to those of the
        whole batch. A process with an empty share must return the same names.
        """

    @abstractmethod
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Return all weights to save by name, trained or not, with buffers. They are not copied."""

    @abstractmethod
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Restore what `tensors` returned. Raises ValueError when names or shapes differ."""

    def state(self) -> Mapping[str, torch.Tensor]:
        """Return further tensors for a checkpoint by name, such as a queue."""
        return {}

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:  # noqa: B027 - may stay empty
        """Restore what `state` returned."""

    def start(self) -> None:  # noqa: B027 - may stay empty
        """Prepare the first epoch. It is not called when a run resumes."""

    def validate(self, epoch: int) -> float | None:
        """Return the validation value after an epoch, higher is better.

        epoch: -1 for the initial weights. Returns None for an epoch without validation; this must
        depend only on the epoch. All processes call it, and the value of the main process is used.
        """
        return None

    def measured(self) -> Mapping[str, float]:
        """Return further values of the last validation for the record, by name."""
        return {}


class Trained(NamedTuple):
    """Hold the result of a training, whose weights are in the task.

    history: one record an epoch. best_epoch: the epoch of the weights.
    """

    history: list[dict]
    best_epoch: int


def train(
    task: Task,
    *,
    epochs: int,
    patience: int,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> Trained:
    """Train for at most `epochs` epochs, and stop early.

    The training stops after `patience` validations in a row without a better value. The task ends
    with the weights of its best epoch, or of the last epoch without any validation. A refit
    (`glta.training.choices`) runs to the best epoch of the first fit, and validates nothing.
    The record of an epoch holds "epoch", the means over the batches of the values that `backward`
    returned, and "valid" if the epoch was validated. Epoch -1 has a record if it was validated.

    checkpoint: a folder that all processes can read; None keeps no checkpoint. An interrupted run
        resumes after its last finished epoch. It gives the same numbers to the last bit with the
        same numbers of threads and processes. It can resume with other numbers too.
    on_epoch: called by the main process with every record. A run that resumes also calls it with
        the earlier records.
    Raises Diverged when a recorded value is not finite.
    """
    keep_freed_memory()
    shown = nullcontext(_silent) if task.shows_batches else bar(epochs, task.section)
    with shown as advance:
        return _train(task, epochs, patience, checkpoint, on_epoch, advance)


def _train(
    task: Task,
    epochs: int,
    patience: int,
    checkpoint: Path | None,
    on_epoch: Callable[[dict], None],
    advance: Callable[..., None],
) -> Trained:
    """Run `train`. advance: shows the progress after each epoch."""
    devices = task.devices
    saved = Checkpoint(checkpoint)
    stopping = EarlyStopping(patience)
    made = current_choices()
    repeated = made.next_epochs()
    if repeated is not None:
        epochs = repeated
    history: list[dict] = []
    best: dict[str, torch.Tensor] = {}

    def note(record: dict) -> None:
        """Add a record to the history, and show it."""
        history.append(record)
        if devices.is_main:
            on_epoch(record)
            shown = [f"{name} {value:.4f}" for name, value in record.items() if name != "epoch"]
            advance(note=", ".join(shown))

    def validated(record: dict) -> dict:
        """Validate, add the value to the record, and keep the weights if they are the best."""
        nonlocal best
        if repeated is not None:
            return record
        # the epochs are recorded as a whole, below
        with choices():
            value = task.validate(record["epoch"])
        if value is not None:
            record["valid"] = devices.agreed(value)
            record |= task.measured()
            if stopping.update(record["valid"], record["epoch"]):
                best = {name: p.detach().clone() for name, p in task.trained().items()}
        return record

    found = _read(saved, devices)
    if found:
        tensors, meta = found
        task.load(_part(tensors, "now."))
        task.load_state(_part(tensors, "state."))
        best = _part(tensors, "best.")
        stopping.restore(meta["stopping"])
        made.restore(meta["choices"])
        for record in meta["history"]:
            note(record)
    else:
        task.start()
        devices.copy_main(task.tensors().values())
        if "valid" in (record := validated({"epoch": -1})):
            note(record)
    optimizer = task.optimizer()
    if found:
        restore_optimizer(optimizer, tensors)

    for epoch in range(meta["epoch"] + 1 if found else 0, epochs):
        if stopping.stop:
            break
        record = {"epoch": epoch, **_epoch(task, optimizer, epoch)}
        # checked before the validation, whose error for NaN would not name the learning rate
        if not np.isfinite(list(record.values())).all():
            raise Diverged(
                f"training diverged in epoch {epoch}: lower {task.section}.learning_rate = "
                f"{task.learning_rate}"
            )
        note(validated(record))
        if devices.is_main:
            saved.save(
                {f"now.{name}": tensor for name, tensor in task.tensors().items()}
                | {f"state.{name}": tensor for name, tensor in task.state().items()}
                | {f"best.{name}": tensor for name, tensor in best.items()}
                | optimizer_tensors(optimizer),
                {
                    "epoch": epoch,
                    "history": history,
                    "stopping": stopping.state(),
                    "choices": made.state(),
                },
            )

    with torch.no_grad():
        for name, parameter in task.trained().items() if best else ():
            parameter.copy_(best[name])
    best_epoch = stopping.best_epoch if best else epochs - 1
    if repeated is None:
        made.epochs.append(best_epoch + 1)
    return Trained(history, best_epoch)


def _silent(steps: int = 1, note: str = "") -> None:
    """Show nothing."""


def _epoch(task: Task, optimizer: torch.optim.Optimizer, epoch: int) -> dict[str, float]:
    """Train for one epoch. Returns the means over the batches of the values of `backward`."""
    values: dict[str, list[torch.Tensor | float]] = {}
    several = task.devices.num_processes > 1
    for batch in task.batches(epoch):
        optimizer.zero_grad()
        found = task.backward(batch)
        if several:
            task.devices.add_up([_gradient(p) for p in task.trained().values()])
        optimizer.step()
        for name, value in found.items():
            values.setdefault(name, []).append(value)
    columns = {name: _column(found) for name, found in values.items()}
    task.devices.add_up(columns.values())
    return {name: column.mean().item() for name, column in columns.items()}


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    """Return a parameter's gradient. It is zeros if this process's share does not use it.

    Of a sparse one, the values are returned. All processes have them for the same rows.
    """
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad._values() if parameter.grad.is_sparse else parameter.grad


def _column(values: list[torch.Tensor | float]) -> torch.Tensor:
    """Join the values of all batches into a vector. Plain numbers become float64."""
    tensors = [value.detach() for value in values if isinstance(value, torch.Tensor)]
    return torch.stack(tensors) if tensors else torch.tensor(values, dtype=torch.float64)


def _read(saved: Checkpoint, devices: Devices) -> tuple[dict[str, torch.Tensor], dict] | None:
    """Read the last checkpoint in every process. Returns None without one.

    The main process reads it first, because it deletes a damaged one. Raises ValueError when the
    processes do not see the same checkpoint.
    """
    found = saved.load() if devices.is_main else None
    devices.wait()
    if not devices.is_main:
        found = saved.load(announce=False)
    last = found[1]["epoch"] if found else -1
    if devices.agreed(last) != last:
        raise ValueError(
            f"{saved.path}: not seen by all processes; put the data on a disk that they share"
        )
    return found


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with a prefix, without the prefix."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
