"""Every knob of the pipeline: typed, closed, frozen. params.yaml is made from here by `params_file.py`."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

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

Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Sha256 = Annotated[
    str,
    BeforeValidator(lambda digest: digest.lower().removeprefix("sha256:") if isinstance(digest, str) else digest),
    Field(pattern=r"^[0-9a-f]{64}$"),
]


@dataclass(frozen=True)
class Search:
    """Say where tuning looks for a value: from low to high, evenly or by factors (log); an integer key in whole numbers."""

    low: float
    high: float
    log: bool = False


class Section(BaseModel):
    """Refuse unknown keys, and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def search_space(cls) -> dict[str, Search]:
        """Return the keys that tuning may vary, as their annotations declare them."""
        found = {key: [m for m in field.metadata if isinstance(m, Search)] for key, field in cls.model_fields.items()}
        return {key: searches[0] for key, searches in found.items() if searches}

    def changed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return all values with some replaced, within nested sections too."""
        whole = self.model_dump()
        nested = {k for k, v in values.items() if isinstance(whole.get(k), dict) and isinstance(v, dict)}
        return whole | {k: whole[k] | v if k in nested else v for k, v in values.items()}


class Table(Section):
    """Describe the user's own interactions and items: CSV, JSON lines or Parquet, one row an interaction or item."""

    interactions: str = Field(description="file, relative to this folder or to the mirror, or an http address")
    items: str | None = Field(None, description="file with item texts; without it the item id is the title")
    user: str = Field("user_id", description="column of interactions")
    item: str = Field("item_id", description="column of interactions and of items")
    rating: str | None = Field("rating", description="column of interactions; null when there is none")
    timestamp: str | None = Field("timestamp", description="column of interactions, any number that grows with time; or null")
    part: str | None = Field(
        None, description="column of interactions: train, valid or test, for prepare.split: given; or null"
    )
    title: str | None = Field("title", description="column of items, or null")
    description: str | None = Field("description", description="column of items, or null")
    categories: str | None = Field("categories", description="column of items, or null")
    category_separator: str = Field("|", min_length=1, description="what separates categories within a cell")
    interactions_sha256: Sha256 | None = Field(None, description="refuse a changed file; null checks nothing")
    items_sha256: Sha256 | None = Field(None, description="refuse a changed file; null checks nothing")
    licence: str = Field("not stated", description="shown in the report")


class Prepare(Section):
    """Clean, filter, split."""

    min_rating: float | None = Field(None, description="drop interactions rated lower; null keeps all")
    duplicates: Literal["last", "first"] = Field("last", description="which of several ratings of one pair stays, by time")
    since: int | None = Field(None, description="drop interactions before this time, in the dataset's own unit; null keeps all")
    until: int | None = Field(None, description="drop interactions after this time")
    user_core: int = Field(5, ge=1, description="every user keeps at least so many items (iterated with item_core)")
    item_core: int = Field(5, ge=1, description="every item keeps at least so many users")
    split: Literal["random", "leave_last_out", "global_time", "given"] = Field(
        "random",
        description="random: per user, by shares; leave_last_out: last item test, the one before valid; global_time: by date; "
        "given: by the source",
    )
    valid_share: Share = Field(
        0.1,
        description="of each user's items (random) or training items (given), or of all interactions (global_time)",
    )
    test_share: Share = Field(0.2, description="as valid_share")
    target_share: Share = Field(
        0.25, description="of each user's training items, kept from the alignment's graph as its targets (leak-free)"
    )
    new_item_share: float = Field(
        0.0, ge=0, lt=1, description="of the items: all their interactions are for test alone, to measure cold start; 0: none"
    )
    max_bad_share: float = Field(
        0.0, ge=0, lt=1, description="share of unreadable rows to drop and report before it is an error"
    )
    published: Literal["require", "report"] = Field(
        "require", description="presets of papers: refuse to go on with other counts than the published ones, or only note them"
    )


class Profile(Section):
    """Write item texts, and per user tags and likely interests from training items only."""

    text: list[Literal["title", "description", "categories"]] = Field(
        ["title", "categories", "description"], min_length=1, description="columns of an item's text, in this order"
    )
    max_words: int = Field(48, ge=4, description="an item's text is cut here")
    provider: Literal["extractive", "language_model", "endpoint"] = Field(
        "extractive",
        description="who writes user tags: keywords of their items, a Hugging Face causal model, an OpenAI-compatible server",
    )
    num_tags: int = Field(6, ge=1, le=64, description="profile words per user")
    num_interests: int = Field(6, ge=1, le=64, description="predicted-interest words per user")
    items_shown: int = Field(20, ge=1, description="training items described to a generating provider")
    generator: str = Field("", description="language_model: hub id or folder of a causal model")
    endpoint: str = Field(
        "", description="endpoint: base address, e.g. http://127.0.0.1:8000/v1; the key is read from OPENAI_API_KEY"
    )
    endpoint_model: str = Field("", description="endpoint: name of the model")
    max_new_tokens: int = Field(64, ge=8, le=4096, description="length of an answer")


class Language(Section):
    """Choose the frozen language model."""

    model: str = Field("all-MiniLM-L6-v2", description="all-MiniLM-L6-v2 (packaged), or a hub id or folder with safetensors")
    sha256: Sha256 | None = Field(None, description="of the weights; refuse others. null: check the packaged model only")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on CUDA, float32 on CPU")
    batch_tokens: int = Field(8192, ge=64, description="tokens of one forward pass when encoding texts")

    def at(self, precision: str | None) -> Language:
        """The same model in another precision; None: in its own."""
        return self if precision is None else self.model_copy(update={"precision": precision})


class Training(Section):
    """Train a graph model; what all of them share."""

    embedding_dim: int = Field(64, ge=1, le=4096, description="width of node embeddings")
    num_layers: Annotated[int, Search(1, 4)] = Field(3, ge=0, le=16, description="propagations; 0 is matrix factorisation")
    init_std: float = Field(0.1, gt=0, description="standard deviation of layer 0")
    loss: Literal["bpr", "softmax"] = Field("bpr", description="bpr, or cross-entropy over the catalogue")
    sampling: Literal["user", "edge"] = Field(
        "edge", description="user: users uniformly (reference code); edge: every interaction once"
    )
    learning_rate: Annotated[float, Search(5e-4, 2e-2, log=True)] = Field(5e-3, gt=0, le=1, description="Adam")
    l2: Annotated[float, Search(1e-6, 1e-1, log=True)] = Field(
        1e-3, ge=0, description="penalty on the batch's layer-0 embeddings"
    )
    batch_size: Positive = Field(2048, description="triples a step")
    epochs: Positive = Field(200, description="at most")
    evaluate_every: Positive = Field(2, description="epochs between validations")
    patience: Positive = Field(
        10, description="validations without a better NDCG@20 before stopping; training starts on a plateau"
    )


class Pretrain(Training):
    """Train LightGCN."""


class Align(Section):
    """Set what both alignment stages share."""

    targets: Literal["held_out", "all"] = Field(
        "held_out", description="held_out: training items the graph has not seen; all: the leaky variant"
    )
    head: Literal["free", "tied"] = Field(
        "free", description="free: linear map to the catalogue, as published; tied: low rank, to the item tokens"
    )
    head_rank: int = Field(128, ge=1, le=4096, description="rank of the tied head")
    head_init: Literal["matched", "random"] = Field(
        "matched", description="start of the free head: solved to match graph and text, or random; a tied head starts random"
    )
    precision: Literal["float32", "bfloat16"] | None = Field(
        None, description="of the language model in both alignments: float32, bfloat16; null: language.precision"
    )
    micro_batch: int = Field(
        0, ge=0, description="prompts of a step whose activations are held at once; 0: all. Less takes less memory"
    )
    checkpoint_layers: bool = Field(
        False, description="compute each layer's activations again for its gradient instead of holding them: half as long again"
    )
    lora_rank: int = Field(
        0, ge=0, le=256, description="0: frozen, as published; else LoRA of this rank is trained in both alignments"
    )
    lora_alpha: float = Field(16.0, gt=0, description="LoRA scale")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="LoRA dropout")


ProjectorRate = Annotated[float, Search(2e-5, 5e-3, log=True)]
HeadRate = Annotated[float, Search(1e-6, 3e-3, log=True)]


class AlignItems(Section):
    """Stage 2: learn the item projector and the head by putting item descriptions back into order."""

    enabled: bool = Field(True, description="false: the paper's ablation without item-text alignment")
    items_per_prompt: int = Field(6, ge=2, le=64, description="items shuffled in one prompt, and read-out positions")
    description_tokens: int = Field(10, ge=1, le=512, description="an item's text is cut here")
    learning_rate: ProjectorRate = Field(2e-4, gt=0, le=1, description="AdamW, of projectors and adapters")
    head_learning_rate: HeadRate = Field(3e-4, gt=0, le=1, description="AdamW, of the head")
    weight_decay: float = Field(0.01, ge=0, description="AdamW")
    batch_size: Positive = Field(32, description="prompts a step")
    epochs: Positive = Field(6, description="at most; an epoch shows every item once")
    patience: Positive = Field(2, description="epochs without a lower validation loss before stopping")


class AlignUsers(Section):
    """Stage 3: learn the user projector and go on with the head, towards held-out items of each user."""

    context_items: int = Field(12, ge=0, le=512, description="item tokens in the prompt, redrawn every epoch")
    read_outs: int = Field(4, ge=1, le=64, description="positions after the prompt that the head reads")
    tag_tokens: int = Field(10, ge=0, le=512, description="profile tokens are cut here; 0: the ablation without them")
    interest_tokens: int = Field(10, ge=0, le=512, description="prediction tokens are cut here; 0: the ablation without them")
    user_token: bool = Field(True, description="false: the ablation without user alignment (the user's id as plain text)")
    learning_rate: ProjectorRate = Field(5e-4, gt=0, le=1, description="AdamW, of projectors and adapters")
    head_learning_rate: HeadRate = Field(1e-5, gt=0, le=1, description="AdamW, of the head")
    weight_decay: float = Field(0.01, ge=0, description="AdamW")
    batch_size: Positive = Field(32, description="prompts a step")
    epochs: Positive = Field(10, description="at most")
    patience: Positive = Field(2, description="epochs without a better validation NDCG@20 before stopping")


class Fit(Section):
    """Make the methods without stages of their own; `settings` has one entry for each."""

    weight_steps: int = Field(21, ge=2, le=1001, description="weights tried on validation for lightgcn-text-knn, from 0 to 1")


Temperature = Annotated[float, Search(0.05, 1.0, log=True)]
Weight = Annotated[float, Search(1e-3, 1.0, log=True)]
Keep = Annotated[float, Search(0.5, 1.0)]


class NoParameters(Section):
    """Nothing to set."""


class ItemKNN(Section):
    """Items that the same users have."""

    neighbours: Annotated[int, Search(5, 1000, log=True)] = Field(100, ge=1, description="most similar items kept of each item")
    shrinkage: Annotated[float, Search(0.1, 1000.0, log=True)] = Field(
        10.0, ge=0, description="added to the cosine's denominator, against similarities that few users support"
    )


class EASE(Section):
    """Linear item-item model in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(
        100.0, gt=0, description="added to the diagonal of the item-item counts"
    )
    max_items: int = Field(
        10_000,
        ge=1,
        description="refuse larger catalogues: an I x I inverse takes 20 I^2 bytes and about I^3 steps",
    )


class GLTAPlus(EASE):
    """Match graph and language tokens at once, in closed form."""

    l2: Annotated[float, Search(1.0, 1e4, log=True)] = Field(300.0, gt=0, description="ridge of the token map")
    text_weight: Annotated[float, Search(0.1, 1e3, log=True)] = Field(
        50.0, ge=0, description="of the language tokens in the token map, against one user"
    )
    user_power: Annotated[float, Search(0.0, 1.0)] = Field(
        0.4, ge=0, le=1, description="a user of n items counts n^-user_power times, so that long histories do not rule"
    )
    evidences: list[Literal["matched", "graph", "text"]] = Field(
        ["matched", "graph", "text"], min_length=1, description="what may have weight in the sum; others have none"
    )
    weight_steps: int = Field(11, ge=2, le=101, description="weights tried on validation for each of the evidences")


class Contrast(Section):
    """Add a contrast to a graph model."""

    contrast_batch: int = Field(
        0, ge=0, description="triples of a step that are contrasted, which costs their number squared; 0: all, as published"
    )


class WithText(Contrast):
    """Add a text contrast to a graph model (LightGCN+ and HCCF+)."""

    text_weight: Weight = Field(0.01, ge=0, description="of the contrast between node and text embeddings")
    text_temperature: Temperature = Field(0.2, gt=0, description="of that contrast")
    text_users: bool = Field(False, description="true: contrast users too, with the mean text of their training items")


class LightGCNPlus(WithText, Training):
    """LightGCN with a text contrast."""


class HCCF(Contrast, Training):
    """Hypergraph contrastive collaborative filtering."""

    num_layers: Annotated[int, Search(1, 4)] = Field(2, ge=1, le=16, description="layers of local and global propagation")
    init_std: float = Field(0.01, gt=0, description="standard deviation of layer 0; the global part grows with its cube")
    hyperedges: Annotated[int, Search(16, 256, log=True)] = Field(128, ge=1, le=4096, description="on either side")
    keep: Keep = Field(0.8, gt=0, le=1, description="share of edges and hypergraph entries kept in a training step")
    contrast_weight: Annotated[float, Search(0.01, 10.0, log=True)] = Field(
        1.0, ge=0, description="of the contrast between local and global embeddings"
    )
    temperature: Temperature = Field(0.5, gt=0, description="of that contrast")
    activation: bool = Field(
        False, description="true: LeakyReLU (slope 0.5), which the paper has; false: none, as in its torch code"
    )


class HCCFPlus(WithText, HCCF):
    """HCCF with a text contrast."""


class RLMRecCon(Contrast, Training):
    """RLMRec, contrastive."""

    keep: Keep = Field(0.8, gt=0, le=1, description="share of edges kept in a training step")
    contrast_weight: Weight = Field(0.01, ge=0, description="of the contrast between nodes and profiles")
    temperature: Temperature = Field(0.2, gt=0, description="of that contrast")


class RLMRecGen(Training):
    """RLMRec, generative."""

    patience: Positive = Field(30, description="validations without a better NDCG@20 before stopping; its plateau is long")
    keep: Keep = Field(0.8, gt=0, le=1, description="share of edges kept in a training step")
    mask_share: Annotated[float, Search(0.02, 0.3, log=True)] = Field(
        0.05, gt=0, lt=1, description="of nodes whose own embedding is hidden in a training step"
    )
    reconstruction_weight: Weight = Field(0.1, ge=0, description="of telling the hidden nodes' profiles")
    temperature: Temperature = Field(0.5, gt=0, description="of that contrast")


class Settings(Section):
    """Set the methods of the stage `fit`; each depends on its own entry alone."""

    # as the method is called: text-knn, in Python text_knn
    model_config = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
    popularity: NoParameters = NoParameters()
    text_knn: NoParameters = NoParameters()
    lightgcn: NoParameters = NoParameters()
    lightgcn_text_knn: NoParameters = NoParameters()
    item_knn: ItemKNN = ItemKNN()
    ease: EASE = EASE()
    glta_plus: GLTAPlus = GLTAPlus()
    lightgcn_plus: LightGCNPlus = LightGCNPlus()
    hccf: HCCF = HCCF()
    hccf_plus: HCCFPlus = HCCFPlus()
    rlmrec_con: RLMRecCon = RLMRecCon()
    rlmrec_gen: RLMRecGen = RLMRecGen()


class Recommend(Section):
    """Write top-K lists."""

    k: int = Field(50, ge=1, description="length of the lists; at least the largest cut-off")
    mode: Literal["first_logit", "one_per_position", "autoregressive"] = Field(
        "first_logit", description="how GLTA's positions become a list; other methods rank by their scores"
    )


class Evaluate(Section):
    """Measure the lists."""

    cutoffs: list[Positive] = Field([5, 10, 20], min_length=1, description="list lengths K")
    cold_user_items: int = Field(7, ge=1, description="users with at most so many training items count as cold")
    cold_item_users: int = Field(5, ge=1, description="items with at most so many training users count as cold")
    popular_share: Share = Field(0.1, description="the most popular share of items, for the popularity share of lists")


class Report(Section):
    """Draw the report."""

    reference: str = Field("glta", description="the method that the others are tested against")
    metric: str = Field("ndcg@20", description="the metric that is tested and drawn first")
    confidence: Share = Field(0.95, description="of intervals")
    resamples: int = Field(2000, ge=100, description="of the bootstrap and of the randomisation test")


class Params(Section):
    """Collect all parameters, the file params.yaml."""

    datasets: list[Name] = Field(
        ["sample"], min_length=1, description="what to run: a name of `glta datasets`, or one of `tables` below"
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1, description="one split and one training each")
    methods: list[Name] = Field(
        ["popularity", "text-knn", "item-knn", "ease", "lightgcn", "lightgcn-text-knn", "glta-plus", "glta"],
        min_length=1,
        description="what recommend, evaluate and report compare",
    )
    baselines: list[Name] = Field(
        ["popularity", "text-knn", "item-knn", "ease", "lightgcn", "lightgcn-text-knn", "glta-plus"],
        description="methods made by the stage `fit`, all of `glta methods` but glta",
    )
    ablations: list[Name] = Field([], description="ablations of glta, made by the stage `ablate`: names of `glta ablations`")
    mirror: str = Field(
        "", description="folder or http address to download from (as <mirror>/<dataset>/<file>); also GLTA_MIRROR"
    )
    tables: dict[Name, Table] = Field({}, description="your own data: NAME: {interactions: FILE, items: FILE, ...}")
    prepare: Prepare = Prepare()
    profile: Profile = Profile()
    language: Language = Language()
    pretrain: Pretrain = Pretrain()
    align: Align = Align()
    align_items: AlignItems = AlignItems()
    align_users: AlignUsers = AlignUsers()
    fit: Fit = Fit()
    settings: Settings = Settings()
    recommend: Recommend = Recommend()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()
    overrides: dict[Name, dict[str, dict[str, Any]]] = Field(
        {}, description="values of one dataset in place of the above; changing them leaves other datasets alone"
    )

    def for_dataset(self, name: str) -> Params:
        """Return the parameters with those of a paper's preset, then this dataset's overrides put in place."""
        from glta.data.presets import PRESETS

        own = self.overrides.get(name, {})
        if name in PRESETS:
            own = own | {"prepare": PRESETS[name].prepare | own.get("prepare", {})}
        changed = {s: getattr(self, s).changed(v) for s, v in own.items() if v}
        return self.model_copy(update={s: type(getattr(self, s)).model_validate(v) for s, v in changed.items()})

    def with_values(self, values: dict[str, Any]) -> Params:
        """Return the parameters with some replaced. values: by dotted keys, e.g. "settings.ease.l2". Raises ValidationError."""
        given = nested(values)
        changed = {s: type(getattr(self, s)).model_validate(getattr(self, s).changed(v)) for s, v in given.items()}
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
    return check_params(read_mapping(path, "`glta params sync` writes one with the defaults"), str(path))


def read_mapping(path: Path | str, advice: str) -> dict[str, Any]:
    """Read a YAML file of parameters, unchecked. Raises ParamsError, with the advice where there is no such file."""
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
    from glta.data.registry import REGISTRY
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
            yield f"overrides.{name}: has no {_named(missing, SECTIONS)}; every section needs an entry, {SYNC}"
        elif missing := (every := file_fields(Settings)).keys() - own["settings"].keys():
            yield f"overrides.{name}.settings: has no {_named(missing, every)}; every method needs an entry, {SYNC}"
    for name in p.baselines:
        if name not in METHODS or name in TRAINED_ELSEWHERE:
            yield f"baselines: unknown method {name}{_nearest(name, set(METHODS) - set(TRAINED_ELSEWHERE))}"
    for name in p.ablations:
        if name not in ABLATIONS:
            yield f"ablations: unknown ablation {name}{_nearest(name, ABLATIONS)}"
    for name in p.methods:
        if name not in METHODS and name not in ABLATIONS:
            yield f"methods: unknown method {name}{_nearest(name, [*METHODS, *ABLATIONS])}"
        elif name not in {*TRAINED_ELSEWHERE, *p.baselines, *p.ablations}:
            yield f"methods: {name} is not made by any stage; add it to {'ablations' if name in ABLATIONS else 'baselines'}"
    if p.report.reference not in p.methods:
        yield f"report.reference = {p.report.reference}: must be one of methods {p.methods}"


def _dataset_checks(p: Params, name: str):
    """Yield what must hold once a dataset's overrides are in place."""
    from glta.ablations import ablated, ablation_text

    where = f"(dataset {name}) "
    if p.prepare.valid_share + p.prepare.test_share >= 1:
        yield f"prepare.valid_share + prepare.test_share = {p.prepare.valid_share + p.prepare.test_share} {where}: must be < 1"
    if p.recommend.k < max(p.evaluate.cutoffs):
        yield f"recommend.k = {p.recommend.k} {where}: must be >= the largest of evaluate.cutoffs, {max(p.evaluate.cutoffs)}"
    for ablation in p.ablations:
        if ablated(p, ablation) == p:
            yield f"ablations: {ablation} {where}: would be glta itself, which has {ablation_text(ablation)} already"
    if p.profile.provider == "language_model" and not p.profile.generator:
        yield f'profile.generator = "" {where}: provider language_model needs a hub id or folder'
    if p.profile.provider == "endpoint" and not (p.profile.endpoint and p.profile.endpoint_model):
        yield f'profile.endpoint = "{p.profile.endpoint}" {where}: provider endpoint needs endpoint and endpoint_model'
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
    """Complete a dataset's overrides: an entry for each section, and within `settings` for each method.

    A stage depends on each of them, and DVC cannot follow an entry that is missing.
    """
    methods = {name: {} for name in file_fields(Settings)}
    return {section: {} for section in SECTIONS} | given | {"settings": methods | given.get("settings", {})}


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
            inner = next((a for a in get_args(inner) if isinstance(a, type) and issubclass(a, BaseModel)), inner)
            model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model
        return f"{source} {where} = {value!r}: unknown key{_nearest(path[-1], file_fields(model))}".strip()
    if error["type"] == "missing":
        return f"{source} {where}: is required".strip()
    message = error["msg"].replace("Input should be", "must be").replace("greater than", ">").replace("less than", "<")
    message = message.replace("> or equal to", ">=").replace("< or equal to", "<=")
    return f"{source} {where} = {value!r}: {message}".strip()


def file_fields(model: type[BaseModel]) -> dict:
    """Return the fields by the names that they have in the file."""
    return {field.alias or key: field for key, field in model.model_fields.items()}
