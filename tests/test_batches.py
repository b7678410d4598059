"""Batches: a file over HTTP, rows made into checks by a worker that may die anywhere, the same rows back with answers."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import func, insert, select

from app.domain.durations import parse_duration
from app.domain.errors import Conflict, Invalid, NotFound
from app.domain.services import Catalogue, parse_service
from app.domain.states import State
from app.exchange.batches import PAUSE, BatchWorker, seconds_until_done
from app.faces.http.application import create_app
from app.faces.http.batches import plan
from app.settings import load_settings
from app.store import batches, questions
from app.store import tables as t
from app.store.batches import CHUNK, Row, RowAsk, seal_rows
from app.store.clients import create_key
from app.store.engine import Store, open_store
from app.store.lanes import LaneSpec, LaneView, list_lanes, register

SERVICE = parse_service(
    """
name = "bpjstk-balance"
agency = "bpjs-ketenagakerjaan"
title = { id = "Saldo JHT", en = "JHT balance" }
address = "2757"
senders = ["2757"]
conversation = "2757"
provenance = { trust = "seed", source = "a test", checked = 2026-11-23 }
[request]
text = "BALANCE#{kpj}#"
[fields.kpj]
kind = "kpj"
label = { id = "Nomor KPJ", en = "KPJ number" }
subject = true
[price]
request = 350
[[replies]]
name = "balance"
outcome = "found"
echo = true
pattern = 'saldo.*?rp\\.?\\s*(?P<balance>[\\d.]+)'
""",
    "a test",
)
CATALOGUE = Catalogue([SERVICE])
NOW = datetime(2026, 11, 23, 2, 3, tzinfo=UTC)


def card(number: int) -> str:
    return f"99{number:09d}"


def csv_of(numbers: list[str], head: str = "kpj") -> bytes:
    return "\n".join([head, *numbers, ""]).encode()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'gateway.db'}", tmp_path / "keys", serving=True)
    yield opened
    opened.close()


def receive(store: Store, data: bytes, now: datetime = NOW, client: str = "payroll") -> str:
    planned = plan(SERVICE, data, None)
    batch_id = store.write(
        lambda tx: batches.create(
            tx,
            client=client,
            service=SERVICE.name,
            file_name=None,
            layout=planned.sheet.layout.as_dict(),
            heading=planned.sheet.heading,
            priority=batches.PRIORITY,
            now=now,
        )
    )
    store.write(lambda tx: batches.add_rows(tx, seal_rows(store.keys, batch_id, planned.rows)))
    store.write(
        lambda tx: batches.finish_receiving(
            tx, batch_id, rows=len(planned.rows), rejected=len(planned.errors)
        )
    )
    return batch_id


def answer(store: Store, question_id: str, balance: int, now: datetime = NOW) -> None:
    """As a late reply would: straight through the one door."""
    record = store.keys.seal("questions.record", f'{{"balance":{balance},"kpj":"{card(1)}"}}')
    moved = store.write(
        lambda tx: questions.move(
            tx,
            question_id,
            {State.QUEUED},
            State.ANSWERED,
            now=now,
            by="a test",
            outcome="found",
            record_sealed=record,
            answered_at=now,
            cost=350,
        )
    )
    assert moved is State.QUEUED


def question_ids(store: Store) -> list[str]:
    return store.read(
        lambda tx: list(tx.execute(select(t.questions.c.id).order_by(t.questions.c.id)).scalars())
    )


def count(store: Store, table: Any) -> int:
    return store.read(lambda tx: int(tx.execute(select(func.count()).select_from(table)).scalar_one()))


def events(store: Store, kind: str) -> int:
    return store.read(
        lambda tx: int(tx.execute(select(func.count()).where(t.events.c.kind == kind)).scalar_one())
    )


def view(store: Store, batch_id: str) -> batches.BatchView:
    return store.read(lambda tx: batches.get(tx, batch_id, None))


# -- the worker ---------------------------------------------------------------------------------------------------


def test_a_batch_runs_from_rows_to_done(store: Store) -> None:
    batch_id = receive(store, csv_of([card(1), "9.9E+10", card(2), card(1)]))
    assert view(store, batch_id).state == "queued"
    assert view(store, batch_id).counts["queued"] == 3
    worker = BatchWorker(store, CATALOGUE)
    assert worker.step(NOW) == NOW
    assert worker.step(NOW) == NOW + PAUSE
    running = view(store, batch_id)
    assert (running.state, running.rows, running.rejected) == ("running", 4, 1)
    assert running.counts["queued"] == 3
    first, second = question_ids(store)
    answer(store, first, 5)
    worker.step(NOW)
    assert view(store, batch_id).state == "running"
    answer(store, second, 6)
    worker.step(NOW)
    done = view(store, batch_id)
    assert (done.state, done.counts["answered"], sum(done.counts.values())) == ("done", 3, 3)
    assert done.cost == 700
    assert events(store, "batch.done") == 1
    worker.step(NOW)
    assert events(store, "batch.done") == 1


def test_a_worker_killed_between_chunks_is_followed_by_another(store: Store) -> None:
    numbers = [card(number) for number in range(2 * CHUNK + 10)]
    batch_id = receive(store, csv_of(numbers))
    BatchWorker(store, CATALOGUE).step(NOW)
    assert count(store, t.checks) == CHUNK
    another = BatchWorker(store, CATALOGUE)
    while another.step(NOW) == NOW:
        pass
    assert count(store, t.checks) == count(store, t.questions) == len(numbers)
    rows = store.read(lambda tx: batches.rows_with_answers(tx, batch_id, 0, len(numbers)))
    assert [row.cells for row in rows] == [[number] for number in numbers]
    assert [row.check.fields["kpj"] for row in rows if row.check] == numbers


def test_the_same_chunk_twice_makes_no_check_twice(store: Store) -> None:
    receive(store, csv_of([card(1), card(2), "9.9E+10"]))
    [batch] = store.read(batches.open_batches)
    asks = {
        number: RowAsk(questions.Ask.of(SERVICE, SERVICE.render({"kpj": card(number - 1)})), None, None)
        for number in (2, 3)
    }
    assert store.write(lambda tx: batches.make_checks(tx, batch, asks, {}, now=NOW)) == 2
    assert store.write(lambda tx: batches.make_checks(tx, batch, asks, {}, now=NOW)) == 0
    BatchWorker(store, CATALOGUE).step(NOW)
    assert count(store, t.checks) == 2


def test_a_card_that_stands_twice_has_one_question_even_when_the_first_is_answered(store: Store) -> None:
    numbers = [card(number) for number in range(CHUNK)]
    batch_id = receive(store, csv_of([*numbers, card(0), card(1)]))
    worker = BatchWorker(store, CATALOGUE)
    worker.step(NOW)
    answer(store, question_ids(store)[0], 7)
    assert events(store, "check.answered") == 1
    worker.step(NOW)
    assert count(store, t.questions) == CHUNK
    assert count(store, t.checks) == CHUNK + 2
    rows = store.read(lambda tx: batches.rows_with_answers(tx, batch_id, 0, CHUNK + 2))
    first, again, queued = (rows[at].check for at in (0, CHUNK, CHUNK + 1))
    assert first is not None
    assert again is not None
    assert queued is not None
    assert (first.record, first.state) == (again.record, again.state)
    assert again.state is State.ANSWERED
    assert queued.state is State.QUEUED
    assert events(store, "check.answered") == 2
    assert view(store, batch_id).cost == 350


def test_a_service_that_went_away_rejects_what_is_left(store: Store) -> None:
    batch_id = receive(store, csv_of([card(1)]))
    worker = BatchWorker(store, Catalogue([]))
    worker.step(NOW)
    worker.step(NOW)
    done = view(store, batch_id)
    assert (done.state, done.rejected, sum(done.counts.values())) == ("done", 1, 0)
    assert store.read(lambda tx: batches.row_errors(tx, batch_id, 10))[0]["code"] == "unknown_service"


def half_received(store: Store, now: datetime) -> str:
    def work(tx: Any) -> str:
        batch_id = batches.create(
            tx,
            client="payroll",
            service=SERVICE.name,
            file_name=None,
            layout={},
            heading=["kpj"],
            priority=6,
            now=now,
        )
        batches.add_rows(
            tx, seal_rows(store.keys, batch_id, [Row(2, (card(1),), {"kpj": card(1)}, None, None)])
        )
        tx.execute(
            insert(t.idempotency),
            {
                "client": "payroll", "key": batch_id, "created_at": now, "request_hash": b"x",
                "batch_id": batch_id, "expires": now + timedelta(days=1),
            },
        )  # fmt: skip
        return batch_id

    return store.write(work)


def test_what_a_dead_process_left_half_received_is_dropped(store: Store) -> None:
    batch_id = half_received(store, NOW)
    with pytest.raises(NotFound):
        view(store, batch_id)
    worker = BatchWorker(store, CATALOGUE)
    worker.step(NOW + timedelta(minutes=9))
    assert store.read(lambda tx: batches.still_receiving(tx, batch_id))
    # Beside other processes, one of which may be receiving it, only its age tells.
    assert worker.recover(NOW if store.sqlite else NOW + timedelta(minutes=10)) == 1
    assert [count(store, table) for table in (t.batches, t.batch_rows, t.idempotency, t.checks)] == [
        0,
        0,
        0,
        0,
    ]
    with pytest.raises(Conflict, match="Send the file again"):
        store.write(lambda tx: batches.finish_receiving(tx, batch_id, rows=1, rejected=0))
    half_received(store, NOW)
    worker.step(NOW + timedelta(minutes=10))
    assert count(store, t.batches) == 0


def test_cancelling_ends_what_is_queued_and_keeps_what_is_answered(store: Store) -> None:
    batch_id = receive(store, csv_of([card(number) for number in range(CHUNK + 5)]))
    worker = BatchWorker(store, CATALOGUE)
    worker.step(NOW)
    answer(store, question_ids(store)[0], 5)
    assert store.write(lambda tx: batches.ask_cancel(tx, batch_id, client="payroll", by="payroll"))
    assert not store.write(lambda tx: batches.ask_cancel(tx, batch_id, client=None, by="payroll"))
    assert view(store, batch_id).state == "cancelled"
    with pytest.raises(NotFound):
        store.write(lambda tx: batches.ask_cancel(tx, batch_id, client="clinic", by="clinic"))
    another = BatchWorker(store, CATALOGUE)  # the first was killed
    while another.step(NOW) == NOW:
        pass
    ended = view(store, batch_id)
    assert ended.counts["answered"] == 1
    assert ended.counts["cancelled"] == CHUNK + 4
    assert store.read(batches.open_batches) == []
    assert count(store, t.checks) == CHUNK
    assert events(store, "batch.done") == 0


def test_a_done_batch_cannot_be_cancelled(store: Store) -> None:
    batch_id = receive(store, csv_of(["9.9E+10"]))
    BatchWorker(store, CATALOGUE).step(NOW)
    with pytest.raises(Conflict):
        store.write(lambda tx: batches.ask_cancel(tx, batch_id, client=None, by="payroll"))


def test_cancelling_leaves_the_question_to_others_who_want_it(store: Store) -> None:
    ours, theirs = receive(store, csv_of([card(1)])), receive(store, csv_of([card(1)]), client="clinic")
    worker = BatchWorker(store, CATALOGUE)
    worker.step(NOW)
    store.write(lambda tx: batches.ask_cancel(tx, ours, client=None, by="payroll"))
    worker.step(NOW)
    assert view(store, ours).counts["cancelled"] == 1
    assert view(store, theirs).counts["queued"] == 1
    assert len(question_ids(store)) == 1


def lane(pace: str, per_hour: int = 0, per_day: int = 0, paused: bool = False) -> LaneView:
    return LaneView(
        name="xl-1", port="x", state="registered", reason=None, operator=None, iccid=None, own_number=None,
        active_until=None, credit=None, maker=None, model=None, imei=None, signal=None, registration=None,
        paused=paused, pace=parse_duration(pace), per_hour=per_hour, per_day=per_day, last_sent_at=None,
        last_heard_at=None, next_send_at=None, usb_path=None, storages={}, recoveries={}, calls=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lanes", "seconds"),
    [
        ([], None),
        ([lane("20s", paused=True)], None),
        ([lane("90s")], 9000),
        ([lane("90s"), lane("90s")], 4500),
        ([lane("90s"), lane("90s"), lane("90s")], 3060),
        ([lane("0s", per_hour=30)], 12000),
        ([lane("90s", per_day=60)], 86400 + 40 * 90),
    ],
)
def test_the_estimate_follows_pace_caps_and_lanes(lanes: list[LaneView], seconds: int | None) -> None:
    assert seconds_until_done(100, SERVICE, lanes) == seconds


# -- over HTTP ----------------------------------------------------------------------------------------------------


@dataclass
class Served:
    client: httpx.Client
    store: Store
    worker: BatchWorker
    nudged: list[str]

    def key(self, *scopes: str, client: str = "payroll") -> dict[str, str]:
        _, secret = self.store.write(lambda tx: create_key(tx, name=client, scopes=scopes, now=NOW))
        return {"Authorization": f"Bearer {secret}"}

    def post(self, data: bytes, key: dict[str, str], query: str = "", **headers: str) -> httpx.Response:
        return self.client.post(
            f"/v1/batches?service=bpjstk-balance{query}",
            content=data,
            headers={"Content-Type": "text/csv", **key, **headers},
        )


@pytest.fixture
def served(store: Store) -> Iterator[Served]:
    settings = load_settings(environ={}, overrides={"server": {"max_batch": 400_000}})
    nudged: list[str] = []
    app = create_app(
        store, CATALOGUE, settings, ready=list, clock=lambda: NOW, nudge=lambda: nudged.append("nudged")
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    started = threading.Event()
    startup = server.startup

    async def told(*args: Any, **more: Any) -> None:
        await startup(*args, **more)
        started.set()

    server.startup = told  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(10)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        yield Served(client, store, BatchWorker(store, CATALOGUE), nudged)
    server.should_exit = True
    thread.join(10)


def test_a_file_comes_back_with_its_answers(served: Served) -> None:
    key = served.key("batches:write", "batches:read")
    data = (
        b"\xef\xbb\xbfnama;Nomor KPJ\r\nAni;"
        + card(1).encode()
        + b"\r\n=Budi;9.9E+10\r\nAni;"
        + card(1).encode()
        + b"\r\n"
    )
    posted = served.post(data, key)
    assert posted.status_code == 202
    batch = posted.json()
    assert posted.headers["location"] == f"/v1/batches/{batch['id']}"
    assert set(batch) == {
        "id", "service", "state", "rows", "rejected", "counts", "cost", "eta", "created_at", "errors", "errors_total",
    }  # fmt: skip
    assert (batch["state"], batch["rows"], batch["rejected"], batch["errors_total"]) == ("queued", 3, 1, 1)
    assert [(fault["row"], fault["code"]) for fault in batch["errors"]] == [(3, "spreadsheet_number")]
    assert served.nudged == ["nudged"]
    url = f"/v1/batches/{batch['id']}"

    early = served.client.get(f"{url}/results", headers=key)
    assert [line.split(";")[2] for line in early.text.splitlines()] == [
        "state",
        "queued",
        "rejected",
        "queued",
    ]

    served.worker.step(NOW)
    [question] = question_ids(served.store)
    answer(served.store, question, 12345678)
    served.worker.step(NOW)
    done = served.client.get(url, headers=key).json()
    assert (done["state"], done["counts"]["answered"], done["cost"], done["eta"]) == ("done", 2, 350, 0)

    results = served.client.get(f"{url}/results?format=csv", headers=key)
    assert results.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert results.content.startswith(b"\xef\xbb\xbfnama;Nomor KPJ;state;outcome;kpj;balance;error\r\n")
    rows = list(csv.reader(io.StringIO(results.content.decode("utf-8-sig"), newline=""), delimiter=";"))
    masked = f"{card(1)[:3]}*****{card(1)[-3:]}"
    assert rows[1] == rows[3] == ["Ani", card(1), "answered", "found", masked, "12345678", ""]
    assert rows[2][:6] == ["'=Budi", "9.9E+10", "rejected", "", "", ""]
    assert "format the column as text" in rows[2][6]

    raw = served.client.get(
        f"{url}/results", headers=served.key("batches:read", "raw:read", client="payroll")
    )
    assert f"Ani;{card(1)};answered;found;{card(1)};12345678;\r\n" in raw.text


def test_a_dry_run_stores_nothing(served: Served) -> None:
    key = served.key("batches:write")
    served.store.write(
        lambda tx: register(tx, [LaneSpec("xl-1", "simulated://x", timedelta(seconds=90), 0, 0)], NOW)
    )
    assert served.store.read(list_lanes)[0].pace == timedelta(seconds=90)
    found = served.post(csv_of([card(1), card(2), card(1), "9.9E+10", "123"]), key, "&dry_run=true")
    assert found.status_code == 200
    told = found.json()
    errors = told.pop("errors")
    assert told == {
        "service": "bpjstk-balance", "rows": 5, "rejected": 2, "questions": 2, "duplicates": 1,
        "cost": 700, "eta": 180, "errors_total": 2,
    }  # fmt: skip
    assert [(fault["row"], fault["code"]) for fault in errors] == [
        (5, "spreadsheet_number"),
        (6, "wrong_length"),
    ]
    assert [count(served.store, table) for table in (t.batches, t.batch_rows, t.checks)] == [0, 0, 0]
    assert served.nudged == []


def test_only_the_first_thousand_errors_are_listed(served: Served) -> None:
    key = served.key("batches:write", "batches:read")
    batch = served.post(csv_of(["1"] * 1200), key).json()
    assert (len(batch["errors"]), batch["errors_total"], batch["rejected"]) == (1000, 1200, 1200)
    results = served.client.get(f"/v1/batches/{batch['id']}/results", headers=key)
    assert results.text.count("rejected") == 1200


PROBLEMS = [
    ("", b"", {}, 400, "malformed"),
    ("", b"kpj\n1\x00\n", {}, 415, "unsupported_type"),
    ("", b"PK\x03\x04xl", {}, 415, "unsupported_type"),
    ("", b"{}", {"Content-Type": "application/json"}, 415, "unsupported_type"),
    ("", b"", {"Content-Type": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}, 415, "unsupported_type"),
    ("", b"nama\nAni\n", {}, 422, "invalid"),
    ("&column=nama", b"kpj\n1\n", {}, 422, "invalid"),
    ("&colum=nama", b"kpj\n1\n", {}, 422, "invalid"),
    ("&priority=10", b"kpj\n1\n", {}, 422, "invalid"),
    ("", b"kpj\n" + b"1" * 400_000, {}, 413, "too_large"),
    ("", b"--x\r\n\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "malformed"),
    ("", b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "malformed"),
    ("", b"x", {"Content-Type": "multipart/form-data"}, 400, "malformed"),
    ("", b"kpj\n1\n", {"Idempotency-Key": "x" * 256}, 422, "invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "data", "headers", "status", "code"), PROBLEMS)
def test_a_problem_is_told_and_nothing_stored(
    served: Served, query: str, data: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    found = served.client.post(
        f"/v1/batches?service=bpjstk-balance{query}",
        content=data,
        headers={"Content-Type": "text/csv", **served.key("batches:write"), **headers},
    )
    problem = found.json()
    assert (found.status_code, problem["code"]) == (status, code)
    assert found.headers["content-type"] == "application/problem+json"
    assert problem["detail"].endswith((".", "!", "?"))
    assert count(served.store, t.batches) == 0


def test_an_unknown_service_and_a_missing_scope(served: Served) -> None:
    key = served.key("batches:read")
    assert served.post(csv_of([card(1)]), key).json()["code"] == "forbidden"
    assert served.client.post("/v1/batches?service=x", content=b"kpj\n1\n").status_code == 401
    found = served.client.post(
        "/v1/batches?service=bpjstk-balans",
        content=csv_of([card(1)]),
        headers={"Content-Type": "text/csv", **served.key("batches:write")},
    )
    assert (found.status_code, found.json()["code"]) == (422, "unknown_service")
    assert "bpjstk-balance" in found.json()["detail"]


def test_an_idempotency_key_makes_sending_again_safe(served: Served) -> None:
    key = served.key("batches:write", "batches:read")
    once = {"Idempotency-Key": "november"}
    first = served.post(csv_of([card(1)]), key, **once)
    again = served.post(csv_of([card(1)]), key, **once)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    other = served.post(csv_of([card(2)]), key, **once)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert count(served.store, t.batches) == 1


def test_a_form_with_a_file_is_the_same(served: Served) -> None:
    key = served.key("batches:write")
    found = served.client.post(
        "/v1/batches?service=bpjstk-balance",
        files={"file": ("cards.csv", csv_of([card(1)]), "text/csv")},
        headers=key,
    )
    assert (found.status_code, found.json()["rows"]) == (202, 1)
    [batch] = served.store.read(lambda tx: batches.list_batches(tx, client=None, limit=5))
    assert batch.file_name == "cards.csv"


def test_batches_are_listed_and_hidden_from_other_clients(served: Served) -> None:
    key = served.key("batches:write", "batches:read")
    ids = [served.post(csv_of([card(number)]), key).json()["id"] for number in range(3)]
    page = served.client.get("/v1/batches?limit=2", headers=key).json()
    assert [item["id"] for item in page["items"]] == ids[:0:-1]
    rest = served.client.get(f"/v1/batches?limit=2&cursor={page['next']}", headers=key).json()
    assert ([item["id"] for item in rest["items"]], rest["next"]) == (ids[:1], None)
    stranger = served.key("batches:write", "batches:read", client="clinic")
    assert served.client.get("/v1/batches", headers=stranger).json()["items"] == []
    for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
        found = served.client.request(method, f"/v1/batches/{ids[0]}{path}", headers=stranger)
        assert (found.status_code, found.json()["code"]) == (404, "not_found")
    assert (
        len(served.client.get("/v1/batches", headers=served.key("*", client="office")).json()["items"]) == 3
    )


def test_delete_cancels_at_once(served: Served) -> None:
    key = served.key("batches:write", "batches:read")
    batch = served.post(csv_of([card(1), card(2), "1"]), key).json()
    served.worker.step(NOW)
    ended = served.client.delete(f"/v1/batches/{batch['id']}", headers=key)
    assert ended.status_code == 200
    assert (ended.json()["state"], ended.json()["counts"]["cancelled"]) == ("cancelled", 2)
    again = served.client.delete(f"/v1/batches/{batch['id']}", headers=key)
    assert again.status_code == 200
    assert count(served.store, t.audit) == 1
    results = served.client.get(f"/v1/batches/{batch['id']}/results", headers=key).text
    assert [line.split(",")[1] for line in results.splitlines()[1:]] == ["cancelled", "cancelled", "rejected"]


def test_plan_counts_duplicates_by_what_is_asked() -> None:
    planned = plan(SERVICE, csv_of([card(1), f" {card(1)} ", f"{card(1)[:2]}.{card(1)[2:]}", "x"]), None)
    assert (planned.questions, planned.duplicates, len(planned.errors)) == (1, 2, 1)
    assert [row.twin for row in planned.rows] == [None, 2, 2, None]
    with pytest.raises(Invalid):
        plan(SERVICE, b"kpj\n", None)


def test_a_service_of_two_fields_takes_two_columns() -> None:
    service = SERVICE.model_copy(
        update={
            "request": SERVICE.request.model_copy(update={"text": "REG#{kpj}#{nik}"}),
            "fields": {**SERVICE.fields, "nik": parse_field("nik")},
        }
    )
    planned = plan(service, f"No KTP;kpj\n{'99' + '0' * 14};{card(1)}\n;{card(2)}\n".encode(), None)
    assert planned.rows[0].fields == {"kpj": card(1), "nik": "99" + "0" * 14}
    assert planned.errors == [{"row": 3, "code": "empty", "detail": "the NIK is empty: write its 16 digits"}]


def parse_field(kind: str) -> Any:
    return type(next(iter(SERVICE.fields.values())))(name=kind, kind=kind, label={"id": kind, "en": kind})  # type: ignore[arg-type]
