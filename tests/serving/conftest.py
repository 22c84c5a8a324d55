"""Bundles of the small dataset that several tests serve."""

from pathlib import Path

import pytest

from glta.testing.blocks import World
from tests.serving.bundles import Shop


@pytest.fixture(scope="session")
def box(tmp_path_factory) -> Path:
    """Write two bundles of EASE: `box` has a store of 6 items a user, `plain` has none."""
    folder = tmp_path_factory.mktemp("rest")
    with pytest.MonkeyPatch.context() as patch:
        world = World.write(folder)
        patch.chdir(folder)
        patch.setattr("glta.storage.cell.DATA", world.data)
        shop = Shop.open(world, folder)
        model = shop.train("ease")
        shop.export("ease", folder / "plain")
        shop.store("ease", model)
        shop.export("ease", folder / "box")
    return folder
