"""Word ridge: ridge regression of users on the words of items, without a language model."""

from glta.methods.shared.settings import WordRidgeSettings
from glta.methods.spec import MethodSpec, StepSpec

SPEC = MethodSpec(
    name="word-ridge",
    title="Word ridge",
    paper="a control without a paper",
    settings=WordRidgeSettings,
    recommender="glta.methods.word_ridge.model:WordRidge",
    steps=(
        StepSpec(
            "word-ridge", "glta.methods.word_ridge.model:FitWordRidge", reads=("prepare", "profile")
        ),
    ),
    capabilities=frozenset({"histories"}),
    place=21,
)
