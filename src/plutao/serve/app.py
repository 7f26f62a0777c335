"""The application: everything that answers over HTTP, put together."""

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi

from plutao import __version__
from plutao.serve import refusals
from plutao.serve.answering import Services
from plutao.serve.backend.contract import Backend
from plutao.serve.database import Database, open_database
from plutao.serve.envelope import Envelope
from plutao.serve.metering import Meter
from plutao.serve.metrics import Metrics
from plutao.serve.settings import ServeSettings

ENDPOINTS = (
    "chat",
    "completions",
    "responses",
    "embeddings",
    "models",
    "tokens",
    "moderations",
    "sign_in",
    "own",
    "people",
    "keys",
    "money",
    "usage",
    "health",
    "docs",
)
"""Modules of serve/api with a `router`, in the order in which /docs shows them."""
PAGES = "plutao.web.routers"
"""The pages for people: a module with `install(app)`; without it the service answers programs alone."""
DESCRIPTION = """A model of your own, behind the interface that programs know from OpenAI. Send a key as `Authorization:
Bearer sk-…`; `plutao key create` makes one."""


def create_app(settings: ServeSettings, backend: Backend | None = None, database: Database | None = None) -> FastAPI:
    """The application for a project.

    Args:
        backend: what answers; None: our own engine, or the upstream that the settings name.
        database: None: the one of the settings.

    Raises:
        UserError: the database can't be used.
    """
    database = database or open_database(settings.database_url, settings.root)
    services = Services(settings, backend or make_backend(settings), Meter(database), Metrics())
    app = FastAPI(
        title="Plutão",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        redirect_slashes=False,
    )
    app.state.settings, app.state.database, app.state.services = settings, database, services
    app.state.meter = services.meter
    refusals.install(app)
    for name in ENDPOINTS:
        if settings.docs or name != "docs":
            app.include_router(importlib.import_module(f"plutao.serve.api.{name}").router)
    if find_spec("plutao.web") is not None and find_spec(PAGES) is not None:
        importlib.import_module(PAGES).install(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "x-api-key"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(Envelope, metrics=services.metrics, max_body=settings.max_body)
    describe(app)
    return app


def make_backend(settings: ServeSettings) -> Backend:
    """Our own engine's processes, or another engine by its address."""
    if settings.upstream is not None:
        from plutao.serve.backend.upstream import UpstreamBackend

        return UpstreamBackend(settings.upstream, settings.upstream_key)
    from plutao.serve.backend.engine import EngineBackend

    return EngineBackend(
        settings.root,
        slots=settings.slots,
        queue=settings.queue,
        models_loaded=settings.models_loaded,
        precision=settings.precision,
        threads=settings.threads,
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The engine and the meter run as long as the application; the server has let running answers finish before."""
    services: Services = app.state.services
    try:
        await services.meter.start()
        await services.backend.start()
    except Exception as error:
        app.state.failed = error  # for whoever runs the server: uvicorn itself only tells that something failed
        raise
    try:
        yield
    finally:
        await services.backend.stop(services.settings.grace)
        await services.meter.stop()
        app.state.database.close()


def describe(app: FastAPI) -> None:
    """The description at /openapi.json: how to show a key, and no 422, which is never answered."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for operations in schema["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
                    if "401" in operation["responses"]:
                        operation["security"] = [{"key": []}]
            for name in ("HTTPValidationError", "ValidationError"):
                schema["components"]["schemas"].pop(name, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
