"""SASRec + text: self-attention over items that a language model has read."""

from __future__ import annotations

import numpy as np

from glta.methods.base import Job, Step
from glta.methods.sasrec_text.spec import SASRecTextSettings
from glta.methods.shared.sequence_model import SequenceModel, train_sequence_model
from glta.methods.shared.text_space import mean_state, text_states


class SASRecText(SequenceModel):
    """Score by the state of a user after their newest item, and the items' embeddings."""

    name = "sasrec-text"


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
        text = centred @ text_map
        item = weights.pop("item") * known[:, None] + text
        return SASRecText(item=item, text=text, text_map=text_map, text_mean=mean, **found)
