"""Show how good item codes are: collisions, usage, error, and the texts of one prefix."""

# I items, M codes of an item, D width of the vectors, W width of the text states
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glta.methods.exhibit import Exhibit, ExhibitTable
from glta.methods.shared.code_tree import code_tree_picture
from glta.nn.quantize.collisions import group_numbers
from glta.nn.quantize.item_codes import ItemCodes

TEXT = (
    "Each item has a sequence of codes, from coarse to fine. Good codes are used evenly: the "
    "perplexity of a level is near its number of codes, and none is dead. Few items collide, the "
    "error falls from level to level, and texts of items with one prefix are more alike than those "
    "of any two items."
)


def code_exhibit(
    codes: ItemCodes,
    vectors_ID: np.ndarray,
    text_IW: np.ndarray,
    names: Sequence[str] | None = None,
) -> Exhibit:
    """Measure codes, and draw their tree.

    vectors_ID, text_IW: from which the codes were made. names: of the items, for the picture.
    """
    known = codes.space.vector.rows(np.asarray(vectors_ID, np.float32))
    levels = codes.nearest.shape[1]
    errors = [_squared_errors(codes, known, total) for total in codes.books.sums(codes.nearest)]
    *_, final = codes.books.sums(codes.codes[:, :levels])
    variance = float(np.square(known - known.mean(0)).sum()) or 1.0
    shares = [float(error.sum()) / variance for error in errors]
    final_share = float(_squared_errors(codes, known, final).sum()) / variance
    tables = (
        _levels_table(codes, shares),
        _collisions_table(codes, final_share),
        _texts_table(codes, text_IW),
    )
    picture = code_tree_picture(codes.codes, errors[0], names)
    return Exhibit(title="Codes of the items", text=TEXT, tables=tables, pictures=(picture,))


def usage(codes_I: np.ndarray) -> tuple[int, float]:
    """Return how many different codes items have, and the entropy of their shares in bits."""
    share = np.unique(codes_I, return_counts=True)[1] / max(len(codes_I), 1)
    return len(share), float(-(share * np.log2(share)).sum()) + 0.0


def text_likeness(group_I: np.ndarray, text_IW: np.ndarray) -> tuple[int, int, float | None]:
    """Compare the text state of each item with those of the other items of its group.

    Items without text (zeros) are left out. Returns the number of groups of two or more items, the
    number of their items, and the mean over these items of the mean cosine with the others; None
    without such a group.
    """
    has_text = text_IW.any(1)
    text = text_IW[has_text].astype(np.float64)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    _, group, count = np.unique(group_I[has_text], return_inverse=True, return_counts=True)
    total_GW = np.zeros((len(count), text.shape[1]))
    np.add.at(total_GW, group, text)
    several = count > 1
    size = count[several]
    if not size.size:
        return 0, 0, None
    # the cosines of a group's pairs add up to the squared length of the sum, without the diagonal
    within = (np.square(total_GW[several]).sum(1) - size) / (size - 1)
    return int(several.sum()), int(size.sum()), float(within.sum() / size.sum())


def _squared_errors(codes: ItemCodes, known_ID: np.ndarray, total_IF: np.ndarray) -> np.ndarray:
    """Return the squared distance of each vector from what a sum of codes stands for: (I,)."""
    return np.square(known_ID - codes.space.decoded(total_IF)).sum(1)


def _levels_table(codes: ItemCodes, shares: Sequence[float]) -> ExhibitTable:
    """Show usage and error of each level, before collisions are resolved."""
    rows: list[tuple[str | int | float | None, ...]] = []
    for level, share in enumerate(shares):
        rows.append((str(level + 1), *_usage_row(codes, level, codes.nearest), share))
    if codes.codes.shape[1] > len(shares):
        size, used, _, *spread = _usage_row(codes, len(shares), codes.codes)
        # most items need none of its codes but the first, so that unused ones are no fault
        rows.append(("further token", size, used, None, *spread, None))
    return ExhibitTable(
        title="Codes by level",
        columns=("level", "codes", "used", "dead", "entropy in bits", "perplexity", "error"),
        rows=tuple(rows),
        note="Perplexity: 2^entropy. Error: the part of the variance of the vectors that the codes "
        "up to this level do not explain. Before collisions are resolved",
        digits=3,
    )


def _usage_row(codes: ItemCodes, level: int, codes_IM: np.ndarray) -> tuple[int | float, ...]:
    used, bits = usage(codes_IM[:, level])
    size = codes.codes_per_level[level]
    return size, used, size - used, bits, 2.0**bits


def _collisions_table(codes: ItemCodes, final_share: float) -> ExhibitTable:
    """Show how many items have equal codes before these are resolved, and what that changes."""
    count = np.bincount(group_numbers(codes.nearest))
    items = codes.num_items
    levels = codes.nearest.shape[1]
    moved = (codes.codes[:, :levels] != codes.nearest).any(1).sum()
    return ExhibitTable(
        title="Collisions",
        columns=("what", "value"),
        rows=(
            ("items", items),
            ("different sequences before", len(count)),
            ("collision rate before: 1 - sequences / items", 1 - len(count) / items),
            ("items that share a sequence before", int(count[count > 1].sum())),
            ("most items of a sequence before", int(count.max())),
            ("items with other codes after", int(moved)),
            ("different sequences after", int(group_numbers(codes.codes).max()) + 1),
            ("error after", final_share),
        ),
        note="Before and after collisions are resolved",
    )


def _texts_table(codes: ItemCodes, text_IW: np.ndarray) -> ExhibitTable:
    """Compare the texts of items with one prefix, for each length, with those of any two items."""
    rows = [("none: any two items", *text_likeness(np.zeros(codes.num_items), text_IW))]
    for length in range(1, codes.codes.shape[1]):
        group = group_numbers(codes.codes[:, :length])
        rows.append((str(length), *text_likeness(group, text_IW)))
    return ExhibitTable(
        title="Texts of items with one prefix",
        columns=("prefix length", "prefixes of several items", "items", "mean cosine"),
        rows=tuple(rows),
        note="Mean cosine of an item's text state with those of the other items of its prefix",
        digits=3,
    )
