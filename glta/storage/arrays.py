"""NumPy arrays and sparse matrices in safetensors files, for methods that need no torch."""

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
    """Write arrays to a safetensors file, whole or not at all.

    meta: further values, as JSON. The format is that of `glta.storage.tensors.save_tensors`. Raises
    OSError when the disk is full.
    """
    metadata = None if meta is None else {"meta": json.dumps(meta, sort_keys=True)}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_whole(path, save(contiguous, metadata))


def load_arrays(path: Path | str) -> tuple[dict[str, np.ndarray], dict]:
    """Read the arrays and the meta values that `save_arrays` wrote.

    Raises FileNotFoundError, and ValueError that names the file when it is not safetensors.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    try:
        with safe_open(path, framework="numpy") as file:
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, meta
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: not a readable safetensors file ({error}); delete it and run again"
        ) from None


def joined(parts: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put the arrays of several parts into one dict, under the names PART.NAME."""
    result = {}
    for part, arrays in parts.items():
        for name, array in arrays.items():
            result[f"{part}.{name}"] = array
    return result


def part_of(arrays: Mapping[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """Return the arrays of one part, by their own names, from a dict made by `joined`."""
    prefix = f"{part}."
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def sparse_arrays(name: str, matrix: csr_array) -> dict[str, np.ndarray]:
    """Return the arrays of a sparse matrix, to be saved with others.

    They are NAME.values, NAME.columns, NAME.starts (where each row begins) and NAME.shape.
    """
    return {
        f"{name}.values": matrix.data,
        f"{name}.columns": matrix.indices,
        f"{name}.starts": matrix.indptr,
        f"{name}.shape": np.array(matrix.shape),
    }


def sparse_from(name: str, arrays: Mapping[str, np.ndarray]) -> csr_array:
    """Rebuild a sparse matrix from the arrays that `sparse_arrays` returned."""
    values = arrays[f"{name}.values"]
    columns = arrays[f"{name}.columns"]
    starts = arrays[f"{name}.starts"]
    shape = tuple(arrays[f"{name}.shape"])
    return csr_array((values, columns, starts), shape=shape)
