"""SASRec + text: self-attention over items that a language model has read."""

from __future__ import annotations

import numpy as np

from glta.features.profiles import Profiles
from glta.methods.base import Job, Step
from glta.methods.sasrec_text.spec import SASRecTextSettings
from glta.methods.shared.sequence_model import SequenceModel, train_sequence_model
from glta.methods.shared.text_space import mean_state, whitening_map
from glta.methods.shared.text_words import word_vectors

WORD_RANK = 384
"""Width of word vectors: that of the packaged language model's states."""


class SASRecText(SequenceModel):
    """Score by the state of a user after their newest item, and the items' embeddings."""

    name = "sasrec-text"


class TrainSASRecText(Step):
    """Train SASRec with item embeddings that are the sum of a row of its own and a map of the text.

    e_i = v_i + M t_i, where t_i is the vector of the item's text. The same e_i is read and matched.
    v_i and M are trained. Items without training users get the mean v of those that have the fewest
    (a tenth of the items). Without it their scores would be too high: the v_i push items down
    that are seldom the next one.
    t_i: the centred state of the text, or its reduced TF-IDF vector. All are moved by one linear
    map (`whitening_map`), and divided by one number, so that their mean length is 1.
    Difference from Harte et al.: there the text states, reduced by PCA, are the initial values of
    v_i; here their map stays, so that new items have embeddings.
    """

    def run(self, job: Job) -> SASRecText:
        settings = job.own(SASRecTextSettings)
        train = job.prepared.train
        profiles = Profiles.load(job.source("profile"), train)
        vectors = profiles.item_states
        if settings.text == "tfidf":
            vectors = word_vectors(profiles.items["text"], WORD_RANK, job.seed)
        known = train.item_degree > 0
        mean = mean_state(vectors, train)
        centred = vectors - mean
        whitening = whitening_map(centred[known], settings.singular_power)
        moved = centred if whitening is None else centred @ whitening
        length = max(float(np.linalg.norm(moved[known], axis=1).mean()), 1e-12)
        found = train_sequence_model(
            job, "sasrec-text", settings, features_IF=moved / np.float32(length), ids=settings.ids
        )
        weights = found["weights"]
        text_map = weights.pop("feature_map.weight").T / np.float32(length)
        own = weights.pop("item")
        few = np.flatnonzero(known)[np.argsort(train.item_degree[known], kind="stable")]
        base = own[few[: max(1, few.size // 10)]].mean(0)
        text = moved @ text_map
        return SASRecText(
            item=np.where(known[:, None], own, base) + text,
            text=text + base,
            text_map=text_map if whitening is None else whitening @ text_map,
            text_base=base,
            text_mean=mean if settings.text == "states" else None,
            **found,
        )
