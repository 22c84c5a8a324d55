"""Print what a run of Snakemake does: a few lines in a pipe, a display in a terminal.

What the stages themselves print goes to one file each, .pipe/logs/STAGE.log. Snakemake's own log in
.snakemake/log has every message that is left out here.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from snakemake_interface_logger_plugins.common import LogEvent

from glta.progress import plain
from glta.storage.cell import folder

LOGS = Path(".pipe/logs")
WIDTH = 100
TAIL = 15
CLOCKS = 60
"""Most seconds by which the clocks of two machines are thought to differ."""
"""Lines of a failed stage's log that are shown."""
DONE_SECONDS = 10
"""At least so long between two plain lines."""
STILL_SECONDS = 60
"""A plain line comes after so long though no stage has ended; later in long runs (STILL_SHARE)."""
STILL_SHARE = 0.05
REPORT = "report"
"""The stage that writes the report."""
TARGET = "all"
"""The rule that asks for everything; it runs nothing."""
NOISE = (
    "Assuming unrestricted shared filesystem usage",
    "Building DAG of jobs",
    "Using shell:",
    "Select jobs to execute",
    "Complete log(s):",
    "Reasons:",
    "Shutting down, this might take some time",
    "Will exit after finishing currently running jobs",
    "Terminating processes on user request",
    "Exiting because a job execution failed",
    "RuleException:\nCalledProcessError",
    "Elapsed time:",
    "WorkflowError:\nAt least one job did not complete successfully",
)
"""How Snakemake's messages begin that say nothing new, or that are said in other words here."""
AGAIN = "nothing is lost: run the same command again to go on"


class Running(NamedTuple):
    """Hold a stage that runs. since: seconds of `time.monotonic`."""

    stage: str
    since: float
    log: Path

    def has_begun(self) -> bool:
        """Tell whether its log is of this run. A waiting job of a cluster has that of an earlier.

        Clocks of two machines may differ, by less than CLOCKS.
        """
        started = time.time() - (time.monotonic() - self.since)
        return self.log.is_file() and self.log.stat().st_mtime > started - CLOCKS

    def progress(self) -> str:
        """Return its last line of progress, in brackets, else ""."""
        return noted(self.log) if self.has_begun() else ""


def log_of(stage: str) -> str:
    """Return the path of the file with what a stage prints."""
    return (LOGS / f"{stage}.log").as_posix()


class Console(logging.Handler):
    """Print the events of Snakemake's logger.

    Its records have the attributes of the events of Snakemake's interface for logger plugins.
    """

    def __init__(self, stream: Any = None):
        super().__init__()
        self.stream = stream or sys.stderr
        self.began = time.monotonic()
        self.total = 0
        self.done = 0
        self.running: dict[int, Running] = {}
        self.failed: list[Running] = []
        self.finished: list[str] = []
        self.stages: list[str] = []
        self.interrupted = False
        self._new: list[str] = []
        self._guard = threading.Lock()
        self._display: Any = None
        self._told = self.began
        self._end = threading.Event()
        self._ticker: threading.Thread | None = None

    @classmethod
    def install(cls, logger: logging.Logger) -> Console | None:
        """Replace what prints Snakemake's messages; its log file keeps them all.

        Ctrl-C is noted, so that `failure` can tell it from an error. Returns None where a plugin
        prints the messages (option --logger of Snakemake).
        """
        usual = next((h for h in logger.handlers if h.name == "DefaultStreamHandler"), None)
        if usual is None:
            return None
        console = cls(getattr(usual, "stream", None))
        logger.removeHandler(usual)
        logger.addHandler(console)
        signal.signal(signal.SIGINT, console.interrupt)
        sys.excepthook = console.uncaught
        return console

    def interrupt(self, signum: int, frame: FrameType | None) -> None:
        """Note Ctrl-C, and go on as Python does."""
        self.interrupted = True
        signal.default_int_handler(signum, frame)

    def uncaught(
        self, kind: type[BaseException], error: BaseException, where: TracebackType | None
    ) -> None:
        """Print one line for Ctrl-C before the first stage, and a traceback for all else."""
        if issubclass(kind, KeyboardInterrupt):
            self.say(f"interrupted; {AGAIN}")
        else:
            sys.__excepthook__(kind, error, where)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, or note what it says."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO and hasattr(record, "stats"):
            counts = record.stats
            self.total = sum(n for rule, n in counts.items() if rule not in ("total", TARGET))
        elif event == LogEvent.JOB_INFO:
            self._planned(record)
        elif event == LogEvent.JOB_STARTED:
            self._start_display()
        elif event == LogEvent.JOB_FINISHED:
            self._ended(record)
        elif event == LogEvent.JOB_ERROR:
            self._broken(record)
        elif event in (None, LogEvent.ERROR, LogEvent.GROUP_ERROR) or record.levelno > logging.INFO:
            self._message(record)

    def _planned(self, record: Any) -> None:
        if record.rule_name != TARGET:
            log = Path(log_of(record.rule_name))
            self.stages.append(record.rule_name)
            self.running[record.jobid] = Running(record.rule_name, time.monotonic(), log)

    def _ended(self, record: Any) -> None:
        if stage := self.running.pop(record.job_id, None):
            self.done += 1
            self.finished.append(stage.stage)
            with self._guard:
                self._new.append(stage.stage)

    def _broken(self, record: Any) -> None:
        stage = self.running.pop(record.jobid, None)
        if stage is None:
            return
        self.failed.append(stage)
        if self.interrupted:
            return
        # of a cluster
        job = (getattr(record, "aux", None) or {}).get("external_jobid")
        named = f"{stage.stage} (job {job})" if job else stage.stage
        # what a scheduler says: out of memory, out of time, refused
        if reason := (getattr(record, "rule_msg", None) or "").strip():
            self.say(f"failed: {named}: {reason}")
        self.say(f"failed: {named}; the end of {stage.log}:")
        lines = tail(stage.log) if stage.has_begun() else [no_log(stage.log)]
        self.say("\n".join(f"    {line}" for line in lines))

    def _message(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip("\n")
        if text.startswith("This was a dry-run"):
            count = len(self.stages)
            self.say(f"{count} {'stage' if count == 1 else 'stages'} would run:")
            self.say(listed(self.stages))
        elif text.startswith("Nothing to be done"):
            self.say(f"{text.rstrip('.')}; `glta results` shows the results")
        elif text and text != "None" and not text.startswith(NOISE):
            self.say(text)

    def say(self, text: str) -> None:
        """Print text, above the display where there is one."""
        if self._display:
            self._display.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    def _start_display(self) -> None:
        if self._ticker or self._display:
            return
        if plain():
            self.say(f"{self.total} stages to run; what they print is in {LOGS}/")
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
            return
        # imported here because it is slow and only a terminal needs it
        from rich.console import Console as Terminal
        from rich.live import Live

        self._display = Live(
            console=Terminal(file=self.stream),
            get_renderable=self._drawn,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._display.start()

    def _tick(self) -> None:
        while not self._end.wait(1):
            now = time.monotonic()
            quiet = now - self._told
            patience = max(STILL_SECONDS, STILL_SHARE * (now - self.began))
            if quiet >= patience or (self._new and quiet >= DONE_SECONDS):
                self._tell()

    def _tell(self) -> None:
        """Print one plain line: how many stages are done, which ones since, and which ones run."""
        with self._guard:
            new, self._new = self._new, []
        now = [f"{each.stage}{each.progress()}" for each in list(self.running.values())]
        parts = [f"done {shortened(new)}"] if new else []
        parts += [f"running {shortened(now)}"] if now else []
        self.say(f"{self.done}/{self.total} {self._clock()}  {'; '.join(parts)}".rstrip())
        self._told = time.monotonic()

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        return f"{minutes}:{seconds:02}"

    def _drawn(self) -> Any:
        """Draw the display of a terminal."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(self.total, 1), completed=self.done, width=30)
        grid.add_row(f"{self.done}/{self.total} stages", bar, self._clock())
        for each in list(self.running.values()):
            seconds = f"{time.monotonic() - each.since:.0f} s"
            grid.add_row(f"  {each.stage}", each.progress(), seconds)
        return grid

    def close_display(self) -> None:
        """End the display, and print what it has not told yet."""
        self._end.set()
        if self._ticker:
            self._ticker.join()
            self._ticker = None
            if self._new:
                self._tell()
        if self._display:
            self._display.stop()
            self._display = None

    def close(self) -> None:
        self.close_display()
        super().close()

    def success(self, metric: str) -> None:
        """Print the end of a run that did all it should, and what a new report says.

        metric: the report's.
        """
        self.close_display()
        self.say(f"done: {self.done} stages in {self._clock()} min")
        if REPORT in self.finished:
            self.say(results(metric))

    def failure(self) -> None:
        """Print the end of another run. Raises SystemExit(130) after Ctrl-C."""
        self.close_display()
        if self.interrupted:
            self.say(f"interrupted after {self.done} of {self.total} stages; {AGAIN}")
            raise SystemExit(130)
        names = ", ".join(f"{each.stage} ({each.log})" for each in self.failed)
        self.say(f"{self.done} of {self.total} stages done; failed: {names or 'see above'}")
        self.say("repair what the message says, and run the same command again; nothing is lost")


def results(metric: str) -> str:
    """Write the results by a metric, and what to do next."""
    from glta.report.standings import standings_text

    try:
        table = standings_text(metric)
    # the run is well, whatever its results are
    except ValueError as error:
        table = str(error)
    page = folder("report", "index.html")
    return f"\n{table}\n\n{page} is the report; `glta ui` shows all runs, `glta table` all tables"


def no_log(log: Path) -> str:
    """Say that a stage has written nothing, and where to look."""
    return f"(no log: the stage did not start; Snakemake's own log is in {log.parents[1]})"


def tail(log: Path) -> list[str]:
    """Return the last lines of a log."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [no_log(log)]
    return [line for line in text.splitlines() if line.strip()][-TAIL:]


def noted(log: Path) -> str:
    """Return the last line of progress that a running stage has printed, in brackets, else ""."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    # as glta/progress.py writes it: "epochs: 3/20 loss 0.5"
    said = [line.strip() for line in lines if re.search(r": \d+/(\d+|\?)", line)]
    return f" ({said[-1][:60]})" if said else ""


def shortened(names: Sequence[str]) -> str:
    """Write at most three names and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def listed(names: Sequence[str]) -> str:
    """Write names as indented lines of at most WIDTH columns."""
    return textwrap.fill(
        ", ".join(names),
        WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
