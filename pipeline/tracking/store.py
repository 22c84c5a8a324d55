"""Find and check the store of the runs: mlflow.db, or the server of MLFLOW_TRACKING_URI.

What is wrong with it is said in one line, with the fix. A lock of the database is waited for.
"""

from __future__ import annotations

import fcntl
import importlib.util
import logging
import os
import re
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mlflow import MlflowClient

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

T = TypeVar("T")

# the main checkout, also from the copy of it that `dvc exp run --temp` or `--queue` works in
HOME = Path(str(Path.cwd()).split("/.dvc/tmp/exps/")[0])
DATABASE = HOME / "mlflow.db"
EXPERIMENT = "glta"
# beside mlflow.db, and relative in it: a moved or copied checkout keeps its files
ARTIFACTS = "mlartifacts"
# held while a stage reads and then writes what several stages share
LOCK = HOME / ".pipe/mlflow.lock"
VARIABLE = "MLFLOW_TRACKING_URI"
CORRECT = f"correct it, or `unset {VARIABLE}` to use mlflow.db"
# seconds that a server has for the first answer
ANSWER_SECONDS = 5
# seconds that another program may lock the database
LOCK_SECONDS = 300
SERVERS = ("http", "https")
# databases on a server, with the port that is usual
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
OTHERS = ("sqlite", "databricks", "databricks-uc", "uc")
# columns that hold where files lie, in MLflow's tables
LOCATIONS = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def tracking_address() -> str:
    # only blanks would name the present folder to MLflow
    return os.environ.get(VARIABLE, "").strip() or f"sqlite:///{DATABASE}"


def is_server(address: str) -> bool:
    return urlsplit(address).scheme in SERVERS


def database_file() -> Path | None:
    """Return the file of an SQLite store; None for any other store."""
    address = tracking_address()
    if not address.startswith("sqlite:///"):
        return None
    return Path(address.removeprefix("sqlite:///").partition("?")[0]).absolute()


def is_own() -> bool:
    """Tell whether the store is mlflow.db of this checkout."""
    return database_file() == DATABASE


def store_exists() -> bool:
    """Tell whether there can be runs to read."""
    file = database_file()
    return file is None or file.exists()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock. The kernel releases it when this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def open_client() -> MlflowClient:
    """Connect to the store. The client waits while another program locks the database."""
    # MLflow's log would show a traceback for what is said in one line here
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from mlflow import MlflowClient

    return cast("MlflowClient", _Patient(MlflowClient(tracking_address())))


class _Patient:
    """Repeat each call of a client while another program locks the database.

    A call is one transaction, so that a failed one has left nothing behind.
    """

    def __init__(self, client: Any):
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found
        return lambda *args, **options: patiently(lambda: found(*args, **options))


def patiently(call: Callable[[], T], seconds: float = LOCK_SECONDS) -> T:
    """Call until no other program locks the database, for some seconds at most."""
    deadline = time.monotonic() + seconds
    told = False
    while True:
        try:
            return call()
        # SQLAlchemy's errors come through MLflow as they are, or wrapped
        except Exception as error:
            if "database is locked" not in _words(error) or time.monotonic() > deadline:
                raise
            if not told:
                print(
                    f"{shown_store()}: locked by another program; waiting for it up to "
                    f"{seconds:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
            told = True
            time.sleep(0.5)


def shown_store() -> str:
    """Return the store's name for messages, without a password."""
    address = tracking_address()
    file = database_file()
    if file:
        return file.name if file.parent == Path.cwd() else str(file)
    return re.sub(r"//[^/@]*@", "//", address)


def check_store(write: bool = True) -> None:
    """Check quickly whether runs can be written, or read alone, before any work is done.

    Raises ValueError in one line, with the fix. MLflow is imported for a server alone.
    """
    address = tracking_address()
    scheme = urlsplit(address).scheme
    if file := database_file():
        _check_database(file, write)
    elif scheme in SERVERS:
        _check_server(address)
    elif (kind := scheme.partition("+")[0]) in PORTS:
        _check_port(address, PORTS[kind])
    elif address in OTHERS or kind in OTHERS:
        return
    elif kind == "file" or not (kind or re.fullmatch(r"[^/]+:\d+/?", address)):
        raise ValueError(
            f"{VARIABLE} = {address}: a folder, and MLflow keeps runs in folders no more; write "
            f"sqlite:////FOLDER/mlflow.db, or `unset {VARIABLE}` to use mlflow.db"
        )
    else:
        raise ValueError(
            f"{VARIABLE} = {address}: not an address that MLflow knows; write http://HOST:PORT, or "
            f"`unset {VARIABLE}` to use mlflow.db"
        )


def _check_database(file: Path, write: bool) -> None:
    if file.is_dir():
        raise ValueError(
            f"{shown_store()}: is a folder, and MLflow keeps its database there; move it away"
        )
    for place in (file, file.parent):
        if write and place.exists() and not os.access(place, os.W_OK):
            raise ValueError(
                f"{shown_store()}: cannot be written, as {place} is read-only for you; allow it "
                f"(chmod u+w {place}), or set {VARIABLE} to another store"
            )
    if not file.exists():
        return

    def ask() -> tuple[str | None, tuple | None]:
        with closing(sqlite3.connect(file, timeout=1)) as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if "experiments" not in names:
                return None, None
            schema = None
            if "alembic_version" in names:
                schema = database.execute("SELECT version_num FROM alembic_version").fetchone()
            experiment = database.execute(
                "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?",
                (EXPERIMENT,),
            ).fetchone()
            return schema and schema[0], experiment

    known = _schema_versions()
    try:
        schema, found = patiently(ask)
        if schema and known.get(schema, True) and write:
            # another stage may be making the database, one version after the other
            with locked(LOCK):
                schema, found = patiently(ask)
    except sqlite3.Error as error:
        raise ValueError(explain(error)) from None
    if schema and known.get(schema, True):
        raise ValueError(f"{shown_store()}: {_schema(older=schema in known)}")
    if found:
        refuse_deleted(str(found[0]), found[1], EXPERIMENT)


def refuse_deleted(experiment: str, stage: str, name: str) -> None:
    """Raise ValueError, with the command that helps, when an experiment was deleted.

    stage: of its life, in MLflow's words.
    """
    if stage == "deleted":
        address = shown_store() if is_server(tracking_address()) else tracking_address()
        raise ValueError(
            f"{shown_store()}: the experiment {name} was deleted in MLflow; restore it: "
            f"`{VARIABLE}={address} mlflow experiments restore --experiment-id {experiment}`"
        )


def _check_port(address: str, usual: int) -> None:
    """Check that a database server listens: MLflow would try for two minutes."""
    parts = urlsplit(address)
    try:
        place = (parts.hostname or "localhost", parts.port or usual)
        socket.create_connection(place, timeout=ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{VARIABLE} = {shown_store()}: {_unreachable(_words(error))}; {CORRECT}"
        ) from None


def _check_server(address: str) -> None:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    where = f"{VARIABLE} = {shown_store()}"
    if not urlsplit(address).hostname:
        raise ValueError(f"{where}: names no host; {CORRECT}")
    try:
        answer = http_request(
            get_default_host_creds(address.rstrip("/")),
            "/api/2.0/mlflow/experiments/get-by-name",
            "GET",
            params={"experiment_name": EXPERIMENT},
            timeout=ANSWER_SECONDS,
            max_retries=0,
            raise_on_status=False,
        )
    # requests, urllib3 and plugins for authentication have errors of many types
    except Exception as error:
        raise ValueError(f"{where}: {_unreachable(_words(error))}; {CORRECT}") from None
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.status_code in (401, 403) and not (isinstance(content, dict) and "error" in content):
        said = " ".join(answer.text.split())[:120]
        raise ValueError(
            f"{where}: the server refuses access (status {answer.status_code}: {said}); set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if answer.status_code >= 500:
        raise ValueError(f"{where}: the server has failed (status {answer.status_code}); {CORRECT}")
    known = isinstance(content, dict) and ("experiment" in content or "error_code" in content)
    if not known:
        raise ValueError(
            f"{where}: is no MLflow server (status {answer.status_code} to its question); {CORRECT}"
        )
    if experiment := content.get("experiment"):
        refuse_deleted(experiment["experiment_id"], experiment["lifecycle_stage"], EXPERIMENT)


def _unreachable(words: str) -> str:
    for pattern, said in (
        ("Connection refused", "nothing listens there"),
        ("resolve|Name or service|name resolution|nodename", "the network knows no such host"),
        (
            "WRONG_VERSION|record layer|SSLError.*EOF",
            "does not speak https; try the address with http://",
        ),
        ("SSL|certificate", "its certificate is not accepted (MLFLOW_TRACKING_SERVER_CERT_PATH)"),
        ("timed out|Timeout", f"gave no answer within {ANSWER_SECONDS} s"),
        ("unreachable|No route", "the network cannot reach it"),
    ):
        if re.search(pattern, words):
            return said
    return f"cannot be reached ({words[:200]})"


def _words(error: BaseException) -> str:
    """Join what an error and its causes say, in one line."""
    said: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(said) < 10:
        said.append(" ".join(str(seen).split()))
        seen = seen.__cause__ or seen.__context__
    return " | ".join(said)


def explain(error: BaseException) -> str:
    """Write what is wrong with the store in one line, with the fix."""
    words = _words(error)
    store = shown_store()
    file = database_file()
    name = file.name if file else store
    for pattern, said in (
        ("database is locked", "locked by another program; end it, then run again"),
        (
            "disk is full|No space left|disk I/O",
            "cannot be written, the disk is full or failing; make room, then run again",
        ),
        (
            "readonly database|Read-only file system|Permission denied",
            f"read-only; `chmod u+w {name}`, or set {VARIABLE} to another store",
        ),
        (
            "file is not a database|malformed|encrypted",
            f"damaged; move it away (`mv {name} {name}.damaged`) and run again, which begins a "
            f"new one. Results stay; what can be saved of the runs: `sqlite3 {name}.damaged "
            f".recover | sqlite3 {name}`",
        ),
        (
            "unable to open database",
            "cannot be opened; is a folder above it missing, or not yours?",
        ),
    ):
        if re.search(pattern, words):
            return f"{store}: {said}"
    if "out-of-date database schema" in words or "Can't locate revision" in words:
        found = re.search(r"found version (\w+)|identified by '(\w+)'", words)
        older = bool(found and (found[1] or found[2]) in _schema_versions())
        return f"{store}: {_schema(older=older)}"
    first = " ".join(str(error).split("\n")[0].split())
    return f"{store}: MLflow cannot use it: {type(error).__name__}: {first[:300]}"


def _schema_versions() -> dict[str, bool]:
    """Return the versions of the tables that the installed MLflow knows, and which are past ones.

    They are read from its files: importing it takes seconds.
    """
    package = importlib.util.find_spec("mlflow")
    place = Path(package.origin or "").parent if package else Path()
    texts = [path.read_text() for path in place.glob("store/db_migrations/versions/*.py")]
    past = set(_named("down_revision", texts))
    return {version: version in past for version in _named("revision", texts)}


def _named(variable: str, texts: list[str]) -> list[str]:
    pattern = re.compile(rf"^{variable}(?:: \S+)? = [\"'](\w+)[\"']", re.MULTILINE)
    return [found[1] for text in texts if (found := pattern.search(text))]


def _schema(older: bool) -> str:
    """Say that another MLflow has made the store's tables, with the command that helps."""
    installed = version("mlflow")
    file = database_file()
    if older:
        copy = f"`cp {file} {file}.old`" if file else "a copy"
        return (
            f"was written by an MLflow older than {installed}; after {copy}, run "
            f"`mlflow db upgrade {tracking_address()}`"
        )
    away = f", or move it away (`mv {file} {file}.newer`) to begin a new one" if file else ""
    return (
        f"was written by an MLflow newer than {installed}; install that version (pip install -U "
        f"mlflow){away}"
    )


def make_portable() -> None:
    """Write the places of files into mlflow.db as relative ones, under the store's lock.

    MLflow makes them absolute. A moved checkout would then write to its old place, and a copy into
    the original. Stores of earlier versions are mended too. Experiments with a place of their own
    stay as they are.
    """
    if not is_own() or not DATABASE.exists():
        return
    with closing(sqlite3.connect(DATABASE, timeout=20)) as database, database:
        places = database.execute("SELECT experiment_id, artifact_location FROM experiments")
        for experiment, place in places.fetchall():
            relative = _relative(place or "", experiment)
            if relative is None:
                continue
            database.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (relative, experiment),
            )
            for table, column in LOCATIONS:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE substr({column}, 1, ?) = ?",
                    (relative, len(place) + 1, len(place) + 1, f"{place}/"),
                )


def _relative(place: str, experiment: int) -> str | None:
    """Return an experiment's place relative to the checkout; None where it is to stay."""
    path = urlsplit(place).path if place.startswith("file:") else place
    if not path.startswith("/"):
        return None
    # MLflow's own default experiment, which no stage uses
    default = f"mlruns/{experiment}"
    return next((own for own in (ARTIFACTS, default) if path.endswith(f"/{own}")), None)


def local_place(location: str) -> Path | None:
    """Return the folder of files that the store names by a relative path; None for other places."""
    return None if re.match(r"/|[\w+.-]+:", location) else HOME / location
