"""Push all results to DVC's remote, or pull the results that others have pushed.

Results, the run cache and the answers of language models are shared. `dvc push --run-cache` alone
sends the records of earlier results without their files, so that a clone could not restore them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from glta.features.text.cache import CACHE as ANSWERS
from pipeline.engine.oracle import open_repository

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo


def push() -> str:
    """Send every result in DVC's cache. Returns a line that says what was done.

    Raises ValueError, with the fix, on failure.
    """
    from dvc_data.hashfile.db import get_index

    with _remote() as (repo, remote):
        count = repo.push()
        results = {
            o.def_path: _with_contents(repo, {o.hash_info})
            for o in repo.index.outs
            if o.use_cache and o.hash_info
        }
        found = set().union(*results.values())
        if _keeps_records(remote):
            found |= _with_contents(repo, _recorded(repo))
        # DVC remembers what the remote has, and believes that it has all files of a folder whose
        # list it has; but others may have deleted some
        get_index(remote.odb).clear()
        for part in (
            {each for each in found if not each.isdir},
            {each for each in found if each.isdir},
        ):
            count += len(repo.cloud.push(part).transferred)
        there = set(remote.odb.oids_exist([each.value for each in found]))
        if lost := [
            path for path, files in results.items() if not {each.value for each in files} <= there
        ]:
            raise ValueError(
                f"{remote.url}: lacks {len(lost)} results that are not here either ({lost[0]}, "
                "...); run the pipeline"
            )
        if _keeps_records(remote):
            # records come after their files
            repo.stage_cache.push(None)
            count += _merge_answers(remote, send=True)
        return f"{remote.url}: {count} files pushed"


def pull() -> str:
    """Fetch every result that others have pushed, and restore those of this commit.

    Returns and raises as `push`.
    """
    from dvc.exceptions import CheckoutError, DownloadError, DvcException

    with _remote() as (repo, remote):
        count = 0
        # missing files are reported below
        with suppress(DownloadError):
            count = repo.fetch()
        if _keeps_records(remote):
            repo.stage_cache.pull(None)
            found = _recorded(repo)
            # the lists of folders come first; they name the files
            count += len(repo.cloud.pull(found).transferred)
            count += len(repo.cloud.pull(_with_contents(repo, found)).transferred)
            count += _merge_answers(remote, send=False)
        try:
            repo.checkout()
        except CheckoutError as error:
            missing = sorted(map(str, error.target_infos))
            raise ValueError(
                f"{remote.url}: cannot be reached, or lacks {len(missing)} results of this commit "
                f"({missing[0]}, ...); ask the colleague who made them to run `make push`"
            ) from None
        except DvcException as error:
            raise ValueError(
                f"{_line(error)}; move them away, or `dvc checkout --force` to replace them"
            ) from None
        return f"{remote.url}: {count} files pulled"


@contextmanager
def _remote() -> Iterator[tuple]:
    """Yield the repository, locked, and its remote."""
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo

    for name in ("dvc", "dvc_data", "dvc_objects"):
        # warnings of DVC name hashes, which help no user
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with open_repository() as repo, lock_repo(repo):
            try:
                remote = repo.cloud.get_remote()
                remote.url = repo.config["remote"][remote.name]["url"]
                remote.fs.exists(remote.path)
            except NoRemoteError:
                raise ValueError(
                    "no DVC remote is set; name one: `dvc remote add -d NAME URL`, commit "
                    ".dvc/config"
                ) from None
            # the clients of the many kinds of remotes raise many types of errors
            except Exception as error:
                raise ValueError(
                    f"the DVC remote cannot be used: {_line(error)}; see .dvc/config and the "
                    "network"
                ) from None
            try:
                yield repo, remote
            except OSError as error:
                raise ValueError(f"{remote.url}: {_line(error)}") from None
    except DvcException as error:
        raise ValueError(_line(error)) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _keeps_records(remote) -> bool:
    """Tell whether the remote can store more than objects.

    DVC's run cache does not work over plain http.
    """
    return remote.fs.protocol not in ("http", "https")


def _recorded(repo: Repo) -> set[HashInfo]:
    """Return the outputs of all recorded results."""
    from dvc_data.hashfile.hash_info import HashInfo

    paths = Path(repo.stage_cache.cache_dir).glob("*/*/*")
    # None for a record that a kill left half written
    records = [repo.stage_cache._load_cache(path.parent.name, path.name) for path in paths]
    return {
        HashInfo(out["hash"], out[out["hash"]])
        for record in filter(None, records)
        for out in record["outs"]
    }


def _with_contents(repo: Repo, found: Iterable[HashInfo]) -> set[HashInfo]:
    """Add the files of the folders among the objects.

    Folders whose list is not in the cache are skipped.
    """
    from dvc_data.hashfile.tree import Tree

    files = set(found)
    for folder in [each for each in files if each.isdir]:
        with suppress(FileNotFoundError):
            files |= {file for _, _, file in Tree.load(repo.cache.local, folder)}
    return files


def _merge_answers(remote, send: bool) -> int:
    """Add the remote's answers to the files here, and with `send` the answers here to the remote.

    Returns the number of files that changed.
    """
    fs = remote.fs
    there = fs.join(remote.path, "answers")
    count = 0
    names = {fs.name(path) for path in fs.find(there)} if fs.exists(there) else set()
    for name in names | {path.name for path in ANSWERS.glob("*.jsonl")}:
        own = ANSWERS / name
        other = fs.join(there, name)
        mine = set(own.read_bytes().splitlines()) if own.exists() else set()
        theirs = set(fs.cat_file(other).splitlines()) if name in names else set()
        if new := theirs - mine:
            ANSWERS.mkdir(parents=True, exist_ok=True)
            # append: a running stage may be adding answers too
            with own.open("ab") as file:
                file.write(b"\n" + b"\n".join(sorted(new)) + b"\n")
        if send and mine - theirs:
            fs.makedirs(there, exist_ok=True)
            fs.pipe_file(other, b"\n".join(sorted(mine | theirs)) + b"\n")
        count += bool(mine - theirs if send else new)
    return count
