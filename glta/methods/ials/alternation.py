"""The training of iALS: alternating least squares, as a task of our trainer."""

# U users, I items, D embedding width
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.methods.ials.conjugate_gradients import Rows
from glta.methods.ials.spec import IALSSettings
from glta.training.trainer import Task


class Alternation(Task):
    """Solve for the users, then for the items, in every epoch.

    It minimises the sum over observed pairs of (x_u y_i - 1)^2, plus a times the sum over all pairs
    of (x_u y_i)^2, plus l2 times the sum over users of (n_u + a I)^p |x_u|^2 and over items of
    (n_i + a U)^p |y_i|^2 (Rendle et al., arXiv 2110.14037). a is unobserved_weight, p is
    frequency_power, n counts observed pairs.

    `Rows` solves for each side and turns the basis of the embeddings. The CPU computes, and every
    process of a run computes the same.
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
        self.evaluate = evaluate
        history_UI = history_matrix(train)
        self.users = Rows(history_UI, settings)
        self.items = Rows(history_UI.T.tocsr(), settings)
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
        self.users.solve(self.user, self.item)
        self.items.solve(self.item, self.user)
        return {}  # the loss would take a part of the epoch

    def validate(self, epoch: int) -> float | None:
        return self.evaluate(*self.embeddings()) if epoch >= 0 else None

    def tensors(self) -> Mapping[str, torch.Tensor]:
        return self.trained()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self.trained().items():
            parameter.copy_(tensors[name])
