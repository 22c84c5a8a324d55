"""The parameters that the repository starts with, whatever params.yaml holds by now."""

from __future__ import annotations

from pathlib import Path

from glta.params.check import check_params, read_mapping
from glta.params.file import render_params, use
from glta.params.model import Params

EXPERIMENTS = sorted((Path(__file__).parents[1] / "experiments").glob("*.yaml"))
QUICKSTART = next(path for path in EXPERIMENTS if path.stem == "quickstart")


def starting_text() -> str:
    """Return a params.yaml with the defaults and the values of experiments/quickstart.yaml."""
    return use(render_params(Params()), read_mapping(QUICKSTART, ""), str(QUICKSTART))


def starting_params() -> Params:
    """Return the same as an object."""
    from ruamel.yaml import YAML

    return check_params(YAML(typ="safe").load(starting_text()))
