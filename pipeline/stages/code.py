"""Write data/code and data/params: the code and the parameter values behind every stage."""

from pathlib import Path

from glta.params.model import Params
from glta.storage.files import whole_folder, write_whole
from pipeline.engine.code import CODE, VALUES, contents, written
from pipeline.stages.script import run


def main(params: Params) -> None:
    """Write one file for each program, and one for each dataset and stage."""
    with whole_folder(CODE) as code, whole_folder(VALUES) as values:
        places = {CODE: code, VALUES: values}
        for path, content in contents(params).items():
            top = next(folder for folder in places if Path(path).is_relative_to(folder))
            place = places[top] / Path(path).relative_to(top)
            place.parent.mkdir(exist_ok=True)
            write_whole(place, written(content))


if __name__ == "__main__":
    run(main)
