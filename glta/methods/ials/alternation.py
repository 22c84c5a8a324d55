"""The training of iALS: epochs of the library irspack, as a task of our trainer."""

# U users, I items, D embedding width
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from scipy.sparse import csr_matrix

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.methods.ials.spec import IALSSettings
from glta.training.trainer import Task


class Alternation(Task):
    """Solve for the users, then for the items, in every epoch.

    It minimises the sum over observed pairs of (x_u y_i - 1)^2, plus a times the sum over all pairs
    of (x_u y_i)^2, plus l2 times the sum over users of (n_u + a I)^p |x_u|^2 and over items of
    (n_i + a U)^p |y_i|^2 (Rendle et al., arXiv 2110.14037). a is unobserved_weight, p is
    frequency_power, n counts observed pairs.

    irspack solves each embedding by a few steps of conjugate gradients from its last value. It runs
    in one thread: with several, it adds up the Gram matrix in an order that differs from run to
    run. Every process of a run computes the same.
    evaluate: maps the embeddings of users and items to validation NDCG@20.
    """

    section = "settings.ials"

    def __init__(
        self,
        train: Interactions,
        settings: IALSSettings,
        seed: int,
        *,
        evaluate: Callable[[np.ndarray, np.ndarray], float],
    ):
        from irspack.recommenders import IALSRecommender

        self.evaluate = evaluate
        solver = IALSRecommender(
            csr_matrix(history_matrix(train)),  # irspack takes no csr_array
            n_components=settings.embedding_dim,
            alpha0=settings.unobserved_weight,
            reg=settings.l2,
            nu=settings.frequency_power,
            solver_type="CG",
            max_cg_steps=settings.solver_steps,
            n_threads=1,
        )
        solver.start_learning()
        assert solver.trainer is not None  # made by start_learning
        self.solver = solver.trainer
        # drawn here: the numbers of C++'s normal distribution differ between its libraries
        scale = settings.init_std / np.sqrt(settings.embedding_dim)
        shape = (train.num_users + train.num_items, settings.embedding_dim)
        start = np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)
        user, item = torch.from_numpy(start).split([train.num_users, train.num_items])
        self.user = torch.nn.Parameter(user.clone(), requires_grad=False)
        self.item = torch.nn.Parameter(item.clone(), requires_grad=False)

    def embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the embeddings of users (U, D) and items (I, D), float32."""
        return self.user.numpy(), self.item.numpy()

    def trained(self) -> dict[str, torch.nn.Parameter]:
        return {"user": self.user, "item": self.item}

    def optimizer(self) -> torch.optim.Optimizer:
        # the solver moves the embeddings; there is no gradient
        return torch.optim.SGD([self.user, self.item], lr=0.0)

    def batches(self, epoch: int) -> Iterable[None]:
        return [None]

    def backward(self, batch: None) -> dict[str, float]:
        core = self.solver.core_trainer
        core.user, core.item = self.embeddings()
        self.solver.run_epoch()
        self.user.copy_(torch.from_numpy(core.user))
        self.item.copy_(torch.from_numpy(core.item))
        return {}  # irspack's loss would take a sixth of the epoch

    def validate(self, epoch: int) -> float | None:
        return self.evaluate(*self.embeddings()) if epoch >= 0 else None

    def tensors(self) -> Mapping[str, torch.Tensor]:
        return self.trained()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self.trained().items():
            parameter.copy_(tensors[name])
