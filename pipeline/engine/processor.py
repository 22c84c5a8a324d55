"""Set what the last digits of a result depend on besides its inputs: threads and instructions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
# avx2, portable or native; see `instructions`
SWITCH = "GLTA_INSTRUCTIONS"
# what nearly all processors for servers and desktops since 2015 have
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "AVX2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
LEVELS = {"avx2": AVX2, "portable": AVX2 | {"MKL_CBWR": "COMPATIBLE"}, "native": {}}


def thread_limits(threads: int) -> dict[str, str]:
    """Return the environment variables for a number of threads.

    The last digits of a sum depend on the number of threads. So dvc.yaml alone sets it, and neither
    --cores nor environment variables change it.
    """
    return dict.fromkeys(THREADS, str(threads))


def instructions(
    environment: Mapping[str, str], cpuinfo: Path = Path("/proc/cpuinfo")
) -> dict[str, str]:
    """Return the environment variables that say which instructions the libraries use.

    By themselves they take the widest ones of the processor, and a sum over sixteen numbers at a
    time has other last digits than one over eight. GLTA_INSTRUCTIONS says:

    - avx2, the default: AVX2, on all processors. MKL, which multiplies the matrices of torch, still
      uses one program for Intel's processors and another one for AMD's.
    - portable: as avx2, and one program of MKL for both. Products of matrices take twice as long.
    - native: the widest instructions.

    Empty for processors without AVX2, such as ARM's. Raises ValueError for another value.
    """
    level = environment.get(SWITCH) or "avx2"
    if level not in LEVELS:
        raise ValueError(f"{SWITCH}={level}: is unknown; set it to {', '.join(LEVELS)}")
    return LEVELS[level] if " avx2 " in cpuinfo.read_text() else {}
