"""The codes of a catalogue's items: an artefact that is read as it was written."""

# I items, J new items, D width of the vectors, W width of the text states, L levels, K codes of a
# level, M codes of an item
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from glta.nn.quantize.codebooks import Codebooks, residual_k_means
from glta.nn.quantize.collisions import FreeCodes, places_in_groups, resolved
from glta.nn.quantize.settings import CodeSettings
from glta.nn.quantize.spaces import CodeSpace, EncodedSpace, JoinedSpace
from glta.storage.arrays import joined, load_arrays, part_of, save_arrays
from glta.storage.files import write_json
from glta.storage.schema import check_schema
from glta.training.seeds import Stream, epoch_rng

SCHEMA = 1
"""Counts the forms that saved codes have had."""

FILE = "codes.safetensors"

AS_SHUFFLE = 2**31 - 2
"""Stands for an epoch: the generator of the control with shuffled codes."""

SPACES: dict[str, type[JoinedSpace | EncodedSpace]] = {
    "residual-kmeans": JoinedSpace,
    "rq-vae": EncodedSpace,
}


@dataclass(frozen=True)
class ItemCodes:
    """Hold a code sequence for every item, different from all others.

    codes: (I, M) int32. M is L, or L + 1 with collisions: token.
    nearest: (I, L) int32, the codes before collisions were resolved.
    codes_per_level: how many codes each of the M places has; codes are below.
    space, books: turn vectors into codes, for new items.
    about: what made the codes: "settings", "seed", and the digests of "vectors" and "texts".
    history: of the training of an RQ-VAE, one record an epoch.
    """

    codes: np.ndarray
    nearest: np.ndarray
    codes_per_level: tuple[int, ...]
    space: CodeSpace
    books: Codebooks
    about: dict[str, Any]
    history: list[dict] = field(default_factory=list)

    @property
    def num_items(self) -> int:
        return len(self.codes)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 digest of the table, of the codebooks and of what made them."""
        found = hashlib.sha256(json.dumps(self._meta(), sort_keys=True).encode())
        for name, array in sorted(self._arrays().items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def encode(
        self, vectors_JD: np.ndarray | None, text_JW: np.ndarray | None = None
    ) -> np.ndarray:
        """Return codes of new items, which neither present nor other new items have: (J, M) int32.

        None: unknown. Codes of kind residual-kmeans can be found by vector, text, or both; those
        of kind rq-vae by vector alone. Raises ValueError when no codes are free.
        """
        return self._encoded(vectors_JD, text_JW)[1]

    def extended(self, vectors_JD: np.ndarray | None, text_JW: np.ndarray | None = None) -> Self:
        """Return the codes of a catalogue with new items at its end. See `encode`."""
        nearest, codes = self._encoded(vectors_JD, text_JW)
        return replace(
            self,
            codes=np.concatenate([self.codes, codes]),
            nearest=np.concatenate([self.nearest, nearest]),
        )

    def save(self, folder: Path) -> None:
        """Write codes.safetensors, and history.json for the report."""
        save_arrays(folder / FILE, self._arrays(), {**self._meta(), "digest": self.digest})
        write_json(folder / "history.json", self.history)

    @classmethod
    def load(cls, folder: Path, num_items: int | None = None) -> Self:
        """Read what `save` wrote, without the history. Nothing is computed again.

        num_items: of the catalogue; None: not known. Raises ValueError that names the file when its
        content is not what was written, or is of another catalogue.
        """
        path = folder / FILE
        arrays, meta = load_arrays(path)
        check_schema(meta, SCHEMA, path)
        found = cls(
            arrays["codes"],
            arrays["nearest"],
            tuple(meta["codes_per_level"]),
            SPACES[meta["about"]["settings"]["kind"]].from_arrays(part_of(arrays, "space")),
            Codebooks(arrays["books"]),
            meta["about"],
        )
        if found.digest != meta["digest"]:
            raise ValueError(
                f"{path}: the content does not fit its digest {meta['digest'][:12]}..., so the "
                "codes are not those that were made; run the step that writes them again"
            )
        if num_items not in (None, found.num_items):
            raise ValueError(
                f"{path}: has codes of {found.num_items} items, but the catalogue has {num_items}; "
                "run the step that writes them again"
            )
        return found

    def _encoded(
        self, vectors_JD: np.ndarray | None, text_JW: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest codes of new items (J, L), and their own ones (J, M)."""
        rows, columns = self.space.rows(vectors_JD, text_JW)
        books = Codebooks(self.books.levels[:, :, columns])
        nearest = books.nearest(rows)
        if self.codes.shape[1] == books.num_levels:
            free = FreeCodes(books, self.codes)
            own = [free.take(row) for row in rows]
            return nearest, np.array(own, np.int32).reshape(nearest.shape)
        together = np.concatenate([self.codes[:, :-1], nearest])
        place = places_in_groups(together)[self.num_items :]
        if place.size and place.max() >= self.codes_per_level[-1]:
            raise ValueError(
                f"more than {self.codes_per_level[-1]} items have equal codes, which is more than "
                "the codes of the last level; make the codes again with the new items"
            )
        return nearest, np.column_stack([nearest, place]).astype(np.int32)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "codes": self.codes,
            "nearest": self.nearest,
            "books": self.books.levels,
            **joined({"space": self.space.arrays()}),
        }

    def _meta(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "codes_per_level": list(self.codes_per_level),
            "about": self.about,
        }


def make_codes(
    vectors_ID: np.ndarray,
    text_IW: np.ndarray,
    settings: CodeSettings,
    seed: int,
    *,
    section: str = "codes",
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> ItemCodes:
    """Quantise the vectors of a catalogue's items, and give each item codes of its own.

    vectors_ID: of a behavioural model. text_IW: text states. Zeros stand for an item of which
    nothing is known. section: of the parameters, for messages. checkpoint, on_epoch: of the
    training of an RQ-VAE, see `train`. Raises ValueError when the codes are too few.
    """
    if len(vectors_ID) != len(text_IW):
        raise ValueError(
            f"{len(vectors_ID)} vectors and {len(text_IW)} text states of items: run the stage "
            "profile again"
        )
    vectors = np.ascontiguousarray(vectors_ID, np.float32)
    text = np.ascontiguousarray(text_IW, np.float32)
    space: CodeSpace
    if settings.kind == "rq-vae":
        # imported here, so that codes of k-means do without torch
        from glta.nn.quantize.rq_training import trained_rq_vae

        space, books, history = trained_rq_vae(
            vectors,
            text,
            settings,
            seed,
            section=section,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
        )
        rows, _ = space.rows(vectors, None)
    else:
        space = JoinedSpace.of(vectors, text, settings)
        rows, _ = space.rows(vectors, text)
        books = residual_k_means(rows, settings, seed)
        history = []
    nearest = books.nearest(rows)
    try:
        codes = resolved(nearest, rows, books, settings.collisions)
    except ValueError as error:
        raise ValueError(f"{section}: {error}") from None
    per_level = [settings.codes] * settings.levels
    if settings.collisions == "token":
        # new items too find a place after those of equal codes
        per_level.append(max(settings.codes, int(codes[:, -1].max(initial=0)) + 1))
    if settings.shuffled:
        order = epoch_rng(seed, AS_SHUFFLE, Stream.CODES).permutation(len(codes))
        nearest = nearest[order]
        codes = codes[order]
    about = {
        "settings": settings.inputs(),
        "seed": seed,
        "vectors": hashlib.sha256(vectors.tobytes()).hexdigest(),
        "texts": hashlib.sha256(text.tobytes()).hexdigest(),
    }
    return ItemCodes(codes, nearest, tuple(per_level), space, books, about, history)
