"""Ablations of GLTA by name: each is GLTA with a few parameters changed, and else with those of its
dataset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glta.params.model import Params

FROM_RANDOM = {"align_items.head_learning_rate": 1e-3, "align_users.head_learning_rate": 1e-3}
"""Rates for a head that starts from random weights: those that suit a solved one would leave it
where it starts.
"""

ABLATIONS: dict[str, dict[str, bool | int | float | str]] = {
    # of the paper: without a stage, without words in the prompt, and its two other ways to read a
    # list
    "glta-without-item-alignment": {"align_items.enabled": False},
    "glta-without-user-alignment": {"align_users.user_token": False},
    "glta-without-profile": {"align_users.tag_tokens": 0},
    "glta-without-prediction": {"align_users.interest_tokens": 0},
    "glta-without-profile-and-prediction": {
        "align_users.tag_tokens": 0,
        "align_users.interest_tokens": 0,
    },
    "glta-one-per-position": {"recommend.mode": "one_per_position"},
    "glta-autoregressive": {"recommend.mode": "autoregressive"},
    # of our own decisions (docs/method.md)
    "glta-tied-head": {"align.head": "tied"} | FROM_RANDOM,
    "glta-random-head": {"align.head_init": "random"} | FROM_RANDOM,
    "glta-leaky-targets": {"align.targets": "all"},
}
"""Parameters by dotted keys, with the values that they take."""


def ablated(params: Params, name: str) -> Params:
    """Return the parameters with an ablation's changes.

    params: with the dataset's overrides in place.
    """
    return params.with_values(ABLATIONS[name])


def ablation_title(name: str) -> str:
    """How the report writes an ablation: GLTA without profile."""
    return name.replace("glta", "GLTA", 1).replace("-", " ")


def ablation_text(name: str) -> str:
    """Say what an ablation changes: align_users.tag_tokens = 0."""
    return ", ".join(f"{key} = {str(value).lower()}" for key, value in ABLATIONS[name].items())
