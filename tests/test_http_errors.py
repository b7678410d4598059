"""Every way to be refused: the documented status and code, a sentence that says what to do, nothing stored."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from http_serving import ASK, KPJ, NOW, Gateway, assert_problem, serving
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from structlog.testing import capture_logs

from app.store import tables as t
from app.store.clients import SCOPES

LIMIT = 4096


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("gateway"), max_body=LIMIT) as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    every = [scope for scope in SCOPES if scope not in ("*", "raw:read")]
    with gateway.client(*every) as opened:
        yield opened


def stored(gateway: Gateway) -> int:
    return gateway.store.read(
        lambda tx: int(tx.execute(select(func.count()).select_from(t.checks)).scalar_one())
    )


WRONG_BODIES: list[tuple[dict[str, Any], str, dict[str, str]]] = [
    ({"service": "bpjstk-balanc"}, "unknown_service", {"service": "unknown_service"}),
    ({"fields": {"kpj": "9901234567"}}, "invalid", {"kpj": "wrong_length"}),
    ({"fields": {"kpj": "9901234567X"}}, "invalid", {"kpj": "wrong_character"}),
    ({"fields": {"kpj": "9.9E+10"}}, "invalid", {"kpj": "spreadsheet_number"}),
    ({"fields": {"kpj": 99012345678}}, "invalid", {"kpj": "not_text"}),
    ({"fields": {"kpj": None}}, "invalid", {"kpj": "not_text"}),
    ({"fields": {}}, "invalid", {"kpj": "missing"}),
    ({"fields": {"kjp": KPJ}}, "invalid", {"kjp": "unknown_field", "kpj": "missing"}),
    ({"fields": KPJ}, "invalid", {"fields": "not_an_object"}),
    ({"service": 7}, "invalid", {"service": "not_text"}),
    ({"refrence": "x"}, "invalid", {"refrence": "unknown_member"}),
    ({"reference": ""}, "invalid", {"reference": "empty"}),
    ({"reference": "x" * 201}, "invalid", {"reference": "too_long"}),
    ({"reference": "a\0b"}, "invalid", {"reference": "invalid"}),
    ({"priority": 10}, "invalid", {"priority": "out_of_range"}),
    ({"priority": -1}, "invalid", {"priority": "out_of_range"}),
    ({"priority": "5"}, "invalid", {"priority": "not_a_number"}),
    ({"priority": 1.5}, "invalid", {"priority": "not_a_number"}),
    ({"priority": True}, "invalid", {"priority": "not_a_number"}),
    ({"max_age": "soon"}, "invalid", {"max_age": "invalid"}),
    ({"max_age": 60}, "invalid", {"max_age": "invalid"}),
    ({"max_age": "999999d"}, "invalid", {"max_age": "invalid"}),
    ({"expires": "0s"}, "invalid", {"expires": "invalid"}),
    ({"expires": "31d"}, "invalid", {"expires": "invalid"}),
    ({"expires": "2026-11-24T00:00:00"}, "invalid", {"expires": "invalid"}),
    ({"expires": "2020-01-01T00:00:00Z"}, "invalid", {"expires": "invalid"}),
    ({"expires": "0001-01-01T00:00:00+14:00"}, "invalid", {"expires": "invalid"}),
    (
        {"service": "nix", "refrence": "x", "priority": 99, "expires": "never"},
        "unknown_service",
        {
            "service": "unknown_service",
            "refrence": "unknown_member",
            "priority": "out_of_range",
            "expires": "invalid",
        },
    ),
    (
        {"fields": {"kpj": 1, "nik": "1"}, "max_age": "x"},
        "invalid",
        {"kpj": "not_text", "nik": "unknown_field", "max_age": "invalid"},
    ),
]


@pytest.mark.parametrize(("changes", "code", "faults"), WRONG_BODIES)
def test_a_wrong_check_names_every_fault_at_once(
    gateway: Gateway, client: httpx.Client, changes: dict[str, Any], code: str, faults: dict[str, str]
) -> None:
    before = stored(gateway)
    body = assert_problem(client.post("/v1/checks", json=ASK | changes), 422, code)
    assert {fault["field"]: fault["code"] for fault in body["errors"]} == faults
    for fault in body["errors"]:
        assert fault["detail"] in body["detail"]
    assert stored(gateway) == before


def test_the_nearest_name_is_told(client: httpx.Client) -> None:
    for changes, near in (({"refrence": "x"}, "reference"), ({"service": "bpjstk-balanc"}, "bpjstk-balance")):
        assert_problem(
            client.post("/v1/checks", json=ASK | changes),
            422,
            "unknown_service" if "service" in changes else "invalid",
            f'did you mean "{near}"?',
        )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b'{"service": ', "line 1 column"),
        (b"\xff\xfe{}", "not JSON"),
        (b'{"service": "\\ud800"}', "not JSON"),
        (b"service=x", "not JSON"),
    ],
)
def test_a_body_that_is_not_json(client: httpx.Client, body: bytes, said: str) -> None:
    response = client.post("/v1/checks", content=body, headers={"Content-Type": "application/json"})
    assert_problem(response, 400, "malformed", said)


@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"', b"null"])
def test_json_that_is_no_object(client: httpx.Client, body: bytes) -> None:
    response = client.post("/v1/checks", content=body, headers={"Content-Type": "application/json"})
    assert_problem(response, 422, "invalid", "a JSON object")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/csv", None])
def test_a_body_of_another_type(client: httpx.Client, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    response = client.post("/v1/checks", content=json.dumps(ASK).encode(), headers=headers)
    assert_problem(response, 415, "unsupported_type", "application/json")


def test_json_with_a_charset_is_json(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert client.post("/v1/checks", content=json.dumps(ASK).encode(), headers=headers).status_code == 202


def test_a_body_over_the_limit(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    body = json.dumps(ASK).encode().ljust(LIMIT + 1)
    assert_problem(client.post("/v1/checks", content=body, headers=headers), 413, "too_large", str(LIMIT))
    chunks = iter([body[:100], body[100:]])
    assert_problem(client.post("/v1/checks", content=chunks, headers=headers), 413, "too_large")
    assert client.post("/v1/checks", content=body[:LIMIT], headers=headers).status_code == 202


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Basic YTpi", "Bearer bsk_wrong", "Bearer \u00e9", "bsk_wrong"]
)
def test_no_key_or_a_wrong_one(gateway: Gateway, header: str) -> None:
    with gateway.client() as stranger:
        for method, path in (("POST", "/v1/checks"), ("GET", "/v1/lanes"), ("GET", "/metrics")):
            response = stranger.request(method, path, headers={b"Authorization": header.encode()})
            assert_problem(response, 401, "unauthenticated", "key")
            assert response.headers["www-authenticate"] == "Bearer"


SCOPED = [
    ("POST", "/v1/checks", "checks:write"),
    ("GET", "/v1/checks", "checks:read"),
    ("GET", "/v1/checks/chk_1", "checks:read"),
    ("DELETE", "/v1/checks/chk_1", "checks:write"),
    ("GET", "/v1/services", "services:read"),
    ("GET", "/v1/services/x", "services:read"),
    ("GET", "/v1/lanes", "lanes:read"),
    ("PATCH", "/v1/lanes/x", "lanes:write"),
    ("GET", "/v1/messages", "messages:read"),
    ("GET", "/v1/phones", "phone:read"),
    ("PUT", "/v1/phones/1", "phone:write"),
    ("DELETE", "/v1/phones/1", "phone:write"),
    ("GET", "/v1/events", "events:read"),
]


@pytest.mark.parametrize(("method", "path", "scope"), SCOPED)
def test_a_missing_scope_is_named(gateway: Gateway, method: str, path: str, scope: str) -> None:
    others = [other for other in SCOPES if other not in (scope, "*")]
    with gateway.client(*others) as lacking:
        assert_problem(lacking.request(method, path), 403, "forbidden", scope)


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/check", "/v1/checks/", "/v1/checks/chk_1/x", "/static-offline-docs/none.js", "/redoc"],
)
def test_nothing_is_there(client: httpx.Client, path: str) -> None:
    assert_problem(client.get(path), 404, "not_found", "/docs")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/checks/chk_1",
        "/v1/checks/chk_" + "0" * 32,
        "/v1/checks/%00",
        "/v1/services/nix",
        "/v1/services/%00",
    ],
)
def test_no_such_thing(client: httpx.Client, path: str) -> None:
    assert_problem(client.get(path), 404, "not_found", "There is no")


def test_the_nearest_service_is_told(client: httpx.Client) -> None:
    assert_problem(client.get("/v1/services/bpjstk-balanc"), 404, "not_found", '"bpjstk-balance"')


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/checks", "GET, POST"),
        ("PATCH", "/v1/checks/chk_1", "DELETE, GET"),
        ("GET", "/v1/lanes/x", "PATCH"),
        ("POST", "/health/live", "GET"),
        ("POST", "/docs", "GET"),
        ("DELETE", "/static-offline-docs/swagger-ui.css", "GET"),
    ],
)
def test_a_method_that_is_not_possible(client: httpx.Client, method: str, path: str, allow: str) -> None:
    response = client.request(method, path)
    assert_problem(response, 405, "method_not_allowed", allow)
    assert response.headers["allow"] == allow


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/checks?limit=0", "limit"),
        ("/v1/checks?limit=1001", "limit"),
        ("/v1/checks?limit=x", "limit"),
        ("/v1/checks?limt=5", "limt"),
        ("/v1/checks?state=queud", "state"),
        ("/v1/checks?outcome=x", "outcome"),
        ("/v1/checks?cursor=x", "cursor"),
        ("/v1/checks?since=yesterday", "since"),
        ("/v1/checks?since=2026-11-23T00:00:00", "since"),
        ("/v1/checks?reference=%00", "reference"),
        ("/v1/messages?state=lost", "state"),
        ("/v1/messages?limit=-1", "limit"),
        ("/v1/phones?cursor=%00", "cursor"),
        ("/v1/events?after=-1", "after"),
        ("/v1/events?after=9999999999999999999", "after"),
        ("/v1/events?kind=check.answerd", "kind"),
    ],
)
def test_a_wrong_parameter(client: httpx.Client, path: str, field: str) -> None:
    body = assert_problem(client.get(path), 422, "invalid", field)
    assert [fault["field"] for fault in body["errors"]] == [field]


@pytest.mark.parametrize("key", ["", "x" * 256, "t\u00e4g", "a\tb"])
def test_a_wrong_idempotency_key(client: httpx.Client, key: str) -> None:
    response = client.post("/v1/checks", json=ASK, headers={b"Idempotency-Key": key.encode("latin-1")})
    assert_problem(response, 422, "invalid", "Idempotency-Key")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"pased": True}, "pased"),
        ({"paused": "yes"}, "paused"),
        ({"pace": 20}, "pace"),
        ({"pace": "2d"}, "pace"),
        ({"per_hour": -1}, "per_hour"),
        ({"per_day": 2**31}, "per_day"),
    ],
)
def test_a_wrong_change_of_a_lane(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    problem = assert_problem(client.patch("/v1/lanes/xl-1", json=body), 422, "invalid", field)
    assert [fault["field"] for fault in problem["errors"]] == [field]


@pytest.mark.parametrize("name", ["xl-9", "%00"])
def test_no_such_lane(client: httpx.Client, name: str) -> None:
    assert_problem(client.patch(f"/v1/lanes/{name}", json={"paused": True}), 404, "not_found", "/v1/lanes")


@pytest.mark.parametrize("number", ["2757", "BPJSTKU", "+15551234567", "0812", "%00"])
def test_what_is_no_phone_number(client: httpx.Client, number: str) -> None:
    assert_problem(client.put(f"/v1/phones/{number}", json={"allowed": True}), 422, "invalid", "0812")
    assert_problem(client.delete(f"/v1/phones/{number}"), 422, "invalid", "0812")


def test_a_phone_that_is_not_in_the_list(client: httpx.Client) -> None:
    assert_problem(client.delete("/v1/phones/081299999999"), 404, "not_found")


def test_a_wrong_language(client: httpx.Client) -> None:
    body = {"allowed": True, "language": "fr"}
    assert_problem(client.put("/v1/phones/081299999999", json=body), 422, "invalid", "'id' or 'en'")


def test_a_service_that_is_switched_off(tmp_path: Path) -> None:
    off = {"bpjstk-balance": {"enabled": False}}
    with serving(tmp_path, services=off) as running, running.client("checks:write") as client:
        body = assert_problem(client.post("/v1/checks", json=ASK), 422, "invalid", "switched off")
        assert body["errors"][0]["code"] == "disabled"


def test_a_full_disk_accepts_nothing_and_says_so(tmp_path: Path) -> None:
    with serving(tmp_path) as running, running.client("checks:write", "checks:read") as client:
        assert client.post("/v1/checks", json=ASK).status_code == 202
        pages = running.store.write(lambda tx: int(tx.execute(text("PRAGMA page_count")).scalar_one()))
        running.store.write(lambda tx: tx.execute(text(f"PRAGMA max_page_count = {pages}")).close())
        refused = 0
        for number in range(200):
            body = {"service": "bpjstk-balance", "fields": {"kpj": f"99{number:09d}"}, "reference": "r" * 200}
            response = client.post("/v1/checks", json=body)
            if response.status_code != 202:
                assert_problem(response, 503, "unavailable", "nothing was accepted")
                assert response.headers["retry-after"].isdigit()
                refused += 1
        assert refused
        assert stored(running) == 201 - refused
        running.store.write(lambda tx: tx.execute(text("PRAGMA max_page_count = 1000000")).close())
        assert client.post("/v1/checks", json=ASK | {"reference": "again"}).status_code == 202


def test_a_fault_of_ours_has_an_id_that_the_log_has_too(tmp_path: Path) -> None:
    broken = False

    def clock() -> datetime:
        if broken:
            raise RuntimeError(f"about {KPJ}")
        return NOW

    with serving(tmp_path, clock=clock) as running, running.client("checks:write") as client:
        assert client.post("/v1/checks", json=ASK).status_code == 202
        broken = True
        with capture_logs() as logs:
            body = assert_problem(client.post("/v1/checks", json=ASK), 500, "internal", "incident")
        assert body["blame"] == "gateway"
        assert body["incident"] in body["detail"]
        failed = [line for line in logs if line["event"] == "internal"]
        assert [line["incident"] for line in failed] == [body["incident"]]
        assert failed[0]["error"] == "RuntimeError"
        assert KPJ not in repr(logs)
        broken = False
        assert client.post("/v1/checks", json=ASK).status_code == 202


def test_the_log_names_the_call_and_no_number(gateway: Gateway, client: httpx.Client) -> None:
    with capture_logs() as logs:
        client.post("/v1/checks", json=ASK | {"reference": "secret-reference"})
        client.put("/v1/phones/081299998888", json={"allowed": True})
        client.get("/v1/checks?reference=secret-reference")
    lines = [(line["method"], line["route"], line["status"], line["client"]) for line in logs]
    assert lines == [
        ("POST", "/v1/checks", 202, "payroll"),
        ("PUT", "/v1/phones/{number}", 200, "payroll"),
        ("GET", "/v1/checks", 200, "payroll"),
    ]
    for secret in (KPJ, "81299998888", "secret-reference", "bsk_"):
        assert secret not in repr(logs)


def test_bytes_that_are_no_http_end_the_connection_only(gateway: Gateway, client: httpx.Client) -> None:
    address = urlsplit(gateway.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as raw:
        raw.sendall(b"\x00\xff\r\n\r\n")
        assert raw.recv(1000).startswith((b"HTTP/1.1 400", b""))
    assert client.get("/health/live").status_code == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
near_bodies = st.fixed_dictionaries(
    {},
    optional={
        "service": st.sampled_from(["bpjstk-balance", "bpjskes-status"]) | json_values,
        "fields": st.dictionaries(st.sampled_from(["kpj", "number", "x"]), json_values, max_size=2)
        | json_values,
        "reference": json_values,
        "priority": json_values,
        "max_age": json_values,
        "expires": json_values | st.datetimes().map(str),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    body=(near_bodies | json_values).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)
)
def test_no_body_is_answered_with_anything_undocumented(client: httpx.Client, body: bytes) -> None:
    response = client.post("/v1/checks", content=body, headers={"Content-Type": "application/json"})
    if response.status_code != 202:
        code = response.json()["code"]
        assert code in ("malformed", "invalid", "unknown_service")
        assert_problem(response, 400 if code == "malformed" else 422, code)
