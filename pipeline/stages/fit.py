"""Make a method that has no stages of its own."""

from glta.data.prepared import Prepared
from glta.methods.base import Inputs
from glta.methods.registry import METHODS, TRAINED_ELSEWHERE, method_class
from glta.params.model import Params
from glta.storage.cell import folder
from glta.storage.files import whole_folder
from pipeline.stages.script import checkpoint_folder, run


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write data/DATASET/SEED/models/METHOD."""
    known = [name for name in METHODS if name not in TRAINED_ELSEWHERE]
    if method not in known:
        raise ValueError(f"--method {method}: this stage makes {', '.join(known)}")
    source = folder(dataset, seed)
    inputs = Inputs(
        Prepared.load(source / "prepare"),
        source / "profile",
        source / "pretrain" / "all",
        checkpoint_folder(),
    )
    model = method_class(method).fit(inputs, params, seed)
    with whole_folder(source / "models" / method) as out:
        model.save(out)


if __name__ == "__main__":
    run(main)
