"""Checks over HTTP: ask, wait, send again, look, list, cancel; and what a key may see of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_serving import ASK, KPJ, Gateway, assert_problem, serving
from sqlalchemy import func, select

from app.domain.states import Role, State
from app.faces.http.waiting import preferred_wait
from app.store import tables as t
from app.store.checks import get_check
from app.store.questions import move

TEXT = f"Saldo JHT KPJ {KPJ} Rp 12.345.678"
RECORD = {"kpj": KPJ, "balance": 12345678, "as_of": "2026-10-31", "employer": "PT 9901 2345 6789"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client("checks:write", "checks:read") as opened:
        yield opened


@pytest.fixture
def either(database_url: str, tmp_path: Path) -> Iterator[tuple[Gateway, httpx.Client]]:
    """A gateway on each kind of database, for what goes on at the same time."""
    with (
        serving(tmp_path, database=database_url) as running,
        running.client("checks:write", "checks:read") as opened,
    ):
        yield running, opened


cards = iter(range(10_000))


def ask(**more: Any) -> dict[str, Any]:
    """A request for a card that no other test asks about."""
    return {"service": "bpjstk-balance", "fields": {"kpj": f"99{next(cards):09d}"}, **more}


def test_a_check_is_accepted_in_exactly_the_documented_shape(gateway: Gateway, client: httpx.Client) -> None:
    before = len(gateway.nudges)
    response = client.post("/v1/checks", json=ASK | {"reference": "payroll-7"})
    assert response.status_code == 202
    body = response.json()
    assert response.headers["location"] == f"/v1/checks/{body['id']}"
    assert len(gateway.nudges) == before + 1
    assert body == {
        "id": body["id"],
        "service": "bpjstk-balance",
        "fields": {"kpj": "990*****678"},
        "reference": "payroll-7",
        "state": "queued",
        "outcome": None,
        "late": False,
        "shared": False,
        "record": None,
        "evidence": None,
        "lane": None,
        "attempts": 0,
        "cost": 0,
        "created_at": "2026-11-23T02:03:04.120000Z",
        "submitted_at": None,
        "answered_at": None,
        "deadline": None,
        "expires": "2026-11-30T02:03:04.120000Z",
        "error": None,
        "replies": [],
        "history": [],
    }
    assert client.get(response.headers["location"]).json() == body


def test_members_reach_the_question(gateway: Gateway, client: httpx.Client) -> None:
    made = client.post("/v1/checks", json=ask(priority=0, expires="6h", max_age="1h")).json()
    assert made["expires"] == "2026-11-23T08:03:04.120000Z"
    stored = gateway.store.read(
        lambda tx: tx.execute(
            select(t.questions.c.priority, t.checks.c.max_age)
            .join_from(t.checks, t.questions, t.checks.c.question_id == t.questions.c.id)
            .where(t.checks.c.id == made["id"])
        ).one()
    )
    assert tuple(stored) == (0, 3600)
    by_time = client.post("/v1/checks", json=ask(expires="2026-11-24T09:03:04.12+07:00")).json()
    assert by_time["expires"] == "2026-11-24T02:03:04.120000Z"


def test_the_same_question_is_shared_and_a_spaced_card_is_the_same(client: httpx.Client) -> None:
    first = client.post("/v1/checks", json=ask()).json()
    card = f"99{int(next(cards)) - 1:09d}"
    again = client.post("/v1/checks", json=ASK | {"fields": {"kpj": f" {card[:4]} {card[4:7]}.{card[7:]} "}})
    assert again.status_code == 202
    assert again.json()["shared"] is True
    assert again.json()["fields"] == first["fields"]
    assert again.json()["id"] != first["id"]


def test_an_answered_check_shows_record_evidence_and_replies_masked(
    gateway: Gateway, client: httpx.Client
) -> None:
    made = client.post("/v1/checks", json=ask()).json()
    gateway.answer(made["id"], "Saldo KPJ 99Z12345678 apa ini", {}, Role.NOTE)
    message = gateway.answer(made["id"], TEXT, RECORD)
    seen = client.get(f"/v1/checks/{made['id']}").json()
    assert (seen["state"], seen["outcome"], seen["late"]) == ("answered", "found", False)
    assert seen["record"] == RECORD | {"kpj": "990*****678", "employer": "PT 990* **** *789"}
    assert seen["evidence"] == {
        "kind": "echo",
        "by": "gateway",
        "message": message,
        "at": "2026-11-23T02:03:04.120000Z",
    }
    note, reply = seen["replies"]
    assert (note["role"], note["text"]) == ("note", None)
    assert (reply["message"], reply["role"], reply["text"]) == (
        message,
        "answer",
        "Saldo JHT KPJ 990*****678 Rp 12.345.678",
    )
    assert seen["history"] == [
        {
            "at": "2026-11-23T02:03:04.120000Z",
            "from": "queued",
            "to": "answered",
            "by": "xl-1",
            "why": None,
        }
    ]
    assert KPJ not in client.get(f"/v1/checks/{made['id']}").text


@pytest.mark.parametrize("scopes", [("checks:read", "raw:read"), ("*",)])
def test_raw_read_shows_everything(gateway: Gateway, client: httpx.Client, scopes: tuple[str, ...]) -> None:
    made = client.post("/v1/checks", json=ask()).json()
    gateway.answer(made["id"], "a note", {}, Role.NOTE)
    gateway.answer(made["id"], TEXT, RECORD)
    with gateway.client(*scopes) as raw:
        seen = raw.get(f"/v1/checks/{made['id']}").json()
    assert seen["fields"]["kpj"].isdigit()
    assert seen["record"] == RECORD
    assert [reply["text"] for reply in seen["replies"]] == ["a note", TEXT]


def test_cards_of_a_record_are_masked_too(gateway: Gateway, client: httpx.Client) -> None:
    made = client.post("/v1/checks", json=ask()).json()
    gateway.answer(made["id"], TEXT, {"cards": [{"kpj": KPJ, "balance": 1}, {"kpj": "99Z12345678"}]})
    seen = client.get(f"/v1/checks/{made['id']}").json()
    assert seen["record"] == {"cards": [{"kpj": "990*****678", "balance": 1}, {"kpj": "99Z*****678"}]}


def test_a_key_sees_its_own_clients_checks_only(gateway: Gateway, client: httpx.Client) -> None:
    made = client.post("/v1/checks", json=ask()).json()
    with gateway.client("checks:read", "checks:write", client="clinic") as other:
        assert_problem(other.get(f"/v1/checks/{made['id']}"), 404, "not_found")
        assert_problem(other.delete(f"/v1/checks/{made['id']}"), 404, "not_found")
        assert other.get("/v1/checks").json() == {"items": [], "next": None}
    with gateway.client("*", client="office") as every:
        assert every.get(f"/v1/checks/{made['id']}").status_code == 200


# -- wait ---------------------------------------------------------------------------------------------------------


def test_a_wait_ends_when_the_answer_comes(either: tuple[Gateway, httpx.Client]) -> None:
    gateway, client = either
    body = ask(reference="waiting")

    def answer_when_there() -> None:
        while not (found := client.get("/v1/checks", params={"reference": "waiting"}).json()["items"]):
            pass
        question = gateway.store.read(lambda tx: get_check(tx, found[0]["id"], None)).question_id
        now = datetime(2026, 11, 23, tzinfo=UTC)
        gateway.store.write(
            lambda tx: move(tx, question, {State.QUEUED}, State.SUBMITTING, now=now, by="xl-1")
        )
        gateway.answer(found[0]["id"], TEXT, RECORD)

    answering = threading.Thread(target=answer_when_there)
    answering.start()
    response = client.post("/v1/checks", json=body, headers={"Prefer": "respond-async, wait=19"})
    answering.join(20)
    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=19"
    assert response.json()["state"] == "answered"
    assert response.json()["record"]["balance"] == 12345678


def test_a_wait_without_an_answer_ends_as_accepted(client: httpx.Client) -> None:
    response = client.post("/v1/checks", json=ask(), headers={"Prefer": "wait=1"})
    assert (response.status_code, response.json()["state"]) == (202, "queued")
    assert response.headers["preference-applied"] == "wait=1"


def test_a_final_check_is_not_waited_for(gateway: Gateway, client: httpx.Client) -> None:
    body = ask(max_age="1h")
    gateway.answer(client.post("/v1/checks", json=body).json()["id"], TEXT, RECORD)
    response = client.post("/v1/checks", json=body, headers={"Prefer": "wait=19"})
    assert (response.status_code, response.json()["state"], response.json()["shared"]) == (
        200,
        "answered",
        True,
    )
    looked = client.get(response.headers["location"], headers={"Prefer": "wait=19"})
    assert looked.headers["preference-applied"] == "wait=19"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=5", 5),
        ("WAIT = 5", 5),
        ('respond-async; wait="7"', 7),
        ("return=minimal, wait=90", 60),
        ("wait=0", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait", None),
        ("await=5", None),
        ("", None),
    ],
)
def test_prefer(header: str, seconds: int | None) -> None:
    assert preferred_wait(header) == seconds


# -- Idempotency-Key ----------------------------------------------------------------------------------------------


def test_the_same_key_and_body_give_the_same_check(gateway: Gateway, client: httpx.Client) -> None:
    body = ask(reference="once")
    headers = {"Idempotency-Key": "payroll 2026-11 / 7"}
    first = client.post("/v1/checks", json=body, headers=headers)
    assert "idempotency-replayed" not in first.headers
    gateway.answer(first.json()["id"], TEXT, RECORD)
    shuffled = dict(reversed(body.items()))
    again = client.post("/v1/checks", json=shuffled, headers=headers)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert (again.json()["id"], again.json()["state"]) == (first.json()["id"], "answered")
    assert again.headers["location"] == first.headers["location"]


def test_the_same_key_with_another_body_is_refused(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "mismatch"}
    assert client.post("/v1/checks", json=ask(), headers=headers).status_code == 202
    assert_problem(
        client.post("/v1/checks", json=ask(), headers=headers), 422, "idempotency_mismatch", "new key"
    )


def test_keys_are_each_clients_own(gateway: Gateway, client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "ours"}
    mine = client.post("/v1/checks", json=ask(), headers=headers).json()
    with gateway.client("checks:write", client="clinic-2") as other:
        theirs = other.post("/v1/checks", json=ask(), headers=headers)
    assert theirs.status_code == 202
    assert theirs.json()["id"] != mine["id"]


def test_twenty_at_once_with_one_key_make_one_check(either: tuple[Gateway, httpx.Client]) -> None:
    _, client = either
    body = ask(reference="at once")
    with ThreadPoolExecutor(20) as pool:
        responses = list(
            pool.map(
                lambda _: client.post("/v1/checks", json=body, headers={"Idempotency-Key": "at-once"}),
                range(20),
            )
        )
    assert {response.status_code for response in responses} == {202}
    assert len({response.json()["id"] for response in responses}) == 1
    assert sum("idempotency-replayed" not in response.headers for response in responses) == 1
    assert len(client.get("/v1/checks", params={"reference": "at once"}).json()["items"]) == 1


def test_a_refused_request_uses_no_key(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "mended"}
    assert_problem(client.post("/v1/checks", json=ask(priority=10), headers=headers), 422, "invalid")
    assert client.post("/v1/checks", json=ask(), headers=headers).status_code == 202


# -- many ---------------------------------------------------------------------------------------------------------


def test_many_at_once_are_each_stored_with_their_own_reference(either: tuple[Gateway, httpx.Client]) -> None:
    gateway, client = either
    bodies = [ask(reference=f"many-{number}", priority=number % 3) for number in range(150)]
    bodies += [body | {"reference": "twin-" + body["reference"]} for body in bodies[:50]]
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda body: client.post("/v1/checks", json=body), bodies))
    assert {response.status_code for response in responses} == {202}
    with gateway.client("*") as raw:
        for body, response in zip(bodies, responses, strict=True):
            stored = raw.get(response.headers["location"]).json()
            assert (stored["reference"], stored["fields"]) == (body["reference"], body["fields"])
    assert sum(response.json()["shared"] for response in responses) == 50
    count = gateway.store.read(
        lambda tx: tx.execute(
            select(func.count(func.distinct(t.checks.c.question_id))).where(
                t.checks.c.reference.like("%many-%")
            )
        ).scalar()
    )
    assert count == 150


# -- list and cancel ----------------------------------------------------------------------------------------------


def test_lists_go_page_by_page_newest_first(gateway: Gateway) -> None:
    with gateway.client("*", client="lister") as lister:
        made = [lister.post("/v1/checks", json=ask(reference="page")).json()["id"] for _ in range(5)]
        seen: list[str] = []
        cursor: str | None = ""
        pages = 0
        while cursor is not None:
            params = {"reference": "page", "limit": "2"} | ({"cursor": cursor} if cursor else {})
            page = lister.get("/v1/checks", params=params).json()
            seen += [check["id"] for check in page["items"]]
            cursor = page["next"]
            pages += 1
    assert seen == made[::-1]
    assert pages == 3


def test_filters(gateway: Gateway) -> None:
    with gateway.client("checks:write", "checks:read", client="filters") as filters:
        queued = filters.post("/v1/checks", json=ask(reference="a")).json()["id"]
        answered = filters.post("/v1/checks", json=ask(reference="b")).json()["id"]
        cancelled = filters.post("/v1/checks", json=ask(reference="c")).json()["id"]
        gateway.answer(answered, TEXT, RECORD)
        filters.delete(f"/v1/checks/{cancelled}")

        def ids(**params: Any) -> list[str]:
            response = filters.get("/v1/checks", params=params)
            assert response.status_code == 200, response.text
            return [check["id"] for check in response.json()["items"]]

        assert ids() == [cancelled, answered, queued]
        assert ids(state="queued") == [queued]
        assert ids(state="queued,answered") == [answered, queued]
        assert ids(state=["queued", "cancelled"]) == [cancelled, queued]
        assert ids(outcome="found") == [answered]
        assert ids(service="bpjskes-status") == []
        assert ids(reference="a") == [queued]
        assert ids(batch="bat_none") == []
        assert ids(since="2026-11-23T02:03:05Z") == []
        assert ids(until="2026-11-23T09:03:05+07:00") == [cancelled, answered, queued]


def test_a_queued_check_can_be_cancelled_and_another_cannot(gateway: Gateway, client: httpx.Client) -> None:
    made = client.post("/v1/checks", json=ask()).json()
    gone = client.delete(f"/v1/checks/{made['id']}")
    assert (gone.status_code, gone.json()["state"]) == (200, "cancelled")
    assert client.delete(f"/v1/checks/{made['id']}").status_code == 200
    answered = client.post("/v1/checks", json=ask()).json()
    gateway.answer(answered["id"], TEXT, RECORD)
    assert_problem(client.delete(f"/v1/checks/{answered['id']}"), 409, "conflict", "only a queued one")


def test_a_cancelled_check_shows_nothing_of_the_answer_that_others_got(
    gateway: Gateway, client: httpx.Client
) -> None:
    body = ask()
    mine, other = (client.post("/v1/checks", json=body).json()["id"] for _ in range(2))
    client.delete(f"/v1/checks/{mine}")
    gateway.answer(other, TEXT, RECORD)
    seen = client.get(f"/v1/checks/{mine}").json()
    assert seen["state"] == "cancelled"
    assert (seen["outcome"], seen["record"], seen["evidence"], seen["replies"]) == (None, None, None, [])
    assert client.get(f"/v1/checks/{other}").json()["state"] == "answered"


def test_an_end_without_an_answer_says_why(gateway: Gateway, client: httpx.Client) -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    made = client.post("/v1/checks", json=ask()).json()["id"]
    question = gateway.store.read(lambda tx: get_check(tx, made, None)).question_id

    def submit_and_fail(tx: Any) -> None:
        move(tx, question, {State.QUEUED}, State.SUBMITTING, now=now, by="xl-1")
        move(
            tx,
            question,
            {State.SUBMITTING},
            State.FAILED,
            now=now,
            by="xl-1",
            error_code="call_barred",
            error_blame="sim",
            error_detail="SMS is barred on this SIM",
        )

    gateway.store.write(submit_and_fail)
    assert client.get(f"/v1/checks/{made}").json()["error"] == {
        "code": "call_barred",
        "blame": "sim",
        "detail": "SMS is barred on this SIM",
        "retryable": False,
    }
    late = client.post("/v1/checks", json=ask()).json()["id"]
    question = gateway.store.read(lambda tx: get_check(tx, late, None)).question_id
    gateway.store.write(
        lambda tx: move(tx, question, {State.QUEUED}, State.EXPIRED, now=now, by="housekeeper")
    )
    error = client.get(f"/v1/checks/{late}").json()["error"]
    assert (error["code"], error["blame"], error["retryable"]) == ("expired", "gateway", True)
