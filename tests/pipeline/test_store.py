"""Test that a store of runs that cannot be used is named in one line, at once, with the fix."""

from __future__ import annotations

import http.server
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipeline.tracking import store


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Let an empty folder be the checkout."""
    monkeypatch.delenv(store.VARIABLE, raising=False)
    monkeypatch.setattr(store, "HOME", tmp_path)
    monkeypatch.setattr(store, "DATABASE", tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(home: Path, stage: str = "active", place: str = "mlartifacts") -> Path:
    """Make a database with the tables of MLflow that are read here."""
    path = home / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE experiments (experiment_id, name, lifecycle_stage, x)")
        database.execute("ALTER TABLE experiments RENAME COLUMN x TO artifact_location")
        database.execute("INSERT INTO experiments VALUES (1, 'glta', ?, ?)", (stage, place))
        for table, column in store.LOCATIONS:
            database.execute(f"CREATE TABLE {table} ({column})")
    return path


def refusal(write: bool = True) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        store.check_store(write)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_store_that_can_be_used_passes(home):
    store.check_store()
    made(home)
    store.check_store()
    (home / "mlflow.db").write_bytes(b"")
    store.check_store()


def test_a_folder_in_the_place_of_the_database(home):
    (home / "mlflow.db").mkdir()
    assert "mlflow.db: is a folder" in refusal()


@pytest.mark.parametrize("damage", ["all", "end"])
def test_a_damaged_database(home, damage):
    path = made(home)
    content = path.read_bytes()
    path.write_bytes(os.urandom(5000) if damage == "all" else content[: len(content) // 2])
    assert "mlflow.db: damaged; move it away (`mv mlflow.db mlflow.db.damaged`)" in refusal()


def test_a_read_only_database_can_be_read_alone(home, monkeypatch):
    made(home)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "mlflow.db")
    assert "is read-only for you; allow it (chmod u+w" in refusal()
    store.check_store(write=False)


def test_a_deleted_experiment_names_the_command_that_restores_it(home):
    made(home, stage="deleted")
    assert (
        f"`MLFLOW_TRACKING_URI=sqlite:///{home}/mlflow.db mlflow experiments restore "
        "--experiment-id 1`" in refusal()
    )


def test_a_lock_is_waited_for(home, capfd):
    path = made(home)

    def ask() -> int:
        with closing(sqlite3.connect(path, timeout=0)) as database:
            return database.execute("SELECT count(*) FROM experiments").fetchone()[0]

    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(other):
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(1, other.execute, ["ROLLBACK"]).start()
        assert store.patiently(ask) == 1
        assert capfd.readouterr().err.count("mlflow.db: locked by another program; waiting") == 1
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            store.patiently(ask, seconds=0.1)
    assert store.explain(caught.value) == (
        "mlflow.db: locked by another program; end it, then run again"
    )


def test_the_cause_is_found_behind_the_words_of_sqlalchemy(home):
    """Its own first line speaks of an autoflush."""
    try:
        try:
            raise sqlite3.OperationalError("database is locked")
        except sqlite3.OperationalError as error:
            raise RuntimeError("(raised as a result of Query-invoked autoflush)\nmore") from error
    except RuntimeError as error:
        assert "locked by another program" in store.explain(error)
    assert "the disk is full" in store.explain(OSError(28, "No space left on device"))
    assert store.explain(KeyError("x")) == "mlflow.db: MLflow cannot use it: KeyError: 'x'"


def test_the_schema_of_another_mlflow(home):
    from mlflow.store.db.utils import _get_latest_schema_revision

    words = "Detected out-of-date database schema (found version {}, but expected 1)."
    newer = store.explain(RuntimeError(words.format("abcdef123456")))
    assert "was written by an MLflow newer than" in newer and "mlflow.db.newer" in newer
    older = store.explain(RuntimeError(words.format(_get_latest_schema_revision())))
    assert f"run `mlflow db upgrade sqlite:///{home}/mlflow.db`" in older


@pytest.mark.parametrize(
    ("schema", "words"),
    [("abcdef123456", "newer than"), ("451aebb31d03", "older than"), ("latest", None)],
)
def test_the_schema_is_checked_before_any_work(home, schema, words):
    from mlflow.store.db.utils import _get_latest_schema_revision

    path = made(home)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num)")
        number = _get_latest_schema_revision() if schema == "latest" else schema
        database.execute("INSERT INTO alembic_version VALUES (?)", (number,))
    if words:
        assert words in refusal()
    else:
        store.check_store()


@pytest.mark.parametrize("address", ["file:///some/folder", "/some/folder", "runs"])
def test_a_folder_of_runs(home, monkeypatch, address):
    monkeypatch.setenv(store.VARIABLE, address)
    assert f"{address}: a folder, and MLflow keeps runs in folders no more" in refusal()


def test_an_address_of_blanks_is_none(home, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, " ")
    assert store.is_own()


def test_databricks_needs_no_address(home, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, "databricks")
    store.check_store()


class Answers(http.server.BaseHTTPRequestHandler):
    """Answer each path with the status that it names."""

    def do_GET(self):
        status = int(self.path.split("/")[1])
        body = b"<html>"
        if status in (200, 404):
            body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}'
        if status == 201:
            status = 200
            body = b'{"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}}'
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as answers:
        threading.Thread(target=answers.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{answers.server_address[1]}"
        answers.shutdown()


def test_addresses_of_servers(home, monkeypatch):
    monkeypatch.setattr(store, "ANSWER_SECONDS", 1)
    with server() as there, socket.create_server(("127.0.0.1", 0)) as silent:
        cases = {
            f"http://{there}/403": "the server refuses access (status 403",
            f"http://{there}/401": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            f"http://{there}/500": "the server has failed (status 500)",
            f"http://{there}/405": "is no MLflow server",
            f"http://{there}/201": "experiment glta was deleted",
            f"https://{there}/200": "does not speak https",
            f"http://u:secret@127.0.0.1:{silent.getsockname()[1]}": "gave no answer within 1 s",
            "http://127.0.0.1:9": "nothing listens there",
            "postgresql://u:secret@127.0.0.1:9/runs": "nothing listens there",
            "http://no-such-host.invalid:5000": "knows no such host",
            "http://": "names no host",
            "htp://127.0.0.1:5000": "not an address that MLflow knows",
            "localhost:5000": "write http://HOST:PORT",
            "127.0.0.1:5000": "write http://HOST:PORT",
        }
        for address, words in cases.items():
            monkeypatch.setenv(store.VARIABLE, address)
            started = time.monotonic()
            said = refusal()
            assert words in said, (address, said)
            assert "secret" not in said and time.monotonic() - started < 10
        for address in (f"http://{there}/404", f"http://{there}/200/"):
            monkeypatch.setenv(store.VARIABLE, address)
            store.check_store()


def test_places_of_files_become_relative_and_others_stay(home):
    """The store of an earlier version had the place of its first run."""
    path = made(home, place="file:///old%20place/mlartifacts")
    with closing(sqlite3.connect(path)) as database, database:
        for number, place in (
            (0, "/old place/mlruns/0"),
            (2, "s3://bucket/mlartifacts"),
            (3, "/my/own/files"),
        ):
            values = (number, str(number), "active", place)
            database.execute("INSERT INTO experiments VALUES (?, ?, ?, ?)", values)
        for name in ("file:///old%20place/mlartifacts/r/artifacts", "/my/own/files/r", "models:/m"):
            database.execute("INSERT INTO runs VALUES (?)", (name,))
        name = "file:///old%20place/mlartifacts/models/m/artifacts"
        database.execute("INSERT INTO logged_models VALUES (?)", (name,))
    store.make_portable()
    store.make_portable()
    with closing(sqlite3.connect(path)) as database:
        found = dict(database.execute("SELECT experiment_id, artifact_location FROM experiments"))
        runs = [row[0] for row in database.execute("SELECT artifact_uri FROM runs")]
        models = [row[0] for row in database.execute("SELECT * FROM logged_models")]
    assert found == {
        0: "mlruns/0",
        1: "mlartifacts",
        2: "s3://bucket/mlartifacts",
        3: "/my/own/files",
    }
    assert runs == ["mlartifacts/r/artifacts", "/my/own/files/r", "models:/m"]
    assert models == ["mlartifacts/models/m/artifacts"]
    assert store.local_place(runs[0]) == home / runs[0]
    assert store.local_place(runs[1]) is None and store.local_place("s3://x/y") is None
