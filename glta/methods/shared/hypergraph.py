"""The encoder and the contrast of HCCF and HCCF+."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glta.data.interactions import Interactions
    from glta.methods.shared.settings import HypergraphSettings
    from glta.nn.graph.encoders import HypergraphEncoder
    from glta.nn.graph.terms import LocalGlobal


def hypergraph_parts(
    train: Interactions, settings: HypergraphSettings, seed: int, device: str
) -> tuple[HypergraphEncoder, LocalGlobal]:
    """Build the encoder, and the contrast between its local and global embeddings."""
    from glta.nn.graph.encoders import HypergraphEncoder
    from glta.nn.graph.terms import LocalGlobal

    encoder = HypergraphEncoder(
        train,
        settings,
        seed,
        keep=settings.keep,
        num_hyperedges=settings.hyperedges,
        activation=settings.activation,
        mult=settings.mult if settings.form == "sparse" else None,
        device=device,
    )
    return encoder, LocalGlobal(train.num_users, settings.temperature)
