"""Choose the type of a language model's numbers."""

from __future__ import annotations

import sys
from functools import cache
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]


def number_type(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of the numbers of a forward pass. auto: bfloat16 on CUDA, float32 on a CPU.

    Warns once on stderr when a CPU has no instructions for bfloat16. It then computes products of
    matrices tens of times as slowly as in float32, with the same results.
    """
    on_cpu = device.type == "cpu"
    if precision == "auto":
        return torch.float32 if on_cpu else torch.bfloat16
    if precision == "bfloat16" and on_cpu and not cpu_has_bfloat16():
        _warn()
    return getattr(torch, precision)


def cpu_has_bfloat16() -> bool:
    """Tell whether this CPU has instructions that multiply bfloat16 numbers."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@cache
def _warn() -> None:
    print(
        "warning: precision = bfloat16: this CPU has no instructions for it, and may take tens of "
        "times as long as with float32; set float32 or auto",
        file=sys.stderr,
    )
