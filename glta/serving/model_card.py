"""Write the model card of a bundle, and the notices of those whose data it holds."""

from __future__ import annotations

from typing import Any

from glta.evaluation.metrics import ACCURACY, BEYOND_ACCURACY
from glta.evaluation.top_k_store import Pairs
from glta.methods.registry import units
from glta.serving.bundle import BundleAbout

WORDS: dict[Pairs, str] = {
    "train": "training items",
    "seen": "training and validation items",
    "all": "known items, those of the test part too",
}
SERVES = {
    "histories": "new users, by a list of items",
    "sequences": "new users, by a list of items in their order",
    "new_items": "new items, by their texts",
}


def model_card(about: BundleAbout, counts: dict[str, Any]) -> str:
    """Write README.md. counts: the content of counts.json of the stage prepare."""
    method = units()[about.method].method
    serves = {SERVES[one] for one in method.capabilities}
    also = sorted(serves - ({SERVES["histories"]} if "sequences" in method.capabilities else set()))
    synthetic = about.source.get("synthetic")
    parts = [
        f"# {about.title}, trained on {about.dataset}",
        "This folder has all that recommends with this model. It needs the Python package glta "
        f"{about.versions['glta']} and nothing else of the project.",
        _code(
            "glta serve .                          # a page and a REST interface on 127.0.0.1:8000",
            "glta bundle recommend . --user ID",
        ),
        "## The model",
        _list(
            f"Method: {about.method}, {method.paper}.",
            f"Seed: {about.seed}.",
            f"Fitted on {WORDS[about.fitted]}.",
            f"Users are scored by their {WORDS[about.histories]}.",
            f"Not shown to a user: {WORDS[about.masked]}.",
            f"Serves the users of the data{''.join(f'; {one}' for one in also)}.",
            *_encoder(about),
        ),
        "## The data",
        _list(
            f"{about.dataset}{', which is made up by a program' if synthetic else ''}: "
            + ", ".join(
                f"{counts[name]:,} {name}"
                for name in ("users", "items", "interactions")
                if name in counts
            )
            + ".",
            *(
                f"{one['dropped']:,} interactions were left out ({one['why']})."
                for one in counts.get("steps", [])
                if one.get("dropped")
            ),
            f"Split into training, validation and test: {counts.get('split', 'not known')}.",
            "The test pairs are in this folder, as items of their users."
            if about.masked == "all"
            else "The test pairs are not in this folder.",
        ),
        "## Measured",
        _results(about),
        "## What to keep in mind",
        _list(
            "The model repeats what its data have: popular items are shown more often, and groups "
            "of users with few interactions are served worse.",
            "The values above are those of these data. They say nothing about others.",
            "Ids, titles and interactions of the data are in this folder. Whoever has it can read "
            "what each user had.",
        ),
        "## Origin",
        _list(
            f"Code: {about.commit or 'the commit is not recorded here'}.",
            "Versions: " + ", ".join(f"{k} {v}" for k, v in sorted(about.versions.items())) + ".",
            *(
                f"{name}: sha256 {file['sha256']}"
                for name, file in sorted(about.source.get("files", {}).items())
            ),
            "Terms of the data: NOTICES.md.",
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def notices(about: BundleAbout) -> str:
    """Write NOTICES.md: the terms of the dataset, and whom to cite."""
    source = about.source
    known = {
        "Licence": source.get("licence"),
        "Please cite": source.get("citation"),
        "Homepage": source.get("homepage"),
    }
    lines = [f"{name}: {text}" for name, text in known.items() if text]
    if not source.get("licence"):
        lines.insert(0, "Licence: not known. Ask the owner of the data before passing them on.")
    method = units()[about.method].method
    parts = [
        f"# Notices of a model trained on {about.dataset}",
        "Ids, titles and interactions of the dataset are in this folder. Its owner's terms hold "
        "for them.",
        _list(*lines),
        f"Source of the method: {method.paper}",
    ]
    return "\n\n".join(parts) + "\n"


def _encoder(about: BundleAbout) -> list[str]:
    if about.encoder is None:
        return []
    return [
        f"Texts were encoded by {about.encoder.language.model}, sha256 {about.encoder.sha256}. "
        "That language model is not in this folder; new items need it."
    ]


def _results(about: BundleAbout) -> str:
    """Return a table of the metrics over all users, on test and on validation pairs."""
    rows = []
    for name, value in sorted(about.measured.items(), key=lambda pair: _place(pair[0])):
        base, _, cutoff = name.partition("@")
        known = ACCURACY | BEYOND_ACCURACY
        if base in known:
            valid = about.measured.get(f"valid/{name}")
            shown = "" if valid is None else f"{valid:.4f}"
            rows.append(f"| {known[base].title}@{cutoff} | {value:.4f} | {shown} |")
    if not rows:
        return "Nothing was measured before the export."
    return "\n".join(["| metric | test | validation |", "|---|---|---|", *rows])


def _place(name: str) -> tuple[str, int]:
    """Sort metrics by name, then by cut-off as a number."""
    base, _, cutoff = name.partition("@")
    return base, int(cutoff) if cutoff.isdigit() else 0


def _list(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _code(*lines: str) -> str:
    return "\n".join(["```sh", *lines, "```"])
