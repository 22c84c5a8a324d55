"""Count the time of a stage's earlier attempts, whose work is in its checkpoints.

An attempt counts from its start to its last checkpoint: what it did after that is done again.
Nothing has to be written for that while a stage runs, so a kill -9 loses nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from glta.storage.files import read_json, write_json

FILE = "attempts.json"
"""Beside the checkpoints: the seconds before an attempt. The file is as old as the attempt."""


class Attempts:
    """Begin an attempt, and hold the seconds of those before it.

    folder: of the checkpoints, for one combination of command, inputs and parameters.
    """

    def __init__(self, folder: Path):
        self._file = folder / FILE
        self._checkpoints = [
            path
            for path in folder.rglob("*")
            if path.is_file() and path != self._file and path.suffix != ".partial"
        ]
        self.seconds = 0.0
        if self._checkpoints and self._file.is_file():
            # both times are the file system's
            last = max(path.stat().st_mtime for path in self._checkpoints)
            used = max(last - self._file.stat().st_mtime, 0.0)
            self.seconds = read_json(self._file)["seconds"] + used
        write_json(self._file, {"seconds": self.seconds})

    def look(self) -> None:
        """Count no earlier attempt when a checkpoint is gone.

        A training that finds its checkpoint damaged deletes it, and starts afresh. To be called
        more often than the training writes checkpoints.
        """
        if not self.seconds or all(path.exists() for path in self._checkpoints):
            return
        self.seconds = 0.0
        began = self._file.stat().st_mtime_ns
        write_json(self._file, {"seconds": self.seconds})
        os.utime(self._file, ns=(began, began))
