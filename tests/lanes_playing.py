"""The stage of the exchange's tests: a real store, real lanes on simulated dongles, the services played, a clock by hand.

Nothing runs by itself but the reader threads of the drivers: `turn` lets everything happen that is due, `run` goes on
from one moment to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from conftest import HandClock
from sqlalchemy import select

from app.domain.errors import Unavailable
from app.domain.services import Catalogue
from app.domain.states import State, may_move
from app.exchange.housekeeper import Housekeeper
from app.exchange.lane import LaneWorker
from app.exchange.opening import Host, LaneSetup
from app.faces.phone import PhoneDesk
from app.runtime import RENEW
from app.simulation import balance_of, official_services
from app.store import lanes, questions
from app.store import tables as t
from app.store.checks import CheckView, get_check
from app.store.engine import Store, new_id, open_store
from app.store.inbox import MessageView, list_messages
from app.store.questions import Ask
from modem import Modem, ModemLost, Observer, PortSettings, SerialModem
from modem.simulated import Delivery, Dongle, Entry, Network, Sim, attach, detach

TEMPLATES = Path(__file__).parent.parent / "templates_sms"
BALANCE = "bpjstk-balance"
STATUS = "bpjskes-status"
AFTER = timedelta(seconds=8)  # the played services answer so long after a question, except late cards
LATE = timedelta(minutes=10)  # and late cards so long: after the timeout, before `late`
HEARD = timedelta(seconds=2)  # at most so long, in real time, until the reader has seen an indication
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
AWAKE = timedelta(milliseconds=500)  # one try of AT, in real time
ROUNDS = 40  # steps of one lane at one moment: more would be a lane that never rests


class Killed(BaseException):
    """What `kill -9` is to a process: nothing catches it."""


@dataclass(slots=True)
class LaneLook:
    """How a lane of the stage is set up. Where silence is what is played, `cmgs_timeout` and `patience` are how long that takes."""

    pace: timedelta = timedelta(0)
    per_hour: int = 0
    per_day: int = 0
    pin: str | None = None
    status_reports: bool = True
    cmgs_timeout: timedelta = timedelta(seconds=20)
    port: str = ""
    iccid: str | None = None
    host: Host | None = None
    patience: timedelta = timedelta(seconds=10)


@dataclass(slots=True)
class Stage:
    """One gateway with its world. `boot` starts its process, `die` ends it as kill -9 does; the world goes on.

    `clock` may jump; `seconds` counts what `run` let pass, as a monotonic clock does. `told` hears every durable step.
    """

    url: str
    folder: Path
    clock: HandClock
    network: Network
    catalogue: Catalogue
    looks: dict[str, LaneLook]
    dongles: dict[str, Dongle]
    phone: dict[str, Any] | None = None
    told: Callable[[str], None] = lambda step: None
    process_id: str = ""
    may_send: Callable[[], bool] = lambda: True
    make_modem: Callable[[PortSettings, Observer], SerialModem] = SerialModem
    renews: bool = True
    renewed_at: datetime = BEGINNING
    store: Store = field(init=False)
    workers: dict[str, LaneWorker] = field(default_factory=dict)
    modems: dict[str, SerialModem] = field(default_factory=dict)
    housekeeper: Housekeeper = field(init=False)
    booted: bool = False
    seconds: float = 0.0
    _heard: dict[str, tuple[SerialModem | None, set[int]]] = field(default_factory=dict)

    # -- the process --------------------------------------------------------------------------------

    def boot(self) -> None:
        """As the runtime begins: recover what a dead process left, enter the lanes, build their workers."""
        self.store = open_store(
            self.url, self.folder / "gateway.keys", serving=True, observer=lambda step: self.told(step)
        )
        self.booted = True
        now = self.clock.now
        self.process_id = new_id("prc", now)
        specs = [
            lanes.LaneSpec(
                name, look.port or f"simulated://{self.port(name)}", look.pace, look.per_hour, look.per_day
            )
            for name, look in self.looks.items()
        ]

        def begin(tx: Any) -> None:
            lanes.strike_off(tx)
            lanes.begin_process(tx, self.process_id, "stage", now)
            lanes.recover_orphans(tx, now)
            lanes.register(tx, specs, now)

        self.store.write(begin)
        self.housekeeper = Housekeeper(
            self.store, lambda: self.seconds, lambda lane: self.workers[lane].requested()
        )
        self.workers = {spec.name: self.worker(spec, self.process_id) for spec in specs}

    def worker(self, spec: lanes.LaneSpec, process_id: str) -> LaneWorker:
        """A worker for this lane, as a process of this id has it."""
        look = self.looks[spec.name]

        def open_modem(port: PortSettings) -> Modem:
            self.modems[spec.name] = self.make_modem(port, lambda step, _port: self.told(step))
            return self.modems[spec.name]

        return LaneWorker(
            LaneSetup(
                spec,
                PortSettings(
                    url=spec.port,
                    pin=look.pin,
                    cmgs_timeout=look.cmgs_timeout,
                    wake_timeout=AWAKE,
                    boot_timeout=AWAKE,
                    answer_timeout=look.patience,
                    drain_timeout=min(look.patience, timedelta(seconds=3)),
                ),
                look.status_reports,
                iccid=look.iccid,
                host=look.host,
            ),
            store=self.store,
            catalogue=self.catalogue,
            process_id=process_id,
            open_modem=open_modem,
            may_send=lambda: self.may_send(),
            clock=self._look_at_the_clock,
            desk=None if self.phone is None else PhoneDesk(self.catalogue, **self.phone),
        )

    def _look_at_the_clock(self) -> datetime:
        self.told("clock")
        return self.clock.now

    def die(self) -> None:
        """The kernel closes its ports and files; nothing is written, nobody is told."""
        self.told = lambda step: None
        self.booted = False
        for modem in self.modems.values():
            modem.close()
        self.modems.clear()
        self.store.close()

    def close(self) -> None:
        if self.booted:
            self.die()
        for name in self.dongles:
            detach(self.port(name))

    def port(self, name: str) -> str:
        """The dongle's name to pyserial: its own for each stage."""
        return f"{self.folder.name}-{name}"

    # -- time ---------------------------------------------------------------------------------------

    def turn(self) -> datetime:
        """Let everything happen that is due now; when the next thing is."""
        now = self.clock.now
        self.network.step(now)
        with suppress(Unavailable):  # as in the runtime: what cannot be written now is written later
            if self.renews and not timedelta(0) <= now - self.renewed_at < RENEW:
                self.renewed_at = now
                self.store.write(lambda tx: lanes.renew_lease(tx, self.process_id, now))
            self.housekeeper.step(now)
        due = [self.lane_turn(name) for name in self.workers]
        self.network.step(now)
        return min([moment for moment in (*due, self.network.due) if moment is not None])

    def lane_turn(self, name: str) -> datetime:
        """One lane's steps at this moment, until it wants to rest."""
        for _ in range(ROUNDS):
            self.listen(name)
            due = self.workers[name].step(self.clock.now)
            self.network.step(self.clock.now)
            if due > self.clock.now and not self.listen(name):
                return due
        raise AssertionError(f"lane {name} never rests")

    def listen(self, name: str) -> bool:
        """Wait until the driver has seen what the stick said since it was opened; True if there is something to read."""
        dongle, modem = self.dongles[name], self.modems.get(name)
        slots = {
            id(slot) for box in (dongle.sim.storage, dongle.me, dongle.sr) for slot in box.slots.values()
        }
        session, known = self._heard.get(name, (None, set[int]()))
        self._heard[name] = (modem, slots)
        if modem is None or modem is not session or not slots - known or dongle.knobs.lose_cmti:
            return False
        with suppress(ModemLost):
            return modem.wait(HEARD)
        return False

    def pull(self, name: str = "xl-1") -> None:
        """Pull a stick out, and wait until its driver has seen it."""
        self.dongles[name].unplug(self.clock.now)
        modem = self.modems.get(name)
        with suppress(ModemLost):
            while modem is not None and modem.wait(HEARD):
                modem.hinted()

    def run(self, *, stride: float = 0.0, until: Callable[[], bool] = lambda: False, **span: float) -> bool:
        """Go on for this long, at most, from one due thing to the next (but not in smaller strides); True once `until` holds."""
        end = self.clock.now + timedelta(**span)
        while True:
            due = self.turn()
            if until():
                return True
            if self.clock.now >= end:
                return False
            floor = self.clock.now + max(timedelta(seconds=stride), timedelta(milliseconds=1))
            then = min(max(due, floor), end)
            self.seconds += (then - self.clock.now).total_seconds()
            self.clock.now = then

    # -- asking and looking -------------------------------------------------------------------------

    def ask(self, number: str, service: str = BALANCE, **more: Any) -> str:
        """A check about a card; its id."""
        known = self.catalogue[service]
        request = known.render({known.subject_field.name: number})
        more = {"client": "payroll", "origin": "http", **more}
        (accepted,) = self.store.write(
            lambda tx: questions.accept(tx, [Ask.of(known, request)], now=self.clock.now, **more)
        )
        for worker in self.workers.values():
            worker.wake()
        return accepted.check_id

    def check(self, check_id: str) -> CheckView:
        return self.store.read(lambda tx: get_check(tx, check_id, None))

    def state(self, check_id: str) -> State:
        return self.check(check_id).state

    def states(self, check_id: str) -> list[str]:
        """The states it went through, queued first."""
        return ["queued", *(str(move.target) for move in self.check(check_id).history)]

    def ended(self, *check_ids: str) -> Callable[[], bool]:
        """For `run`: whether these checks are all final."""
        still_open = (State.QUEUED, State.SUBMITTING, State.UNCERTAIN, State.AWAITING_REPLY)
        return lambda: all(self.state(one) not in still_open for one in check_ids)

    def answered(self, check_id: str, **span: float) -> CheckView:
        """Run until it has its answer."""
        span = span or {"minutes": 4}
        assert self.run(until=self.ended(check_id), **span), self.check(check_id)
        view = self.check(check_id)
        assert view.state is State.ANSWERED, view
        return view

    def messages(self, *states: str) -> list[MessageView]:
        """The inbox, oldest first."""
        found = self.store.read(lambda tx: list_messages(tx, limit=1000, states=states))
        return list(reversed(found))

    def rows(self, table: Any, *conditions: Any) -> list[Any]:
        query = select(table).where(*conditions).order_by(*table.primary_key.columns)
        return self.store.read(lambda tx: list(tx.execute(query).all()))

    def lane(self, name: str = "xl-1") -> lanes.LaneView:
        return next(lane for lane in self.store.read(lanes.list_lanes) if lane.name == name)

    def ledger(self, kind: str) -> list[Entry]:
        return [entry for entry in self.network.ledger if entry.kind == kind]

    def asked(self) -> list[str]:
        """The texts that went on the air, in order."""
        return [entry.text for entry in self.ledger("submitted")]

    def text(self, text: str, sender: str = "2757", name: str = "xl-1", **more: Any) -> None:
        """A text comes to a lane's SIM."""
        self.network.text(sender, self.dongles[name].sim.own_number, text, now=self.clock.now, **more)

    # -- judging ------------------------------------------------------------------------------------

    def judge(self) -> None:
        """By the ledger and the tables: nothing sent twice, nothing swapped, every move legal, no TPDU undecided, one flight each."""
        twice = {text: count for text, count in Counter(self.asked()).items() if count > 1}
        assert not twice, f"sent twice: {twice}"
        for move in self.rows(t.moves):
            assert may_move(State(move.from_state), State(move.to_state)), move
        for row in self.rows(t.checks):
            view = self.check(row.id)
            record = view.record or {}
            if view.service == BALANCE and "balance" in record:
                assert record["balance"] == balance_of(view.fields["kpj"]), f"another card's record: {view}"
            if view.state in (State.ANSWERED, State.NO_REPLY, State.FAILED):
                flights = self.rows(
                    t.submissions, t.submissions.c.question_id == view.question_id, t.submissions.c.in_flight
                )
                assert not flights, f"still in flight: {view}"

    def all_kept(self) -> None:
        """Every TPDU is decided, and every text that the network delivered whole is in the inbox, as often as it was delivered."""
        assert not [row.id for row in self.rows(t.tpdus) if row.decided_at is None]
        delivered = Counter((e.address, e.text) for e in self.ledger("received"))
        kept = Counter((m.sender, m.text) for m in self.messages() if m.parts == m.parts_total)
        assert kept == delivered


SHORT = {"timeout": timedelta(seconds=30), "late": timedelta(seconds=90), "settle": timedelta(seconds=3)}
"""Timing for what is played often."""


def card(n: int, ending: int = 1) -> str:
    """An impossible KPJ; its ending says what it provokes (app.simulation)."""
    return f"99{n:07d}{ending:02d}"


def make_sim(n: int = 1, **more: Any) -> Sim:
    return Sim(iccid=f"8999{n:015d}", imsi=f"51011{n:010d}", own_number=f"+628170000{n:04d}", **more)


@contextmanager
def staged(
    folder: Path,
    *,
    url: str | None = None,
    looks: Mapping[str, LaneLook] | None = None,
    names_card: bool = True,
    services: Mapping[str, Mapping[str, Any]] | None = None,
    phone: Mapping[str, Any] | None = None,
    sims: Mapping[str, Sim] | None = None,
    boot: bool = True,
    kind: type[Stage] = Stage,
    clock: HandClock | None = None,
    personality: str | None = None,
) -> Iterator[Stage]:
    """A stage with one lane `xl-1`, or those of `looks`; `services` are overrides as `[service.NAME]` would make them."""
    clock = clock or HandClock()
    network = Network()
    network.step(clock.now)
    official_services(network, late=LATE, reply_after=AFTER, names_card=names_card)
    looks = dict(looks or {"xl-1": LaneLook()})
    dongles = {
        name: Dongle(
            network, (sims or {}).get(name) or make_sim(n), imei=f"99{n:013d}", personality=personality
        )
        for n, name in enumerate(looks, 1)
    }
    stage = kind(
        url=url or f"sqlite:///{folder}/gateway.db",
        folder=folder,
        clock=clock,
        network=network,
        catalogue=Catalogue.load(TEMPLATES, overrides=services),
        looks=looks,
        dongles=dongles,
        phone=dict(phone) if phone is not None else None,
    )
    for name, dongle in dongles.items():
        attach(stage.port(name), dongle, clock=clock)
    try:
        if boot:
            stage.boot()
        yield stage
    finally:
        stage.close()


def only(delivery: Delivery, *kept: str) -> list[Delivery]:
    """For `Network.interfere`: the delivery if its text holds one of these, else nothing."""
    return [delivery] if any(words in delivery.text for words in kept) else []
