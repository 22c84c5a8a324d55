"""Every knob of the pipeline: typed, closed, frozen.

params.yaml is made from here by `params_file.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glta.config import Name, NoSettings, Positive, Search, Section, Share, file_fields
from glta.data.settings import PrepareSettings
from glta.datasets.settings import TableSettings
from glta.evaluation.settings import EvaluateSettings, RecommendSettings
from glta.features.settings import ProfileSettings
from glta.nn.graph.settings import (
    ContrastSettings,
    EncoderSettings,
    GraphTraining,
    Keep,
    Temperature,
    TextContrastSettings,
    Weight,
)
from glta.nn.language.settings import LanguageSettings

SECTIONS = (
    "prepare",
    "profile",
    "language",
    "pretrain",
    "align",
    "align_items",
    "align_users",
    "fit",
    "settings",
    "recommend",
    "evaluate",
)
"""The sections that a dataset may override."""


class LightGCNSettings(EncoderSettings):
    """Train LightGCN."""


class AlignSettings(Section):
    """Set what both alignment stages share."""

    targets: Literal["held_out", "all"] = Field(
        "held_out",
        description="held_out: training items the graph has not seen; all: the leaky variant",
    )
    head: Literal["free", "tied"] = Field(
        "free",
        description="free: linear map to the catalogue, as published; tied: low rank, to the item "
        "tokens",
    )
    head_rank: int = Field(128, ge=1, le=4096, description="rank of the tied head")
    head_init: Literal["matched", "random"] = Field(
        "matched",
        description="start of the free head: solved to match graph and text, or random; a tied "
        "head starts random",
    )
    precision: Literal["float32", "bfloat16"] | None = Field(
        None,
        description="of the language model in both alignments: float32, bfloat16; null: "
        "language.precision",
    )
    micro_batch: int = Field(
        0,
        ge=0,
        description="prompts of a step whose activations are held at once; 0: all. Less takes "
        "less memory",
    )
    checkpoint_layers: bool = Field(
        False,
        description="compute each layer's activations again for its gradient instead of holding "
        "them: half as long again",
    )
    lora_rank: int = Field(
        0,
        ge=0,
        le=256,
        description="0: frozen, as published; else LoRA of this rank is trained in both alignments",
    )
    lora_alpha: float = Field(16.0, gt=0, description="LoRA scale")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="LoRA dropout")


ProjectorRate = Annotated[float, Search(2e-5, 5e-3, log=True)]
HeadRate = Annotated[float, Search(1e-6, 3e-3, log=True)]


class AlignItemsSettings(Section):
    """Stage 2: learn the item projector and the head by putting item descriptions back into
    order.
    """

    enabled: bool = Field(
        True, description="false: the paper's ablation without item-text alignment"
    )
    items_per_prompt: int = Field(
        6, ge=2, le=64, description="items shuffled in one prompt, and read-out positions"
    )
    description_tokens: int = Field(10, ge=1, le=512, description="an item's text is cut here")
    learning_rate: ProjectorRate = Field(
        2e-4, gt=0, le=1, description="AdamW, of projectors and adapters"
    )
    head_learning_rate: HeadRate = Field(3e-4, gt=0, le=1, description="AdamW, of the head")
    weight_decay: float = Field(0.01, ge=0, description="AdamW")
    batch_size: Positive = Field(32, description="prompts a step")
    epochs: Positive = Field(6, description="at most; an epoch shows every item once")
    patience: Positive = Field(
        2, description="epochs without a lower validation loss before stopping"
    )


class AlignUsersSettings(Section):
    """Stage 3: learn the user projector and go on with the head, towards held-out items of each
    user.
    """

    context_items: int = Field(
        12, ge=0, le=512, description="item tokens in the prompt, redrawn every epoch"
    )
    read_outs: int = Field(
        4, ge=1, le=64, description="positions after the prompt that the head reads"
    )
    tag_tokens: int = Field(
        10, ge=0, le=512, description="profile tokens are cut here; 0: the ablation without them"
    )
    interest_tokens: int = Field(
        10, ge=0, le=512, description="prediction tokens are cut here; 0: the ablation without them"
    )
    user_token: bool = Field(
        True, description="false: the ablation without user alignment (the user's id as plain text)"
    )
    learning_rate: ProjectorRate = Field(
        5e-4, gt=0, le=1, description="AdamW, of projectors and adapters"
    )
    head_learning_rate: HeadRate = Field(1e-5, gt=0, le=1, description="AdamW, of the head")
    weight_decay: float = Field(0.01, ge=0, description="AdamW")
    batch_size: Positive = Field(32, description="prompts a step")
    epochs: Positive = Field(10, description="at most")
    patience: Positive = Field(
        2, description="epochs without a better validation NDCG@20 before stopping"
    )


class FitSettings(Section):
    """Make the methods without stages of their own; `settings` has one entry for each."""

    weight_steps: int = Field(
        21,
        ge=2,
        le=1001,
        description="weights tried on validation for lightgcn-text-knn, from 0 to 1",
    )


class ItemKNNSettings(Section):
    """Items that the same users have."""

    neighbours: Annotated[int, Search(5, 1000, log=True)] = Field(
        100, ge=1, description="most similar items kept of each item"
    )
    shrinkage: Annotated[float, Search(0.1, 1000.0, log=True)] = Field(
        10.0,
        ge=0,
        description="added to the cosine's denominator, against similarities that few users "
        "support",
    )


class EASESettings(Section):
    """Linear item-item model in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(
        100.0, gt=0, description="added to the diagonal of the item-item counts"
    )
    max_items: int = Field(
        10_000,
        ge=1,
        description="refuse larger catalogues: an I x I inverse takes 20 I^2 bytes and about I^3 "
        "steps",
    )


class GLTAPlusSettings(EASESettings):
    """Match graph and language tokens at once, in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(
        300.0, gt=0, description="ridge of the token map"
    )
    text_weight: Annotated[float, Search(0.1, 1e3, log=True)] = Field(
        50.0, ge=0, description="of the language tokens in the token map, against one user"
    )
    user_power: Annotated[float, Search(0.0, 1.0)] = Field(
        0.4,
        ge=0,
        le=1,
        description="a user of n items counts n^-user_power times, so that long histories do not "
        "rule",
    )
    evidences: list[Literal["matched", "graph", "text"]] = Field(
        ["matched", "graph", "text"],
        min_length=1,
        description="what may have weight in the sum; others have none",
    )
    weight_steps: int = Field(
        11, ge=2, le=101, description="weights tried on validation for each of the evidences"
    )


class LightGCNPlusSettings(TextContrastSettings, GraphTraining):
    """LightGCN with a text contrast."""


class HCCFSettings(ContrastSettings, GraphTraining):
    """Hypergraph contrastive collaborative filtering."""

    num_layers: Annotated[int, Search(1, 4)] = Field(
        2, ge=1, le=16, description="layers of local and global propagation"
    )
    init_std: float = Field(
        0.01, gt=0, description="standard deviation of layer 0; the global part grows with its cube"
    )
    hyperedges: Annotated[int, Search(16, 256, log=True)] = Field(
        128, ge=1, le=4096, description="on either side"
    )
    keep: Keep = Field(
        0.8, gt=0, le=1, description="share of edges and hypergraph entries kept in a training step"
    )
    contrast_weight: Annotated[float, Search(0.01, 10.0, log=True)] = Field(
        1.0, ge=0, description="of the contrast between local and global embeddings"
    )
    temperature: Temperature = Field(0.5, gt=0, description="of that contrast")
    activation: bool = Field(
        False,
        description="true: LeakyReLU (slope 0.5), which the paper has; false: none, as in its "
        "torch code",
    )


class HCCFPlusSettings(TextContrastSettings, HCCFSettings):
    """HCCF with a text contrast."""


class RLMRecConSettings(ContrastSettings, GraphTraining):
    """RLMRec, contrastive."""

    keep: Keep = Field(0.8, gt=0, le=1, description="share of edges kept in a training step")
    contrast_weight: Weight = Field(
        0.01, ge=0, description="of the contrast between nodes and profiles"
    )
    temperature: Temperature = Field(0.2, gt=0, description="of that contrast")


class RLMRecGenSettings(GraphTraining):
    """RLMRec, generative."""

    patience: Positive = Field(
        30, description="validations without a better NDCG@20 before stopping; its plateau is long"
    )
    keep: Keep = Field(0.8, gt=0, le=1, description="share of edges kept in a training step")
    mask_share: Annotated[float, Search(0.02, 0.3, log=True)] = Field(
        0.05, gt=0, lt=1, description="of nodes whose own embedding is hidden in a training step"
    )
    reconstruction_weight: Weight = Field(
        0.1, ge=0, description="of telling the hidden nodes' profiles"
    )
    temperature: Temperature = Field(0.5, gt=0, description="of that contrast")


class MethodSettings(Section):
    """Set the methods of the stage `fit`; each depends on its own entry alone."""

    # as the method is called: text-knn, in Python text_knn
    model_config = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
    popularity: NoSettings = NoSettings()
    text_knn: NoSettings = NoSettings()
    lightgcn: NoSettings = NoSettings()
    lightgcn_text_knn: NoSettings = NoSettings()
    item_knn: ItemKNNSettings = ItemKNNSettings()
    ease: EASESettings = EASESettings()
    glta_plus: GLTAPlusSettings = GLTAPlusSettings()
    lightgcn_plus: LightGCNPlusSettings = LightGCNPlusSettings()
    hccf: HCCFSettings = HCCFSettings()
    hccf_plus: HCCFPlusSettings = HCCFPlusSettings()
    rlmrec_con: RLMRecConSettings = RLMRecConSettings()
    rlmrec_gen: RLMRecGenSettings = RLMRecGenSettings()


class ReportSettings(Section):
    """Draw the report."""

    reference: str = Field("glta", description="the method that the others are tested against")
    metric: str = Field("ndcg@20", description="the metric that is tested and drawn first")
    confidence: Share = Field(0.95, description="of intervals")
    resamples: int = Field(
        2000, ge=100, description="of the bootstrap and of the randomisation test"
    )


class Params(Section):
    """Collect all parameters, the file params.yaml."""

    datasets: list[Name] = Field(
        ["sample"],
        min_length=1,
        description="what to run: a name of `glta datasets`, or one of `tables` below",
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        [0], min_length=1, description="one split and one training each"
    )
    methods: list[Name] = Field(
        [
            "popularity",
            "text-knn",
            "item-knn",
            "ease",
            "lightgcn",
            "lightgcn-text-knn",
            "glta-plus",
            "glta",
        ],
        min_length=1,
        description="what recommend, evaluate and report compare",
    )
    baselines: list[Name] = Field(
        [
            "popularity",
            "text-knn",
            "item-knn",
            "ease",
            "lightgcn",
            "lightgcn-text-knn",
            "glta-plus",
        ],
        description="methods made by the stage `fit`, all of `glta methods` but glta",
    )
    ablations: list[Name] = Field(
        [], description="ablations of glta, made by the stage `ablate`: names of `glta ablations`"
    )
    mirror: str = Field(
        "",
        description="folder or http address to download from (as <mirror>/<dataset>/<file>); also "
        "GLTA_MIRROR",
    )
    tables: dict[Name, TableSettings] = Field(
        {}, description="your own data: NAME: {interactions: FILE, items: FILE, ...}"
    )
    prepare: PrepareSettings = PrepareSettings()
    profile: ProfileSettings = ProfileSettings()
    language: LanguageSettings = LanguageSettings()
    pretrain: LightGCNSettings = LightGCNSettings()
    align: AlignSettings = AlignSettings()
    align_items: AlignItemsSettings = AlignItemsSettings()
    align_users: AlignUsersSettings = AlignUsersSettings()
    fit: FitSettings = FitSettings()
    settings: MethodSettings = MethodSettings()
    recommend: RecommendSettings = RecommendSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    report: ReportSettings = ReportSettings()
    overrides: dict[Name, dict[str, dict[str, Any]]] = Field(
        {},
        description="values of one dataset in place of the above; changing them leaves other "
        "datasets alone",
    )

    def for_dataset(self, name: str) -> Params:
        """Return the parameters with those of a paper's preset, then this dataset's overrides put
        in place.
        """
        from glta.datasets.presets import PRESETS

        own = self.overrides.get(name, {})
        if name in PRESETS:
            own = own | {"prepare": PRESETS[name].prepare | own.get("prepare", {})}
        changed = {s: getattr(self, s).changed(v) for s, v in own.items() if v}
        return self.model_copy(
            update={s: type(getattr(self, s)).model_validate(v) for s, v in changed.items()}
        )

    def with_values(self, values: dict[str, Any]) -> Params:
        """Return the parameters with some replaced.

        values: by dotted keys, e.g. "settings.ease.l2". Raises ValidationError.
        """
        given = nested(values)
        changed = {
            s: type(getattr(self, s)).model_validate(getattr(self, s).changed(v))
            for s, v in given.items()
        }
        return self.model_copy(update=changed)


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Turn {"a.b": 1} into {"a": {"b": 1}}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return found


class ParamsError(ValueError):
    """Say what is wrong with a parameter: file, key, value, range, and the nearest valid key."""


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file. Raises ParamsError, one line a mistake."""
    return check_params(
        read_mapping(path, "`glta params sync` writes one with the defaults"), str(path)
    )


def read_mapping(path: Path | str, advice: str) -> dict[str, Any]:
    """Read a YAML file of parameters, unchecked.

    Raises ParamsError, with the advice where there is no such file.
    """
    from ruamel.yaml import YAML, YAMLError

    path = Path(path)
    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; {advice}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ParamsError(f"{path}: must be a mapping of parameters; {advice}")
    return data


def check_params(data: dict[str, Any], source: str = "params.yaml") -> Params:
    """Turn a plain mapping into Params, with every cross-check. Raises ParamsError."""
    params = typed(data, source)
    problems = [*_cross_checks(params)]
    for name, sections in params.overrides.items():
        for section, values in sections.items():
            where = f"overrides.{name}.{section}"
            if section not in SECTIONS:
                problems.append(f"{where}: unknown key{_nearest(section, SECTIONS)}")
                continue
            model = Params.model_fields[section].annotation
            try:
                model.model_validate(getattr(params, section).changed(values))
            except ValidationError as error:
                problems += [_explain("", e, model, where) for e in error.errors()]
    if not problems:
        for name in params.datasets:
            problems += _dataset_checks(params.for_dataset(name), name)
    if problems:
        raise ParamsError("\n".join(f"{source} {p.strip()}" for p in dict.fromkeys(problems)))
    return params


def typed(data: dict[str, Any], source: str) -> Params:
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(source, e, Params) for e in error.errors())) from None


def _cross_checks(p: Params):
    """Yield what no single field can see."""
    from glta.ablations import ABLATIONS
    from glta.datasets.catalogue import REGISTRY
    from glta.methods.registry import METHODS, TRAINED_ELSEWHERE

    known = {*REGISTRY, *p.tables}
    for key in ("datasets", "seeds", "methods", "baselines", "ablations"):
        values = getattr(p, key)
        if len(set(values)) < len(values):
            yield f"{key} = {values}: names an entry twice"
    for name in p.tables:
        if name in REGISTRY:
            yield f"tables.{name}: is the name of a registered dataset; choose another"
    for name in p.datasets:
        if name not in known:
            yield f"datasets: unknown dataset {name}{_nearest(name, known)}"
        elif missing := whole_overrides({}).keys() - (own := p.overrides.get(name, {})).keys():
            yield (
                f"overrides.{name}: has no {_named(missing, SECTIONS)}; every section needs an "
                f"entry, {SYNC}"
            )
        elif missing := (every := file_fields(MethodSettings)).keys() - own["settings"].keys():
            yield (
                f"overrides.{name}.settings: has no {_named(missing, every)}; every method "
                f"needs an entry, {SYNC}"
            )
    for name in p.baselines:
        if name not in METHODS or name in TRAINED_ELSEWHERE:
            yield (
                "baselines: unknown method "
                f"{name}{_nearest(name, set(METHODS) - set(TRAINED_ELSEWHERE))}"
            )
    for name in p.ablations:
        if name not in ABLATIONS:
            yield f"ablations: unknown ablation {name}{_nearest(name, ABLATIONS)}"
    for name in p.methods:
        if name not in METHODS and name not in ABLATIONS:
            yield f"methods: unknown method {name}{_nearest(name, [*METHODS, *ABLATIONS])}"
        elif name not in {*TRAINED_ELSEWHERE, *p.baselines, *p.ablations}:
            yield (
                f"methods: {name} is not made by any stage; add it to "
                f"{'ablations' if name in ABLATIONS else 'baselines'}"
            )
    if p.report.reference not in p.methods:
        yield f"report.reference = {p.report.reference}: must be one of methods {p.methods}"


def _dataset_checks(p: Params, name: str):
    """Yield what must hold once a dataset's overrides are in place."""
    from glta.ablations import ablated, ablation_text

    where = f"(dataset {name}) "
    if p.prepare.valid_share + p.prepare.test_share >= 1:
        yield (
            "prepare.valid_share + prepare.test_share = "
            f"{p.prepare.valid_share + p.prepare.test_share} {where}: must be < 1"
        )
    if p.recommend.k < max(p.evaluate.cutoffs):
        yield (
            f"recommend.k = {p.recommend.k} {where}: must be >= the largest of "
            f"evaluate.cutoffs, {max(p.evaluate.cutoffs)}"
        )
    for ablation in p.ablations:
        if ablated(p, ablation) == p:
            yield (
                f"ablations: {ablation} {where}: would be glta itself, which has "
                f"{ablation_text(ablation)} already"
            )
    if p.profile.provider == "language_model" and not p.profile.generator:
        yield f'profile.generator = "" {where}: provider language_model needs a hub id or folder'
    if p.profile.provider == "endpoint" and not (p.profile.endpoint and p.profile.endpoint_model):
        yield (
            f'profile.endpoint = "{p.profile.endpoint}" {where}: provider endpoint needs '
            "endpoint and endpoint_model"
        )
    metric, _, cutoff = p.report.metric.partition("@")
    if not cutoff.isdigit() or int(cutoff) not in p.evaluate.cutoffs or metric not in METRICS:
        valid = [f"{m}@{k}" for k in p.evaluate.cutoffs for m in METRICS]
        yield f"report.metric = {p.report.metric}: unknown metric{_nearest(p.report.metric, valid)}"


SYNC = "also an empty one; `glta params sync` adds them"


def _named(keys: Collection[str], order: Iterable[str]) -> str:
    """Name at most three keys, in their order."""
    found = [key for key in order if key in keys]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def whole_overrides(given: dict[str, Any]) -> dict[str, Any]:
    """Complete a dataset's overrides: an entry for each section, and within `settings` for each
    method.

    A stage depends on each of them, and DVC cannot follow an entry that is missing.
    """
    methods = {name: {} for name in file_fields(MethodSettings)}
    return (
        {section: {} for section in SECTIONS}
        | given
        | {"settings": methods | given.get("settings", {})}
    )


METRICS = ("precision", "recall", "ndcg", "mrr", "map", "hit_rate")


def _nearest(key: str, valid) -> str:
    valid = sorted(valid)
    found = difflib.get_close_matches(key, valid, n=1, cutoff=0.4)
    return f"; nearest is {found[0]}" if found else f"; valid are {', '.join(valid)}"


def _explain(source: str, error: dict, model: type[BaseModel], prefix: str = "") -> str:
    """Put one pydantic error into the house form: where = value: what must hold."""
    path = [*(prefix.split(".") if prefix else []), *(str(p) for p in error["loc"])]
    where, value = ".".join(path), error["input"]
    if error["type"] == "extra_forbidden":
        for part in error["loc"][:-1]:
            field = file_fields(model).get(str(part))
            inner = field.annotation if field else None
            inner = next(
                (a for a in get_args(inner) if isinstance(a, type) and issubclass(a, BaseModel)),
                inner,
            )
            model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model
        return (
            f"{source} {where} = {value!r}: unknown key{_nearest(path[-1], file_fields(model))}"
        ).strip()
    if error["type"] == "missing":
        return f"{source} {where}: is required".strip()
    message = (
        error["msg"]
        .replace("Input should be", "must be")
        .replace("greater than", ">")
        .replace("less than", "<")
    )
    message = message.replace("> or equal to", ">=").replace("< or equal to", "<=")
    return f"{source} {where} = {value!r}: {message}".strip()
