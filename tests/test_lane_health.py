"""Lanes whose modem, SIM or network is not well: what is noticed, what is done about it, and what is never done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import HandClock
from lanes_playing import TEMPLATES, LaneLook, Stage, card, make_sim, staged
from odd_modems import Habits, OddModem
from store_playing import open_lane

from app.domain.services import Catalogue
from app.domain.states import State
from app.exchange.receiving import Receiver
from app.exchange.reception import Place, Reception
from app.store import tables as t
from app.store.engine import Store
from app.store.inbox import list_messages
from modem import Observer, PortSettings, SerialModem
from modem.discovery import same_iccid

SHORTLY = timedelta(milliseconds=200)


@dataclass
class Socket:
    """The host of one stick in socket 1-1; what taking its power away does is `then`."""

    allowed: bool = True
    then: Callable[[], None] = lambda: None
    cycled: int = 0
    held: list[str] = field(default_factory=list)

    def in_use(self, device: str) -> bool:
        self.held.append(device)
        return True

    def released(self, device: str) -> None:
        self.held.remove(device)

    def socket_of(self, device: str) -> str | None:
        return "1-1"

    def power_cycle(self, usb_path: str) -> bool:
        assert usb_path == "1-1"
        if self.allowed:
            self.cycled += 1
            self.then()
        return self.allowed


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as one:
        yield one


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
def plugged(tmp_path: Path, socket: Socket) -> Iterator[Stage]:
    """A lane whose stick sits in a USB socket, and which is soon tired of silence."""
    with staged(tmp_path, looks={"xl-1": LaneLook(host=socket, patience=SHORTLY)}) as one:
        yield one


def step_at(stage: Stage, **span: float) -> None:
    stage.clock.advance(**span)
    stage.network.step(stage.clock.now)
    stage.workers["xl-1"].step(stage.clock.now)


# -- silence ------------------------------------------------------------------------------------------------------


def test_a_modem_that_hangs_gets_a_new_session_then_a_power_cycle(plugged: Stage, socket: Socket) -> None:
    plugged.answered(plugged.ask(card(1)))
    dongle = plugged.dongles["xl-1"]
    dongle.knobs.stuck = True
    step_at(plugged, seconds=6)
    assert plugged.lane().state == "offline"
    assert plugged.lane().recoveries == {"session": 1}
    for _ in range(3):
        step_at(plugged, seconds=10)
    assert (socket.cycled, plugged.lane().recoveries) == (0, {"session": 1})

    def back() -> None:
        dongle.knobs.stuck = False

    socket.then = back
    step_at(plugged, seconds=40)
    assert socket.cycled == 1
    assert plugged.lane().recoveries == {"session": 1, "power": 1}
    assert "tried: opened anew, USB power cycled" in str(plugged.lane().reason)
    assert plugged.run(until=lambda: plugged.workers["xl-1"].ready[0], seconds=40)
    assert plugged.lane().reason is None
    plugged.answered(plugged.ask(card(2)))
    assert socket.held == [f"simulated://{plugged.port('xl-1')}"]
    plugged.judge()


def test_nothing_helps_and_it_is_tried_ever_less_often(plugged: Stage, socket: Socket) -> None:
    plugged.run(seconds=1)
    plugged.dongles["xl-1"].knobs.stuck = True
    for _ in range(7):
        step_at(plugged, minutes=10)
    assert 1 <= socket.cycled <= 5  # the pauses double: seven times without them
    assert plugged.lane().recoveries["power"] == socket.cycled


@pytest.mark.parametrize(("refusal", "heals"), [("+CME ERROR: 13", True), ("+CME ERROR: 10", False)])
def test_a_modem_that_cannot_read_its_sim_is_restarted(tmp_path: Path, refusal: str, heals: bool) -> None:
    said: list[str] = []

    def make(settings: PortSettings, observer: Observer) -> SerialModem:
        return SerialModem(
            replace(settings, trace=lambda way, line: said.append(line) if way == ">" else None), observer
        )

    with staged(tmp_path, looks={"xl-1": LaneLook(patience=SHORTLY)}, personality="etsi") as stage:
        stage.make_modem = make
        dongle = stage.dongles["xl-1"]
        dongle.turn(stage.clock.now, refuse={"+CPIN": refusal})
        for _ in range(8):
            step_at(stage, seconds=20)
        assert stage.lane().recoveries.get("modem", 0) == int(heals)
        assert said.count("AT+CFUN=1,1") == int(heals)
        dongle.turn(stage.clock.now, refuse={})
        stage.answered(stage.ask(card(1)))


def test_what_never_answered_as_a_modem_keeps_its_power(plugged: Stage, socket: Socket) -> None:
    plugged.dongles["xl-1"].knobs.stuck = True
    for _ in range(7):
        step_at(plugged, minutes=10)
    assert socket.cycled == 0
    plugged.dongles["xl-1"].knobs.stuck = False
    plugged.answered(plugged.ask(card(1)))


def test_a_stick_that_is_away_is_never_reset(plugged: Stage, socket: Socket) -> None:
    plugged.run(seconds=1)
    plugged.pull()
    plugged.run(hours=2, stride=20)
    assert (socket.cycled, plugged.lane().recoveries) == (0, {})
    assert "plug the stick in" in str(plugged.lane().reason)
    assert socket.held == []


def test_a_silent_port_is_tried_every_five_seconds_while_a_stick_may_be_booting(
    plugged: Stage, socket: Socket
) -> None:
    plugged.dongles["xl-1"].knobs.stuck = True
    pauses = []
    for _ in range(6):
        due = plugged.workers["xl-1"].step(plugged.clock.now)
        pauses.append((due - plugged.clock.now).total_seconds())
        plugged.clock.now = due
    assert pauses == [1, 2, 4, 5, 5, 5]


def test_a_modem_that_starts_anew_behind_its_port_is_soon_back(plugged: Stage) -> None:
    plugged.answered(plugged.ask(card(1)))
    plugged.run(minutes=10, stride=20)
    plugged.dongles["xl-1"].knobs.stuck = True
    begun = plugged.clock.now
    plugged.run(seconds=30)
    plugged.dongles["xl-1"].knobs.stuck = False
    assert plugged.run(until=lambda: plugged.workers["xl-1"].ready[0], seconds=7)
    assert plugged.clock.now - begun < timedelta(seconds=38)


def test_a_silence_of_one_answer_costs_no_session(tmp_path: Path) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(patience=SHORTLY)}) as stage:
        stage.run(seconds=1)
        stage.text("Saldo JHT Anda Rp 1.000")
        knobs, modem = stage.dongles["xl-1"].knobs, stage.modems["xl-1"]
        knobs.turn({"refuse": {"+CMGR": ""}})
        stage.listen("xl-1")
        stage.workers["xl-1"].step(stage.clock.now)
        knobs.turn({"refuse": {}})
        stage.run(seconds=8)
        assert stage.lane().recoveries == {"at": 1}
        assert stage.modems["xl-1"] is modem
        assert [m.reason for m in stage.messages("unmatched")] == ["unsolicited"]


# -- the network --------------------------------------------------------------------------------------------------


def test_ten_minutes_without_the_network_that_was_there_are_healed(plugged: Stage, socket: Socket) -> None:
    plugged.run(seconds=1)
    dongle = plugged.dongles["xl-1"]
    dongle.turn(plugged.clock.now, registration=2)
    plugged.run(minutes=9, stride=20)
    assert plugged.lane().recoveries == {}
    plugged.run(minutes=2, stride=20)
    assert plugged.lane().recoveries == {"session": 1}
    plugged.run(minutes=20, stride=20)
    done = plugged.lane().recoveries
    assert done["session"] == 1
    assert done.get("modem", 0) + socket.cycled >= 1
    dongle.turn(plugged.clock.now, registration=1)
    plugged.answered(plugged.ask(card(1)))


def test_a_stick_that_was_away_has_its_ten_minutes_from_its_return(plugged: Stage, socket: Socket) -> None:
    plugged.run(seconds=1)
    dongle = plugged.dongles["xl-1"]
    dongle.turn(plugged.clock.now, registration=2)
    plugged.pull()
    plugged.run(minutes=30, stride=20)
    dongle.plug(plugged.clock.now)
    plugged.run(minutes=9, stride=20)
    assert plugged.lane().state == "searching"
    assert plugged.lane().recoveries == {}


def test_a_sim_that_the_network_never_let_in_is_left_alone(plugged: Stage, socket: Socket) -> None:
    plugged.dongles["xl-1"].turn(plugged.clock.now, registration=3)
    plugged.run(minutes=40, stride=20)
    assert plugged.lane().recoveries == {}
    assert "denied" in str(plugged.lane().reason)


def test_after_a_refusal_of_the_network_the_lane_says_at_once_that_it_is_searching(stage: Stage) -> None:
    stage.run(seconds=1)
    dongle = stage.dongles["xl-1"]
    dongle.knobs.turn({"submit_errors": 1, "submit_error": 331, "registration": 2})
    one = stage.ask(card(1))
    stage.turn()
    assert stage.lane().state == "searching"
    assert stage.state(one) is State.QUEUED


# -- the SIM ------------------------------------------------------------------------------------------------------


def test_a_sim_changed_under_power_is_noticed_within_a_minute(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    first, other = stage.dongles["xl-1"].sim, make_sim(7)
    stage.dongles["xl-1"].insert(other, stage.clock.now)
    assert stage.run(until=lambda: stage.lane().own_number == other.own_number, seconds=70)
    assert stage.state(one) is State.AWAITING_REPLY
    stage.answered(stage.ask(card(2)))
    stage.dongles["xl-1"].insert(first, stage.clock.now)
    assert stage.run(until=lambda: stage.lane().own_number == first.own_number, seconds=70)


def test_what_comes_for_a_sim_swapped_in_silence_is_never_filed_under_the_one_before(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    other = make_sim(7)
    stage.dongles["xl-1"].insert(other, stage.clock.now)
    stage.network.text("2757", other.own_number, "Sistem sedang sibuk", now=stage.clock.now)
    assert stage.run(until=lambda: bool(stage.messages()), seconds=20)
    assert stage.lane().own_number == other.own_number
    assert [row.sim_id for row in stage.rows(t.messages)] == [lane.sim_id for lane in stage.rows(t.lanes)]
    assert [message.state for message in stage.messages()] == ["unmatched"]
    assert stage.state(one) is State.AWAITING_REPLY


def test_a_lane_bound_to_a_sim_refuses_another(tmp_path: Path) -> None:
    mine, other = make_sim(1), make_sim(7)
    look = LaneLook(iccid=mine.iccid)
    with staged(tmp_path, looks={"xl-1": look}, sims={"xl-1": other}) as stage:
        one = stage.ask(card(1))
        stage.run(seconds=20)
        assert stage.lane().state == "offline"
        assert f"ends in {mine.iccid[-4:]}" in str(stage.lane().reason)
        assert other.iccid not in str(stage.lane().reason)
        assert stage.state(one) is State.QUEUED
        stage.pull()
        stage.dongles["xl-1"].sim = mine
        stage.dongles["xl-1"].plug(stage.clock.now)
        stage.answered(one)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("8999000000000000001", "8999000000000000001F", True),
        ("899900000000000000", "8999000000000000001", True),
        ("8999000000000000001", "8999000000000000002", False),
        ("8999", "8999000000000000002", False),
        ("8999000000000000001", None, False),
    ],
)
def test_one_sim_may_be_read_in_two_ways(one: str, other: str | None, same: bool) -> None:
    assert same_iccid(one, other) is same


def test_sims_that_changed_places_while_the_gateway_was_down_keep_their_conversations(tmp_path: Path) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(), "xl-2": LaneLook()}) as stage:
        stage.run(seconds=1)
        asked = [stage.ask(card(n)) for n in (1, 2)]
        stage.turn()
        views = [stage.check(one) for one in asked]
        assert {view.lane for view in views} == {"xl-1", "xl-2"}
        stage.die()
        one, two = stage.dongles["xl-1"], stage.dongles["xl-2"]
        for stick in (one, two):
            stick.unplug(stage.clock.now)
        one.sim, two.sim = two.sim, one.sim
        for stick in (one, two):
            stick.plug(stage.clock.now)
        stage.boot()
        assert stage.run(until=stage.ended(*asked), minutes=4)
        after = [stage.check(one) for one in asked]
        assert {view.state for view in after} == {State.ANSWERED}
        assert {view.record["kpj"] for view in after if view.record} == {card(1), card(2)}
        assert len(stage.rows(t.sims)) == 2
        stage.judge()
        stage.all_kept()


# -- what is counted ----------------------------------------------------------------------------------------------


def test_calls_are_counted(stage: Stage) -> None:
    stage.run(seconds=1)
    stage.dongles["xl-1"].knobs.turn({"next": {"ring": 1}})
    stage.run(seconds=30)
    assert stage.lane().calls == 1


def test_storages_are_shown(stage: Stage) -> None:
    stage.run(seconds=11)
    assert stage.lane().storages["SM"] == [0, 30]
    count = stage.dongles["xl-1"].fill(stage.clock.now)
    stage.run(seconds=11)
    assert stage.lane().storages["SM"] == [0, 30]
    assert len(stage.messages()) == count


class Keeping(OddModem):
    """A stick of three slots whose +CMGR and +CMGD know nothing but ERROR."""

    listed = 0

    def _cmgr(self, rest: str) -> None:
        self._say("ERROR")

    _cmgd = _cmgr

    def _cmgl(self, rest: str) -> None:
        self.listed += 1
        super()._cmgl(rest)

    def _cpms(self, rest: str) -> None:
        if rest == "?":
            used = len(self.slots["SM"])
            self._say("+CPMS: " + ",".join([f'"SM",{used},3'] * 3), "OK")
        else:
            super()._cpms(rest)


def test_a_stick_that_removes_nothing_is_listed_seldom_and_said_to_be_full(
    sqlite_store: Store, clock: HandClock
) -> None:
    habits = Habits("keeping", storages=(("SM",), ("SM",), ("SM",)))
    lane = open_lane(sqlite_store, clock())
    with Keeping(habits).plugged_in() as stick:
        assert isinstance(stick, Keeping)
        modem = SerialModem(PortSettings(stick.url))
        modem.open()
        receiver = Receiver(
            Place(lane.name, lane.fence, lane.sim_id),
            modem,
            store=sqlite_store,
            reception=Reception(sqlite_store, Catalogue.load(TEMPLATES)),
            foreign=False,
        )
        stick.deliver("2757", "one", "two")
        for _ in range(50):
            receiver.step(clock())
            clock.advance(seconds=5)
        assert (stick.listed, receiver.full) == (2, frozenset())
        stick.deliver("2757", "three")
        for _ in range(100):
            receiver.step(clock())
            clock.advance(seconds=5)
        assert stick.listed <= 6
        assert receiver.full == {"SM"}
        modem.close()
    assert len(sqlite_store.read(lambda tx: list_messages(tx, limit=9))) == 3
