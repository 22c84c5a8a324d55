"""Hash the code of one method of the stage `fit`: -> data/code/METHOD.json.

`fit` depends on that file and not on the code itself, so that a new method, or a change of one,
leaves the models of all others alone.
"""

from glta.methods.registry import METHODS, TRAINED_ELSEWHERE
from glta.params.model import Params
from glta.storage.cell import folder
from glta.storage.files import sha256_of, write_json
from pipeline.engine.imports import modules_of
from pipeline.stages.script import run


def main(params: Params, method: str) -> None:
    """Write data/code/METHOD.json: where the class is, and {file: sha256} of all that its module
    imports.
    """
    known = [name for name in METHODS if name not in TRAINED_ELSEWHERE]
    if method not in known:
        raise ValueError(f"--method {method}: the stage fit makes {', '.join(known)}")
    entry = METHODS[method]
    files = {path: sha256_of(path) for path in modules_of(entry.file)}
    write_json(folder("code", f"{method}.json"), {"class": entry.where, "files": files})


if __name__ == "__main__":
    run(main)
