"""Who writes the words about users, by the name in params.yaml."""

from __future__ import annotations

from glta.features.settings import ProfileSettings
from glta.features.text.cache import Provider


def make_provider(params: ProfileSettings) -> Provider | None:
    """Make the generating provider of params.provider; None for "extractive", which answers no
    prompts.
    """
    if params.provider == "language_model":
        from glta.nn.language.causal import CausalModel

        return CausalModel(params.generator, params.max_new_tokens)
    if params.provider == "endpoint":
        from glta.features.text.endpoint import Endpoint

        return Endpoint(params.endpoint, params.endpoint_model, params.max_new_tokens)
    return None
