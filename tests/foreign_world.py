"""A world of services and senders that answers as badly as real ones may, around a real gateway in virtual time.

`python tests/foreign_world.py --days 2 --seed 1 --temper foreign` plays it and prints what was counted. For every text the
world knows which question caused it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from conftest import START, HandClock
from foreign_world_watch import SPOOFER, Counted, Sent, Watch
from foreign_world_words import (
    BY_NAME,
    SERVICES,
    TEMPERS,
    Cause,
    Played,
    Said,
    Temper,
    advert,
    answers,
    write_files,
)
from lanes_playing import TEMPLATES, Killed, LaneLook, Stage, make_sim
from sqlalchemy import select

from app.domain.errors import Conflict
from app.domain.services import Catalogue
from app.domain.states import OPEN
from app.store import lanes as lane_rows
from app.store import questions
from app.store import tables as t
from modem.pdu import Concat, encode_deliver, split
from modem.simulated import Dongle, Network, attach
from modem.simulated.network import WIB
from modem.simulated.traffic import Taken

STRIDE = timedelta(seconds=20)  # the world goes on so far at a time
RESTING = timedelta(
    seconds=50
)  # and so far when nothing is asked: under a minute, which counts as not having read
AGAIN = timedelta(seconds=30)  # a centre that could not deliver tries again
PRICE = 350
STOPS = ("cmgs", "pdu", "ctrl-z", "cmgd", "commit", "clock")


class ForeignStage(Stage):
    """A gateway whose host has a clock of its own: `clock` is the host's, `world` everybody else's."""

    world: HandClock
    watch: Watch

    def turn(self) -> datetime:
        self.network.step(self.world.now)
        now = self.clock.now
        if self.renews and not timedelta(0) <= now - self.renewed_at < timedelta(seconds=2):
            self.renewed_at = now
            self.store.write(lambda tx: lane_rows.renew_lease(tx, self.process_id, now))
        self.housekeeper.step(now)
        for name in self.workers:
            self.lane_turn(name)
        self.network.step(self.world.now)
        return now

    def lane_turn(self, name: str) -> datetime:
        for _ in range(60):
            self.listen(name)
            before = self.watch.before(name)
            due = self.workers[name].step(self.clock.now)
            self.watch.after(name, before)
            self.network.step(self.world.now)
            if due > self.clock.now and not self.listen(name):
                return due
        raise AssertionError(f"lane {name} never rests")


class World:
    """The services, the senders and the truth."""

    def __init__(self, stage: ForeignStage, temper: Temper, seed: int, evidence: str) -> None:
        self.stage, self.temper, self.evidence = stage, temper, evidence
        self.dice = Random(f"foreign/{seed}")
        self.sent: dict[int, Sent] = {}
        self.counted = Counted()
        self.submitted: Counter[tuple[str, str, str]] = Counter()
        self.delivered: Counter[str] = Counter()
        self.checks: dict[str, tuple[str, str]] = {}
        self.asks = {played.name: 0 for played in SERVICES}
        self.recent: dict[str, list[str]] = {played.name: [] for played in SERVICES}
        self.outage: dict[str, datetime] = {}
        self.flood: dict[str, list[tuple[str, str, Said]]] = defaultdict(list)
        self.centre: dict[str, timedelta] = {}
        self.concat: Counter[str] = Counter()
        self.quiet = False
        for played in SERVICES:
            stage.network.subscriber(played.address, self.heard)
        self.patterns = [(p, re.compile(re.escape(p.request).replace(r"\{\}", "([0-9]+)"))) for p in SERVICES]

    # -- what the services do -----------------------------------------------------------------------

    def heard(self, sender: str, text: str, now: datetime) -> list[Any]:
        """A question reached a service."""
        played, card = next((p, m[1]) for p, r in self.patterns if (m := r.fullmatch(text)))
        self.submitted[(sender, played.name, card)] += 1
        self.counted.tally["questions on the air"] += 1
        cause = Cause(played.name, card, sender, now.timestamp())
        dice, temper = self.dice, self.temper
        if dice.random() < temper.silent:
            return []
        others = self.recent[played.name] or [card]
        at = now + timedelta(seconds=temper.delay(dice))
        kind_of_sender = dice.choice(played.senders) if temper.odd_senders else played.address
        for said in answers(played, cause, temper, dice, others):
            if said.kind == "apology":
                self.later(at, sender, kind_of_sender, said)
                at += timedelta(seconds=dice.uniform(30, 900))
                continue
            self.later(at, sender, kind_of_sender, said)
            copies = dice.random()
            extra = 2 if copies < temper.tripled else 1 if copies < temper.tripled + temper.doubled else 0
            for _ in range(extra):
                self.later(at + timedelta(seconds=dice.uniform(0, 400)), sender, kind_of_sender, said)
            at += timedelta(seconds=dice.uniform(1, 40))
        return []

    def later(self, at: datetime, sim: str, sender: str, said: Said) -> None:
        self.stage.network.plan(at, lambda now: self.release(now, sim, sender, said))

    def release(self, now: datetime, sim: str, sender: str, said: Said) -> None:
        """The service's machine says it, unless it is down: then with the flood."""
        if said.cause is not None and self.outage.get(said.cause.service, now) > now:
            self.flood[said.cause.service].append((sim, sender, said))
            return
        self.dispatch(now, sim, sender, said)

    def dispatch(self, now: datetime, sim: str, sender: str, said: Said) -> None:
        """Into TPDUs, each with the serial as its service centre, and to the SIM."""
        dice, temper = self.dice, self.temper
        serial = len(self.sent) + 1
        texts = split(said.text)
        self.sent[serial] = Sent(serial, sim, sender, said, len(texts), now)
        stamp = (now + self.centre.get(sim, timedelta(0))).astimezone(WIB).replace(microsecond=0)
        pdus = []
        reference = self.concat[sender] = (self.concat[sender] + 1) % 4  # used again soon
        for number, text in enumerate(texts, 1):
            concat = None if len(texts) == 1 else Concat(reference, 8, len(texts), number)
            pdu = encode_deliver(sender, text, stamp, concat=concat, centre=f"+6289{serial:08d}")
            if temper.odd_clocks and serial % 40 == 0:
                pdu = pdu.replace(_swapped(stamp), "0" * 14, 1)
            pdus.append(pdu)
        if len(pdus) > 1 and temper.parts_lost:
            if dice.random() < temper.parts_lost:
                pdus.pop(dice.randrange(len(pdus)))
            if dice.random() < 0.3:
                dice.shuffle(pdus)
            if dice.random() < 0.2:
                late = pdus.pop()
                self.stage.network.plan(
                    now + timedelta(seconds=dice.uniform(30, 500)), lambda at: self.hand_over(at, sim, late)
                )
        for pdu in pdus:
            self.hand_over(now, sim, pdu)

    def hand_over(self, now: datetime, sim: str, pdu: str) -> None:
        """To the stick that has the SIM now; later where none has, or it is full."""
        holder = next((d for d in self.stage.dongles.values() if d.sim.own_number == sim), None)
        if holder is not None and holder.reachable and holder.receive(pdu, False, now) is Taken.YES:
            self.delivered[pdu] += 1
            return
        self.stage.network.plan(now + AGAIN, lambda at: self.hand_over(at, sim, pdu))

    # -- the rest of the world ----------------------------------------------------------------------

    def happen(self, span: timedelta) -> None:
        """What happens by itself in a stretch of time."""
        dice, temper, now = self.dice, self.temper, self.stage.world.now
        share = span / timedelta(days=1)
        sims = [dongle.sim.own_number for dongle in self.stage.dongles.values()]
        for service in [name for name, until in self.outage.items() if until <= now]:
            del self.outage[service]
            flood = self.flood.pop(service, [])
            dice.shuffle(flood)
            for sim, sender, said in flood:
                self.stage.network.plan(
                    now + timedelta(seconds=dice.uniform(0, 60)),
                    lambda at, a=sim, b=sender, c=said: self.dispatch(at, a, b, c),  # type: ignore[misc]
                )
        if self.quiet:
            return
        for played in SERVICES:
            for _ in range(_times(dice, played.per_hour * 24 * share * len(sims))):
                self.ask(played)
            if dice.random() < temper.outages_per_day * share:
                self.outage[played.name] = now + timedelta(seconds=dice.uniform(300, 7200))
            for sim in sims:
                if dice.random() < temper.adverts_per_day * share:
                    said = advert(played, dice, temper, self.recent[played.name] or ["0"])
                    self.dispatch(now, sim, dice.choice(played.senders), said)
        if dice.random() < temper.spoofs_per_day * share:
            self.spoof(now, dice.choice(sims))
        if temper.odd_clocks and dice.random() < 6 * share:
            hours = dice.choice((0, 0, 0, -7, 1, 3, -1, 8))
            self.centre[dice.choice(sims)] = timedelta(hours=hours, seconds=dice.uniform(-300, 300))
        if dice.random() < temper.swaps_per_day * share:
            self.swap(now)
        if dice.random() < temper.jumps_per_day * share:
            self.stage.clock.now += timedelta(seconds=dice.choice((7200, 3600, 400, -600, -3600)))
        if dice.random() < temper.kills_per_day * share:
            self.kill()
        for name, dongle in self.stage.dongles.items():
            if dice.random() < temper.phones_per_day * share:
                self.phone(now, name)
            if dice.random() < temper.unsure * 66 * 24 * share:
                dongle.turn(now, silence=1, silent_sends=dice.random() < 0.5)
            if len(temper.report_of) > 1 and dice.random() < 0.05:
                status = dice.choices(list(temper.report_of), list(temper.report_of.values()))[0]
                dongle.turn(now, report_status=status)

    def card(self, played: Played) -> str:
        """A new card, or where the temper has it one that was asked about lately."""
        recent = self.recent[played.name]
        if recent and self.dice.random() < self.temper.again:
            return self.dice.choice(recent[-12:])
        self.asks[played.name] += 1
        card = played.make(self.dice.randrange(self.temper.pool))
        recent.append(card)
        return card

    def ask(self, played: Played) -> None:
        dice, more = self.dice, dict[str, Any]()
        if self.temper.again and dice.random() < 0.2:
            more["max_age"] = timedelta(minutes=dice.choice((10, 60, 600)))
        card = self.card(played)
        check = self.stage.ask(card, played.name, **more)
        self.checks[check] = (played.name, card)
        self.counted.tally["checks"] += 1
        if self.temper.again and dice.random() < 0.03:
            try:
                now = self.stage.clock.now
                self.stage.store.write(
                    lambda tx: questions.cancel(tx, check, now=now, by="payroll", client=None)
                )
                self.counted.tally["checks cancelled"] += 1
            except Conflict:
                self.counted.tally["checks that could not be cancelled"] += 1

    def phone(self, now: datetime, name: str) -> None:
        played = BY_NAME["bpjstk-balance"]
        number = f"+62899000{self.dice.randrange(20):04d}"
        card = self.card(played)
        self.stage.network.text(number, self.stage.dongles[name].sim.own_number, f"SALDO {card}", now=now)
        self.counted.tally["asked by phone"] += 1

    def spoof(self, now: datetime, sim: str) -> None:
        played = self.dice.choice(SERVICES)
        card = (self.recent[played.name] or ["99"])[-1]
        words = f"Info: saldo JHT KPJ {card} Rp 1.234.567 AKTIF"
        self.dispatch(now, sim, SPOOFER, Said(words, {}, kind="spoof"))

    def swap(self, now: datetime) -> None:
        """Two SIMs change places while their sticks are out."""
        one, other = self.dice.sample(list(self.stage.dongles.values()), 2)
        one.unplug(now)
        other.unplug(now)
        a, b = one.sim, other.sim
        one.insert(b, now)
        other.insert(a, now)
        back = now + timedelta(seconds=self.dice.uniform(5, 900))
        self.stage.network.plan(back, one.plug)
        self.stage.network.plan(back, other.plug)
        self.counted.tally["SIMs swapped"] += 1

    def kill(self) -> None:
        """At one of the next durable steps of a kind."""
        kind, left = self.dice.choice(STOPS), [self.dice.randrange(1, 12)]

        def told(step: str) -> None:
            if step == kind:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed

        self.stage.told = told

    # -- time ---------------------------------------------------------------------------------------

    def run(self, span: timedelta, stride: timedelta = STRIDE) -> None:
        """Let it go on, starting the gateway anew after each death."""
        end = self.stage.world.now + span
        while self.stage.world.now < end:
            try:
                self.stage.turn()
                self.happen(stride)
            except Killed:
                self.counted.tally["kills"] += 1
                self.stage.die()
                self.stage.boot()
            self.stage.world.now += stride
            self.stage.clock.now += stride
            self.stage.seconds += stride.total_seconds()

    def rest(self) -> None:
        """Nothing is asked any more; whatever is on its way comes."""
        self.quiet, self.stage.told = True, lambda step: None
        for dongle in self.stage.dongles.values():
            dongle.turn(self.stage.world.now, silence=0)
        for _ in range(60):
            self.run(timedelta(hours=1), RESTING)
            if self.ended() and not self.stage.network.due:
                break
        self.run(timedelta(hours=2), RESTING)

    def ended(self) -> bool:
        rows = self.stage.store.read(
            lambda tx: tx.execute(
                select(t.questions.c.id).where(t.questions.c.state.in_(OPEN)).limit(1)
            ).first()
        )
        return rows is None


def _times(dice: Random, mean: float) -> int:
    """How often something with this mean happens in a short stretch."""
    whole = int(mean)
    return whole + (dice.random() < mean - whole)


def _swapped(stamp: datetime) -> str:
    digits = f"{stamp:%y%m%d%H%M%S}"
    return "".join(digits[at + 1] + digits[at] for at in range(0, 12, 2)) + "82"


# -- building it ------------------------------------------------------------------------------------------------------


@contextmanager
def foreign_world(
    folder: Path, *, temper: Temper, seed: int, lanes: int = 4, evidence: str = "any"
) -> Iterator[World]:
    """A gateway with this many lanes in a world of this temper."""
    host, world_clock = HandClock(START), HandClock(START)
    network = Network(seed)
    network.step(world_clock.now)
    names = [f"lane-{n}" for n in range(1, lanes + 1)]
    look = LaneLook(cmgs_timeout=timedelta(seconds=1), patience=timedelta(seconds=5), status_reports=True)
    dongles = {name: Dongle(network, make_sim(n), imei=f"99{n:013d}") for n, name in enumerate(names, 1)}
    overrides = (
        {played.name: {"require_evidence": evidence} for played in SERVICES} if evidence == "echo" else {}
    )
    stage = ForeignStage(
        url=f"sqlite:///{folder}/gateway.db",
        folder=folder,
        clock=host,
        network=network,
        catalogue=Catalogue.load(TEMPLATES, write_files(folder / "services"), overrides),
        looks=dict.fromkeys(names, look),
        dongles=dongles,
        phone={"open_to_all": True, "per_day": 50},
    )
    stage.world = world_clock
    for name, dongle in dongles.items():
        attach(stage.port(name), dongle, clock=world_clock)
    world = World(stage, temper, seed, evidence)
    stage.watch = Watch(stage, world.sent, world.counted)
    try:
        stage.boot()
        yield world
    finally:
        stage.close()


def main() -> int:
    """Play one world and print what it counted; 1 if anything was found."""
    from foreign_world_audit import audit, table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--temper", choices=TEMPERS, default="foreign")
    parser.add_argument("--evidence", choices=("any", "echo"), default="any")
    parser.add_argument("--show", type=int, default=5, help="so many findings and wrong records of each sort")
    given = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        foreign_world(
            Path(folder),
            temper=TEMPERS[given.temper],
            seed=given.seed,
            lanes=given.lanes,
            evidence=given.evidence,
        ) as world,
    ):
        world.run(timedelta(days=given.days))
        world.rest()
        audit(world)
        print(table(world))
        for key, wrong in world.counted.wrong.items():
            print(key, *wrong[: given.show], sep="\n    ")
        for finding in world.counted.findings[: given.show]:
            print("FOUND", finding)
    print(f"{time.monotonic() - began:.0f} s")
    return bool(world.counted.findings)


if __name__ == "__main__":
    sys.modules["foreign_world"] = sys.modules["__main__"]
    raise SystemExit(main())
