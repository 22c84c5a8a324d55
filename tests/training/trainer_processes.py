"""Train one small example of each trainer in the processes of a run; see test_every_trainer.

    accelerate launch --multi_gpu --num_processes 3 -m tests.training.trainer_processes FOLDER

Each process writes FOLDER/NAME-RANK.safetensors, its weights and history.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from glta.nn.graph.ranker import NodeRanker, RankerTask
from glta.nn.graph.sampled_propagation import SampledEncoder, SampledRanker, SampledTask
from glta.storage.tensors import save_tensors
from glta.training.devices import find_devices
from glta.training.trainer import Task, Trained, train
from tests.methods.semantic_convergence.test_semantic_convergence import training
from tests.nn.generation.test_next_codes import task_of as next_codes
from tests.nn.graph.test_sampled_propagation import GRAPH, PARAMS
from tests.nn.quantize.made import small
from tests.nn.quantize.test_rq_vae import task_of as rq_vae
from tests.nn.sequence.test_self_attention import task_of as next_item
from tests.nn.text.test_text_rankers import MLP, PAIRS, alpha, left_out

EPOCHS = 3


def text_task(model: NodeRanker) -> Task:
    return RankerTask(model, PAIRS, 0, section="settings.text")


def sampled() -> Task:
    return SampledTask(
        SampledRanker(SampledEncoder(GRAPH, PARAMS, 0), PARAMS), GRAPH, 0, section="settings.big"
    )


SHORT = MLP.model_copy(update={"steps": 9, "evaluate_every": 3, "batch_size": 4})
TASKS: dict[str, Callable[[], Task]] = {
    "alpharec": lambda: text_task(alpha(SHORT, negatives=3)),
    "text-map": lambda: text_task(left_out(SHORT)),
    "sasrec": lambda: next_item(dropout=0.0, evaluate_every=3),
    "tiger": lambda: next_codes(dropout=0.0, evaluate_every=3),
    "semantic-convergence": lambda: training(dropout=0.0),
    "codes": lambda: rq_vae(small(evaluate_every=3)),
    "lightgcn-sampled": sampled,
}


def trained(name: str) -> tuple[Trained, dict[str, torch.Tensor]]:
    """Train one example. Returns what `train` does, and the weights."""
    task = TASKS[name]()
    found = train(task, epochs=EPOCHS, patience=9)
    return found, {part: tensor.detach().clone() for part, tensor in task.tensors().items()}


def main(folder: Path) -> None:
    rank = find_devices().rank
    for name in TASKS:
        found, weights = trained(name)
        save_tensors(folder / f"{name}-{rank}.safetensors", weights, found._asdict())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
