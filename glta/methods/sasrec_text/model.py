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
    v_i and M are trained. Items without training users get the v that the text predicts, see
    `row_from_text`. Without it their scores would be too high.
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
        text = moved @ text_map
        by_degree = np.flatnonzero(known)[np.argsort(train.item_degree[known], kind="stable")]
        few = by_degree[: max(1, by_degree.size // 10)]
        share, base = row_from_text(text[few], own[few])
        new = text * (1 + share) + base
        scaled = text_map * (1 + share)
        return SASRecText(
            item=np.where(known[:, None], own + text, new),
            text=new,
            text_map=scaled if whitening is None else whitening @ scaled,
            text_base=base,
            text_mean=mean if settings.text == "states" else None,
            **found,
        )


def row_from_text(text_FD: np.ndarray, own_FD: np.ndarray) -> tuple[np.float32, np.ndarray]:
    """Predict an item's own row v from the part of its text: v = share * text + base.

    Least squares over items with few training users, which are most like those without any. Their
    rows take back a part of what their text says, as they are seldom the next item: share < 0.
    text_FD, own_FD: of F such items. Returns share and base (D,).
    """
    text_mean, own_mean = text_FD.mean(0), own_FD.mean(0)
    text = text_FD - text_mean
    variance = float((text * text).sum())
    share = np.float32((text * (own_FD - own_mean)).sum() / variance if variance else 0.0)
    return share, own_mean - share * text_mean
