"""Load a model of transformers and its tokenizer, and refuse all that would load as something else.

transformers fills weights that a file lacks with random numbers, and makes a tokenizer without a
vocabulary where its files are missing. Here both are errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from glta.nn.language.model_files import ModelFiles, first_line, read_model_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUMBERS = {"F64", "F32", "F16", "BF16"}
"""Types of weights in a safetensors file that can be read as they are."""

VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken", "bpe.codes", "tekken.json")
"""Files of which a tokenizer has at least one, unless it reads bytes or characters."""

FALLBACK_TOKENS = 4096
"""Most tokens of a text for a model whose files name no limit."""

CONSTANTS = re.compile(
    r"(^|\.)(masked_bias|(attn|attention)(\.attention)?\.bias|inv_freq|position_ids)$"
)
"""Names in older files of masks and positions, which are no weights: a model makes them itself."""


def keep_transformers_quiet() -> None:
    """Switch off the warnings and progress bars of transformers."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_model(files: ModelFiles, *, generates: bool, dtype: torch.dtype) -> Any:
    """Load a model from safetensors, without remote code, in evaluation mode, on the CPU.

    generates: True loads a causal model with its head; False loads a model that gives hidden
    states: an encoder, the encoder of an encoder-decoder, or a causal model without its head.
    Raises ValueError with what is wrong: no or other files, weights that are missing, left over, of
    another shape, or not finite.
    """
    import transformers

    keep_transformers_quiet()
    _check_config(files.root)
    _check_weight_files(files)
    settings = files.root / "generation_config.json"  # transformers passes over a broken one
    if generates and settings.is_file() and not isinstance(read_model_json(settings), dict):
        raise ValueError(f"{settings}: holds no settings; download or copy it again")
    try:
        config = transformers.AutoConfig.from_pretrained(files.root, trust_remote_code=False)
    except Exception as error:  # transformers raises many types, all with the same fix
        raise _not_loadable(files.root, error) from error
    auto: Any = transformers.AutoModelForCausalLM if generates else transformers.AutoModel
    if type(config) not in auto._model_mapping:
        task = "writes text" if generates else "gives hidden states"
        raise ValueError(
            f"{files.root}: no model of type {config.model_type} {task}; name another one"
        )
    try:
        model, found = auto.from_pretrained(
            files.root,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=dtype,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    except Exception as error:
        raise _not_loadable(files.root, error) from error
    read = model if generates else _reader(model)
    _check_weights(files.root, model, read, found, generates)
    try:
        table = read.get_input_embeddings()
    except (NotImplementedError, AttributeError):  # of transformers, for models without one
        table = None
    if not isinstance(table, nn.Embedding):
        raise ValueError(
            f"{files.root}: a model of type {config.model_type} has no table of word embeddings; "
            "name a model of text"
        )
    return read.requires_grad_(False).eval()


def load_tokenizer(files: ModelFiles, model: Any, **options: Any) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, without remote code.

    options: of transformers. Raises ValueError when there is none, when its vocabulary is larger
    than the model's table of embeddings, or when it finds no token in words.
    """
    from transformers import AutoTokenizer

    root = files.root
    path = root / "tokenizer_config.json"
    if (
        path.is_file()
        and "auto_map" in read_model_json(path)
        and not (root / "tokenizer.json").is_file()
    ):
        raise ValueError(
            f"{root}: its tokenizer needs Python code of its own, which is never run; name a model "
            "with a tokenizer.json"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            root, trust_remote_code=False, local_files_only=True, **options
        )
        names = (*VOCABULARIES, *tokenizer.vocab_files_names.values())
        if tokenizer.vocab_files_names and not any(any(root.glob(name)) for name in names):
            raise ValueError("it has no file with a vocabulary")
        largest = max(tokenizer.get_vocab().values(), default=0)
        words = tokenizer("a")["input_ids"]
    except Exception as error:
        raise ValueError(
            f"{root}: holds no usable tokenizer ({first_line(error)}); copy the tokenizer's files "
            "of this model, such as tokenizer.json, into the folder"
        ) from error
    table = model.get_input_embeddings().num_embeddings
    if largest >= table:
        raise ValueError(
            f"{root}: the tokenizer's largest token is {largest}, but the model has embeddings for "
            f"{table} tokens, from 0; copy the tokenizer of this model into the folder"
        )
    if not words:
        raise ValueError(
            f"{root}: its tokenizer finds no token in a word; copy the tokenizer of this model "
            "into the folder"
        )
    return tokenizer


def longest_input(model: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the most tokens that a model reads, special ones included.

    RoBERTa, XLM-R and their kin number positions from padding_idx + 1 on, so that 514 positions are
    512 tokens. Without a limit of the model, it is that of the tokenizer, or FALLBACK_TOKENS.
    """
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Embedding)
            and name.endswith("position_embeddings")
            and module.padding_idx is not None
        ):
            return module.num_embeddings - module.padding_idx - 1
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0
    if limit > 0:
        return limit
    # a tokenizer without a limit has a huge number, or one below 1
    named = tokenizer.model_max_length
    return min(named, FALLBACK_TOKENS) if named > 0 else FALLBACK_TOKENS


def looks_back_alone(outputs_BT: torch.Tensor) -> bool:
    """Return whether the outputs at the first token are those of a causal model.

    outputs_BT: (2, 2, ...) outputs for two inputs that differ in their second token alone.
    """
    return torch.allclose(outputs_BT[0, 0], outputs_BT[1, 0], rtol=1e-3, atol=1e-5)


def _reader(model: Any) -> Any:
    """Return the part of a model that reads: of an encoder-decoder, the encoder."""
    parts = ("encoder", "decoder")
    both = all(isinstance(getattr(model, part, None), nn.Module) for part in parts)
    return model.get_encoder() if both else model


def _not_loadable(root: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{root}: not a loadable language model ({first_line(error)}); download or save it again, "
        "or name another one"
    )


def _check_config(root: Path) -> None:
    """Raise ValueError when a folder's configuration shows that its weights cannot be used."""
    if (root / "adapter_config.json").is_file():
        raise ValueError(
            f"{root}: holds adapters of peft, not a whole model; merge them into their model "
            "(merge_and_unload), and save that"
        )
    path = root / "config.json"
    if not path.is_file():
        if any(root.glob("*.gguf")):
            raise ValueError(f"{root}: holds a GGUF file, which is not read; {_WANTED}")
        raise ValueError(f"{root}: not a loadable language model (no config.json); {_WANTED}")
    config = read_model_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ValueError(f"{path}: has no model_type; {_WANTED}")
    if config.get("quantization_config"):
        raise ValueError(
            f"{root}: holds quantised weights, which are not read; name the model with weights of "
            "float16, bfloat16 or float32"
        )
    if "transformers_weights" in config:
        raise ValueError(f"{path}: transformers_weights is not read; name the file {_FILES}")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if config["model_type"] not in CONFIG_MAPPING:
        reason = (
            "needs Python code of its own, which is never run"
            if "auto_map" in config
            else "is not known to the installed transformers"
        )
        raise ValueError(
            f"{root}: a model of type {config['model_type']} {reason}; name another model"
        )


_FILES = "model.safetensors"
_WANTED = "name a folder with config.json, safetensors weights and the tokenizer"


def _check_weight_files(files: ModelFiles) -> None:
    """Raise ValueError when a file of the weights is missing, damaged, or of unreadable numbers."""
    root = files.root
    index = root / "model.safetensors.index.json"
    shards = files.weights
    if not shards:
        raise ValueError(
            f"{root}: holds no .safetensors weights; pickled weights (.bin) are never loaded, save "
            "the model as safetensors first"
        )
    if not (root / _FILES).is_file():
        if not index.is_file():
            raise ValueError(
                f"{root}: holds neither {_FILES} nor {index.name}; copy all files of the model"
            )
        shards = _shards(index)
    for path in shards:
        _check_safetensors(path)


def _shards(index: Path) -> list[Path]:
    """Return the files that an index of weights names. Raises ValueError when one is not there."""
    try:
        names = sorted({*read_model_json(index)["weight_map"].values()})
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{index}: has no weight_map; copy the file again") from None
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{index}: names {name}, which is no .safetensors file beside it")
        if not (index.parent / name).is_file():
            raise ValueError(
                f"{index.parent / name}: no such file, but {index.name} names it; copy all files "
                "of the model"
            )
    return [index.parent / name for name in names]


def _check_safetensors(path: Path) -> None:
    """Raise ValueError when a file is not whole, or holds quantised weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            quantised = [
                name
                for name in file.keys()  # noqa: SIM118  # it is no mapping
                if name.endswith("weight") and file.get_slice(name).get_dtype() not in NUMBERS
            ]
    except (SafetensorError, json.JSONDecodeError) as error:
        with open(path, "rb") as start:
            pointer = start.read(40).startswith(b"version https://git-lfs")
        reason = "a pointer of Git LFS; run `git lfs pull`" if pointer else str(error)
        raise ValueError(
            f"{path}: not a whole safetensors file ({reason}); download or copy it again"
        ) from None
    if quantised:
        raise ValueError(
            f"{path}: {quantised[0]} is quantised, which is not read; name the model with weights "
            "of float16, bfloat16 or float32"
        )


def _check_weights(
    root: Path, model: Any, read: Any, found: dict[str, Any], generates: bool
) -> None:
    """Raise ValueError when the weights in the files are not those that the model has.

    model: as it was loaded. read: the part of it that is used. found: transformers' account of the
    weights. A pooler may be missing, as it is not read. Without `generates` there may be heads, as
    a fine-tuned encoder has them, and the decoder of an encoder-decoder.
    """
    used = {id(tensor) for _, tensor in _tensors(read)}
    names = {name for name, tensor in _tensors(model) if id(tensor) in used}
    names = {name for name in names if generates or not name.startswith("pooler.")}
    missing = sorted(names & {*found["missing_keys"]})
    shapes = sorted(entry for entry in found["mismatched_keys"] if entry[0] in names)
    left_over = sorted(name for name in found["unexpected_keys"] if not CONSTANTS.search(name))
    # modules count too: one that config.json leaves without layers has no weights of its own
    inner = {id(module) for module in read.modules()} - {id(model)}
    names_of_modules = {name for name, module in model.named_modules() if id(module) in inner}
    parts = {name.partition(".")[0] for name in names | names_of_modules} - {"pooler"}
    prefix = f"{model.base_model_prefix}."
    own = [n for n in left_over if n.removeprefix(prefix).partition(".")[0] in parts]
    if missing or shapes or (left_over if generates else own):
        problems = [
            *([f"missing are {_some(missing)}"] if missing else []),
            *([f"unexpected are {_some(left_over)}"] if left_over else []),
            *(
                f"{name} has the shape {list(there)} instead of {list(wanted)}"
                for name, there, wanted in shapes[:3]
            ),
        ]
        raise ValueError(
            f"{root}: the weights are not those of the model that config.json describes: "
            f"{'; '.join(problems)}; {_advice(missing, left_over, generates)}"
        )
    for name, tensor in read.named_parameters():
        if not torch.isfinite(tensor).all():
            raise ValueError(
                f"{root}: the weights {name} have values that are NaN or infinite; save or "
                "download the model again"
            )


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Return all parameters and buffers, under each of their names."""
    return [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]


def _some(names: Collection[str]) -> str:
    """Write the first three names, and the number of the others."""
    first = ", ".join([*names][:3])
    return first + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _advice(missing: list[str], left_over: list[str], generates: bool) -> str:
    """Say how the weights can be mended. A prefix that all names share is the usual reason."""
    there = {*left_over}
    for name in left_over:
        prefix = name.removesuffix(missing[0]) if missing and name.endswith(missing[0]) else ""
        if prefix and all(prefix + other in there for other in missing):
            return (
                f'each name begins with "{prefix}" in the file: save the model itself and not the '
                "object around it"
            )
    again = "save or download the model again with its configuration"
    return f"{again}, or name a causal model that has its head" if generates else again
