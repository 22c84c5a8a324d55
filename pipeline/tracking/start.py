"""Start the command of a stage: python -m pipeline.tracking.start -- COMMAND...

Every stage needs DVC and MLflow, and most need torch, whose imports take three seconds. From the
third stage of a call on, a stage is a fork of a process that has imported them
(pipeline/engine/warm.py).
"""

import runpy
import sys

from pipeline.engine import warm

if __name__ == "__main__":
    status = warm.run("pipeline.tracking.runner", sys.argv[1:])
    if status is not None:
        sys.exit(status)
    runpy.run_module("pipeline.tracking.runner", run_name="__main__", alter_sys=True)
