"""SASRec + text: self-attention over items that a language model has read."""

# I items, J new items, D embedding width, W language width
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from glta.methods.base import Job, Step
from glta.methods.sasrec_text.spec import SASRecTextSettings
from glta.methods.shared.sequence_model import SequenceModel, train_sequence_model
from glta.methods.shared.text_space import mean_state, text_states


@dataclass(frozen=True, kw_only=True)
class SASRecText(SequenceModel):
    """Score by the state of a user after their newest item, and the items' embeddings.

    text_map: (W, D), maps text states to embeddings. text_mean: (W,), is subtracted before.
    """

    name = "sasrec-text"
    settings_class = SASRecTextSettings
    settings: SASRecTextSettings
    text_map: np.ndarray
    text_mean: np.ndarray

    @property
    def trainable_parameters(self) -> int:
        ids = self.item.size if self.settings.ids else 0
        return ids + self.text_map.size + sum(array.size for array in self.weights.values())

    def from_text(self, text_JW: np.ndarray) -> np.ndarray:
        """Return the part of the embeddings that comes from texts, (J, D)."""
        return (text_JW - self.text_mean) @ self.text_map

    def extended(self, text_JW: np.ndarray) -> Self:
        return replace(self, item=np.concatenate([self.item, self.from_text(text_JW)]))


class TrainSASRecText(Step):
    """Train SASRec with item embeddings that are the sum of a row of its own and a map of the text.

    e_i = v_i + M (s_i - mean s) / r, where s_i is the state of the item's text and r the mean
    length of the centred states. The same e_i is read and matched. v_i and M are trained. Items
    without training users have no v_i.
    Difference from Harte et al.: there the text states, reduced by PCA, are the initial values of
    v_i; here their map stays, so that new items have embeddings.
    """

    def run(self, job: Job) -> SASRecText:
        settings = job.own(SASRecTextSettings)
        train = job.prepared.train
        _, states = text_states(job)
        mean = mean_state(states, train)
        centred = states - mean
        known = train.item_degree > 0
        length = np.linalg.norm(centred[known], axis=1).mean()
        found = train_sequence_model(
            job, "sasrec-text", settings, features_IF=centred / length, ids=settings.ids
        )
        weights = found["weights"]
        text_map = weights.pop("feature_map.weight").T / length
        item = weights.pop("item") * known[:, None] + centred @ text_map
        return SASRecText(item=item, text_map=text_map, text_mean=mean, **found)
