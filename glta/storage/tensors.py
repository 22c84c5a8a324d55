"""Torch tensors in safetensors files, with a digest of the content where they are a cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from glta.storage.digests import digest_of_arrays
from glta.storage.files import write_whole


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping | None = None
) -> None:
    """Write tensors to a safetensors file, whole or not at all.

    meta: further values, as JSON. Raises OSError when the disk is full.
    """
    metadata = None if meta is None else {"meta": json.dumps(meta, sort_keys=True)}
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    write_whole(path, save(contiguous, metadata))


def load_tensors(
    path: Path, device: str | torch.device = "cpu"
) -> tuple[dict[str, torch.Tensor], dict]:
    """Read the tensors and the meta values that `save_tensors` wrote.

    Raises FileNotFoundError, and ValueError that names the file when it is not safetensors.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, meta
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path}: not a readable safetensors file ({error}); delete it and run again"
        ) from error


@torch.no_grad()
def copy_weights(mine: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
    """Copy saved tensors into those of a model, in place.

    Raises ValueError when one of the model's is missing or has another shape.
    """
    for name, tensor in mine.items():
        found = saved.get(name)
        if found is None or found.shape != tensor.shape:
            shape = None if found is None else tuple(found.shape)
            raise ValueError(f"saved weights do not fit: {name} is {shape}")
        tensor.copy_(found)


def save_checked(path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping) -> None:
    """Write tensors as `save_tensors` does, with a digest of the content.

    safetensors checks the layout of a file alone, so it would read numbers that were damaged.
    """
    save_tensors(path, tensors, {"meta": meta, "digest": _digest(tensors, meta)})


def load_checked(path: Path) -> tuple[dict[str, torch.Tensor], dict] | None:
    """Read the tensors and the meta values that `save_checked` wrote, or None without a file.

    A damaged file is deleted, a line on stderr says so, and the result is None.
    """
    if not path.exists():
        return None
    try:
        tensors, saved = load_tensors(path)
        if saved.get("digest") == _digest(tensors, saved.get("meta")):
            return tensors, saved["meta"]
    except ValueError:
        pass
    print(f"{path}: is damaged and was deleted; its content is computed again", file=sys.stderr)
    path.unlink()
    return None


def _digest(tensors: Mapping[str, torch.Tensor], meta: Mapping | None) -> str:
    """Return the SHA-256 digest of meta and of each tensor's name, type, shape and bytes."""
    parts = []
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().cpu().contiguous()
        # torch cannot view a tensor without elements as bytes
        content = (
            tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else memoryview(b"")
        )
        parts.append((name, tensor.dtype, tuple(tensor.shape), content))
    return digest_of_arrays(parts, meta)
