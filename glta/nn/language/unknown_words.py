"""Refuse texts whose words a tokenizer does not know: all of them would get one state."""

from __future__ import annotations

import sys
from collections.abc import Sequence

REFUSED_SHARE = 0.9
WARNED_SHARE = 0.5


def check_known(
    tokens: Sequence[Sequence[int]], texts: Sequence[str], unknown: int | None, model: str
) -> None:
    """Check how many tokens of texts are the unknown token.

    tokens: of each text, without special tokens. A text that is not blank and has none counts as
    one unknown token. unknown: None for a tokenizer without such a token. model: parameter and
    value, for the message. Raises ValueError for a share of at least REFUSED_SHARE, and warns on
    stderr from WARNED_SHARE on.
    """
    lost = sum(not row and bool(text.strip()) for row, text in zip(tokens, texts, strict=True))
    total = lost + sum(len(row) for row in tokens)
    lost += sum(row.count(unknown) for row in map(list, tokens)) if unknown is not None else 0
    if not total or lost < WARNED_SHARE * total:
        return
    message = (
        f"{model}: its tokenizer does not know {100 * lost / total:.0f} % of the tokens of "
        f"{len(texts)} texts, such as {next(filter(str.strip, texts))[:60]!r}; name a model of the "
        "language of the texts"
    )
    if lost >= REFUSED_SHARE * total:
        raise ValueError(f"{message}, or copy the right tokenizer into its folder")
    print(f"warning: {message}", file=sys.stderr)
