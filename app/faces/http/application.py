"""The HTTP application: every router, around them the access layer, problem details and the key check."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.domain.services import Catalogue
from app.faces.http import batches, checks, docs, health, problems, resources
from app.faces.http.access import Access
from app.faces.http.face import Face, Ready
from app.faces.http.gate import Gate
from app.faces.http.intake import Intake
from app.faces.http.waiting import Waits
from app.settings import Settings
from app.store.engine import Store


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _nobody() -> None:
    return None


def create_app(
    store: Store,
    catalogue: Catalogue,
    settings: Settings,
    *,
    ready: Ready,
    clock: Callable[[], datetime] = _utc_now,
    nudge: Callable[[], None] = _nobody,
) -> FastAPI:
    """The application over a store. `ready` tells of each lane (name, can it send, a sentence); `nudge` is called after new work."""
    waits = Waits(store)
    metrics = health.Metrics(store)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        waits.close()

    app: FastAPI = FastAPIOffline(
        title="BPJS SMS gateway",
        version=version("bpjs-sms-gateway"),
        description="Asks Indonesia's official BPJS SMS services about a card, and gives the answer back as a record.",
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        lifespan=lifespan,
    )
    gate, intake = Gate(store, clock), Intake(store, clock)
    app.state.face = Face(store, catalogue, settings, clock, ready, nudge, gate, waits, intake)
    app.state.metrics = metrics
    app.include_router(checks.router)
    app.include_router(batches.router)
    app.include_router(resources.router)
    app.include_router(health.router)
    problems.install(app)
    docs.describe(app, catalogue)
    app.add_middleware(Access, count=metrics.count)
    return app
