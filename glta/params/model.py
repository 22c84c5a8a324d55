"""All parameters of the pipeline as one object: the typed form of params.yaml."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, create_model

from glta.config import Name, NotNegative, Section, Share
from glta.data.settings import PrepareSettings
from glta.datasets.settings import TableSettings
from glta.evaluation.settings import EvaluateSettings, RecommendSettings
from glta.features.settings import ProfileSettings
from glta.methods.registry import specs, units
from glta.nn.language.settings import CausalSettings, LanguageSettings
from glta.params.settings import ShardSettings
from glta.training.settings import ProcessSettings

SECTIONS = ("prepare", "profile", "language", "causal", "settings", "recommend", "evaluate")
"""The sections whose values `overrides` may replace for a dataset."""


class OneEntryAMethod(Section):
    """Settings of the methods. A method depends on its own entry only."""

    # the file has the name of the method, such as text-knn; Python has text_knn
    model_config = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


def _method_settings() -> type[OneEntryAMethod]:
    """Make the class of the section `settings` from the specs of all methods."""
    entries: dict[str, Any] = {
        spec.name.replace("-", "_"): (spec.settings, spec.settings()) for spec in specs().values()
    }
    doc = OneEntryAMethod.__doc__
    return create_model("MethodSettings", __base__=OneEntryAMethod, __doc__=doc, **entries)


MethodSettings = _method_settings()


class ReportSettings(Section):
    """Draw the report."""

    reference: str | None = Field(
        None, description="method that the others are compared with; null: the last of methods"
    )
    metric: str = Field("ndcg@20", description="the one metric that is tested; drawn first")
    confidence: Share = Field(0.95, description="level of the confidence intervals")
    resamples: int = Field(2000, ge=100, description="resamples of the bootstrap")
    flips: int = Field(
        100_000,
        ge=100_000,
        description="sign flips of the randomisation test; the least p is 1 / (flips + 1)",
    )
    not_tuned: dict[str, str] = Field(
        {},
        description="methods that are weaker here than they could be: {METHOD: reason} or "
        "{DATASET/METHOD: reason}; they are shown with the reason, and are not tested",
    )

    def reasons(self, dataset: str) -> dict[str, str]:
        """Return the reasons of `not_tuned` that hold for a dataset, by method.

        An entry DATASET/METHOD is taken before an entry METHOD.
        """
        own = f"{dataset}/"
        everywhere = {key: why for key, why in self.not_tuned.items() if "/" not in key}
        here = {k.removeprefix(own): why for k, why in self.not_tuned.items() if k.startswith(own)}
        return everywhere | here


class Params(Section):
    """Hold all parameters."""

    datasets: list[Name] = Field(
        ["sample"],
        min_length=1,
        description="datasets to run: names of `glta datasets`, or of `tables` below",
    )
    seeds: list[NotNegative] = Field(
        [0],
        min_length=1,
        description="one validation part and one training each",
    )
    methods: list[Name] = Field(
        [
            "popularity",
            "text-knn",
            "item-knn",
            "ease",
            "lightgcn",
            "lightgcn-text-knn",
            "cease",
            "blend",
            "glta",
            "glta-plus",
        ],
        min_length=1,
        description="methods to train, evaluate and report: names of `glta methods` and `glta "
        "ablations`",
    )
    serve: list[Name] = Field(
        [],
        description="methods, of those above, whose model for the first seed is exported as a "
        "bundle that `glta serve` answers from",
    )
    mirror: str = Field(
        "",
        description="folder or http address to download from, as <mirror>/<dataset>/<file>; or set "
        "the environment variable GLTA_MIRROR",
    )
    tables: dict[Name, TableSettings] = Field(
        {}, description="your own data: NAME: {interactions: FILE, items: FILE, ...}"
    )
    prepare: PrepareSettings = PrepareSettings()
    profile: ProfileSettings = ProfileSettings()
    language: LanguageSettings = LanguageSettings()
    causal: CausalSettings = CausalSettings()
    training: ProcessSettings = ProcessSettings()
    shards: ShardSettings = ShardSettings()
    settings: MethodSettings = MethodSettings()  # type: ignore[valid-type]  # made from the specs
    recommend: RecommendSettings = RecommendSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    report: ReportSettings = ReportSettings()
    overrides: dict[Name, dict[str, dict[str, Any]]] = Field(
        {},
        description="values of single datasets, which replace those above; a change affects its "
        "dataset only",
    )

    @property
    def reference(self) -> str:
        """The method that the others are compared with."""
        return self.report.reference or self.methods[-1]

    def for_dataset(self, name: str) -> Params:
        """Return the parameters with the values of one dataset applied.

        These are the values of a paper's preset of this name, then the dataset's overrides.
        """
        from glta.datasets.presets import PRESETS

        own = self.overrides.get(name, {})
        if name in PRESETS:
            own = own | {"prepare": PRESETS[name].prepare | own.get("prepare", {})}
        return self._replaced({section: values for section, values in own.items() if values})

    def with_values(self, values: dict[str, Any]) -> Params:
        """Return the parameters with some values replaced.

        values: by dotted keys, such as "settings.ease.l2". Raises pydantic's ValidationError.
        """
        return self._replaced(nested(values))

    def _replaced(self, values: dict[str, dict[str, Any]]) -> Params:
        """Return the parameters with some values replaced. values: by section, nested."""
        update = {}
        for name, inner in values.items():
            section = getattr(self, name)
            update[name] = type(section).model_validate(section.changed(inner))
        return self.model_copy(update=update)

    def processes_of(self, stage: str) -> int:
        """Return how many processes share a stage. stage: as in dvc.yaml, with or without @..."""
        unit = units().get(stage.partition("@")[0])
        return self.training.processes if unit and unit.shares else 1

    def section(self, name: str) -> Section:
        """Return a section by its dotted name in the file, such as "settings.glta.align"."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part.replace("-", "_"))
        return found


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested mappings: {"a.b": 1} into {"a": {"b": 1}}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return found
