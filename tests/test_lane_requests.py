"""What is asked of a lane in its table, by its own process or another, is taken, done and answered there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lanes_playing import Stage, card, staged

from app.store import requests
from app.store.requests import Request
from modem.simulated.dialogue import push
from modem.simulated.menus import Menu

SOON = 2.0  # seconds, also where another process asks


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as one:
        one.run(seconds=1)
        yield one


def asked(stage: Stage, kind: str, **arguments: Any) -> Request:
    """As another process asks: nobody here is told."""
    request_id = stage.store.write(
        lambda tx: requests.ask(tx, "xl-1", kind, arguments, "clinic", stage.clock.now)
    )

    def ended() -> bool:
        return stage.store.read(lambda tx: requests.look(tx, request_id)).state in ("done", "refused")

    assert stage.run(until=ended, seconds=SOON)
    return stage.store.write(lambda tx: requests.collect(tx, request_id))


def refusal(request: Request) -> str:
    assert request.state == "refused"
    assert request.answer is not None
    return str(request.answer["detail"])


@contextmanager
def network_talks(stage: Stage) -> Iterator[None]:
    """What the network has to say within a second it says, also while the lane waits for it."""
    stop = threading.Event()

    def talk() -> None:
        while not stop.wait(0.02):
            stage.network.step(stage.clock.now + timedelta(seconds=1))

    thread = threading.Thread(target=talk)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_ussd_code_is_dialled_and_its_menu_answered(stage: Stage) -> None:
    stage.network.ussd["*888#"] = Menu("1 Pulsa 2 Kuota", {"1": Menu("Pulsa Rp 12.345")})
    with network_talks(stage):
        menu = asked(stage, "ussd", code="*888#")
        assert (menu.state, menu.arguments) == ("done", {})
        assert menu.answer == {"text": "1 Pulsa 2 Kuota", "more": True}
        assert asked(stage, "ussd", code="1").answer == {"text": "Pulsa Rp 12.345", "more": False}
    stage.answered(stage.ask(card(1)))


def test_what_the_network_said_by_itself_is_told_beside_the_answer(stage: Stage) -> None:
    stage.network.ussd["*888#"] = Menu("Pulsa Rp 12.345")
    push(stage.dongles["xl-1"], "Bonus kuota 1 GB", stage.clock.now)
    with network_talks(stage):
        said = asked(stage, "ussd", code="*888#")
        assert said.answer == {"text": "Pulsa Rp 12.345", "more": False, "pushed": ["Bonus kuota 1 GB"]}
        assert asked(stage, "ussd", code="*888#").answer == {"text": "Pulsa Rp 12.345", "more": False}


def test_a_menu_that_nobody_goes_on_with_is_ended(stage: Stage) -> None:
    stage.network.ussd["*888#"] = Menu("1 Pulsa", {"1": Menu("Pulsa Rp 12.345")})
    dongle = stage.dongles["xl-1"]
    with network_talks(stage):
        asked(stage, "ussd", code="*888#")
        assert dongle.menu is not None
    stage.clock.advance(seconds=40)
    stage.workers["xl-1"].step(stage.clock.now)
    assert dongle.menu is not None
    stage.clock.advance(seconds=6)
    stage.workers["xl-1"].step(stage.clock.now)
    assert dongle.menu is None


@pytest.mark.parametrize("code", ["", "ATH", "*1#\rAT+CMGD=1", "*888#" * 60])
def test_what_is_no_ussd_code_is_not_dialled(stage: Stage, code: str) -> None:
    assert "such as *888#" in refusal(asked(stage, "ussd", code=code))


def test_a_restart_opens_the_session_anew(stage: Stage) -> None:
    before = stage.modems["xl-1"]
    found = asked(stage, "restart")
    assert (found.state, found.answer) == ("done", {"restarted": "session"})
    assert stage.run(until=lambda: stage.workers["xl-1"].ready[0], seconds=3)
    assert stage.modems["xl-1"] is not before
    stage.answered(stage.ask(card(1)))


def test_a_pause_and_its_end(stage: Stage) -> None:
    assert asked(stage, "pause").answer == {"paused": True}
    assert stage.lane().state == "paused"
    assert asked(stage, "pause", paused=False).answer == {"paused": False}
    assert stage.lane().state == "registered"


def test_a_diagnosis_says_nothing_of_whom(stage: Stage) -> None:
    found = asked(stage, "diagnosis")
    assert found.state == "done"
    assert found.answer is not None
    sim, dongle = stage.dongles["xl-1"].sim, stage.dongles["xl-1"]
    for secret in (sim.iccid, sim.imsi, sim.own_number.lstrip("+"), dongle.imei):
        assert secret not in str(found.answer)
    assert found.answer["facts"]["port"] == f"simulated://{stage.port('xl-1')}"


def test_an_unknown_request_is_refused_with_those_there_are(stage: Stage) -> None:
    assert "restart, diagnosis, ussd, pause" in refusal(asked(stage, "dance"))


def test_without_its_stick_a_lane_says_why(stage: Stage) -> None:
    stage.pull()
    stage.run(seconds=2)
    assert "plug the stick in" in refusal(asked(stage, "diagnosis"))
    assert asked(stage, "pause").state == "done"
    assert asked(stage, "pause", paused=False).state == "done"
    stage.dongles["xl-1"].plug(stage.clock.now)
    assert asked(stage, "restart").state == "done"
    assert stage.run(until=lambda: stage.workers["xl-1"].ready[0], seconds=2)


def test_what_was_taken_when_the_process_died_is_refused_by_the_next(stage: Stage) -> None:
    request_id = stage.store.write(lambda tx: requests.ask(tx, "xl-1", "ussd", {}, "clinic", stage.clock.now))
    stage.store.write(lambda tx: requests.take(tx, request_id))
    stage.die()
    stage.boot()
    assert "ask again" in refusal(stage.store.write(lambda tx: requests.collect(tx, request_id)))


def test_a_lane_of_this_process_hears_at_once(stage: Stage) -> None:
    """The worker's own thread sleeps; the commit wakes it."""
    stage.store.listen(lambda done: [stage.workers[lane].requested() for tx in done for lane in tx.asked])  # type: ignore[arg-type, return-value, func-returns-value]
    request_id = stage.store.write(
        lambda tx: requests.ask(tx, "xl-1", "restart", {}, "clinic", stage.clock.now)
    )
    stage.workers["xl-1"].step(stage.clock.now)
    assert stage.store.read(lambda tx: requests.look(tx, request_id)).state == "done"
