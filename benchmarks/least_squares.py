"""Compare an epoch of iALS with the same epoch of the libraries that have it.

All run in one thread, from the same start, with the same number of steps of conjugate gradients.
The penalty is not scaled by frequency, because implicit has no scaled one; no epoch takes longer
or shorter by it. So all three minimise the same loss, and after the same number of epochs theirs
must not be lower than ours. (Ours may be: irspack and implicit use no preconditioner.)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.graph import GOWALLA, power_law_graph
from benchmarks.timing import Row, in_turns
from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.methods.ials.alternation import Alternation
from glta.methods.ials.spec import IALSSettings

TARGET = 1 / 1.2
"""An epoch takes at most 1.2 times the best rival's."""

HIGHER = 1e-4
LOWER = 0.02
"""Our loss may be these parts higher or lower than a rival's."""

Embeddings = tuple[np.ndarray, np.ndarray]


class WithIrspack:
    """Hold irspack's model with the start of ours."""

    def __init__(self, pairs: csr_matrix, settings: IALSSettings, start: Embeddings):
        from irspack.recommenders import IALSRecommender

        self.model = IALSRecommender(
            pairs,
            n_components=settings.embedding_dim,
            alpha0=settings.unobserved_weight,
            reg=settings.l2,
            nu=settings.frequency_power,
            max_cg_steps=settings.solver_steps,
            n_threads=1,
        )
        self.model.start_learning()
        self.core = self.model.trainer.core_trainer
        self.core.user, self.core.item = start

    def epoch(self) -> None:
        self.model.run_epoch()

    def embeddings(self) -> Embeddings:
        return self.core.user, self.core.item


class WithImplicit:
    """Hold implicit's solver with the start of ours. Raises ImportError without implicit.

    Its target of an observed pair is 1, and its weight c, where ours are 1 / (1 + a) and 1 + a,
    less a constant. So its scores are 1 + a times ours. a is unobserved_weight.
    """

    def __init__(self, pairs: csr_matrix, settings: IALSSettings, start: Embeddings):
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        assert settings.frequency_power == 0
        weight = settings.unobserved_weight
        self.scale = np.float32((1 + weight) ** 0.5)
        self.user, self.item = (embedding * self.scale for embedding in start)
        self.users = (pairs * (1 + 1 / weight)).astype(np.float32)
        self.items = self.users.T.tocsr()
        model = AlternatingLeastSquares(factors=settings.embedding_dim)
        model.cg_steps = settings.solver_steps
        penalty = settings.l2 * (1 + weight) / weight
        self.solve = partial(model.solver, regularization=penalty, num_threads=1)
        self.one_thread = partial(threadpool_limits, 1, "blas")

    def epoch(self) -> None:
        with self.one_thread():
            self.solve(self.users, self.user, self.item)
            self.solve(self.items, self.item, self.user)

    def embeddings(self) -> Embeddings:
        return self.user / self.scale, self.item / self.scale


def loss(train: Interactions, settings: IALSSettings, embeddings: Embeddings) -> float:
    """Compute the loss of iALS whose penalty is not scaled by frequency."""
    user, item = (embedding.astype(np.float64) for embedding in embeddings)
    parts = np.array_split(np.arange(len(train)), len(train) // 50_000 + 1)
    observed = sum(
        ((np.einsum("pd,pd->p", user[train.user[part]], item[train.item[part]]) - 1) ** 2).sum()
        for part in parts
    )
    everywhere = settings.unobserved_weight * ((user.T @ user) * (item.T @ item)).sum()
    return observed + everywhere + settings.l2 * ((user**2).sum() + (item**2).sum())


def rivals(
    pairs: csr_matrix, settings: IALSSettings, start: Embeddings
) -> dict[str, WithIrspack | WithImplicit]:
    """Make the rivals that are installed."""
    found: dict[str, WithIrspack | WithImplicit] = {}
    found["irspack"] = WithIrspack(pairs, settings, start)
    with suppress(ImportError):
        found["implicit"] = WithImplicit(pairs, settings, start)
    return found


def compare(train: Interactions, width: int, rounds: int, *, targeted: bool) -> list[Row]:
    """Time epochs in turns. Raises AssertionError when a rival's loss is lower, or far higher."""
    settings = IALSSettings(embedding_dim=width, l2=10.0, frequency_power=0, init_std=1.0)
    pairs = csr_matrix(history_matrix(train))
    task = Alternation(train, settings, seed=0, evaluate=lambda user, item: 0.0)
    user, item = task.embeddings()
    others = rivals(pairs, settings, (user.copy(), item.copy()))
    contestants: dict[str, Callable[[], object]] = {"ours": lambda: task.backward(None)}
    contestants |= {name: rival.epoch for name, rival in others.items()}
    seconds = in_turns(contestants, rounds)
    own = seconds.pop("ours")
    own_loss = loss(train, settings, task.embeddings())
    best = min(seconds, key=seconds.__getitem__)
    rows = []
    for name, rival in others.items():
        other = loss(train, settings, rival.embeddings())
        assert -HIGHER < other / own_loss - 1 < LOWER, (name, own_loss, other)
        rows.append(
            Row(
                f"iALS epoch of width {width}, {len(train):,} pairs",
                own,
                name,
                seconds[name],
                target=TARGET if targeted and name == best else None,
                note=f"loss after {rounds + 1} epochs {own_loss:.6g}, theirs {other:.6g}",
            )
        )
    return rows


def run(quick: bool) -> list[Row]:
    """Time epochs of several widths on a power-law graph of Gowalla's size.

    quick: a small graph, no targets.
    """
    if quick:
        return compare(power_law_graph(300, 400, 20_000), 16, 2, targeted=False)
    train = power_law_graph(*GOWALLA)
    widths = (64, 128, 256, 512)
    return [row for width in widths for row in compare(train, width, 3, targeted=True)]
