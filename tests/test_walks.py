"""The whole gateway through HTTP, threads and bytes: every card's case asked and waited for, and a file in and out."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from app.domain.states import FINAL
from app.runtime import Runtime, application, listen_on, utc_now
from app.settings import LaneSettings, Sealing, Server, ServiceOverride, Settings
from app.simulation import World, balance_of, build_world, member_of
from app.store.clients import create_key

BALANCE, STATUS = "bpjstk-balance", "bpjskes-status"
LANES = 4
QUICK = ServiceOverride(
    timeout=timedelta(seconds=3), late=timedelta(seconds=6), settle=timedelta(milliseconds=100)
)
LATE = timedelta(seconds=4.5)
PATIENCE = 40.0  # real seconds for everything to come out


@dataclass(frozen=True, slots=True)
class Walk:
    """A gateway that serves, a client of it, and the world that its dongles are in."""

    http: httpx.Client
    world: World

    def asked(self) -> Counter[str]:
        return Counter(e.text for e in self.world.network.ledger if e.kind == "submitted")

    def until(self, true: Callable[[], bool]) -> bool:
        """Look again and again until it is true."""
        end, pause = time.monotonic() + PATIENCE, threading.Event()
        while not (said := true()) and time.monotonic() < end:
            pause.wait(0.05)
        return said

    def check(self, check_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/checks/{check_id}").raise_for_status().json()
        return found


@contextmanager
def walking(folder: Path, database: str) -> Iterator[Walk]:
    """Serve on a free port with simulated lanes, in real time."""
    world = build_world(LANES, late=LATE, reply_after=timedelta(milliseconds=50))
    settings = Settings(
        database=database,
        services=None,
        server=Server(port=0),
        sealing=Sealing(keys_file=folder / "walk.keys"),
        lanes=tuple(
            LaneSettings(name=name, port=f"simulated://{name}", pace=timedelta(), per_hour=0, per_day=0)
            for name in world.dongles
        ),
        service={STATUS: QUICK, BALANCE: QUICK},
    )
    listener = listen_on(settings)
    runtime = Runtime(settings, world=world)
    server = uvicorn.Server(uvicorn.Config(application(runtime), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    runtime.start()
    thread.start()
    try:
        _, secret = runtime.store.write(
            lambda tx: create_key(tx, name="walk", client="walk", scopes=["*"], now=utc_now())
        )
        with httpx.Client(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
            headers={"Authorization": f"Bearer {secret}"},
            timeout=90,
        ) as http:
            walk = Walk(http, world)
            assert walk.until(lambda: http.get("/health/ready").status_code == 200)
            yield walk
    finally:
        server.should_exit = True
        thread.join()
        runtime.stop()


def ask(walk: Walk, service: str, number: str, wait: int = 60) -> dict[str, Any]:
    field = "kpj" if service == BALANCE else "number"
    answer = walk.http.post(
        "/v1/checks",
        json={"service": service, "fields": {field: number}, "reference": number},
        headers={"Prefer": f"wait={wait}"},
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def own(service: str, number: str, record: dict[str, Any]) -> bool:
    """Does the record say of this card what the service said of it?"""
    if service == BALANCE:
        of = {one.get("kpj", number): one["balance"] for one in record.get("cards", [record])}
        return bool(of[number] == balance_of(number))
    return bool(record["name"] == member_of(number)["name"])


SAID = {
    "01": ("found", "echo"),
    "90": ("not_found", "echo"),
    "91": ("unrecognised", "echo"),
    "94": ("found", "echo"),
    "95": ("found", "echo"),
    "96": ("unrecognised", "note"),
    "97": ("found", "sole"),
    "98": ("unavailable", "sole"),
    "99": ("found", "echo"),
}
"""Outcome and evidence by a card's ending; 92 and 93 are not answered in time."""


def test_every_case_of_both_services_is_asked_waited_for_and_judged(tmp_path: Path) -> None:
    cards = [(BALANCE, f"990000003{ending}") for ending in (*SAID, "92", "93")]
    cards += [(STATUS, f"00099000003{ending}") for ending in (*SAID, "92", "93")]
    with walking(tmp_path, f"sqlite:///{tmp_path}/walk.db") as walk:
        with ThreadPoolExecutor(len(cards)) as askers:
            checks = list(askers.map(lambda one: ask(walk, *one), cards))
        for (service, number), check in zip(cards, checks, strict=True):
            ending = number[-2:]
            if ending in SAID:
                assert (check["state"], check["outcome"], check["evidence"]["kind"]) == ("answered", *SAID[ending]), check  # fmt: skip
            else:
                assert (check["state"], check["outcome"], check["record"]) == ("no_reply", None, None), check
                assert check["error"]["code"] == "no_reply"
            if check["outcome"] == "found":
                assert own(service, number, check["record"]), check
                assert check["error"] is None
        by_card = dict(zip(cards, checks, strict=True))
        assert len(by_card[BALANCE, "99000000394"]["record"]["cards"]) == 2
        interim = by_card[STATUS, "0009900000399"]
        assert [reply["role"] for reply in interim["replies"]] == ["interim", "answer"]
        # What comes after the answer: the second copy, and the late one.
        for service, number in cards:
            if number[-2:] == "95":
                look = by_card[service, number]["id"]
                assert walk.until(lambda look=look: len(walk.check(look)["replies"]) == 2)  # type: ignore[misc]
                assert [reply["role"] for reply in walk.check(look)["replies"]] == ["answer", "double"]
            elif number[-2:] == "92":
                look = by_card[service, number]["id"]
                assert walk.until(lambda look=look: walk.check(look)["state"] == "answered")  # type: ignore[misc]
                late = walk.check(look)
                assert late["late"]
                assert own(service, number, late["record"])
        assert set(walk.asked().values()) == {1}
        assert len(walk.asked()) == len(cards)
        messages = walk.http.get("/v1/messages?limit=1000").json()["items"]
        assert {message["state"] for message in messages} == {"attributed"}
        events = Counter(event["kind"] for event in walk.http.get("/v1/events?limit=1000").json()["items"])
        answered = len(SAID) * 2 + 2
        assert (events["check.answered"], events["check.no_reply"]) == (answered, 4)


def test_a_file_goes_in_and_comes_out_with_its_answers(tmp_path: Path, database_url: str) -> None:
    endings = ["01", "02", "90", "97", "91", "93"]
    numbers = [f"990000004{ending}" for ending in endings]
    rows = [
        ("A", numbers[0]),
        ("B", numbers[1]),
        ("C", "12"),
        *(("x", n) for n in numbers[2:]),
        ("again", numbers[0]),
    ]
    file = "\n".join(";".join(row) for row in [("nama", "kpj"), *rows])
    with walking(tmp_path, database_url) as walk:
        answer = walk.http.post(
            "/v1/batches",
            params={"service": BALANCE},
            content=file.encode(),
            headers={"Content-Type": "text/csv"},
        )
        assert answer.status_code == 202, answer.text
        batch = answer.headers["location"]
        assert walk.until(lambda: walk.http.get(batch).json()["state"] == "done")
        view = walk.http.get(batch).json()
        assert (view["rows"], view["rejected"]) == (len(rows), 1)
        assert view["counts"]["answered"] == len(rows) - 2
        assert view["counts"]["no_reply"] == 1
        text = walk.http.get(f"{batch}/results", params={"format": "csv"}).text
        heading, *results = csv.reader(io.StringIO(text.lstrip("\ufeff")), delimiter=";")
        assert heading[:4] == ["nama", "kpj", "state", "outcome"]
        assert [tuple(row[:2]) for row in results] == rows
        for row in results:
            if row[3] == "found":
                assert int(row[heading.index("balance")]) == balance_of(row[1])
        outcomes = ["found", "found", "", "not_found", "found", "unrecognised", "", "found"]
        assert [row[3] for row in results] == outcomes
        assert results[2][-1]  # says what is wrong with the row that was rejected
        assert sum(walk.asked().values()) == len(set(numbers))
        items = walk.http.get("/v1/checks?limit=1000").json()["items"]
        assert {item["state"] for item in items} <= set(FINAL)
        kinds = [event["kind"] for event in walk.http.get("/v1/events?limit=1000").json()["items"]]
        assert kinds.count("batch.done") == 1
