"""`demo`: the real gateway on simulated dongles, three kinds of asker, and a judgement by the simulated network's ledger."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from pydantic import SecretStr

from app.domain.errors import GatewayError
from app.domain.states import FINAL, State
from app.faces.cli.demo_judge import (
    ADVERTISEMENT,
    BALANCE,
    FILE,
    PHONE,
    PHONE_TEXT,
    PROGRAM,
    STATUS,
    Found,
    Question,
    Report,
    judge,
)
from app.faces.cli.demo_show import Show
from app.faces.cli.gateway import Gateway
from app.faces.cli.output import DONE, FAULT, Session
from app.runtime import Runtime, application, listen_on, set_up_logs, utc_now
from app.settings import Client, LaneSettings, Log, Phone, Sealing, Server, ServiceOverride, Settings
from app.simulation import BALANCE_ADDRESS, World, build_world
from app.store.clients import create_key
from modem.simulated import Delivery, Entry

LANES = 2
SHORT = ServiceOverride(timeout=timedelta(seconds=3), late=timedelta(seconds=5), settle=timedelta(seconds=1))
"""What the demo sets under [service.…], so that a deadline passes while somebody watches."""
REPLY_AFTER = timedelta(milliseconds=250)
LATE_REPLY = timedelta(milliseconds=4500)  # after the deadline, within `late`
PERSON = "+6281200009901"
START_PATIENCE = 20.0  # seconds for the lanes to register
PATIENCE = 30.0  # seconds for everything to come out; then it is judged as it is
LOOK = 0.05

_opening = threading.Lock()  # Alembic migrates one database of a process at a time: its context is global

Interference = Callable[[Delivery], Sequence[Delivery]]
Watch = Callable[[Entry], None]


def run(session: Session) -> int:
    """Play the demo before the user's eyes; DONE if every promise was kept, else FAULT."""
    set_up_logs(Settings(log=Log(level="error")))
    return perform(session)


def perform(session: Session, interfere: Interference | None = None) -> int:
    """Play it, print it, and say with which status to exit."""
    if session.json:
        report = play(interfere)
        session.show_json(report.as_json())
    else:
        with Show(session.out) as show:
            report = play(interfere, show.see)
        show.tell(report)
    return DONE if report.ok else FAULT


def play(interfere: Interference | None = None, watch: Watch | None = None) -> Report:
    """Run the whole chain once, in a temporary folder, and judge it.

    `interfere` says what really goes to a SIM in place of each text; `watch` is told every line of the ledger, on the
    network's threads. Several plays may run at a time. Raises GatewayError if the gateway does not come up.
    """
    began = time.monotonic()
    found = Found(person=PERSON)

    def between(delivery: Delivery) -> Sequence[Delivery]:
        found.deliveries.append(delivery)
        return [delivery] if interfere is None else interfere(delivery)

    world = build_world(LANES, late=LATE_REPLY, reply_after=REPLY_AFTER)
    world.network.interfere(between)
    world.network.on_entry = watch
    with TemporaryDirectory(prefix="bpjs-sms-demo-") as folder, _served(Path(folder), world) as stage:
        stage.wait_for_lanes()
        _ask_everything(stage, found)
    found.ledger = list(world.network.ledger)
    return Report(found, judge(found), time.monotonic() - began)


# -- the stage ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stage:
    """A gateway that serves, and the world that its dongles are in."""

    runtime: Runtime
    world: World
    url: str

    def call(self, client: str, *scopes: str) -> Gateway:
        """An HTTP client with a key of its own."""
        runtime, now = self.runtime, utc_now()
        _, secret = runtime.store.write(
            lambda tx: create_key(tx, name=f"demo {client}", client=client, scopes=scopes, now=now)
        )
        return Gateway(Client(url=self.url, key=SecretStr(secret)))

    def wait_for_lanes(self) -> None:
        if not _until(lambda: all(can for _, can, _ in self.runtime.ready()), START_PATIENCE):
            states = ", ".join(f"{name}: {why}" for name, _, why in self.runtime.ready())
            raise GatewayError(
                "not_ready",
                f"The simulated lanes did not come up ({states}). Run it again; report it if it stays.",
            )

    def number_of(self, lane: str) -> str:
        return next(
            dongle.sim.own_number
            for name, dongle in self.world.dongles.items()
            if name.rpartition("/")[2] == lane
        )


@contextmanager
def _served(folder: Path, world: World) -> Iterator[_Stage]:
    """The gateway over these dongles, on a free loopback port."""
    place = secrets.token_hex(4)  # so that two demos of one process do not share their ports' names
    dongles = {f"{place}/{name}": dongle for name, dongle in world.dongles.items()}
    settings = Settings(
        database=f"sqlite:///{folder / 'demo.db'}",
        services=None,
        server=Server(port=0),
        sealing=Sealing(keys_file=folder / "demo.keys"),
        lanes=tuple(
            LaneSettings(
                name=name, port=f"simulated://{place}/{name}", pace=timedelta(), per_hour=0, per_day=0
            )
            for name in world.dongles
        ),
        service={STATUS: SHORT, BALANCE: SHORT},
        phone=Phone(enabled=True, open=True),
    )
    listener = listen_on(settings)
    world = replace(world, dongles=dongles)
    try:
        with _opening:
            runtime = Runtime(settings, world=world)
    except BaseException:
        listener.close()
        raise
    config = uvicorn.Config(
        application(runtime), log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_serve, args=(server, listener), name="demo-http", daemon=True)
    runtime.start()
    thread.start()
    try:
        yield _Stage(runtime, world, f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join()
        runtime.stop()


def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    server.run(sockets=[listener])


def _until(true: Callable[[], bool], seconds: float) -> bool:
    """Look again and again until it is true; False if it did not become so in time."""
    until, pause = time.monotonic() + seconds, threading.Event()
    while not (said := true()) and time.monotonic() < until:
        pause.wait(LOOK)
    return said


# -- the askers ---------------------------------------------------------------------------------------------------


def _ask_everything(stage: _Stage, found: Found) -> None:
    """Let the three ask at the same time; write down what came of it."""
    found.asked_at = stage.number_of(f"xl-{LANES}")
    until = time.monotonic() + PATIENCE
    with (
        stage.call("program", "checks:write", "checks:read", "raw:read") as program,
        stage.call("office", "batches:write", "batches:read", "raw:read") as office,
        stage.call("onlooker", "*") as onlooker,
        ThreadPoolExecutor(len(PROGRAM) + 1) as askers,
    ):
        asked = [askers.submit(_ask, program, question, stage) for question in PROGRAM]
        handed = askers.submit(_hand_in, office)
        network = stage.world.network
        network.text(PERSON, found.asked_at, PHONE_TEXT, now=utc_now())
        for future in asked:
            future.result()
        batch = handed.result()
        _until(lambda: _over(stage, onlooker, found), until - time.monotonic())
        found.batch = office.call("GET", f"/v1/batches/{batch['id']}")
        with office.download(f"/v1/batches/{batch['id']}/results", {"format": "csv"}) as chunks:
            found.results = b"".join(chunks).decode()
        found.checks = [
            onlooker.call("GET", f"/v1/checks/{check['id']}")
            for check in onlooker.items("/v1/checks", {}, 1000)
        ]
    found.inbox = [(text.sender, text.text) for text in network.person(PERSON).inbox]


def _ask(gateway: Gateway, question: Question, stage: _Stage) -> None:
    """Ask over HTTP and wait. While the one that is answered late is open, 2757 advertises on the same SIM."""
    body = {
        "service": question.service,
        "fields": {question.field: question.number},
        "reference": f"demo-{question.name}",
        "priority": 1 if question.name == "late" else 5,
    }
    wait = round(PATIENCE / 2)
    check = gateway.call("POST", "/v1/checks", json=body, headers={"Prefer": f"wait={wait}"}, wait=wait)
    if question.name == "late" and check["state"] == State.NO_REPLY:
        own = stage.number_of(check["lane"])
        stage.world.network.text(BALANCE_ADDRESS, own, ADVERTISEMENT, now=utc_now())


def _hand_in(gateway: Gateway) -> dict[str, Any]:
    return gateway.call(
        "POST",
        "/v1/batches",
        params={"service": BALANCE},
        content=FILE.encode(),
        headers={"Content-Type": "text/csv"},
    )


def _over(stage: _Stage, gateway: Gateway, found: Found) -> bool:
    """Has everything come out: nothing open, nothing on the air, every text that a SIM got told by the gateway?"""
    network = stage.world.network
    found.checks = gateway.items("/v1/checks", {}, 1000)
    found.messages = gateway.items("/v1/messages", {}, 1000)
    with network.lock:
        received = sum(entry.kind == "received" for entry in network.ledger)
        quiet = network.due is None
    return (
        quiet
        and len(found.messages) == received
        and all(check["state"] in FINAL for check in found.checks)
        and found.check_of(PHONE) is not None
        and bool(network.person(PERSON).inbox)
        and all(batch["state"] == "done" for batch in gateway.items("/v1/batches", {}, 10))
    )
