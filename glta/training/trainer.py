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
from glta.training.devices import Devices, find_devices, keep_freed_memory
from glta.training.stopping import Diverged, EarlyStopping


class Task(ABC):
    """Say what is trained, on what, and how it is judged. `train` does the rest.

    section: of the parameters, for messages ("settings.lightgcn"). learning_rate: for messages.
    shows_batches: whether `batches` shows its own progress, as it should where an epoch is long.
    All processes of a run have the same task with the same weights; each computes its share of
    every batch.
    """

    section: str
    learning_rate: float
    shows_batches: ClassVar[bool] = False

    @cached_property
    def devices(self) -> Devices:
        """The device, and which part of each batch is this process's."""
        return find_devices()

    @abstractmethod
    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        """Name the parameters that move. The best of them are kept."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """Make the optimizer. Called once, after the weights have their start."""

    @abstractmethod
    def batches(self, epoch: int) -> Iterable[Any]:
        """Draw the batches of an epoch, the same in every process.

        They may depend on the seed and the epoch, and on nothing else, so that a run can resume.
        """

    @abstractmethod
    def backward(self, batch: Any) -> Mapping[str, torch.Tensor | float]:
        """Add the gradient of this process's share of the batch's loss to the parameters'.

        The gradients of all processes add up to that of the whole batch. The same holds for the
        values that are returned for the record, such as {"loss": 0.3}. A process whose share is
        empty returns the same names.
        """

    @abstractmethod
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Name all weights to save, trained or not, buffers included. They are no copies."""

    @abstractmethod
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave. Raises ValueError when names or shapes differ."""

    def state(self) -> Mapping[str, torch.Tensor]:
        """Name what else a checkpoint must hold, such as a queue or an averaged encoder."""
        return {}

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:  # noqa: B027 - may stay empty
        """Put back what `state` gave."""

    def start(self) -> None:  # noqa: B027 - may stay empty
        """Do what is done once before the first epoch, and not again by a run that resumes."""

    def validate(self, epoch: int) -> float | None:
        """Compute the validation value after an epoch, higher is better. Epoch -1 is the start.

        None: there is no validation in this epoch, which must follow from the epoch alone.
        All processes call it. The value of the main process counts.
        """
        return None


class Trained(NamedTuple):
    """history: one record an epoch. best_epoch: the one whose weights the task was left with."""

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
    """Train until `patience` validations in a row brought no better value, `epochs` at most.

    The task is left with the weights of its best epoch, or of the last one where nothing was
    validated. A record holds "epoch", the means of `backward`'s values over the batches, and
    "valid" where the epoch was validated. Epoch -1 has a record if it was validated.

    checkpoint: a folder, which all processes must see. A run that was interrupted continues from
    its last epoch and gives the same numbers to the last bit, on the same number of threads and
    processes. With another number of processes it continues as well.
    on_epoch: called with every record, those of before a resume included, by the main process.
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
    """Train as `train` says. advance: shows that an epoch is over."""
    devices, saved = task.devices, Checkpoint(checkpoint)
    stopping = EarlyStopping(patience)
    history: list[dict] = []
    best: dict[str, torch.Tensor] = {}

    def note(record: dict) -> None:
        history.append(record)
        if devices.is_main:
            on_epoch(record)
            shown = [f"{name} {value:.4f}" for name, value in record.items() if name != "epoch"]
            advance(note=", ".join(shown))

    def validated(record: dict) -> dict:
        nonlocal best
        if (value := task.validate(record["epoch"])) is not None:
            record["valid"] = devices.agreed(value)
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
        # before the validation, which refuses NaN without knowing whose they are
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
                {"epoch": epoch, "history": history, "stopping": stopping.state()},
            )

    with torch.no_grad():
        for name, parameter in task.trained().items() if best else ():
            parameter.copy_(best[name])
    return Trained(history, stopping.best_epoch if best else history[-1]["epoch"])


def _silent(steps: int = 1, note: str = "") -> None:
    """Show nothing."""


def _epoch(task: Task, optimizer: torch.optim.Optimizer, epoch: int) -> dict[str, float]:
    """Take the steps of one epoch. Returns the means of the values over its batches."""
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
    """Return a parameter's gradient, zeros where this process's share did not reach it."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _column(values: list[torch.Tensor | float]) -> torch.Tensor:
    """Put one value a batch into a vector; plain numbers in double precision."""
    tensors = [value.detach() for value in values if isinstance(value, torch.Tensor)]
    return torch.stack(tensors) if tensors else torch.tensor(values, dtype=torch.float64)


def _read(saved: Checkpoint, devices: Devices) -> tuple[dict[str, torch.Tensor], dict] | None:
    """Read the last checkpoint in every process, the main one first: it deletes a damaged one."""
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
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
