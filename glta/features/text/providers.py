"""The providers of words about users, by their names in params.yaml."""

from __future__ import annotations

from glta.features.settings import ProfileSettings
from glta.features.text.cache import Provider


def make_provider(params: ProfileSettings) -> Provider | None:
    """Make the provider that params.provider names; None for "extractive", which has no prompts."""
    if params.provider == "language_model":
        from glta.nn.language.causal import CausalModel

        return CausalModel(params.generator, params.max_new_tokens, params.generator_sha256)
    if params.provider == "endpoint":
        from glta.features.text.endpoint import Endpoint

        return Endpoint(params.endpoint, params.endpoint_model, params.max_new_tokens)
    return None
