"""Stop a process at a chosen moment, so that a test can kill it there.

Python imports this file by its name from PYTHONPATH.
"""

import os
import re
import sys
import time


def watch(process: str, event: str, path: str, count: str) -> None:
    """Stop at the count-th audit event about a matching path.

    Only processes whose command line matches `process` stop.
    """
    left = int(count)

    def hook(name: str, arguments: tuple) -> None:
        nonlocal left
        if (
            name == event
            and left
            # a fork has another command than the process in which this file was read
            and re.search(process, " ".join(sys.orig_argv))
            and any(
                isinstance(a, str | os.PathLike) and re.search(path, str(a)) for a in arguments[:2]
            )
        ):
            left -= 1
            if not left:
                with open("reached", "w") as file:
                    file.write(str(os.getpid()))
                time.sleep(3600)

    sys.addaudithook(hook)


if "TEST_MOMENT" in os.environ:
    watch(*os.environ["TEST_MOMENT"].split("\t"))
