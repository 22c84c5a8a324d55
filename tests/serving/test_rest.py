"""The REST interface: its contract, its limits, and another bundle while it runs."""

import asyncio
import json
import re
import shutil
import threading
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glta.serving.bundle import load
from glta.serving.rest.app import PATHS, make_app
from glta.serving.rest.messages import MAX_ITEMS, MAX_K
from glta.serving.rest.service import Busy, Limits, Service
from glta.testing.blocks import LONER, NUM_ITEMS, NUM_USERS

LIMITS = Limits(threads=1, queue=2, seconds=5.0, body_bytes=20_000)


@pytest.fixture(scope="module")
def shared(box):
    service = Service(box / "box", LIMITS)
    with TestClient(make_app(service), raise_server_exceptions=False) as client:
        yield client, service


@pytest.fixture
def client(shared):
    return shared[0]


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["item_id"] for row in answer.json()["items"]]


def test_the_answers_are_those_of_the_bundle(client, box):
    bundle = load(box / "box")
    cases = [
        ({"user": "u3", "k": 4}, "store", bundle.recommend("u3", k=4)),
        ({"user": "u3", "k": 9}, "live", bundle.recommend("u3", k=9)),
        ({"items": ["i4", "i0"], "k": 3}, "live", bundle.recommend(None, ["i4", "i0"], 3)),
        ({"user": "who", "items": ["i1"]}, "live", bundle.recommend(None, ["i1"], 10)),
        ({"user": "who", "k": 2}, "popularity", bundle.recommend(None, k=2)),
        ({"k": 2}, "popularity", bundle.recommend(None, k=2)),
        ({"user": f"u{LONER}", "k": 7}, "popularity", bundle.recommend(f"u{LONER}", k=7)),
        ({"user": "u3", "only": ["i1", "i2"]}, "live", bundle.recommend("u3", only=["i1", "i2"])),
        (
            {"user": "u3", "without": ["i1"], "k": 2},
            "store",
            bundle.recommend("u3", k=2, without=["i1"]),
        ),
    ]
    for body, way, expected in cases:
        answer = client.post("/recommend", json=body)
        assert ids(answer) == expected.items, body
        found = answer.json()
        assert found["way"] == way == expected.way
        assert [row["score"] for row in found["items"]] == pytest.approx(expected.scores)
        titles = [row["title"] for row in found["items"]]
        assert titles == bundle.titles(expected.items)
        assert all(row["because"] == [] for row in found["items"])
    answer = client.post("/similar", json={"item": "i4", "k": 3, "without": ["i2"]})
    assert ids(answer) == bundle.similar("i4", 3, without=["i2"]).items


def test_a_look_up_does_not_wait_for_the_model(client, shared, monkeypatch):
    """The one thread computes and the queue is full; the store still answers."""
    _, service = shared
    free = threading.Event()
    blocked = [service._pool.submit(free.wait) for _ in range(3)]
    service._pending += LIMITS.queue
    try:
        assert client.post("/recommend", json={"user": "u3", "k": 4}).json()["way"] == "store"
        busy = client.post("/recommend", json={"items": ["i4"]})
        assert busy.status_code == 503
        assert busy.headers["retry-after"] == "1"
        assert busy.json() == {"error": "too many requests wait already; try again later"}
    finally:
        free.set()
        service._pending -= LIMITS.queue
        [one.result() for one in blocked]
    assert client.post("/recommend", json={"items": ["i4"]}).status_code == 200


def test_reasons_are_named(client, box):
    own = ["i1", "i4", "i0"]
    answer = client.post("/recommend", json={"items": own, "k": 2, "reasons": 2})
    expected = load(box / "box").reasons(None, own, ids(answer), 2)
    found = [[one["item_id"] for one in row["because"]] for row in answer.json()["items"]]
    assert found == expected
    assert found[0]
    assert answer.json()["items"][0]["because"][0]["title"].startswith("garden roses soil")


def test_titles_are_found(client):
    answer = client.get("/titles", params={"text": "NUMBER1", "limit": 3})
    assert ids(answer) == ["i1", "i10", "i11"]
    assert ids(client.get("/titles", params={"text": "nothing has this"})) == []


def test_health_says_what_is_served(client, box):
    about = load(box / "box").about
    assert client.get("/health").json() == {
        "status": "ok",
        "method": "ease",
        "title": "EASE",
        "dataset": "blocks",
        "seed": 0,
        "users": NUM_USERS,
        "items": NUM_ITEMS,
        "store": True,
        "digest": about.digest,
    }


def value(client, line: str) -> float:
    """Return a value of /metrics; 0 where it is not there."""
    for text in client.get("/metrics").text.splitlines():
        if text.startswith(f"{line} "):
            return float(text.rpartition(" ")[2])
    return 0.0


def test_metrics_count(client):
    lines = (
        'glta_requests_total{path="/recommend",status="200"}',
        'glta_request_seconds_count{path="/recommend"}',
        'glta_answers_total{way="store"}',
        'glta_requests_total{path="/recommend",status="422"}',
        'glta_requests_total{path="other",status="404"}',
    )
    before = [value(client, line) for line in lines]
    for user in ("u3", "u4"):
        client.post("/recommend", json={"user": user, "k": 4})
    client.post("/recommend", json={"k": 0})
    client.get("/secrets")
    assert [value(client, line) for line in lines] == [
        n + more for n, more in zip(before, (2, 3, 2, 1, 1), strict=True)
    ]
    assert value(client, "glta_pending") == 0
    assert "/secrets" not in client.get("/metrics").text


def test_the_page_has_nothing_from_outside(client):
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert (
        "http:" not in answer.text
        and "https:" not in answer.text
        and "//" not in [part[:2] for part in answer.text.split('src="')[1:]]
    )
    assert "innerHTML" not in answer.text


def test_the_documentation_needs_no_other_server(client):
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy and "*" not in policy
    named = re.findall(r"""(?:src|href|url)\s*[=:]\s*['"]?([^'">,\s]+)""", page.text)
    assert len({*named}) == 4
    for address in {*named}:
        assert ":" not in address and not address.startswith("/")
        assert client.get(f"/{address}").status_code == 200, address
    assert "//" not in page.text.replace("// ", "")
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/nothing.js").json() == {"error": "Not Found"}


def test_the_openapi_page_has_examples(client):
    found = client.get("/openapi.json").json()
    assert {*found["paths"]} == {"/recommend", "/similar", "/titles", "/health"}
    assert {*found["paths"]} < {*PATHS}
    kinds = found["components"]["schemas"]
    assert kinds["RecommendRequest"]["properties"]["items"]["examples"] == [["1", "2"]]
    assert kinds["Recommended"]["properties"]["title"]["examples"]
    answer = found["paths"]["/recommend"]["post"]["responses"]
    assert answer["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/ListAnswer")
    assert answer["503"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/recommend", b"", 422, "body: Field required"),
        ("/recommend", b"{", 400, "the body is no JSON"),
        ("/recommend", b"\xff\xfe", 400, ""),
        ("/recommend", b"[" * 9000, 400, ""),
        ("/recommend", b"[]", 422, "body: "),
        ("/recommend", b'{"user": 17}', 422, "user: Input should be a valid string"),
        ("/recommend", b'{"k": "10"}', 422, "k: Input should be a valid integer"),
        ("/recommend", b'{"k": true}', 422, "k: Input should be a valid integer"),
        ("/recommend", b'{"k": 0}', 422, "k: Input should be greater than or equal to 1"),
        ("/recommend", b'{"k": %d}' % (MAX_K + 1), 422, "k: Input should be less than or equal"),
        ("/recommend", b'{"k": NaN}', 422, "k: "),
        ("/recommend", b'{"reasons": 11}', 422, "reasons: Input should be less than or equal"),
        ("/recommend", b'{"itmes": ["i1"]}', 422, "itmes: Extra inputs are not permitted"),
        ("/recommend", b'{"items": ["i99"]}', 422, "item i99: unknown id"),
        ("/recommend", b'{"without": ["i99"]}', 422, "item i99: unknown id"),
        ("/recommend", b'{"only": ["i99"]}', 422, "item i99: unknown id"),
        ("/recommend", b'{"items": [""]}', 422, "items.0: String should have at least 1"),
        ("/recommend", b'{"user": "\\ud800"}', 422, "user: "),
        ("/recommend", b'{"\\ud800": 1}', 422, "unable to parse raw data as a unicode string"),
        ("/similar", b"{}", 422, "item: Field required"),
        ("/similar", b'{"item": "i99"}', 422, "item i99: unknown id"),
    ],
)
def test_a_wrong_body_is_one_clear_error(client, path, body, status, said):
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert [*found] == ["error"]
    assert said in found["error"]
    assert "\n" not in found["error"]


def test_lists_and_bodies_have_a_limit(client):
    answer = client.post("/recommend", json={"items": ["i1"] * (MAX_ITEMS + 1)})
    assert answer.status_code == 422
    assert f"items: List should have at most {MAX_ITEMS} items" in answer.json()["error"]
    large = json.dumps({"user": "u" * LIMITS.body_bytes})

    def pieces():
        for start in range(0, len(large), 1000):
            yield large[start : start + 1000].encode()

    for content in (large.encode(), pieces()):
        answer = client.post("/recommend", content=content)
        assert answer.status_code == 413
        assert answer.json() == {"error": f"the body is larger than {LIMITS.body_bytes} bytes"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/recommend", 405), ("POST", "/health", 405), ("GET", "/../etc/passwd", 404)],
)
def test_other_paths_and_methods_are_errors_of_the_same_form(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    assert [*answer.json()] == ["error"]


def test_a_failure_inside_is_told_without_its_details(client, shared, monkeypatch):
    _, service = shared
    monkeypatch.setattr(type(service.bundle), "compute", lambda *_, **__: 1 / 0)
    answer = client.post("/recommend", json={"items": ["i4"]})
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "this server failed; its log says why"},
    )


TEXTS = st.text(st.characters(exclude_categories=()))  # halves of characters, too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(["user", "items", "item", "k", "only", "without", "reasons", "x"])
BODIES = st.one_of(
    st.binary(max_size=80),
    JSON.map(lambda one: json.dumps(one).encode()),
    st.dictionaries(KEYS | TEXTS, JSON).map(lambda one: json.dumps(one).encode()),
)


@given(path=st.sampled_from(["/recommend", "/similar"]), body=BODIES)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_breaks_it(client, path, body):
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 422), (body, answer.text)
    found = answer.json()
    assert [*found] == (["way", "items"] if answer.status_code == 200 else ["error"])


@contextmanager
def blocking(service: Service):
    """Hold the computations of the present bundle until an event is set.

    Yields the event, and a list with an entry for each that has begun.
    """
    free = threading.Event()
    begun = []
    compute = service.bundle.compute

    def slow(*args, **options):
        begun.append(1)
        free.wait(10)
        return compute(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.bundle, "compute", slow)
        try:
            yield free, begun
        finally:
            free.set()


def until(condition) -> None:
    """Wait for a condition. Fails after 5 seconds."""
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("it does not happen")


def in_threads(count: int, ask) -> tuple[list[threading.Thread], list]:
    answers: list = []
    threads = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(count)]
    for one in threads:
        one.start()
    return threads, answers


def test_a_full_queue_refuses_and_then_goes_on(client, shared):
    _, service = shared

    def ask():
        return client.post("/recommend", json={"items": ["i4"], "k": 3}).status_code

    with blocking(service) as (free, _):
        threads, answers = in_threads(LIMITS.queue, ask)
        until(lambda: service._pending == LIMITS.queue)
        assert [ask() for _ in range(3)] == [503] * 3
        free.set()
        [one.join() for one in threads]
    assert answers == [200] * LIMITS.queue
    assert service._pending == 0
    assert ask() == 200


def test_a_request_that_takes_too_long_is_given_up(box):
    service = Service(box / "box", Limits(threads=1, queue=3, seconds=0.3))
    with TestClient(make_app(service)) as client, blocking(service) as (free, begun):
        threads, answers = in_threads(
            2, lambda: client.post("/recommend", json={"items": ["i4"], "k": 3})
        )
        [one.join() for one in threads]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert answers[0].json() == {"error": "no answer within 0.3 s; try again later"}
        # the one that runs keeps its place; the other was not begun, and is gone
        assert (service._pending, begun) == (1, [1])
        free.set()
        until(lambda: service._pending == 0)
        assert client.post("/recommend", json={"items": ["i4"]}).status_code == 200
        assert len(begun) == 2


def test_another_bundle_takes_over_without_dropping_a_request(box, tmp_path, capsys):
    place = tmp_path / "served"
    shutil.copytree(box / "box", place)
    service = Service(place, LIMITS)
    old = service.bundle
    with TestClient(make_app(service)) as client:
        with blocking(service) as (free, begun):
            threads, answers = in_threads(
                1, lambda: client.post("/recommend", json={"items": ["i4"], "k": 3})
            )
            until(lambda: begun)
            shutil.rmtree(place)
            shutil.copytree(box / "plain", place)
            assert service.reload()
            assert not answers
            assert client.get("/health").json()["store"] is False
            free.set()
            [one.join() for one in threads]
        assert ids(answers[0]) == old.recommend(None, ["i4"], 3).items
        assert service.bundle is not old
        assert client.post("/recommend", json={"user": "u3", "k": 4}).json()["way"] == "live"
        assert value(client, 'glta_reloads_total{result="done"}') == 1
        # a bundle that is copied half is not served
        now = service.bundle
        (place / "README.md").unlink()
        assert not service.reload()
        assert service.bundle is now
        assert client.get("/health").json()["status"] == "ok"
        assert value(client, 'glta_reloads_total{result="failed"}') == 1
        # nor is one that fails in a way that nobody has thought of
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("glta.serving.rest.service.load", lambda _: {}["nothing"])
            assert not service.reload()
        assert service.bundle is now
    assert "README.md: no such file: the bundle is not copied whole" in capsys.readouterr().err


def test_the_queue_counts_what_is_refused_by_a_closed_pool(box):
    service = Service(box / "plain", LIMITS)
    service.close()
    for _ in range(LIMITS.queue + 1):
        with pytest.raises(RuntimeError, match="shutdown"):
            asyncio.run(service.run(int))
    service._pending = LIMITS.queue
    with pytest.raises(Busy):
        asyncio.run(service.run(int))
