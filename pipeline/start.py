"""Start the command of a stage: python -m pipeline.start -- COMMAND...

Every stage needs DVC, MLflow and mostly torch, whose imports take three seconds. From the third
stage of a call on, a stage is a fork of a process that has imported them (pipeline/engine/warm.py).
"""

import os
import sys

from pipeline.engine import warm

RUNNER = "pipeline.tracking.runner"

if __name__ == "__main__":
    status = warm.run(RUNNER, sys.argv[1:])
    if status is None:
        os.execv(sys.executable, [sys.executable, "-m", RUNNER, *sys.argv[1:]])  # noqa: S606
    sys.exit(status)
