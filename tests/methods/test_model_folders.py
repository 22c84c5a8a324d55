"""A folder of another method, or of another version of glta, is refused."""

import json

import pytest

from glta.methods.registry import recommender_class

NAMES = (
    "popularity",
    "text-knn",
    "item-knn",
    "ease",
    "lightgcn",
    "lightgcn-text-knn",
    "cease",
    "blend",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "hccf"}, r"model\.json: is a model of hccf, not of {name}; give"),
        ({"schema": 0}, r"model\.json: has schema 0, .* reads \d+; make it again"),
    ],
)
def test_other_folders_are_refused(world, tmp_path, name, changes, message):
    folder = tmp_path / "model"
    folder.mkdir()
    world.train(name).save(folder)
    recommender_class(name).load(folder)
    about = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(about | changes))
    with pytest.raises(ValueError, match=message.format(name=name)):
        recommender_class(name).load(folder)
