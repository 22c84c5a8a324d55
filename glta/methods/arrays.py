"""What the methods that need no torch share: arrays on disk, and the check of user ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from glta.files import write_whole


def save_arrays(path: Path | str, arrays: Mapping[str, np.ndarray], meta: Mapping | None = None) -> None:
    """Write arrays (and a JSON-able mapping) as `glta.training.save_tensors` does: same format, atomically, no torch."""
    metadata = {"meta": json.dumps(meta, sort_keys=True)} if meta is not None else None
    write_whole(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata))


def load_arrays(path: Path | str) -> tuple[dict[str, np.ndarray], dict]:
    """Read (arrays, meta). Raises FileNotFoundError, and ValueError that names the file when it is not safetensors."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such file", str(path))
    try:
        with safe_open(path, framework="numpy") as f:
            meta = json.loads((f.metadata() or {}).get("meta", "{}"))
            return {name: f.get_tensor(name) for name in f.keys()}, meta  # noqa: SIM118 - not a dict
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}); delete it and run again") from None


def joined(parts: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put the arrays of several parts into one mapping, as PART.NAME."""
    return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def part_of(arrays: Mapping[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """Take the arrays of one part out of what `joined` made."""
    return {name.removeprefix(f"{part}."): array for name, array in arrays.items() if name.startswith(f"{part}.")}


def known_users(users: np.ndarray, num_users: int) -> np.ndarray:
    """Return the ids as int64. Raises ValueError for an id outside 0..num_users-1; numpy would read -1 as the last user."""
    users = np.asarray(users, np.int64)
    if users.size and (users.min() < 0 or users.max() >= num_users):
        wrong = int(users[(users < 0) | (users >= num_users)][0])
        raise ValueError(f"unknown user {wrong}: this model knows users 0..{num_users - 1}")
    return users


def unit_rows(array: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; rows of zeros stay zeros. (N, W) float32."""
    norm = np.linalg.norm(array, axis=1, keepdims=True)
    return (array / np.where(norm > 0, norm, 1)).astype(np.float32)
