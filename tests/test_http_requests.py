"""`POST /v1/lanes/{name}/requests`, what lanes and metrics show of modems, and the commands over it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import START
from http_serving import Gateway, serving
from store_playing import open_lane, rows

from app.store import lanes, requests
from app.store import tables as t

Answer = Callable[[requests.Request], tuple[str, Mapping[str, Any]]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Gateway]:
    with serving(tmp_path) as one:
        open_lane(one.store, START)
        yield one


@contextmanager
def lane_that(served: Gateway, answer: Answer) -> Iterator[list[requests.Request]]:
    """A lane's side, as its thread would do it: woken by the commit, takes, answers."""
    store, woken, stop, seen = served.store, threading.Event(), threading.Event(), list[requests.Request]()
    store.listen(lambda done: woken.set() if any(tx.asked for tx in done) else None)

    def work() -> None:
        while not stop.is_set():
            woken.wait(5)
            woken.clear()
            for request in store.read(lambda tx: requests.open_requests(tx, "xl-1")):
                seen.append(request)
                state, said = answer(request)
                store.write(lambda tx, r=request: requests.take(tx, r.id))  # type: ignore[misc]
                store.write(lambda tx, r=request, s=state, a=said: requests.answer(tx, r.id, s, a))  # type: ignore[misc]

    thread = threading.Thread(target=work)
    thread.start()
    yield seen
    stop.set()
    woken.set()
    thread.join()


def test_an_answer_is_given_and_not_kept(served: Gateway) -> None:
    with (
        lane_that(served, lambda request: ("done", {"text": "Pulsa Rp 5.000", "more": False})) as seen,
        served.client("lanes:write") as http,
    ):
        found = http.post("/v1/lanes/xl-1/requests", json={"kind": "ussd", "code": "*888#"})
    assert (found.status_code, found.json()) == (
        200,
        {"lane": "xl-1", "kind": "ussd", "answer": {"text": "Pulsa Rp 5.000", "more": False}},
    )
    assert [(one.kind, one.arguments, one.asked_by) for one in seen] == [
        ("ussd", {"code": "*888#"}, "payroll")
    ]
    assert rows(served.store, t.lane_requests) == []
    assert [row.what for row in rows(served.store, t.audit) if row.what.startswith("lane.")] == ["lane.ussd"]


def test_a_refusal_is_told_with_its_reason(served: Gateway) -> None:
    with (
        lane_that(served, lambda request: ("refused", {"detail": "the lane is not open: no stick"})),
        served.client("lanes:write") as http,
    ):
        found = http.post("/v1/lanes/xl-1/requests", json={"kind": "diagnosis"})
    assert (found.status_code, found.json()["code"]) == (409, "conflict")
    assert found.json()["detail"] == "Lane xl-1 refused: the lane is not open: no stick."


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"kind": "dance"}, "'restart', 'diagnosis', 'ussd' or 'pause'"),
        ({}, '"kind" is missing'),
        ({"kind": "ussd"}, 'needs a "code"'),
        ({"kind": "ussd", "code": "ATZ"}, "of digits, * and #"),
        ({"kind": "restart", "code": "*1#"}, "belongs to ussd"),
        ({"kind": "restart", "force": True}, "force"),
    ],
)
def test_what_a_lane_cannot_be_asked_is_said(served: Gateway, body: dict[str, object], words: str) -> None:
    with served.client("lanes:write") as http:
        found = http.post("/v1/lanes/xl-1/requests", json=body)
    assert found.status_code == 422
    assert words in found.json()["detail"]
    assert rows(served.store, t.lane_requests) == []


def test_who_may_ask_which_lane(served: Gateway) -> None:
    with served.client("lanes:read") as http:
        assert http.post("/v1/lanes/xl-1/requests", json={"kind": "restart"}).status_code == 403
    with served.client("lanes:write") as http:
        for name in ("xl-9", "xl%00"):
            assert http.post(f"/v1/lanes/{name}/requests", json={"kind": "restart"}).status_code == 404


def test_what_lanes_and_metrics_show_of_modems(served: Gateway) -> None:
    def work(tx: Any) -> None:
        lanes.note_counts(tx, "xl-1", {"SM": [3, 30]}, 2)
        lanes.count_recovery(tx, "xl-1", "power")

    served.store.write(work)
    with served.client("lanes:read") as http:
        (lane,) = http.get("/v1/lanes").json()["items"]
        metrics = http.get("/metrics").text
    assert lane["storages"] == {"SM": {"used": 3, "total": 30}}
    assert (lane["usb"], lane["calls"], lane["recoveries"]) == (None, 2, {"power": 1})
    for line in (
        'bpjs_sms_calls_total{lane="xl-1"} 2.0',
        'bpjs_sms_recoveries_total{lane="xl-1",rung="power"} 1.0',
        'bpjs_sms_lane_storage{lane="xl-1",of="used",storage="SM"} 3.0',
        'bpjs_sms_lane_storage{lane="xl-1",of="total",storage="SM"} 30.0',
    ):
        assert line in metrics
