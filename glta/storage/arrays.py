"""What the methods that need no torch share: arrays on disk, and the check of user ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.sparse import csr_array

from glta.storage.files import write_whole


def save_arrays(
    path: Path | str, arrays: Mapping[str, np.ndarray], meta: Mapping | None = None
) -> None:
    """Write arrays (and a JSON-able mapping) as `glta.training.checkpoint.save_tensors` does: same
    format, atomically, no torch.
    """
    metadata = {"meta": json.dumps(meta, sort_keys=True)} if meta is not None else None
    write_whole(
        path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)
    )


def load_arrays(path: Path | str) -> tuple[dict[str, np.ndarray], dict]:
    """Read (arrays, meta).

    Raises FileNotFoundError, and ValueError that names the file when it is not safetensors.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    try:
        with safe_open(path, framework="numpy") as f:
            meta = json.loads((f.metadata() or {}).get("meta", "{}"))
            return {name: f.get_tensor(name) for name in f.keys()}, meta  # noqa: SIM118 - not a dict
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: not a readable safetensors file ({error}); delete it and run again"
        ) from None


def joined(parts: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put the arrays of several parts into one mapping, as PART.NAME."""
    return {
        f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()
    }


def part_of(arrays: Mapping[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """Take the arrays of one part out of what `joined` made."""
    return {
        name.removeprefix(f"{part}."): array
        for name, array in arrays.items()
        if name.startswith(f"{part}.")
    }


def sparse_arrays(name: str, matrix: csr_array) -> dict[str, np.ndarray]:
    """Take a sparse matrix apart, to be saved as NAME.values, NAME.columns, NAME.starts and
    NAME.shape.
    """
    parts = {
        "values": matrix.data,
        "columns": matrix.indices,
        "starts": matrix.indptr,
        "shape": np.array(matrix.shape),
    }
    return {f"{name}.{part}": array for part, array in parts.items()}


def sparse_from(name: str, arrays: dict[str, np.ndarray]) -> csr_array:
    """Put together what `sparse_arrays` took apart."""
    values, columns, starts, shape = (
        arrays[f"{name}.{part}"] for part in ("values", "columns", "starts", "shape")
    )
    return csr_array((values, columns, starts), shape=tuple(shape))
