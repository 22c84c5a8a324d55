"""Write dvc.yaml from the specs of all methods. It does not depend on params.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from glta.methods.registry import Unit, units
from pipeline.engine.code import code_file

DEFINITION = Path("dvc.yaml")

HEAD = """\
# The only definition of the stages: the Snakefile reads it too (docs/engines.md).
# Made from the specs of all methods (glta/methods/*/spec.py) by `glta params sync`; do not edit.
# plan.yaml lists the datasets for which a stage runs. data/code/NAME.json has the hashes of a
# stage's code.
# No stage depends on the parameter mirror: a file has the same checksum on every server.
vars: [plan.yaml]

stages:
"""

RUN = "python -m pipeline.engine.start -- python -m pipeline.stages."
DATASET = "--dataset ${item.dataset}"
SEED = "--seed ${item.seed}"
METHOD = "--method ${item.method}"
CELL = "data/${item.dataset}/${item.seed}"

STAGES = f"""\
  code:
    cmd: {RUN}code
    meta: {{threads: 1, resources: {{mem_mb: 500}}}}
    deps:
      - glta
      - pipeline
    # plan.yaml depends on these; the runner checks it, so that no stage is missing
    params:
      - datasets
      - methods
    outs:
      - data/code: {{type: dir}}

  download:
    matrix: {{dataset: "${{datasets}}"}}
    cmd: {RUN}download {DATASET}
    meta: {{threads: 1, resources: {{mem_mb: 1000}}}}
    deps:
      - data/code/download.json
    params:
      - tables
    outs:
      - data/${{item.dataset}}/download: {{type: dir}}

  prepare:
    matrix: {{dataset: "${{datasets}}", seed: "${{seeds}}"}}
    cmd: {RUN}prepare {DATASET} {SEED}
    meta: {{threads: 1, resources: {{mem_mb: 4000}}}}
    deps:
      - data/${{item.dataset}}/download
      - data/code/prepare.json
    params:
      - tables
      - prepare
      - overrides.${{item.dataset}}.prepare
    outs:
      - {CELL}/prepare: {{type: dir}}

  profile:
    matrix: {{dataset: "${{plan.profile}}", seed: "${{seeds}}"}}
    cmd: {RUN}profile {DATASET} {SEED}
    meta: {{threads: 2, resources: {{mem_mb: 4000}}}}
    deps:
      - {CELL}/prepare
      - data/code/profile.json
    params:
      - profile
      - language
      - overrides.${{item.dataset}}.profile
      - overrides.${{item.dataset}}.language
    outs:
      - {CELL}/profile: {{type: dir}}
"""

RESULTS = f"""\
  recommend:
    matrix: {{dataset: "${{datasets}}", seed: "${{seeds}}", method: "${{methods}}"}}
    cmd: {RUN}recommend {DATASET} {SEED} {METHOD}
    meta: {{threads: 1, resources: {{mem_mb: 4000}}}}
    deps:
      - {CELL}/prepare
      - {CELL}/models/${{item.method}}
      - data/code/recommend-${{item.method}}.json
    params:
      - recommend
      - overrides.${{item.dataset}}.recommend
    outs:
      - {CELL}/recommend/${{item.method}}: {{type: dir}}

  evaluate:
    matrix: {{dataset: "${{datasets}}", seed: "${{seeds}}", method: "${{methods}}"}}
    cmd: {RUN}evaluate {DATASET} {SEED} {METHOD}
    meta:
      threads: 1
      resources: {{mem_mb: 4000}}
      measures:
        model: {CELL}/models/${{item.method}}
        data: {CELL}/prepare
        dataset_name: ${{item.dataset}}
        method: ${{item.method}}
        seed: ${{item.seed}}
        metric: valid/ndcg@20
    deps:
      - data/${{item.dataset}}/download
      - {CELL}/prepare
      - {CELL}/models/${{item.method}}
      - {CELL}/recommend/${{item.method}}
      - data/code/evaluate.json
    params:
      - evaluate
      - overrides.${{item.dataset}}.evaluate
    outs:
      - data/evaluate/${{item.dataset}}/${{item.seed}}/${{item.method}}/users.parquet
      - data/evaluate/${{item.dataset}}/${{item.seed}}/${{item.method}}/summary.json
    metrics:
      - data/evaluate/${{item.dataset}}/${{item.seed}}/${{item.method}}/metrics.json

  report:
    cmd: {RUN}report
    meta: {{threads: 1, resources: {{mem_mb: 2000}}, artifacts: true}}
    # data/evaluate has all evaluations; the runner deletes those of removed matrix entries
    deps:
      - data/evaluate
      - data/code/report.json
    params:
      - report
      - evaluate
      - datasets
      - seeds
      - methods
    outs:
      - data/report/index.html
      - data/report/cards.json: {{cache: false}}
      - data/report/figures: {{type: dir}}
    metrics:
      - data/report/metrics.json: {{cache: false}}
"""


def render_definition() -> str:
    """Write dvc.yaml: the stages before the methods, those of the methods, and those after them."""
    trained = [_stage(unit) for unit in units().values()]
    return HEAD + "\n".join([STAGES, *trained, RESULTS])


def _stage(unit: Unit) -> str:
    """Write the stage of a step or of an ablation."""
    out = "/".join((CELL, *unit.folder))
    reads = ["/".join((CELL, *_folder(name))) for name in unit.reads]
    sections = unit.sections
    model = f', model: "{out}"' if unit.model else ""
    threads = max(step.threads for step in unit.steps)
    memory = max(step.memory_mb for step in unit.steps)
    return "\n".join(
        [
            f"  {unit.name}:",
            f'    matrix: {{dataset: "${{plan.{unit.name}}}", seed: "${{seeds}}"}}',
            f"    cmd: {RUN}train {DATASET} {SEED} --step {unit.name}",
            f"    meta: {{threads: {threads}, resources: {{mem_mb: {memory}}}{model}}}",
            "    deps:",
            *_items([*reads, code_file(unit.name)]),
            "    params:",
            *_items([*sections, *(f"overrides.${{item.dataset}}.{name}" for name in sections)]),
            "    outs:",
            f"      - {out}: {{type: dir}}",
            "",
        ]
    )


def _folder(name: str) -> tuple[str, ...]:
    return units()[name].folder if name in units() else (name,)


def _items(values: Iterable[str]) -> list[str]:
    return [f"      - {value}" for value in values]
