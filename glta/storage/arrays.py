"""NumPy arrays and sparse matrices in safetensors files, for methods that need no torch."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    with _opened(path) as (file, meta):
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, meta


def map_arrays(path: Path | str) -> tuple[dict[str, np.ndarray], dict]:
    """Map the arrays that `save_arrays` wrote into memory, and read the meta values.

    The arrays are read-only. A part of an array is read from the disk when it is used, so the call
    takes the same time for files of any size. The layout of the file is checked, and that it is
    whole. Replace such a file as `save_arrays` does; never write into it.
    Raises as `load_arrays` does.
    """
    path = Path(path)
    with _opened(path) as (_, meta), open(path, "rb") as file:
        # the format: 8 bytes with the length of a JSON header, the header, the arrays
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {}
    for name, about in header.items():
        if name != "__metadata__":
            dtype = _dtype(about["dtype"])
            shape = about["shape"]
            start = 8 + size + about["data_offsets"][0]
            count = math.prod(shape)
            # frombuffer refuses an array without values
            flat = np.frombuffer(whole, dtype, count, start) if count else np.empty(0, dtype)
            arrays[name] = flat.reshape(shape)
    return arrays, meta


def _dtype(code: str) -> np.dtype:
    """Return the NumPy type of a type of safetensors, such as F32."""
    kind = {"F": "f", "I": "i", "U": "u"}[code[0]]
    return np.dtype(f"<{kind}{int(code[1:]) // 8}")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict]]:
    """Open a safetensors file. Yields the open file and its meta values."""
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    try:
        with safe_open(path, framework="numpy") as file:
            yield file, json.loads((file.metadata() or {}).get("meta", "{}"))
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
