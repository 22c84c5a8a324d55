"""Define four tiny stages with the shape of the real ones.

They have a matrix over methods, and a folder above its results.
"""

from pathlib import Path

import yaml


def ran(name: str) -> None:
    """Record that a stage was executed."""
    with Path("ran.log").open("a") as f:
        f.write(name + "\n")


def value(section: str, key: str):
    """Read a parameter, with the dataset sample's overrides. section: a dotted name."""
    params = yaml.safe_load(Path("params.yaml").read_text())
    own = params["overrides"]["sample"]
    for part in section.split("."):
        own, params = own[part], params[part]
    return own.get(key, params[key])
