"""Write data/code: the hashes of the code of every stage's program."""

from glta.params.model import Params
from glta.storage.files import whole_folder, write_whole
from pipeline.engine.code import FOLDER, programs, written
from pipeline.stages.script import run


def main(params: Params) -> None:
    """Write data/code: one file for each program."""
    with whole_folder(FOLDER) as out:
        for name, content in programs().items():
            write_whole(out / f"{name}.json", written(content))


if __name__ == "__main__":
    run(main)
