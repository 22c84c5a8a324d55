"""Compare an epoch of iALS with the same epoch of the libraries that have it.

All run in one thread, with the same number of steps of conjugate gradients. irspack has the same
objective and the same start, and must have equal embeddings. implicit's penalty is not scaled by
frequency, so its embeddings are others.
"""

from __future__ import annotations

from collections.abc import Callable

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


def with_irspack(pairs: csr_matrix, settings: IALSSettings):
    """Make irspack's own model, before its first epoch."""
    from irspack.recommenders import IALSRecommender

    rival = IALSRecommender(
        pairs,
        n_components=settings.embedding_dim,
        alpha0=settings.unobserved_weight,
        reg=settings.l2,
        nu=settings.frequency_power,
        max_cg_steps=settings.solver_steps,
        n_threads=1,
    )
    rival.start_learning()
    return rival


def with_implicit(pairs: csr_matrix, settings: IALSSettings) -> dict[str, Callable[[], object]]:
    """Return implicit's epoch, where it is installed."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError:
        return {}
    model = AlternatingLeastSquares(
        factors=settings.embedding_dim, iterations=1, num_threads=1, random_state=0
    )
    model.cg_steps = settings.solver_steps

    def epoch() -> None:
        with threadpool_limits(1, "blas"):
            model.fit(pairs, show_progress=False)

    return {"implicit": epoch}


def compare(train: Interactions, width: int, rounds: int, *, targeted: bool) -> list[Row]:
    """Time epochs in turns. Raises AssertionError when irspack's embeddings differ."""
    settings = IALSSettings(embedding_dim=width)
    pairs = csr_matrix(history_matrix(train))
    task = Alternation(train, settings, seed=0, evaluate=lambda user, item: 0.0)
    rival = with_irspack(pairs, settings)
    rival.trainer.core_trainer.user, rival.trainer.core_trainer.item = task.embeddings()
    contestants = {"ours": lambda: task.backward(None), "irspack": rival.run_epoch}
    seconds = in_turns(contestants | with_implicit(pairs, settings), rounds)
    np.testing.assert_array_equal(task.embeddings()[0], rival.get_user_embedding())
    own = seconds.pop("ours")
    best = min(seconds, key=seconds.__getitem__)
    case = f"iALS epoch of width {width}, {len(train):,} pairs"
    return [
        Row(case, own, name, value, target=TARGET if targeted and name == best else None)
        for name, value in seconds.items()
    ]


def run(quick: bool) -> list[Row]:
    """Time epochs of several widths on a power-law graph of Gowalla's size.

    quick: a small graph, no targets.
    """
    if quick:
        return compare(power_law_graph(300, 400, 20_000), 16, 2, targeted=False)
    train = power_law_graph(*GOWALLA)
    return [row for width in (64, 128, 512) for row in compare(train, width, 3, targeted=True)]
