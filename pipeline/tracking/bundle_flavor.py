"""Answer from a bundle that MLflow has loaded as a pyfunc model.

MLflow imports this module by its name, so the model has no pickle, and needs the package glta.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glta.serving.bundle import Bundle, load

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_K = 10


class BundleModel:
    """Recommend to each row of a table. See `predict`."""

    def __init__(self, bundle: Bundle):
        self.bundle = bundle

    def predict(
        self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one list for each row: columns way, items (ids, best first), scores.

        model_input: columns user_id (text) and items (lists of ids, oldest first); one of them may
        be missing, and so may any value. params: k, the length of the lists.
        Raises ValueError for an unknown item, and without any of the two columns.
        """
        import pandas as pd

        # MLflow drops other columns, and a table without columns has no rows
        if not {"user_id", "items"} & {*model_input.columns}:
            raise ValueError("the input has neither a column user_id nor a column items")
        k = (params or {}).get("k", DEFAULT_K)
        rows = [
            self.bundle.recommend(_text(row.get("user_id")), _texts(row.get("items")), k)._asdict()
            for row in model_input.to_dict("records")
        ]
        return pd.DataFrame(rows, columns=["way", "items", "scores"], index=model_input.index)


def _text(value: Any) -> str | None:
    """Return a text; None for an empty place, which pandas fills with NaN."""
    return value if isinstance(value, str) else None


def _texts(value: Any) -> list[str]:
    return [] if value is None or isinstance(value, float) else [*map(str, value)]


def _load_pyfunc(path: str) -> BundleModel:
    """Load the model. MLflow calls this function by its name."""
    return BundleModel(load(Path(path)))
