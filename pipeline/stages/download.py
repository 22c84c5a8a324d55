"""Write data/DATASET/download: fetch a dataset's files, or make the sample."""

from __future__ import annotations

from glta.datasets.fetch import download
from glta.params.model import Params
from glta.storage.cell import folder
from pipeline.stages.script import run


def main(params: Params, dataset: str) -> None:
    source = download(dataset, params.tables, folder(dataset, "download"), mirror=params.mirror)
    for name, file in source["files"].items():
        print(f"{dataset}: {name}, {file['bytes']:,} bytes, sha256 {file['sha256']}")
    print(f"licence: {source['licence']}")
    if source["citation"]:
        print(f"please cite: {source['citation']}")


if __name__ == "__main__":
    run(main, copies_files=True)
