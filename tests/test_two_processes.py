"""Two gateways as processes on one PostgreSQL: each asks the other's lanes, and one is killed while its lanes work."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app.simulation import balance_of
from modem.simulated.pty import control

COMMAND = [sys.executable, "-m", "app"]
ROOT = Path(__file__).parent.parent
PATIENCE = 30.0  # seconds for anything that must come
ANSWERED_WITHIN = 40.0  # seconds: a request waits 30 s for its lane, and then says no
KPJS = ("99000000101", "99000000202")
SHARED = "xl-3"  # in the settings of both


def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Look again and again until it is true."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not true():
        assert time.monotonic() < end
        pause.wait(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Gateway:
    """`bpjs-sms serve` with a folder of its own."""

    folder: Path
    process: subprocess.Popen[bytes]
    url: str
    http: httpx.Client

    def lane(self, name: str) -> dict[str, Any]:
        items = self.http.get("/v1/lanes").raise_for_status().json()["items"]
        found: dict[str, Any] = next(lane for lane in items if lane["name"] == name)
        return found

    def ask(self, lane: str, **wanted: object) -> httpx.Response:
        return self.http.post(f"/v1/lanes/{lane}/requests", json=wanted)

    def answer(self, lane: str, **wanted: object) -> dict[str, Any]:
        response = self.ask(lane, **wanted)
        assert response.status_code == 200, response.text
        said: dict[str, Any] = response.json()["answer"]
        return said

    def check(self, kpj: str) -> str:
        body = {"service": "bpjstk-balance", "fields": {"kpj": kpj}}
        response = self.http.post("/v1/checks", json=body)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def look(self, check: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/checks/{check}").raise_for_status().json()
        return found

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.folder, *arguments)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command to its end, with the settings in `folder`."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@dataclass
class Bench:
    """Three sticks on ptys in a process of their own, and two gateways on one database."""

    ptys: Path
    database: str
    first: Gateway
    second: Gateway

    def knobs(self, lane: str, **changes: object) -> None:
        control(self.ptys, {"do": "knobs", "dongle": lane, "set": changes}, timeout=PATIENCE)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as conn:
            return list(conn.execute(query))

    def holders(self) -> dict[str, str]:
        """The process that holds each lane."""
        return dict(self.rows("SELECT name, owner FROM lanes"))

    def submitted(self) -> Counter[str]:
        lines = (self.ptys / "ledger.ndjson").read_text().splitlines()
        return Counter(e["text"] for e in map(json.loads, lines) if e["kind"] == "submitted")


@contextmanager
def process(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (
        open(folder / "log", "ab") as log,
        subprocess.Popen(
            [*COMMAND, *arguments], cwd=folder, env=environment(), stdout=log, stderr=log
        ) as one,
    ):
        try:
            yield one
        finally:
            if one.poll() is None:
                one.terminate()
                with suppress(subprocess.TimeoutExpired):
                    one.wait(PATIENCE)
                one.kill()


@pytest.fixture
def bench(tmp_path: Path, postgres_server: str) -> Iterator[Bench]:
    name = f"t{uuid.uuid4().hex}"
    address = postgres_server.replace("+psycopg", "")
    with psycopg.connect(f"{address}/postgres", autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    with ExitStack() as stack:
        ptys = tmp_path / "ptys"
        stack.enter_context(process(tmp_path, "simulate", "--pty", str(ptys), "--sims", "3", "--radio", "300ms", "--reply-after", "300ms"))  # fmt: skip
        gateways = []
        key = ""
        for who, own in (("first", "xl-1"), ("second", "xl-2")):
            folder, port = tmp_path / who, free_port()
            folder.mkdir()
            url = f"http://127.0.0.1:{port}"
            lanes = "".join(
                f'[[lanes]]\nname = "{lane}"\nport = "{ptys / lane}"\npace = "0s"\nper_hour = 0\nper_day = 0\n'
                for lane in (own, SHARED)
            )
            (folder / "bpjs-sms.toml").write_text(
                f'database = "{postgres_server}/{name}"\n[server]\nport = {port}\n'
                f'[sealing]\nkeys_file = "{tmp_path / "keys"}"\n[client]\nurl = "{url}"\nkey_file = "key"\n{lanes}'
            )
            if not key:
                made = run(folder, "keys", "create", "both", "--scope", "*", "--json")
                key = json.loads(made.stdout)["key"]
            (folder / "key").write_text(key)
            until((ptys / SHARED).exists)
            served = stack.enter_context(process(folder, "serve"))
            http = stack.enter_context(
                httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
            )
            gateways.append(Gateway(folder, served, url, http))

        def live(gateway: Gateway) -> bool:
            with suppress(httpx.TransportError):
                return gateway.http.get("/health/live").status_code == 200
            return False

        for gateway in gateways:
            until(lambda gateway=gateway: live(gateway))  # type: ignore[misc]
        one = Bench(ptys, f"{address}/{name}", *gateways)
        for lane in ("xl-1", "xl-2", SHARED):
            until(lambda lane=lane: one.first.lane(lane)["state"] == "registered")  # type: ignore[misc]
        yield one
    with psycopg.connect(f"{address}/postgres", autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_each_asks_the_others_lanes_and_outlives_its_death(bench: Bench) -> None:
    first, second = bench.first, bench.second
    with ThreadPoolExecutor() as pool:
        # One SMS to itself meanwhile, through the lane that the one or the other holds.
        loop = pool.submit(first.cli, "doctor", "--lane", SHARED, "--loop", "--yes", "--json")
        dialled = pool.submit(second.cli, "lanes", "ussd", SHARED, "*888#")
        list(pool.map(asked_across, (first, second), ("xl-2", "xl-1")))
        said, looped = dialled.result(), json.loads(loop.result().stdout)["loop"]
    assert (said.returncode, said.stdout[:5]) == (0, "Pulsa"), said
    assert "delay_seconds" in looped, looped
    assert sum(bench.submitted().values()) == 1

    held = bench.holders()
    dying, living = (first, second) if held[SHARED] == held["xl-1"] else (second, first)
    lost, kept = ("xl-1", "xl-2") if dying is first else ("xl-2", "xl-1")
    living.answer(kept, kind="pause")
    bench.knobs(lost, stuck=True)
    bench.knobs(SHARED, late_cmgs=5)
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(living.ask, lost, kind="ussd", code="*888#")
        until(lambda: bench.rows("SELECT 1 FROM lane_requests WHERE state = 'taken'"))
        begun = time.monotonic()
        check = dying.check(KPJS[0])
        until(lambda: bench.submitted()[f"BALANCE#{KPJS[0]}#"])
        dying.kill()
        told = asking.result()
    assert time.monotonic() - begun < ANSWERED_WITHIN
    assert told.status_code == 409
    assert "interrupted" in told.json()["detail"]

    # The other takes the lane whose port it has, reads what came meanwhile, and sends from it.
    until(lambda: living.look(check)["state"] == "answered")
    found = living.look(check)
    assert found["record"]["balance"] == balance_of(KPJS[0])
    assert "uncertain" in [move["to"] for move in found["history"]]
    bench.knobs(SHARED, late_cmgs=0)
    another = living.check(KPJS[1])
    until(lambda: living.look(another)["state"] == "answered")
    assert living.look(another)["lane"] == SHARED
    assert living.lane(lost)["state"] == "offline"
    assert "is gone" in living.lane(lost)["reason"]
    assert bench.holders()[SHARED] == bench.holders()[kept]
    assert bench.rows("SELECT state FROM lane_requests") == []
    assert set(bench.submitted().values()) == {1}

    bench.knobs(lost, stuck=False)
    with process(dying.folder, "serve"):
        until(lambda: living.lane(lost)["state"] == "registered")
        assert living.answer(lost, kind="diagnosis")["facts"]
    assert bench.holders()[lost] is None


def asked_across(gateway: Gateway, lane: str) -> None:
    """Everything that a lane of the other process can be asked for, by HTTP."""
    assert gateway.answer(lane, kind="diagnosis")["facts"]
    assert "Pulsa" in gateway.answer(lane, kind="ussd", code="*888#")["text"]
    assert gateway.answer(lane, kind="restart") == {"restarted": "session"}
    assert gateway.answer(lane, kind="pause") == {"paused": True}
    until(lambda: gateway.lane(lane)["state"] == "paused")
    assert gateway.answer(lane, kind="pause", paused=False) == {"paused": False}
    until(lambda: gateway.lane(lane)["state"] == "registered")
