"""Replace kubectl in tests, as far as profiles/kubernetes needs it.

A Job is a process that knows only what its manifest contains.
"""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import yaml

jobs, verb, *arguments = Path(sys.argv[1]), *sys.argv[2:]
if verb == "create":
    manifest = sys.stdin.read()
    pod = yaml.safe_load(manifest)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    job = jobs / uuid.uuid4().hex
    job.mkdir(parents=True)
    (job / "manifest.yaml").write_text(manifest)
    # the variables of the image
    environment = {
        "PATH": os.defpath,
        "DVC_SITE_CACHE_DIR": os.environ["DVC_SITE_CACHE_DIR"],
    }
    environment |= {entry["name"]: entry["value"] for entry in container["env"]}
    with (job / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "sh",
                "-c",
                'job=$1; shift; "$@"; echo $? > "$job/status"',
                "sh",
                job,
                *container["command"],
            ],
            cwd=container["workingDir"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (job / "pid").write_text(str(process.pid))
    print(f"job.batch/{job.name}")
elif verb == "get":
    job = jobs / arguments[0].removeprefix("job.batch/")
    if job.exists():
        status = (job / "status").read_text().strip() if (job / "status").exists() else None
        print(job.name, {None: "", "": "", "0": "Complete"}.get(status, "Failed"), end="")
elif verb == "logs":
    print((jobs / arguments[-1].removeprefix("job.batch/") / "log").read_text())
elif verb == "delete":
    for job in [
        jobs / each.removeprefix("job.batch/") for each in arguments if not each.startswith("--")
    ]:
        if not (job / "status").exists():
            os.killpg(int((job / "pid").read_text()), signal.SIGKILL)
