"""CEASE: a linear map between items, fitted to interactions and to texts at once."""

# U users, I items, N chosen items, W language width, B users of a block
from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
from scipy.sparse import csr_array, diags_array

from glta.data.histories import history_matrix
from glta.methods.base import Job, Step
from glta.methods.cease.spec import CEASESettings
from glta.methods.shared.closed_form import BLOCK, gram_of, refuse_large, zero_diagonal_map
from glta.methods.shared.item_map import weighed_histories
from glta.methods.shared.side_information import (
    SideInformationMap,
    columns_from_text,
    evenly,
    gain_of,
)
from glta.methods.shared.text_features import TextFeatures
from glta.methods.shared.text_space import unit_rows


def weights_with_text(
    history_UI: csr_array, text_IW: np.ndarray, l2: float, text_weight: float, user_power: float
) -> tuple[np.ndarray, np.ndarray]:
    """Solve min_B ||D (X - X B)||^2 + text_weight ||T - T B||^2 + l2 ||B||^2 with a zero diagonal.

    X (U, I) is history_UI: column j has a 1 for every user of item j. T (W, I) is text_IW
    transposed. D scales the row of a user with n items by (n / mean n)^(-user_power / 2), with the
    mean over users with items. Column j of B predicts item j from the other items. Text helps most
    for items with few users. Without text and with user_power 0 this is EASE.
    Rows of items without users are 0, because no user's score depends on them. The columns of such
    items come from `columns_from_text`; the other columns are solved without these items.

    Returns B (I, I) and the diagonal of P = (X^T D^2 X + text_weight T^T T + l2 I)^-1, (I,), which
    is 0 for items without users. Both are float32.
    """
    known = np.asarray(history_UI.sum(0)) > 0
    history_UI = history_UI[np.asarray(history_UI.sum(1)) > 0]
    count_U = np.asarray(history_UI.sum(1), np.float64)
    x = history_UI[:, known].astype(np.float64)
    text = text_IW[known].astype(np.float64)
    user_weights = diags_array((count_U / count_U.mean()) ** -user_power)
    gram = gram_of(x, user_weights @ x)
    for start in range(0, len(gram), BLOCK):
        gram[start : start + BLOCK] += text_weight * (text[start : start + BLOCK] @ text.T)
    weights, diagonal = zero_diagonal_map(gram, l2)
    del gram  # two thirds of the memory
    if not known.all():
        # from places among the known items to places among all; the row and the column that an item
        # without users gets here are another item's, and are set to 0
        place = np.cumsum(known) - 1
        weights = weights[np.ix_(place, place)]
        weights[~known] = 0
        diagonal = diagonal[place] * known
        weights[:, ~known] = columns_from_text(
            weights, diagonal, text_IW, text_IW[~known], text_weight
        )
    return weights, diagonal


class CEASE(SideInformationMap):
    """Score by X B, where B also predicts the texts of items from each other.

    The map is that of EASE (Steck, WWW 2019, eq. 8) with the item features as further, weighted
    rows (CEASE of Jeunen, Van Balen and Goethals, "Closed-Form Models for Collaborative Filtering
    with Side-Information", RecSys 2020). The weight of a user by the number of their items, and the
    scores of items without users, are not in the paper.
    """

    name = "cease"

    def calibrated(self) -> Self:
        """Choose the gain, and apply it to the columns of items without training users.

        The gain is computed by `gain_of` from the scores of known items and their leave-one-out
        estimates, over at most 1,000 items and users. The arrays of this object are changed.
        """
        shown = evenly(np.flatnonzero(self.diagonal))
        history = self.history[evenly(np.arange(self.history.shape[0]))]
        learnt = history @ self.weights[:, shown]
        gain = gain_of(learnt, history @ self.columns_left_out(shown))
        self.weights[:, self.diagonal == 0] *= np.float32(gain)
        return replace(self, gain=gain)


class SolveCEASE(Step):
    """Solve for the map.

    `run` raises ValueError when the map needs more than settings.cease.max_gb, and when
    settings.cease.recency is below 1 and an interaction has no time.
    """

    def run(self, job: Job) -> CEASE:
        settings = job.own(CEASESettings)
        prepared = job.prepared
        refuse_large("cease", prepared.train.num_items, settings.max_gb)
        features = TextFeatures.of(job, state_share=settings.state_share, rank=settings.word_rank)
        text = unit_rows(features.item)
        weights, diagonal = weights_with_text(
            history_matrix(prepared.train),
            text,
            settings.l2,
            settings.text_weight,
            settings.user_power,
        )
        return CEASE(
            history=weighed_histories("cease", prepared, settings.recency),
            weights=weights,
            recency=settings.recency,
            diagonal=diagonal,
            text=text,
            mean=features.mean,
            text_map=features.text_map,
            text_weight=settings.text_weight,
            gain=1.0,
        ).calibrated()
