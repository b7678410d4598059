"""`/health/live`, `/health/ready`, `/metrics`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic

from fastapi import APIRouter
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.domain.errors import Blame
from app.faces.http.face import JsonResponse, face_of
from app.faces.http.problems import problem
from app.store.counts import Counts, count_all
from app.store.engine import Store, Tx
from app.store.lanes import LaneView, list_lanes

router = APIRouter(tags=["health"])

disable_created_metrics()  # type: ignore[no-untyped-call] # one line more for every counter, of use to nobody here

KEPT_SECONDS = 2.0  # counts are read from the database at most so often


class Metrics(Collector):
    """What `/metrics` shows; labels are services, lanes, states and outcomes only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: tuple[float, Counts, list[LaneView]] | None = None
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "bpjs_sms_http_requests", "HTTP requests by status.", ["outcome"], registry=self.registry
        )
        self.registry.register(self)

    def count(self, status: int) -> None:
        self._requests.labels(str(status)).inc()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        counts, lanes = self._read()
        questions = GaugeMetricFamily(
            "bpjs_sms_questions", "Questions by state and outcome.", labels=["service", "state", "outcome"]
        )
        for (service, state, outcome), number in counts.questions.items():
            questions.add_metric([service, state, outcome or ""], number)
        yield questions
        messages = GaugeMetricFamily("bpjs_sms_messages", "Messages by state.", labels=["lane", "state"])
        for (lane, state), number in counts.messages.items():
            messages.add_metric([lane, state], number)
        yield messages
        states = GaugeMetricFamily(
            "bpjs_sms_lane_state", "1 for the state a lane is in.", labels=["lane", "state"]
        )
        signals = GaugeMetricFamily("bpjs_sms_lane_signal", "Signal by +CSQ, 0 to 31.", labels=["lane"])
        for view in lanes:
            states.add_metric([view.name, view.state], 1)
            if view.signal is not None:
                signals.add_metric([view.name], view.signal)
        yield states
        yield signals
        yield from _modems(lanes)

    def _read(self) -> tuple[Counts, list[LaneView]]:
        def both(tx: Tx) -> tuple[Counts, list[LaneView]]:
            return count_all(tx), list_lanes(tx)

        with self._lock:
            now = monotonic()
            if self._kept is None or now - self._kept[0] > KEPT_SECONDS:
                self._kept = (now, *self._store.read(both))
            return self._kept[1:]


def _modems(lanes: list[LaneView]) -> Iterator[Metric]:
    calls = CounterMetricFamily("bpjs_sms_calls", "Calls that came in and were hung up.", labels=["lane"])
    healed = CounterMetricFamily(
        "bpjs_sms_recoveries", "What was done to heal a modem, by rung.", labels=["lane", "rung"]
    )
    stored = GaugeMetricFamily(
        "bpjs_sms_lane_storage", "SMS in a modem's storage: used and total.", labels=["lane", "storage", "of"]
    )
    for view in lanes:
        calls.add_metric([view.name], view.calls)
        for rung, count in view.recoveries.items():
            healed.add_metric([view.name, rung], count)
        for storage, (used, total) in view.storages.items():
            stored.add_metric([view.name, storage, "used"], used)
            stored.add_metric([view.name, storage, "total"], total)
    yield calls
    yield healed
    yield stored


@router.get("/health/live", summary="Does HTTP answer?")
async def live() -> Response:
    """Always 200."""
    return JsonResponse({"status": "live"})


@router.get("/health/ready", summary="Can a lane send?")
async def ready(request: Request) -> Response:
    """200 when at least one lane can send, else 503; either way with a line a lane."""
    found = face_of(request).ready()  # not in the pool of threads, which a database that hangs would fill
    lanes = [{"lane": name, "ready": can_send, "detail": detail} for name, can_send, detail in found]
    if any(can_send for _, can_send, _ in found):
        return JsonResponse({"status": "ready", "lanes": lanes})
    said = (
        "; ".join(f"{name}: {detail}" for name, _, detail in found)
        or "there is no lane: write one into the settings"
    )
    return problem("unavailable", f"No lane can send now. {said}.", blame=Blame.MODEM, lanes=lanes)


@router.get("/metrics", summary="Numbers for Prometheus")
async def metrics(request: Request) -> Response:
    """Needs any key, unless `[server] open_metrics` is set."""
    face = face_of(request)
    if not face.settings.server.open_metrics:
        await face.gate.admit(request, None)
    shown: Metrics = request.app.state.metrics
    text = await run_in_threadpool(generate_latest, shown.registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})
