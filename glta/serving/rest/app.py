"""Build the REST interface to a bundle: an application of FastAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException as AnyHTTPException

from glta import __version__
from glta.serving.answers import Answer
from glta.serving.bundle import Bundle
from glta.serving.by_items import can_fold_in
from glta.serving.rest.documentation import add_documentation
from glta.serving.rest.guard import Guard
from glta.serving.rest.messages import (
    FoundTitles,
    Health,
    ListAnswer,
    Problem,
    RecommendRequest,
    SimilarRequest,
)
from glta.serving.rest.service import Busy, Service

PAGE = Path(__file__).with_name("page.html")
PATHS = ("/", "/recommend", "/similar", "/titles", "/health", "/metrics", "/docs", "/openapi.json")

# the page has its script and style in itself, and talks to this server alone
POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
WRONG: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "the body is no JSON"},
    413: {"model": Problem, "description": "the body is too large"},
    422: {"model": Problem, "description": "a value is wrong, or an item is unknown"},
    503: {"model": Problem, "description": "too many requests, or no answer in time"},
}


def make_app(service: Service) -> FastAPI:
    """Make the application that answers from a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="glta",
        summary="Recommendations from a bundle",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    add_documentation(app)
    app.add_middleware(Guard, service=service, paths=PATHS)
    _answer_errors(app)
    page = PAGE.read_bytes()

    @app.get("/", include_in_schema=False)
    async def show_page() -> Response:
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    @app.post("/recommend", response_model=ListAnswer, responses=WRONG)
    async def recommend(wanted: RecommendRequest) -> Response:
        """Recommend items: looked up in the store, else scored by the model, else by popularity."""
        bundle = service.bundle
        only = wanted.only
        _refuse_unknown(bundle, [*wanted.items, *wanted.without, *(only or ())])
        filters: dict[str, Any] = {"only": only, "without": wanted.without}
        stored = bundle.look_up(wanted.user, wanted.items, wanted.k, **filters)
        if stored and not wanted.reasons:
            return _listed(service, bundle, stored, [])

        def compute() -> tuple[Answer, list[list[str]]]:
            found = stored or bundle.compute(wanted.user, wanted.items, wanted.k, **filters)
            if not wanted.reasons:
                return found, []
            because = bundle.reasons(wanted.user, wanted.items, found.items, wanted.reasons)
            return found, because

        return _listed(service, bundle, *await service.run(compute))

    @app.post("/similar", response_model=ListAnswer, responses=WRONG)
    async def similar(wanted: SimilarRequest) -> Response:
        """List the items that are recommended to somebody who has one item alone."""
        bundle = service.bundle
        _refuse_unknown(bundle, [wanted.item, *wanted.without, *(wanted.only or ())])
        if not can_fold_in(bundle.served.capabilities):
            raise HTTPException(422, f"{bundle.about.method} cannot score a list of items")
        found = await service.run(
            lambda: bundle.similar(wanted.item, wanted.k, only=wanted.only, without=wanted.without)
        )
        return _listed(service, bundle, found, [])

    @app.get("/titles", response_model=FoundTitles, responses=WRONG)
    async def titles(
        text: Annotated[str, Query(min_length=1, max_length=200, examples=["symphony"])],
        limit: Annotated[int, Query(ge=1, le=100)] = 10,
    ) -> Response:
        """Find items by a part of their title, whatever its case."""
        bundle = service.bundle
        found = await service.run(lambda: bundle.find_titles(text, limit))
        return _json({"items": [{"item_id": item, "title": title} for item, title in found]})

    @app.get("/health", response_model=Health)
    async def health() -> Response:
        """Say what is served."""
        bundle = service.bundle
        about = bundle.about
        shown = {name: getattr(about, name) for name in ("method", "title", "dataset", "seed")}
        shown |= bundle.size
        shown |= {"status": "ok", "store": bundle.store is not None, "digest": about.digest}
        return _json(shown)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        content = generate_latest(service.meters.registry)
        return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return app


def _refuse_unknown(bundle: Bundle, items: Sequence[str]) -> None:
    # no nearest id is named: its search takes longer than most answers
    if (unknown := bundle.unknown_item(items)) is not None:
        raise HTTPException(422, f"item {unknown}: unknown id")


def _listed(service: Service, bundle: Bundle, found: Answer, because: list[list[str]]) -> Response:
    service.meters.answers.labels(found.way).inc()
    rows: list[dict[str, Any]] = [
        {"item_id": item, "title": title, "score": score, "because": []}
        for item, title, score in zip(
            found.items, bundle.titles(found.items), found.scores, strict=True
        )
    ]
    for row, ids in zip(rows, because, strict=False):
        names = bundle.titles(ids)
        row["because"] = [
            {"item_id": item, "title": title} for item, title in zip(ids, names, strict=True)
        ]
    return _json({"way": found.way, "items": rows})


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json", headers=headers)


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return _json({"error": text[:1000]}, status, headers)


def _answer_errors(app: FastAPI) -> None:
    """Give every error the same form: {"error": one sentence}."""

    @app.exception_handler(RequestValidationError)
    async def wrong_value(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        if first["type"] == "json_invalid":
            return _problem(400, f"the body is no JSON: {first['ctx']['error']}")
        return _problem(422, f"{place or 'body'}: {first['msg']}")

    @app.exception_handler(AnyHTTPException)
    async def refused(_: Request, error: AnyHTTPException) -> Response:
        return _problem(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Busy)
    async def busy(_: Request, __: Busy) -> Response:
        return _problem(
            503, "too many requests wait already; try again later", {"Retry-After": "1"}
        )

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> Response:
        return _problem(500, "this server failed; its log says why")
