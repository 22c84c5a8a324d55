"""Tuning: spaces, proposals, budgets, and that nothing of it can see a test pair."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from glta.config import Choices
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.features.profiles import Profiles
from glta.features.text.item_texts import item_texts
from glta.features.text.user_words import user_words
from glta.methods.base import Job, Scorer, Step
from glta.methods.registry import specs
from glta.nn.generation.item_generator import ItemGenerator
from glta.nn.language.model_files import ModelFiles
from glta.params.file import override, render_params
from glta.params.model import Params
from glta.storage.cell import Cell
from glta.testing.blocks import NUM_ITEMS, in_order
from glta.training.settings import StepBudget
from glta.training.stopping import Diverged, TooSlow
from glta.tuning.objective import objective, searched, sources, study_key, without_test
from glta.tuning.space import present_values, space, space_table
from glta.tuning.study import Budget, Study, best_of, in_words, tune
from tests.methods.glta.small import write_pretrained
from tests.tiny import WRITERS

TUNABLE = [method for method in specs() if space(method)]
L2 = "settings.ease.l2"
KNN = ("settings.item-knn.neighbours", "settings.item-knn.shrinkage")
PRESENT = dict(zip(KNN, (100, 10.0), strict=True))
QUICK = {"steps": 6, "evaluate_every": 3, "batch_size": 64, "embedding_dim": 8}


def quick(method: str) -> dict[str, int]:
    """Return the values of `QUICK` that a method has."""
    known = type(Params().section(f"settings.{method}")).model_fields
    return {key: value for key, value in QUICK.items() if key in known}


TRAINED = [m for m in TUNABLE if isinstance(Params().section(f"settings.{m}"), StepBudget)]
SMALL = Params.model_validate(
    {
        "settings": {method: quick(method) for method in TRAINED}
        | {
            "glta": {
                "align_items": {"epochs": 1, "items_per_prompt": 4},
                "align_users": {"epochs": 1, "read_outs": 2},
            },
            "tiger": {"train": {"steps": 6, "evaluate_every": 3, "batch_size": 64}},
            "semantic-convergence": {"align": {"steps": 6, "evaluate_every": 3}},
        },
        "causal": {"width": 16, "layers": 1, "heads": 2, "hidden_dim": 32},
    }
)
CODE = ["glta/methods/ease/model.py"]


def bowl(values: dict) -> float:
    """Be best at 40 neighbours and shrinkage 3."""
    return 1 / (
        1 + sum(np.log(values[key] / top) ** 2 for key, top in zip(KNN, (40, 3), strict=True))
    )


@pytest.fixture
def study(tmp_path):
    ranges = space("item-knn") | space("ease") | space("lightgcn")
    return lambda name="study", keys=KNN, seed=0: Study(
        tmp_path / f"{name}.db", "key", {key: ranges[key] for key in keys}, seed
    )


@pytest.fixture
def cell(world, prepared, tmp_path) -> Cell:
    """Everything below data/blocks/0 that any method builds on."""
    folder = world.cell.step("profile").parent
    texts = item_texts(prepared.items, Params().profile)
    texts.write_parquet(folder / "profile" / "items.parquet")
    words, _ = user_words(prepared.items, texts, prepared.train, Params().profile)
    graph_words, _ = user_words(prepared.items, texts, prepared.graph, Params().profile)
    words = words.with_columns(
        graph_words.select(pl.col("tags", "interests").name.prefix("graph_"))
    )
    words.with_columns(pl.exclude("user").list.join(", ")).write_parquet(
        folder / "profile" / "users.parquet"
    )
    shutil.rmtree(folder / "pretrain-all")
    embeddings = write_pretrained(tmp_path / "embeddings")
    for edges in ("all", "graph"):
        (embeddings / edges).rename(folder / f"pretrain-{edges}")
    return world.cell


def swap_test(cell: Cell, prepared: Prepared) -> None:
    """Give every user other test items: some that nobody was tested on, in other numbers."""
    everything = prepared.seen.union(prepared.test)
    taken = set(zip(everything.user.tolist(), everything.item.tolist(), strict=True))
    free = [
        (u, i)
        for u in range(everything.num_users)
        for i in range(everything.num_items)
        if (u, i) not in taken
    ]
    users, items = zip(*free[::3], strict=True)
    other = replace(
        prepared, test=Interactions.of(users, items, everything.num_users, everything.num_items)
    )
    tables = in_order(other.train, other.valid, other.test, other.target)
    tables["test"].write_parquet(cell.prepare / "test.parquet")


@pytest.mark.parametrize("method", TUNABLE)
def test_spaces_lie_within_the_limits_and_hold_the_defaults(method):
    present = present_values(method, Params())
    for key, found in space(method).items():
        assert found.holds(present[key]), key
        choices = found.search.values if isinstance(found.search, Choices) else ()
        for value in choices or (found.search.low, found.search.high):
            assert found.rounded(value) == value, "rounding must not leave the range"
            assert present_values(method, Params().with_values({key: value}))[key] == value
            assert found.decode(found.code(value)) == value


def test_methods_without_ranges_have_nothing_to_tune():
    assert set(specs()) - set(TUNABLE) == {
        "popularity",
        "lightgcn-text-knn",
        "blend",
        "blend-sequences",
        "glta-plus",
    }
    with pytest.raises(ValueError, match=r"eese: unknown method; nearest is ease"):
        space("eese")


def test_documented_ranges_are_those_of_the_code():
    assert space_table() in Path("docs/tuning.md").read_text(encoding="utf-8"), (
        "paste what `glta ranges` prints"
    )


def test_present_parameters_come_first_and_cannot_be_lost(study):
    present = dict(zip(KNN, (41, 3.21), strict=True))  # better than most proposals
    done = tune(study(), present, bowl, Budget(trials=6))
    assert done[0].values == present
    assert best_of(done).value >= done[0].value
    other = dict(zip(KNN, (7, 9.0), strict=True))  # edited by hand, after the budget was spent
    done = tune(study(), other, bowl, Budget(trials=6))
    assert [trial.values for trial in done[6:]] == [other]


def test_what_others_found_comes_next_and_is_part_of_the_budget(study):
    better, worse = (
        dict(zip(KNN, (41, 3.21), strict=True)),
        dict(zip(KNN, (5000, 9.0), strict=True)),
    )
    done = tune(study(), PRESENT, bowl, Budget(trials=4), others=[better, PRESENT, better, worse])
    assert [trial.values for trial in done[:3]] == [PRESENT, better, worse] and len(done) == 4
    assert done[3].values not in (PRESENT, better, worse)
    assert len(tune(study("short"), PRESENT, bowl, Budget(trials=2), others=[better, worse])) == 2
    alone = tune(study("alone"), PRESENT, bowl, Budget(trials=4))
    late = tune(study("alone"), PRESENT, bowl, Budget(trials=5), others=[better])
    assert late[:4] == alone and late[4].values == better


def test_present_parameters_may_lie_outside_of_the_ranges(study):
    present = dict(zip(KNN, (5000, 3.0), strict=True))
    done = tune(study(), present, bowl, Budget(trials=14))
    assert done[0].values == present and done[0].value == bowl(present)
    assert all(trial.values[KNN[0]] <= 1000 for trial in done[1:])


def test_what_is_measured_is_what_is_kept_of_three_digits(study):
    asked = []
    done = tune(study(), PRESENT, lambda v: asked.append(dict(v)) or bowl(v), Budget(trials=16))
    assert [trial.values for trial in done] == asked
    for values in asked:
        assert values[KNN[1]] == float(f"{values[KNN[1]]:.3g}")
        assert type(values[KNN[0]]) is int and type(values[KNN[1]]) is float


LIGHTGCN = {
    "settings.lightgcn.embedding_dim": 64,
    "settings.lightgcn.loss": "bpr",
    "settings.lightgcn.batch_size": 2048,
}


def words_and_steps(values: dict) -> float:
    """Be best with softmax, width 256 and batches of 4096."""
    width, loss, size = (values[key] for key in LIGHTGCN)
    away = abs(np.log2(width / 256)) + abs(np.log2(size / 4096)) + 2 * (loss == "bpr")
    return 1 / (1 + away)


def test_choices_are_found_and_written_as_they_are(study):
    present = present_values("lightgcn", Params()) | LIGHTGCN
    done = tune(study(keys=present), present, words_and_steps, Budget(trials=24))
    assert done[0].values == present
    for trial in done:
        for key, kind in zip(LIGHTGCN, (int, str, int), strict=True):
            assert type(trial.values[key]) is kind
            assert space("lightgcn")[key].holds(trial.values[key])
        assert Params().with_values(trial.values)
    best = best_of(done)
    assert best.value == 1 and "settings.lightgcn.loss = softmax" in in_words(best.values)
    drawn, proposed = (np.mean([trial.value for trial in part]) for part in (done[1:11], done[11:]))
    assert proposed > 1.3 * drawn
    text = override(render_params(Params(datasets=["sample"])), "sample", best.values)
    assert "loss: softmax" in text and "embedding_dim: 256" in text
    assert tune(study(keys=present), present, words_and_steps, Budget(trials=24)) == done


def test_choices_may_start_outside_of_the_list(study):
    present = present_values("lightgcn", Params()) | {"settings.lightgcn.batch_size": 100}
    done = tune(study(keys=present), present, words_and_steps, Budget(trials=13))
    assert done[0].values == present
    assert {t.values["settings.lightgcn.batch_size"] for t in done[1:]} <= {1024, 2048, 4096, 8192}


def test_numbers_are_ordered_choices_and_words_are_not():
    width, loss = (space("lightgcn")[key] for key in list(LIGHTGCN)[:2])
    assert [width.code(value) for value in (64, 128, 256)] == [0, 1, 2]
    assert isinstance(width.distribution, IntDistribution)
    assert loss.code("softmax") == "softmax"
    assert isinstance(loss.distribution, CategoricalDistribution)
    assert isinstance(
        space("hccf")["settings.hccf.activation"].distribution, CategoricalDistribution
    )
    table = space_table()
    assert "| lightgcn | `settings.lightgcn.loss` | bpr |  |  | one of bpr, softmax |" in table
    assert "`settings.hccf.activation` | false |  |  | one of false, true |" in table


def test_nothing_is_measured_twice(study):
    """Proposals soon gather at a round top."""
    done = tune(
        study(keys=(L2,)),
        {L2: 1.0},
        lambda v: 1 / (1 + np.log(v[L2] / 100) ** 2),
        Budget(trials=24),
    )
    assert len({trial.values[L2] for trial in done}) == 24


@pytest.mark.parametrize("present", [(900, 500.0), (5000, 500.0), (5000, 1e9)])
def test_proposals_are_better_than_chance(study, present):
    """That holds for every key, whether or not its present value lies in its range."""
    done = tune(study(), dict(zip(KNN, present, strict=True)), bowl, Budget(trials=31))
    assert len(done) == 31
    drawn, proposed = (np.mean([trial.value for trial in part]) for part in (done[1:11], done[11:]))
    assert best_of(done).value > 0.98 and proposed > 1.5 * drawn


def test_an_interrupted_study_goes_on_like_an_uninterrupted_one(study):
    whole = tune(study("whole"), PRESENT, bowl, Budget(trials=15))

    class Killed(BaseException):
        pass

    for count in (0, 1, 4, 7):
        left = iter(range(count))

        def dies(values, left=left):
            if next(left, None) is None:
                raise Killed
            return bowl(values)

        with pytest.raises(Killed):
            tune(study("other"), PRESENT, dies, Budget(trials=15))
    resumed = tune(study("other"), PRESENT, bowl, Budget(trials=15))
    assert [(t.number, t.values, t.value) for t in resumed] == [
        (t.number, t.values, t.value) for t in whole
    ]
    assert [t.values for t in tune(study("seed", seed=1), PRESENT, bowl, Budget(trials=3))][1:] != [
        t.values for t in whole[1:3]
    ]


def test_minutes_are_those_of_all_runs(study):
    done = tune(study(), PRESENT, bowl, Budget(trials=3))
    spent = [trial._replace(seconds=25.0) for trial in done]
    assert Budget(minutes=1.3).left(spent) and not Budget(minutes=1.25).left(spent)
    assert Budget(trials=4, minutes=2).left(spent) and not Budget(trials=3, minutes=2).left(spent)


def test_a_training_that_diverges_counts_and_never_wins(study):
    def risky(values):
        if values[KNN[1]] > 5:
            raise Diverged("too much")
        return bowl(values)

    done = tune(study(), PRESENT, risky, Budget(trials=20))
    assert sum(trial.value is None for trial in done[11:]) < 4, "proposals keep away from there"
    assert len(done) == 20 and done[0].value is None and done[0].error == "too much"
    assert best_of(done).values[KNN[1]] <= 5
    assert best_of(done[:1]) is None


def test_a_training_that_takes_too_long_counts_and_never_wins(study, world):
    measure = objective("lightgcn", world.cell, SMALL)
    with pytest.raises(TooSlow, match=r"^it took longer than 1e-06 minutes$"):
        measure({}, minutes=1e-6)
    assert measure({}, minutes=60.0) == measure({}) > 0

    def slow(values):
        if values[KNN[1]] > 5:
            raise TooSlow("it took longer than 1 minutes")
        return bowl(values)

    done = tune(study(), PRESENT, slow, Budget(trials=6))
    assert len(done) == 6 and done[0].value is None
    assert best_of(done).values[KNN[1]] <= 5


def test_a_method_that_diverges_says_so(world):
    params = SMALL.with_values({"settings.lightgcn.init_std": 1e30})
    with pytest.raises(Diverged):
        objective("lightgcn", world.cell, params)({})


def test_data_without_test_pairs(prepared):
    found = without_test(prepared)
    assert len(prepared.test) and not len(found.test)
    assert found.valid is prepared.valid and len(found.seen) == len(prepared.seen)


class Peeks(Scorer):
    """A method that would rank by the test pairs if it could."""

    def __init__(self, seen):
        self.seen = seen

    def score(self, users):
        assert not len(self.seen), "saw test pairs"
        return np.zeros((len(users), self.seen.num_items), np.float32)

    save = load = None


class Peek(Step):
    def run(self, job: Job) -> Peeks:
        return Peeks(job.prepared.test)


def test_a_method_that_peeks_sees_nothing(world, monkeypatch):
    spec = specs()["ease"]
    steps = (replace(spec.steps[0], run="tests.tuning.test_study:Peek"),)
    monkeypatch.setitem(specs(), "ease", replace(spec, steps=steps))
    assert objective("ease", world.cell, Params())({L2: 1.0}) >= 0


def test_a_catalogue_that_is_searched_by_beams_is_measured_by_beams(cell, monkeypatch):
    """Exact scores of a large catalogue take hours, and the lists that are served have none."""
    section = "settings.tiger.train"
    params = SMALL.with_values({f"{section}.exact_items": 0, f"{section}.beams": NUM_ITEMS})
    exact = objective("tiger", cell, SMALL)({})

    def scores(self, window):
        raise AssertionError("scored every item")

    monkeypatch.setattr(ItemGenerator, "scores", scores)
    found = objective("tiger", cell, params)({})
    assert found == pytest.approx(exact) and 0 < found < 1


def key_of(method, cell, params=Params(), code=CODE):  # noqa: B008 - frozen
    return study_key(method, cell, params, ranges=searched(method, cell), code=code)


@pytest.mark.parametrize("method", TUNABLE)
def test_no_test_pair_has_any_influence(cell, prepared, method, tmp_path):
    """Every method runs on what it is said to need, and other test pairs give the same value and
    the same study.
    """
    params = SMALL.model_copy(
        update={"language": Params().language.model_copy(update={"model": str(tmp_path / "tiny")})}
    )
    language = WRITERS["encoder"](tmp_path / "tiny")
    about = {"language": {"model": str(language), "sha256": ModelFiles.of(language).sha256}}
    replace(Profiles.load(cell.step("profile")), about=about).save(cell.step("profile"))
    for name in ("profile", "pretrain-all", "pretrain-graph"):
        if name not in sources(method):
            shutil.rmtree(cell.step(name))
    values = present_values(method, params)
    found = []
    for _ in range(2):
        found.append((objective(method, cell, params)(values), key_of(method, cell, params)))
        swap_test(cell, prepared)
    assert found[0] == found[1]
    assert 0 < found[0][0] <= 1


def test_a_method_is_tuned_with_its_own_steps_from_what_others_made():
    found = {method: sources(method) for method in ("ease", "lightgcn", "cease", "blend", "glta")}
    assert found == {
        "ease": [],
        "lightgcn": [],
        "cease": ["profile"],
        "blend": ["ease", "cease", "lightgcn", "text-knn", "text-ridge", "word-ridge"],
        "glta": ["profile", "pretrain-graph"],
    }


def test_values_reach_the_method(cell):
    measure = objective("ease", cell, Params())
    assert measure({L2: 1.0}) != measure({L2: 1e4})


def test_without_times_tuning_leaves_recency_alone(cell):
    keys = [L2, "settings.ease.recency"]
    assert list(searched("ease", cell)) == list(space("ease")) == keys
    train = cell.prepare / "train.parquet"
    first = key_of("ease", cell)
    recent = Params().with_values({keys[1]: 0.7})
    assert key_of("ease", cell, recent) == first
    pl.read_parquet(train).with_columns(timestamp=pl.lit(None, pl.Int64)).write_parquet(train)
    assert list(searched("ease", cell)) == keys[:1]
    assert len({first, key_of("ease", cell), key_of("ease", cell, recent)}) == 3


def test_a_study_is_bound_to_all_that_its_results_follow_from(cell):
    def key(method="ease", params=Params(), seed=0, code=CODE):  # noqa: B008 - frozen
        return key_of(method, replace(cell, seed=seed), params, code)

    # the same data, so that the seed alone differs
    shutil.copytree(cell.prepare.parent, replace(cell, seed=1).prepare.parent)
    before, text_before = key(), key("lightgcn-plus")
    assert key(params=Params().with_values({L2: 3.0})) == before, (
        "values that are searched are part of the trials"
    )
    twin = Cell("twin", 0, cell.data)
    shutil.copytree(cell.prepare.parent, twin.prepare.parent)
    changes = [
        key(seed=1),
        key_of("ease", twin),
        key(code=["glta/methods/item_knn/model.py"]),
        key("item-knn"),
        text_before,
    ]
    changes.append(key(params=Params().with_values({"settings.ease.max_gb": 50.0})))
    assert key(params=Params().with_values({"settings.hccf.steps": 3})) == before
    with (cell.step("profile") / "states.safetensors").open("ab") as f:
        f.write(b" ")
    assert key() == before
    changes.append(key("lightgcn-plus"))
    train = cell.prepare / "train.parquet"
    pl.read_parquet(train).head(-1).write_parquet(train)
    changes.append(key())
    assert len({before, *changes}) == len(changes) + 1
