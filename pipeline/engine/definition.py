"""Write dvc.yaml from the specs of all methods. It does not depend on params.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from glta.methods.registry import Unit, units
from pipeline.engine.code import code_file, values_file

DEFINITION = Path("dvc.yaml")

HEAD = """\
# The only definition of the stages: the Snakefile reads it too (docs/engines.md).
# Made from the specs of all methods (glta/methods/*/spec.py) by `glta params sync`; do not edit.
# plan.yaml lists the datasets for which a stage runs. The stage `code` writes data/code/NAME.json,
# the hashes of a stage's code, and data/params/DATASET/STAGE.json, the parameter values that count.
vars: [plan.yaml]

stages:
"""

RUN = "python -m pipeline.tracking.start -- python -m pipeline.stages."
DATASET = "--dataset ${item.dataset}"
SEED = "--seed ${item.seed}"
METHOD = "--method ${item.method}"
PART = "--part ${item.part}"
CELL = "data/${item.dataset}/${item.seed}"
OF = "--of ${item.of}"
SHARDS = f"{CELL}/shards/profile-of-${{item.of}}"
LISTS = f"{CELL}/shards/recommend-of-${{item.of}}/${{item.method}}"

STAGES = f"""\
  code:
    cmd: {RUN}code
    meta: {{threads: 1, resources: {{mem_mb: 500}}}}
    deps:
      - glta
      - pipeline
      - params.yaml
      # so that DVC does not restore the results of an earlier plan for earlier parameters
      - plan.yaml
    outs:
      - data/code: {{type: dir}}
      - data/params: {{type: dir}}

  download:
    matrix: {{dataset: "${{datasets}}"}}
    cmd: {RUN}download {DATASET}
    meta: {{threads: 1, resources: {{mem_mb: 1000}}}}
    deps:
      - data/code/download.json
      - data/params/${{item.dataset}}/download.json
    outs:
      - data/${{item.dataset}}/download: {{type: dir}}

  prepare:
    matrix: {{dataset: "${{datasets}}", seed: "${{seeds}}"}}
    cmd: {RUN}prepare {DATASET} {SEED}
    meta: {{threads: 1, resources: {{mem_mb: 4000}}}}
    deps:
      - data/${{item.dataset}}/download
      - data/code/prepare.json
      - data/params/${{item.dataset}}/prepare.json
    outs:
      - {CELL}/prepare: {{type: dir}}

  profile:
    matrix: {{dataset: "${{plan.profile}}", seed: "${{seeds}}"}}
    cmd: {RUN}profile {DATASET} {SEED}
    meta: {{threads: 2, resources: {{mem_mb: 4000}}}}
    deps:
      - {CELL}/prepare
      - data/code/profile.json
      - data/params/${{item.dataset}}/profile.json
    outs:
      - {CELL}/profile: {{type: dir}}

  # with shards.profile above 1, these two stages replace `profile`; the result is the same
  profile-part:
    matrix:
      dataset: "${{plan.profile-join}}"
      seed: "${{seeds}}"
      of: "${{of.profile}}"
      part: "${{parts.profile}}"
    cmd: {RUN}profile {DATASET} {SEED} {OF} {PART}
    meta: {{threads: 2, resources: {{mem_mb: 4000}}}}
    deps:
      - {CELL}/prepare
      - data/code/profile.json
      - data/params/${{item.dataset}}/profile.json
    outs:
      - {SHARDS}/${{item.part}}: {{type: dir}}

  profile-join:
    matrix: {{dataset: "${{plan.profile-join}}", seed: "${{seeds}}", of: "${{of.profile}}"}}
    cmd: {RUN}profile_join {DATASET} {SEED} {OF}
    meta: {{threads: 2, resources: {{mem_mb: 4000}}}}
    deps:
      - {CELL}/prepare
      - {SHARDS}
      - data/code/profile-join.json
      - data/params/${{item.dataset}}/profile.json
    outs:
      - {CELL}/profile: {{type: dir}}
"""

RESULTS = f"""\
  recommend:
    matrix: {{dataset: "${{plan.recommend}}", seed: "${{seeds}}", method: "${{methods}}"}}
    cmd: {RUN}recommend {DATASET} {SEED} {METHOD}
    meta: {{threads: 1, resources: {{mem_mb: 4000}}}}
    deps:
      - {CELL}/prepare
      - {CELL}/models/${{item.method}}
      - data/code/recommend-${{item.method}}.json
      - data/params/${{item.dataset}}/recommend.json
    outs:
      - {CELL}/recommend/${{item.method}}: {{type: dir}}

  # with shards.recommend above 1, these two stages replace `recommend`; the result is the same
  recommend-part:
    matrix:
      dataset: "${{plan.recommend-join}}"
      seed: "${{seeds}}"
      method: "${{methods}}"
      of: "${{of.recommend}}"
      part: "${{parts.recommend}}"
    cmd: {RUN}recommend {DATASET} {SEED} {METHOD} {OF} {PART}
    meta: {{threads: 1, resources: {{mem_mb: 4000}}}}
    deps:
      - {CELL}/prepare
      - {CELL}/models/${{item.method}}
      - data/code/recommend-${{item.method}}.json
      - data/params/${{item.dataset}}/recommend.json
    outs:
      - {LISTS}/${{item.part}}: {{type: dir}}

  recommend-join:
    matrix:
      dataset: "${{plan.recommend-join}}"
      seed: "${{seeds}}"
      method: "${{methods}}"
      of: "${{of.recommend}}"
    cmd: {RUN}recommend_join {DATASET} {SEED} {METHOD} {OF}
    meta: {{threads: 1, resources: {{mem_mb: 2000}}}}
    deps:
      - {LISTS}
      - data/code/recommend-join.json
    outs:
      - {CELL}/recommend/${{item.method}}: {{type: dir}}

  evaluate:
    matrix: {{dataset: "${{datasets}}", seed: "${{seeds}}", method: "${{methods}}"}}
    cmd: {RUN}evaluate {DATASET} {SEED} {METHOD}
    meta:
      threads: 1
      resources: {{mem_mb: 4000}}
      metrics: data/evaluate/${{item.dataset}}/${{item.seed}}/${{item.method}}/metrics.json
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
      - data/params/${{item.dataset}}/evaluate.json
    outs:
      - data/evaluate/${{item.dataset}}/${{item.seed}}/${{item.method}}/users.parquet
      - data/evaluate/${{item.dataset}}/${{item.seed}}/${{item.method}}/summary.json
      - data/evaluate/${{item.dataset}}/${{item.seed}}/${{item.method}}/metrics.json
"""

REPORT = f"""\
  report:
    cmd: {RUN}report
    meta: {{threads: 1, resources: {{mem_mb: 2000}}, artifacts: true}}
    # data/evaluate has all evaluations; the runner deletes those of removed matrix entries
    deps:
      - data/evaluate
      - data/code/report.json
      - data/params/report.json
    outs:
      - data/report/index.html
      - data/report/cards.json: {{cache: false}}
      - data/report/metrics.json: {{cache: false}}
      - data/report/figures: {{type: dir}}
    # for `dvc metrics diff`, `dvc exp show` and `dvc plots show`: one number a method
    metrics:
      - data/report/summary.json: {{cache: false}}
    plots:
      - data/report/ranking.json:
          {{x: value, y: method, title: Test metric by method, template: bar_horizontal_sorted}}
"""


def render_definition() -> str:
    """Write dvc.yaml: the stages before the methods, those of the methods, and those after them."""
    trained = [_stage(unit) for unit in units().values()]
    bundles = [_bundle("bundle"), _bundle("bundle-with-profile", f"{CELL}/profile")]
    return HEAD + "\n".join([STAGES, *trained, RESULTS, *bundles, REPORT])


def _bundle(name: str, *reads: str) -> str:
    """Write a stage that exports the bundles of some methods, for the first seed alone.

    reads: the folders that the exports of the other methods do not need.
    """
    measured = "data/evaluate/${item.dataset}/${item.seed}/${item.method}"
    deps = [
        "data/${item.dataset}/download",
        f"{CELL}/prepare",
        *reads,
        f"{CELL}/models/${{item.method}}",
        f"{measured}/metrics.json",
        # it says which prepared data were measured
        f"{measured}/summary.json",
        code_file("bundle"),
        values_file(f"${{item.dataset}}/{name}"),
    ]
    methods = f'"${{bundles.{name}}}"'
    return "\n".join(
        [
            f"  {name}:",
            f'    matrix: {{dataset: "${{datasets}}", seed: ["${{seeds[0]}}"], method: {methods}}}',
            f"    cmd: {RUN}bundle {DATASET} {SEED} {METHOD}",
            "    meta: {threads: 1, resources: {mem_mb: 4000}}",
            "    deps:",
            *_items(deps),
            "    outs:",
            f"      - {CELL}/bundles/${{item.method}}: {{type: dir}}",
            "",
        ]
    )


def _stage(unit: Unit) -> str:
    """Write the stage of a step or of an ablation."""
    out = "/".join((CELL, *unit.folder))
    reads = ["/".join((CELL, *_folder(name))) for name in unit.reads]
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
            *_items([*reads, code_file(unit.name), values_file(f"${{item.dataset}}/{unit.name}")]),
            "    outs:",
            f"      - {out}: {{type: dir}}",
            "",
        ]
    )


def _folder(name: str) -> tuple[str, ...]:
    return units()[name].folder if name in units() else (name,)


def _items(values: Iterable[str]) -> list[str]:
    return [f"      - {value}" for value in values]
