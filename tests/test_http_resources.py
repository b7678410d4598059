"""Services, lanes, messages, phones, events, health, metrics and the documents about all of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from http_serving import ASK, KPJ, NOW, Gateway, assert_problem, serving
from sqlalchemy import select

from app.domain.capacity import per_hour
from app.domain.services import parse_service
from app.domain.states import Role
from app.store import tables as t
from app.store.engine import Tx
from app.store.events import KINDS
from app.store.inbox import add_message
from app.store.lanes import LaneSpec, connect, register, show, take
from app.store.questions import add_event

ICCID = "8962999900000000017"
IMEI = "990000862471854"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("gateway")) as running:
        running.store.write(_a_lane)
        yield running


def _a_lane(tx: Tx) -> None:
    register(tx, [LaneSpec("xl-1", "simulated://xl-1", timedelta(seconds=20), 60, 200)], NOW)
    fence = take(tx, "xl-1", "prc_test", NOW)
    assert fence is not None
    connect(
        tx,
        "xl-1",
        fence,
        NOW,
        iccid=ICCID,
        imsi=None,
        own_number="+6281299990000",
        operator="XL",
        imei=IMEI,
        maker="Simulated",
        model="Dongle",
        firmware=None,
    )
    show(tx, "xl-1", fence, NOW, state="registered", signal=21, registration="home")


@pytest.fixture
def every(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client("*") as opened:
        yield opened


def test_services_say_what_they_cost_and_know(every: httpx.Client, gateway: Gateway) -> None:
    listed = every.get("/v1/services").json()
    assert [service["name"] for service in listed["items"]] == [service.name for service in gateway.catalogue]
    assert listed["next"] is None
    one = every.get("/v1/services/bpjstk-balance").json()
    assert one in listed["items"]
    assert list(one) == [
        "name", "agency", "title", "address", "senders", "operators", "fields", "provenance", "price", "timing",
        "echo", "enabled", "per_hour",
    ]  # fmt: skip
    assert one["address"] == "2757"
    assert one["fields"] == [
        {
            "name": "kpj",
            "kind": "kpj",
            "label": {"id": "Nomor KPJ", "en": "KPJ number"},
            "required": True,
        }
    ]
    assert one["timing"] == {"timeout": "5m", "late": "1h", "settle": "1m", "ask_again": 0}
    assert one["price"]["confirmed_on"] == ""


def test_a_service_that_names_the_card_can_be_asked_some_80_times_an_hour_and_one_that_never_does_10() -> (
    None
):
    source = (Path(__file__).parent.parent / "templates_sms" / "bpjstk-balance.toml").read_text()
    never = parse_service(re.sub(r"^echo = true\n", "", source, flags=re.MULTILINE), "a test")
    always = parse_service(
        re.sub(
            r'^(name = "(?!bpjstk).*"\noutcome)',
            r"echo = true\n\1",
            source.replace("echo = true\n", ""),
            flags=re.MULTILINE,
        ),
        "a test",
    )
    assert (never.echo, always.echo) == ("never", "always")
    assert 9 <= per_hour(never) <= 12
    assert 75 <= per_hour(always) <= 85


def test_a_lane_shows_its_sim_and_modem(every: httpx.Client, gateway: Gateway) -> None:
    lane = every.get("/v1/lanes").json()["items"][0]
    assert lane == {
        "name": "xl-1",
        "port": "simulated://xl-1",
        "state": "registered",
        "reason": None,
        "sim": {
            "operator": "XL",
            "iccid": ICCID,
            "own_number": "+6281299990000",
            "active_until": None,
            "credit": None,
        },
        "modem": {"maker": "Simulated", "model": "Dongle", "imei": IMEI},
        "usb": None,
        "storages": {},
        "recoveries": {},
        "calls": 0,
        "signal": 21,
        "registration": "home",
        "paused": False,
        "budget": {"pace": "20s", "per_hour": 60, "per_day": 200, "next_send_at": None},
        "last_sent_at": None,
        "last_heard_at": None,
    }
    with gateway.client("lanes:read") as reader:
        masked = reader.get("/v1/lanes")
    assert masked.json()["items"][0]["sim"]["iccid"] == "896*************017"
    for number in (ICCID, IMEI, "81299990000"):
        assert number not in masked.text


def test_a_lane_can_be_paused_and_its_budget_changed(every: httpx.Client, gateway: Gateway) -> None:
    before = len(gateway.nudges)
    changed = every.patch("/v1/lanes/xl-1", json={"paused": True, "pace": "1m30s", "per_hour": 0})
    assert changed.status_code == 200
    assert changed.json()["state"] == "paused"
    assert changed.json()["budget"] == {"pace": "1m30s", "per_hour": 0, "per_day": 200, "next_send_at": None}
    resumed = every.patch("/v1/lanes/xl-1", json={"paused": False, "pace": "20s", "per_hour": 60}).json()
    assert (resumed["paused"], resumed["state"]) == (False, "registered")
    assert len(gateway.nudges) == before + 2
    audit = gateway.store.read(lambda tx: tx.execute(select(t.audit).order_by(t.audit.c.id)).all())
    assert [(row.who, row.what, row.about) for row in audit[-2:]] == [
        ("payroll", "lane.changed", "xl-1: pace, paused, per_hour")
    ] * 2


def test_messages_are_listed_with_the_checks_that_the_key_may_see(
    every: httpx.Client, gateway: Gateway
) -> None:
    check = every.post("/v1/checks", json=ASK).json()["id"]
    note = gateway.answer(check, "catatan saja", {}, Role.NOTE)
    reply = gateway.answer(check, f"Saldo KPJ {KPJ} Rp 1.000", {"kpj": KPJ, "balance": 1000})
    stranger = gateway.store.write(
        lambda tx: add_message(
            tx,
            "tpd_none",
            sim_id="sim_test",
            lane="xl-2",
            sender="+6281299991111",
            body="halo 0812-9999-1111",
            stamp=None,
            received_at=NOW,
            now=NOW,
            state="unmatched",
            reason="unsolicited",
        )
    )
    found = every.get("/v1/messages").json()["items"]
    assert [message["id"] for message in found] == [stranger, reply, note]
    assert found[1] == {
        "id": reply,
        "lane": "xl-1",
        "sender": "2757",
        "text": f"Saldo KPJ {KPJ} Rp 1.000",
        "received_at": "2026-11-23T02:03:04.120000Z",
        "service_centre_time": "2026-11-23T02:03:04.120000Z",
        "parts": 1,
        "parts_total": 1,
        "state": "attributed",
        "reason": None,
        "candidates": 1,
        "checks": [check],
        "role": "answer",
        "double_of": None,
    }
    with gateway.client("messages:read", client="clinic") as reader:
        masked = reader.get("/v1/messages").json()["items"]
    assert [message["checks"] for message in masked] == [[], [], []]
    assert [message["text"] for message in masked] == [
        "halo 081*-****-*111",
        "Saldo KPJ 990*****678 Rp 1.000",
        None,
    ]
    assert masked[0]["sender"] == "+628*******111"

    def ids(query: str) -> list[str]:
        return [message["id"] for message in every.get(f"/v1/messages?{query}").json()["items"]]

    assert ids("state=unmatched") == [stranger]
    assert ids("state=unmatched,attributed&lane=xl-1") == [reply, note]
    first = every.get("/v1/messages?limit=2").json()
    assert ids(f"limit=2&cursor={first['next']}") == [note]


def test_phones_are_let_in_listed_and_forgotten(every: httpx.Client, gateway: Gateway) -> None:
    made = every.put("/v1/phones/0812-9999-2222", json={"allowed": True, "language": "en"})
    assert made.status_code == 200
    assert made.json() == {
        "number": "+6281299992222",
        "allowed": True,
        "language": "en",
        "opted_out": False,
        "created_at": "2026-11-23T02:03:04.120000Z",
    }
    assert every.put("/v1/phones/+6281299992222", json={"allowed": False}).json()["allowed"] is False
    assert [phone["number"] for phone in every.get("/v1/phones").json()["items"]] == ["+6281299992222"]
    with gateway.client("phone:read") as reader:
        assert reader.get("/v1/phones").json()["items"][0]["number"] == "+628*******222"
    assert every.delete("/v1/phones/081299992222").status_code == 204
    assert every.get("/v1/phones").json() == {"items": [], "next": None}
    audit = gateway.store.read(lambda tx: [str(row) for row in tx.execute(select(t.audit))])
    assert "99992222" not in "".join(audit)


def test_the_feed_goes_on_where_it_was_left(every: httpx.Client, gateway: Gateway) -> None:
    start = every.get("/v1/events?limit=1000").json()["next"]
    assert every.get(f"/v1/events?after={start}").json() == {"items": [], "next": start}
    check = every.post("/v1/checks", json=ASK | {"fields": {"kpj": "99000000099"}}).json()["id"]
    gateway.answer(check, "Saldo", {"balance": 1})
    gateway.store.write(lambda tx: add_event(tx, "lane.changed", NOW, lane="xl-1", data={"to": "offline"}))
    page = every.get(f"/v1/events?after={start}").json()
    answered, changed = page["items"]
    assert answered == {
        "seq": start + 1,
        "id": answered["id"],
        "kind": "check.answered",
        "at": "2026-11-23T02:03:04.120000Z",
        "check": check,
        "data": {},
    }
    assert (changed["seq"], changed["lane"], changed["data"]) == (start + 2, "xl-1", {"to": "offline"})
    assert page["next"] == start + 2
    only = every.get(f"/v1/events?after={start}&kind=lane.changed&kind=batch.done").json()
    assert [event["seq"] for event in only["items"]] == [start + 2]
    assert every.get("/v1/events", params={"kind": ",".join(KINDS), "limit": 1}).json()["next"] == 1


def test_health_needs_no_key(gateway: Gateway) -> None:
    with gateway.client() as stranger:
        assert stranger.get("/health/live").json() == {"status": "live"}
        gateway.lanes[:] = [("xl-1", False, "no network"), ("xl-2", True, "registered")]
        ready = stranger.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert ready.json()["lanes"][0] == {"lane": "xl-1", "ready": False, "detail": "no network"}
        gateway.lanes.pop()
        not_ready = stranger.get("/health/ready")
        body = assert_problem(not_ready, 503, "unavailable", "xl-1: no network")
        assert body["lanes"] == [{"lane": "xl-1", "ready": False, "detail": "no network"}]
        gateway.lanes.clear()
        assert_problem(stranger.get("/health/ready"), 503, "unavailable", "there is no lane")


def test_metrics_count_and_name_nothing_but_states(gateway: Gateway, every: httpx.Client) -> None:
    every.post("/v1/checks", json=ASK | {"fields": {"kpj": "99000000098"}})
    with gateway.client("checks:read") as any_key:
        shown = any_key.get("/metrics")
    assert shown.status_code == 200
    assert shown.headers["content-type"].startswith("text/plain")
    samples = [line for line in shown.text.splitlines() if not line.startswith("#")]
    assert samples
    labels = set()
    for line in samples:
        assert line.startswith("bpjs_sms_")
        labels |= set(re.findall(r'(\w+)="', line))
    assert labels <= {"service", "lane", "state", "outcome"}
    assert 'bpjs_sms_lane_state{lane="xl-1",state="registered"} 1.0' in samples
    assert 'bpjs_sms_lane_signal{lane="xl-1"} 21.0' in samples
    assert any(
        line.startswith('bpjs_sms_questions{outcome="",service="bpjstk-balance",state="queued"}')
        for line in samples
    )
    assert any(line.startswith('bpjs_sms_http_requests_total{outcome="202"}') for line in samples)


def test_metrics_can_be_opened(tmp_path: Path) -> None:
    with serving(tmp_path, open_metrics=True) as running, running.client() as stranger:
        assert stranger.get("/metrics").status_code == 200


def test_every_documented_example_is_accepted_as_it_stands(gateway: Gateway, every: httpx.Client) -> None:
    with gateway.client() as stranger:
        document = stranger.get("/openapi.json").json()
    examples = document["paths"]["/v1/checks"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]
    assert set(examples) == {service.name for service in gateway.catalogue if service.enabled}
    for example in examples.values():
        response = every.post("/v1/checks", json=example["value"])
        assert response.status_code == 202, response.text


def test_the_document_names_every_call_and_who_needs_a_key(gateway: Gateway) -> None:
    with gateway.client() as stranger:
        document = stranger.get("/openapi.json").json()
    assert document["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    calls = {
        f"{method.upper()} {path}": call
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    }
    assert {
        "POST /v1/checks", "GET /v1/checks", "GET /v1/checks/{id}", "DELETE /v1/checks/{id}",
        "POST /v1/batches", "GET /v1/batches", "GET /v1/batches/{id}", "GET /v1/batches/{id}/results",
        "DELETE /v1/batches/{id}", "GET /v1/services", "GET /v1/services/{name}", "GET /v1/lanes",
        "PATCH /v1/lanes/{name}", "GET /v1/messages", "GET /v1/phones", "PUT /v1/phones/{number}",
        "DELETE /v1/phones/{number}", "GET /v1/events", "GET /health/live", "GET /health/ready", "GET /metrics",
    } <= set(calls)  # fmt: skip
    for name, call in calls.items():
        assert call["security"] == ([] if "/health/" in name else [{"key": []}])
        assert call["summary"]
        assert "default" in call["responses"]


def test_the_docs_page_needs_nothing_from_elsewhere(gateway: Gateway) -> None:
    with gateway.client() as stranger:
        page = stranger.get("/docs")
        assert page.status_code == 200
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(links) >= 3
        for link in links:
            assert link.startswith("/")
            assert stranger.get(link).status_code == 200
        assert "http://" not in page.text
        assert "https://" not in page.text
