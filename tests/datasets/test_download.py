"""Download from a real local server with its faults, from a folder, and without a network."""

import errno
import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest

from glta.datasets import fetch as module
from glta.datasets.catalogue import REGISTRY
from glta.datasets.fetch import describe
from glta.datasets.fetch import download as download_files
from glta.params.model import Params
from glta.storage.files import sha256_of

CONTENT = bytes(range(256)) * 2000  # 512 kB: several chunks
CHUNK = module.CHUNK_BYTES
CSV = b"user_id,item_id,rating,timestamp\n1,a,5,1\n"


def download(dataset: str, params: Params, folder: Path) -> dict:
    """Download as the stage does."""
    return download_files(dataset, params.tables, folder, mirror=params.mirror)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.001)
    monkeypatch.setattr(module, "CACHE", tmp_path_factory.mktemp("cache") / "downloads")
    monkeypatch.delenv("GLTA_MIRROR", raising=False)


@pytest.fixture
def server():
    """Serve `content`, with the faults that a test sets.

    asked: the path and the Range of each request. failures: how many requests are answered with
    `status`. cut: how many answers break off half way. ranges: whether the server knows Range. tag:
    the version of the file, as ETag. knows_if_range: whether the server knows If-Range, and then
    sends a whole file when its version is another.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state = self.server
            state.asked.append((self.path, self.headers.get("Range")))
            if state.failures:
                state.failures -= 1
                self.send_error(state.status)
                return
            start = 0
            same = not state.knows_if_range or self.headers.get("If-Range", state.tag) == state.tag
            if state.ranges and self.headers.get("Range") and same:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                if start >= len(state.content):
                    self.send_error(416)
                    return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if state.tag:
                self.send_header("ETag", state.tag)
            self.end_headers()
            if state.cut:
                state.cut -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.cut = 0
    server.ranges = True
    server.status = 503
    server.failures = 0
    server.content = CONTENT
    server.tag = ""
    server.knows_if_range = True
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def remote(server, checksum: str | None = hashlib.sha256(CONTENT).hexdigest()) -> Params:
    entry = {
        "interactions": f"{server.address}/log.csv.gz",
        "interactions_sha256": checksum,
        "licence": "ours",
    }
    return Params.model_validate({"tables": {"mine": entry}})


def local(**entry) -> Params:
    return Params.model_validate({"tables": {"mine": {"interactions": "log.csv", **entry}}})


def leftovers(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_download_records_the_source(server, tmp_path):
    source = download("mine", remote(server), tmp_path / "download")
    assert (tmp_path / "download" / "log.csv.gz").read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["download"]
    assert leftovers(tmp_path / "download") == ["log.csv.gz", "source.json"]
    assert json.loads((tmp_path / "download" / "source.json").read_text()) == source
    assert source["licence"] == "ours"
    assert source["files"]["log.csv.gz"] == {
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "bytes": len(CONTENT),
        "address": f"{server.address}/log.csv.gz",
        "expected": "params.yaml",
    }


def test_a_broken_connection_goes_on_where_it_stopped(server, tmp_path):
    server.cut = 2
    download("mine", remote(server), tmp_path / "download")
    assert (tmp_path / "download" / "log.csv.gz").read_bytes() == CONTENT
    # what came of a half, in whole chunks, is not asked for again
    assert [header for _, header in server.asked] == [
        None,
        f"bytes={3 * CHUNK}-",
        f"bytes={5 * CHUNK}-",
    ]


def test_without_range_it_starts_again(server, tmp_path):
    server.cut = 2
    server.ranges = False
    download("mine", remote(server), tmp_path / "download")
    assert (tmp_path / "download" / "log.csv.gz").read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_an_unfinished_download_never_counts_and_is_taken_up_later(server, tmp_path):
    server.cut = module.TRIES
    with pytest.raises(
        ValueError,
        match=r"log\.csv\.gz: no connection \(.*\), tried 4 times; check the network, or set "
        r"`mirror`",
    ):
        download("mine", remote(server), tmp_path / "download")
    assert leftovers(tmp_path) == [".download.parts"]
    download("mine", remote(server), tmp_path / "download")
    assert server.asked[-1][1] == f"bytes={6 * CHUNK}-"
    assert leftovers(tmp_path) == ["download"]


@pytest.mark.parametrize("old", [b"old" * 100_000, b"o" * 2_000_000], ids=["shorter", "longer"])
def test_a_part_of_another_version_is_given_up(server, tmp_path, old):
    server.content = old
    server.cut = module.TRIES
    with pytest.raises(ValueError, match="no connection"):
        download("mine", remote(server), tmp_path / "download")
    server.content = CONTENT
    download("mine", remote(server), tmp_path / "download")
    assert (tmp_path / "download" / "log.csv.gz").read_bytes() == CONTENT


def test_without_a_checksum_nothing_old_is_used(server, tmp_path):
    server.cut = module.TRIES
    with pytest.raises(ValueError, match="no connection"):
        download("mine", remote(server, None), tmp_path / "download")
    download("mine", remote(server, None), tmp_path / "download")
    assert server.asked[-1][1] is None


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_a_version_of_the_server_lets_it_go_on(server, tmp_path, knows_if_range):
    server.tag = '"one"'
    server.knows_if_range = knows_if_range
    server.cut = module.TRIES
    with pytest.raises(ValueError, match="no connection"):
        download("mine", remote(server, None), tmp_path / "download")
    download("mine", remote(server, None), tmp_path / "download")
    assert server.asked[-1][1] == f"bytes={6 * CHUNK}-"
    assert (tmp_path / "download" / "log.csv.gz").read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["download"]


@pytest.mark.parametrize("knows_if_range", [True, False])
def test_halves_of_two_versions_are_never_joined(server, tmp_path, knows_if_range):
    server.tag = '"old"'
    server.knows_if_range = knows_if_range
    server.cut = module.TRIES
    server.content = b"old" * 100_000
    with pytest.raises(ValueError, match="no connection"):
        download("mine", remote(server, None), tmp_path / "download")
    server.tag = '"new"'
    server.content = CONTENT
    download("mine", remote(server, None), tmp_path / "download")
    assert (tmp_path / "download" / "log.csv.gz").read_bytes() == CONTENT


def test_a_weak_version_is_none():
    assert module._version({"ETag": 'W/"x"', "Last-Modified": "Mon"}) == "Mon"
    assert module._version({"ETag": '"x"', "Last-Modified": "Mon"}) == '"x"'
    assert module._version({}) == ""


def test_a_file_is_fetched_once(server, tmp_path):
    first = download("mine", remote(server), tmp_path / "first")
    assert download("mine", remote(server), tmp_path / "second") == first
    assert (tmp_path / "second" / "log.csv.gz").read_bytes() == CONTENT
    assert len(server.asked) == 1
    # without a checksum nothing tells that the file of the server is still the same
    download("mine", remote(server, None), tmp_path / "unchecked")
    assert len(server.asked) == 2


def test_a_damaged_copy_is_fetched_again(server, tmp_path):
    download("mine", remote(server), tmp_path / "first")
    (kept,) = module.CACHE.iterdir()
    kept.write_bytes(CONTENT[:-1] + b"x")
    for name in ("second", "third"):
        download("mine", remote(server), tmp_path / name)
        assert (tmp_path / name / "log.csv.gz").read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_full_disk_after_the_download_asks_for_nothing_twice(server, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left"):
            download("mine", remote(server), tmp_path / "download")
    download("mine", remote(server), tmp_path / "download")
    assert len(server.asked) == 1


def test_a_tired_server_is_asked_again(server, tmp_path):
    server.failures = 2
    download("mine", remote(server), tmp_path / "download")
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("status", "asked", "message"),
    [
        (
            404,
            1,
            r"log\.csv\.gz: the server answers 404 Not Found; set `mirror` .* that holds "
            r"mine/log\.csv\.gz",
        ),
        (500, 4, r"log\.csv\.gz: the server answers 500, tried 4 times; check the network"),
    ],
)
def test_a_server_that_refuses(server, tmp_path, status, asked, message):
    server.status = status
    server.failures = 9
    with pytest.raises(ValueError, match=message):
        download("mine", remote(server), tmp_path / "download")
    assert len(server.asked) == asked


def test_no_network_is_one_clear_line(tmp_path):
    params = Params.model_validate({"mirror": "http://127.0.0.1:9"})
    with pytest.raises(
        ValueError,
        match=r"http://127\.0\.0\.1:9/ml-1m/ml-1m\.zip: no connection .* holds ml-1m/ml-1m\.zip",
    ) as error:
        download("ml-1m", params, tmp_path / "download")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "download").exists()


def test_wrong_checksum_names_everything(server, tmp_path):
    with pytest.raises(
        ValueError,
        match=r"log\.csv\.gz: wrong sha256: expected 0{64}, found [0-9a-f]{64} .*use another "
        r"mirror",
    ):
        download("mine", remote(server, "0" * 64), tmp_path / "download")
    assert not (tmp_path / "download").exists()
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_wrong_checksum_of_a_folder_mirror_leaves_the_old_result(tmp_path):
    (tmp_path / "mirror" / "ml-10m").mkdir(parents=True)
    (tmp_path / "mirror" / "ml-10m" / "ml-10m.zip").write_bytes(b"no zip")
    (tmp_path / "download").mkdir()
    (tmp_path / "download" / "old").write_text("old")
    with pytest.raises(
        ValueError,
        match=r"ml-10m\.zip: wrong md5: expected ce571fd55effeba0271552578f2648bd, found",
    ):
        download("ml-10m", Params(mirror=str(tmp_path / "mirror")), tmp_path / "download")
    assert leftovers(tmp_path / "download") == ["old"]
    assert (tmp_path / "mirror" / "ml-10m" / "ml-10m.zip").exists()


def test_folder_mirror_and_environment(tmp_path, monkeypatch):
    (tmp_path / "mirror" / "mine").mkdir(parents=True)
    (tmp_path / "mirror" / "mine" / "log.csv").write_bytes(CSV)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLTA_MIRROR", str(tmp_path / "mirror"))
    params = local(interactions_sha256="sha256:" + hashlib.sha256(CSV).hexdigest().upper())
    source = download(
        "mine", params.model_copy(update={"mirror": "http://127.0.0.1:9"}), tmp_path / "download"
    )
    assert source["files"]["log.csv"]["address"] == "log.csv"
    monkeypatch.delenv("GLTA_MIRROR")
    (tmp_path / "log.csv").write_bytes(CSV)
    assert download("mine", params, tmp_path / "again") == source
    assert sha256_of(tmp_path / "again" / "source.json") == sha256_of(
        tmp_path / "download" / "source.json"
    )


def test_http_mirror_serves_an_official_dataset(server, tmp_path, monkeypatch):
    file = REGISTRY["ml-100k"].file._replace(
        checksum="sha256:" + hashlib.sha256(CONTENT).hexdigest()
    )
    monkeypatch.setitem(REGISTRY, "ml-100k", REGISTRY["ml-100k"]._replace(files={"archive": file}))
    source = download("ml-100k", Params(mirror=server.address + "/pub/"), tmp_path / "download")
    assert server.asked[0][0] == "/pub/ml-100k/ml-100k.zip"
    assert source["files"]["ml-100k.zip"]["address"] == file.address


def test_missing_file_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"log\.csv: no such file; correct its path .* must hold mine/log\.csv"
    ):
        download("mine", local(), tmp_path / "download")


def test_equal_names_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_bytes(CSV + name.encode())
    source = download("mine", local(interactions="a/t.csv", items="b/t.csv"), tmp_path / "download")
    assert sorted(source["files"]) == ["items-t.csv", "t.csv"]


def test_unknown_dataset_says_what_is_known():
    with pytest.raises(ValueError, match=r"nothing: is no registered dataset.*`glta datasets`"):
        describe("nothing", {})


def test_disk_full_keeps_nothing_half(server, tmp_path, monkeypatch):
    class Full(module.pooch.HTTPDownloader):
        def __call__(self, url, output, pooch, check_only=False):
            output.write(b"some")
            raise OSError(errno.ENOSPC, "No space left on device")

    from pipeline.stages.script import explain

    monkeypatch.setattr(module.pooch, "HTTPDownloader", Full)
    with pytest.raises(OSError, match="No space left") as error:
        download("mine", remote(server), tmp_path / "download")
    assert "the disk is full" in explain(error.value)
    assert leftovers(tmp_path) == [".download.parts"]


def test_disk_full_while_copying(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_bytes(CSV)
    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        download("mine", local(), tmp_path / "download")
    assert leftovers(tmp_path) == ["log.csv"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Make an empty working directory, below which checksums are recorded."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_published_checksum_the_first_download_is_recorded(server, place):
    params = Params(mirror=server.address)
    source = download("lightgcn-gowalla", params, place / "a")
    digest = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    assert json.loads((place / "checksums/split-gowalla.json").read_text()) == {
        "train.txt": digest,
        "test.txt": digest,
    }
    assert server.asked[0][0] == "/split-gowalla/train.txt"
    assert source["files"]["train.txt"]["address"].startswith(
        "https://raw.githubusercontent.com/kuandeng/LightGCN/"
    )
    assert source["files"]["train.txt"]["expected"] == "first download"
    asked = len(server.asked)
    download("split-gowalla", params, place / "b")
    assert len(server.asked) == asked


def test_a_later_change_is_refused(server, place):
    params = Params(mirror=server.address)
    download("split-gowalla", params, place / "a")
    record = (place / "checksums/split-gowalla.json").read_bytes()
    for kept in module.CACHE.iterdir():
        kept.unlink()
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(
        ValueError,
        match=r"train\.txt: wrong sha256: expected .*, recorded in checksums/split-gowalla\.json "
        r"at the first download",
    ):
        download("lightgcn-gowalla", params, place / "b")
    assert not (place / "b").exists()
    assert (place / "checksums/split-gowalla.json").read_bytes() == record


def test_a_failed_first_download_records_nothing(server, place):
    server.status = 404
    server.failures = 9
    with pytest.raises(ValueError, match="the server answers 404"):
        download("split-gowalla", Params(mirror=server.address), place / "a")
    assert not (place / "a").exists()
    assert not (place / "checksums").exists()


def test_what_came_before_a_failure_has_not_to_come_again(server, place, monkeypatch):
    fetch = module.fetch

    def second_fails(source, *args, **given):
        if source.endswith("test.txt"):
            server.status = 404
            server.failures = 1
        return fetch(source, *args, **given)

    with monkeypatch.context() as patch:
        patch.setattr(module, "fetch", second_fails)
        with pytest.raises(ValueError, match="answers 404"):
            download("split-gowalla", Params(mirror=server.address), place / "a")
    assert list(json.loads((place / "checksums/split-gowalla.json").read_text())) == ["train.txt"]
    download("split-gowalla", Params(mirror=server.address), place / "a")
    assert [path.rpartition("/")[2] for path, _ in server.asked] == [
        "train.txt",
        "test.txt",
        "test.txt",
    ]


def test_published_checksums_and_the_sample_record_nothing(place):
    download("sample", Params(), place / "a")
    assert leftovers(place) == ["a"]


def test_what_is_not_for_programs_says_where_to_get_it(place):
    with pytest.raises(
        ValueError,
        match=r"gal-rec-yelp: Yelp-JSON\.zip is not for download by programs; get it by hand from "
        r"https://business.*yelp/Y",
    ):
        download("gal-rec-yelp", Params(), place / "a")
    (place / "mirror/yelp").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"by hand .* set `mirror`"):
        download("yelp", Params(mirror="mirror"), place / "a")
    # three datasets of RLMRec have a train.txt, so one that lies here may be of any of them
    (place / "train.txt").write_bytes(b"0 1\n")
    with pytest.raises(
        ValueError, match=r"split-rlmrec-yelp: train\.txt is not for download .* by hand"
    ):
        download("split-rlmrec-yelp", Params(), place / "a")
    (place / "mirror/yelp/Yelp-JSON.zip").write_bytes(b"zip")
    assert list(download("yelp", Params(mirror="mirror"), place / "a")["files"]) == [
        "Yelp-JSON.zip"
    ]
    assert leftovers(place / "checksums") == ["yelp.json"]
