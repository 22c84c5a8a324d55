"""Ask git for the commit of the code, and say why when it is not known."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from typing import NamedTuple

# A git hook, or a shell prepared for another repository, sets these. They would make git answer
# for that repository. GIT_CONFIG_* stay: they may hold safe.directory.
ELSEWHERE = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
)
RESULTS = (":!dvc.lock", ":!data")
# what stages import; a new file in there is code too, before it is added to git
CODE = ("glta/*.py", "pipeline/*.py")
# a file of the checkout that git knows, if git knows the checkout at all
DEFINITION = "dvc.yaml"


NO_COMMIT = "the commit of this code, or whether the code differs from it, is not recorded"


class Commit(NamedTuple):
    """Hold what git says about the code.

    id: 40 digits, or "" when not known. dirty: whether code or parameters differ from it, None when
    not known. problem: why something is not known; "" otherwise.
    """

    id: str
    dirty: bool | None
    problem: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """Return the commit as MLflow tags. What is not known is said to be unknown."""
        dirty = "unknown" if self.dirty is None else str(self.dirty).lower()
        known = {"git.commit": self.id, "git.dirty": dirty}
        return known | ({"git.problem": self.problem} if self.problem else {})


class GitError(Exception):
    """Report that git gave no answer. The text is one line."""


def ask_git(*args: str) -> bytes:
    """Run git in this folder. Returns its output. Raises GitError when it fails."""
    env = {k: v for k, v in os.environ.items() if k not in ELSEWHERE} | {"LC_ALL": "C"}
    command = ["git", "--no-optional-locks", *args]
    try:
        done = subprocess.run(command, capture_output=True, env=env, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise GitError("git is not installed, or is not on the PATH") from None
    except OSError as error:
        raise GitError(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        raise GitError(_reason(done.stderr.decode(errors="replace")))
    return done.stdout


def _reason(stderr: str) -> str:
    """Choose the line in which git says why it failed, and add the fix that git prints below."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    why = next((line for line in lines if line.startswith(("fatal:", "error:"))), "")
    fix = next((line for line in lines if line.startswith("git config")), "")
    why = why.partition(": ")[2] or (lines or ["git gave no reason"])[0]
    return f"{why}; `{fix}` allows it" if fix else why


def current_commit() -> Commit:
    """Return the commit of the code in this folder, and whether the code differs from it.

    Results do not count as differences. New Python files of the library and the pipeline do.
    """
    try:
        ask_git("rev-parse", "--git-dir")
    except GitError as error:
        return Commit("", None, str(error))
    try:
        head = ask_git("rev-parse", "--verify", "HEAD^{commit}").decode().strip()
    except GitError as error:
        if _unborn():
            return Commit("", True, "the repository has no commit yet")
        return Commit("", None, f"HEAD cannot be read: {error}")
    if not _in(head, DEFINITION) and not _is_added(DEFINITION):
        return Commit("", None, f"git does not track {DEFINITION}; the repository is another one")
    try:
        changed = ask_git("status", "--porcelain", "--untracked-files=no", "--", ".", *RESULTS)
        new = ask_git("ls-files", "--others", "--exclude-standard", "--", *CODE)
    except GitError as error:
        return Commit(head, None, str(error))
    return Commit(head, bool(changed.strip() or new.strip()))


def _unborn() -> bool:
    """Tell whether HEAD names a branch without commits, which is no fault of the repository."""
    try:
        branch = ask_git("symbolic-ref", "-q", "HEAD").decode().strip()
        return not ask_git("for-each-ref", "--", branch).strip()
    except GitError:
        return False


def _in(commit: str, path: str) -> bool:
    try:
        ask_git("cat-file", "-e", f"{commit}:./{path}")
    except GitError:
        return False
    return True


def _is_added(path: str) -> bool:
    try:
        return bool(ask_git("ls-files", "--", path).strip())
    except GitError:
        return False


@cache
def has_commit(commit: str) -> bool:
    """Tell whether this clone has a commit. A shallow one, or another one, may not."""
    try:
        ask_git("cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


def content_at(commit: str, path: str) -> bytes | None:
    """Return a file as a commit has it; None when the commit does not have it.

    path: relative to this folder.
    """
    try:
        return ask_git("show", f"{commit}:./{path}")
    except GitError:
        return None
