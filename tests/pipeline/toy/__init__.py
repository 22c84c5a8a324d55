"""Four tiny stages with the shape of the real ones: a fan-out over methods, and a folder above its results."""

from pathlib import Path

import yaml


def ran(name: str) -> None:
    """Note that a stage was executed."""
    with Path("ran.log").open("a") as f:
        f.write(name + "\n")


def value(section: str, key: str):
    return yaml.safe_load(Path("params.yaml").read_text())[section][key]
