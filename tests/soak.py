"""A day of one lane with every fault at random, judged by the network's ledger: python tests/soak.py --hours 24 --seed 1

The lane, its store and its driver are the real ones, on a simulated stick in this process. A minute of the day is a round: a
question or two, texts from strangers, and one fault, in turns that the seed shuffles. The clock flows as real time does, so that the
driver's deadlines (cut to a fraction of a second) and the stick's delays are the real ones; between two events it jumps.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import structlog
from conftest import START, HandClock
from lanes_playing import BALANCE, SHORT, STATUS, LaneLook, Stage, card, make_sim, staged

from app.domain.states import State
from app.store import tables as t
from app.store.engine import Tx
from app.store.inbox import MessageView, list_messages
from modem import (
    Concat,
    MaybeSubmitted,
    ModemLost,
    NotSubmitted,
    Observer,
    PortSettings,
    SerialModem,
    StoredSubmit,
    Submit,
    decode,
    encode_deliver,
    encode_submit,
    fits_one_part,
)
from modem.simulated import Dongle, Sim, faults
from modem.simulated.personality import personalities

LANE = "xl-1"
NAMES = tuple(personalities())
PATIENCE = timedelta(
    milliseconds=500
)  # of the driver, for +CMGS; the machine may be busy with other things too
HEARD = timedelta(milliseconds=30)  # until the reader has seen a hint, if one comes at all
TOO_LATE, IN_TIME = 0.65, 0.03  # seconds that +CMGS is late
ADVERT = "Paket data murah, hubungi *123#"  # what a full storage is full of
REST = 20  # minutes without faults, at the end


class FlowingClock(HandClock):
    """Real time, and jumps forward."""

    def __init__(self) -> None:
        self._began, self._ahead = time.monotonic(), timedelta(0)
        super().__init__(START)

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=time.monotonic() - self._began) + self._ahead

    @now.setter
    def now(self, then: datetime) -> None:
        self._ahead += max(timedelta(0), then - self.now)


@dataclass(slots=True)
class Result:
    """What the driver said of one attempt, and how often its text had gone on the air before."""

    text: str
    said: str
    code: str = ""


class WatchedModem(SerialModem):
    """The driver, with its deadlines cut and its word of each submit kept."""

    results: list[Result]

    def __init__(self, settings: PortSettings, observer: Observer, results: list[Result]) -> None:
        quick = dict.fromkeys(
            ("cmgs_timeout", "prompt_timeout", "answer_timeout", "drain_timeout", "boot_timeout"), PATIENCE
        )
        super().__init__(replace(settings, **quick), observer)  # type: ignore[arg-type]
        self.results = results

    def submit(self, parts: Sequence[Submit], go: Callable[[], bool]) -> list[int]:
        first = decode(parts[0].pdu, outgoing=True)
        assert isinstance(first, StoredSubmit)
        result = Result(first.text, "submitted")
        self.results.append(result)
        try:
            return super().submit(parts, go)
        except NotSubmitted as refusal:
            result.said, result.code = "not submitted", refusal.code
            raise
        except MaybeSubmitted as doubt:
            result.said, result.code = "maybe", doubt.code
            raise


class SoakedStage(Stage):
    """The stage, where an indication may be lost: nobody waits long for one."""

    def listen(self, name: str) -> bool:
        modem, before = self.modems.get(name), len(self.network.ledger)
        seen, self._seen = getattr(self, "_seen", 0), before
        if modem is None or seen == before:
            return False
        with suppress(ModemLost):
            return modem.wait(HEARD)
        return False


Fault = Generator[None, None, int]


@dataclass(slots=True)
class Soak:
    """One day: the stage, what was put into it, and what the driver said."""

    stage: Stage
    dice: Random
    results: list[Result]
    own: Counter[str] = field(default_factory=Counter)
    placed: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    traps: dict[str, Callable[[], None]] = field(default_factory=dict)
    asked: int = 0
    strangers: int = 0
    unheard: int = 0
    other_sim: Sim = field(default_factory=lambda: make_sim(2))

    @property
    def dongle(self) -> Dongle:
        return self.stage.dongles[LANE]

    @property
    def now(self) -> datetime:
        return self.stage.clock.now

    def told(self, step: str) -> None:
        """Each durable step of driver and store; a trap waits for one."""
        self.steps[step] += 1
        trap = self.traps.pop(step, None)
        if trap is not None:
            trap()
        if step == "ctrl-z":
            with self.stage.network.lock:
                self.unheard += self.dongle.deaf or not self.dongle.control.entering

    def turn(self, **knobs: object) -> None:
        self.dongle.turn(self.now, **knobs)

    def pull(self) -> None:
        self.dongle.unplug(self.now, timedelta(seconds=self.dice.choice((1, 5, 20))))

    def restart(self) -> None:
        """The stick starts anew by itself; its port stays."""
        self.dongle.start_anew(self.now)

    def soon(self, act: Callable[[], None], seconds: float = 0.03) -> None:
        """Do it while the driver waits."""
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        timer.start()

    def put(self, storage: str, pdu: str, stat: int = 1) -> bool:
        """Lay a PDU straight into a storage; False if there is no room."""
        with self.stage.network.lock:
            return self.dongle.storage(storage).put(pdu, stat) is not None

    # -- one round ----------------------------------------------------------------------------------

    def minute(self, name: str | None) -> None:
        """A minute with one fault, or none."""
        fault = FAULTS[name](self) if name else None
        if fault is not None:
            next(fault)
        for _ in range(self.dice.choice((1, 1, 2))):
            self.asked += 1
            ending = self.dice.choice((0, 0, 0, 0, 90, 91, 94, 95, 97))
            if self.dice.random() < 0.5:
                self.stage.ask(card(self.asked, ending))
            else:
                self.stage.ask(f"00099{self.asked:06d}{ending:02d}", STATUS)
        for _ in range(self.dice.randrange(3)):
            self.stranger()
        self.stage.run(seconds=60)
        if fault is not None and name is not None:
            self.own[name] += _end(fault)
            self.traps.clear()

    @property
    def fired(self) -> Counter[str]:
        """How often each fault struck: those of the stick by its own count."""
        return self.own + self.dongle.fired

    @property
    def hidden(self) -> int:
        """How many submits had their result hidden: by the stick's count, by an error without a meaning, or as nobody heard Ctrl-Z."""
        return self.dongle.hidden + self.unheard + sum(self.fired[name] for name in MEANINGLESS)

    def stranger(self, parts: int = 1, **more: Any) -> None:
        self.strangers += 1
        text = f"Pesan {self.strangers} " + "promo murah " * (16 * (parts - 1))
        sender = self.dice.choice(("PROMO", "+6281700009999", "8999", "TELKOM-INFO"))
        self.stage.text(text.strip(), sender, LANE, after=timedelta(seconds=self.dice.randrange(40)), **more)


def _end(fault: Fault) -> int:
    try:
        next(fault)
    except StopIteration as end:
        return int(end.value)
    raise AssertionError("a fault yields once")


# -- the faults: armed before the minute, disarmed after it; each says how often it struck, if the stick does not count it ------


def of_the_stick(name: str) -> Callable[[Soak], Fault]:
    """One that the stick plays and counts, at its next occasion after a while."""

    def fault(soak: Soak) -> Fault:
        away = soak.dice.choice((0.3, 2, 30))
        begin = timedelta(seconds=soak.dice.randrange(20) if name in faults.COMMAND else 0)
        soak.dongle.schedule(
            soak.now,
            [(begin, {"next": {name: soak.dice.choice((1, 1, 2))}, "late_by": TOO_LATE, "back_after": away})],
        )
        yield
        soak.turn(next={})
        return 0

    return fault


def for_a_minute(step: str | None = None, **knobs: object) -> Callable[[Soak], Fault]:
    """Knobs that strike at every such step, or once."""

    def fault(soak: Soak) -> Fault:
        before = {name: getattr(soak.dongle.knobs, name) for name in knobs}
        count = soak.steps[step] if step else 0
        soak.turn(**knobs)
        yield
        soak.turn(**before)
        return soak.steps[step] - count if step else 1

    return fault


def trapped(step: str, act: Callable[[Soak], None], **knobs: object) -> Callable[[Soak], Fault]:
    """Strikes when the driver comes to this step."""

    def fault(soak: Soak) -> Fault:
        before = {name: getattr(soak.dongle.knobs, name) for name in knobs}
        struck: list[int] = []

        def strike() -> None:
            struck.append(1)
            act(soak)

        soak.turn(**knobs)
        soak.traps[step] = strike
        yield
        soak.turn(**before)
        return len(struck)

    return fault


def store_full(soak: Soak) -> Fault:
    with soak.stage.network.lock:
        filled = soak.dongle.fill(soak.now)
    soak.placed[ADVERT] += filled
    for _ in range(5):
        soak.stranger()
    yield
    return int(filled > 0)


def burst(soak: Soak) -> Fault:
    soak.strangers += 1
    for number in range(12):
        soak.stage.text(f"serentak {soak.strangers}-{number}", "PROMO", LANE)
    yield
    return 1


def parts_out_of_order(soak: Soak) -> Fault:
    soak.stranger(3, part_order=[3, 1, 2], part_gap=timedelta(seconds=soak.dice.choice((0, 2))))
    yield
    return 1


def the_same_twice(soak: Soak) -> Fault:
    soak.stranger(copies=2)
    yield
    return 1


def outgoing_left_by_others(soak: Soak) -> Fault:
    (part,) = encode_submit("2757", "konsep lama", validity=None, report=False, concat_reference=0)
    there = soak.put("SM", part.pdu, soak.dice.choice((2, 3)))
    yield
    return int(there)


def in_another_storage(soak: Soak) -> Fault:
    soak.strangers += 1
    text = f"di memori stik {soak.strangers}"
    there = soak.put("ME", encode_deliver("PROMO", text, soak.now))
    soak.placed[text] += there
    yield
    return int(there)


def half_of_a_text(soak: Soak) -> Fault:
    """A part whose other part never comes."""
    concat = Concat(soak.dice.randrange(256), 8, 2, 1)
    there = soak.put("SM", encode_deliver("PROMO", "setengah", soak.now, concat=concat), 0)
    yield
    return int(there)


def slot_moved(soak: Soak) -> Fault:
    """An unread message is found in another slot than it came into. One that was read is never moved: AT cannot compare and remove."""
    soak.strangers += 2
    names = [f"berpindah {soak.strangers - n}" for n in range(2)]
    with soak.stage.network.lock:
        before = set(soak.dongle.sim.storage.slots)
        there = [soak.put("SM", encode_deliver("PROMO", name, soak.now), 0) for name in names]
        slots = soak.dongle.sim.storage.slots
        if all(there):
            first, second = sorted(set(slots) - before)
            slots[first], slots[second] = slots[second], slots[first]
    soak.placed += Counter(name for name, put in zip(names, there, strict=True) if put)
    yield
    return int(all(there))


def started_anew(soak: Soak) -> Fault:
    """At some moment, but not within a command: no stick answers, after it started, what it was asked before."""
    restarts = soak.steps["restart"]

    def restart(at: datetime) -> None:
        soak.steps["restart"] += 1
        soak.dongle.start_anew(at)

    soak.stage.network.plan(soak.now + timedelta(seconds=soak.dice.randrange(50)), restart)
    yield
    return soak.steps["restart"] - restarts


def unreadable(soak: Soak) -> Fault:
    there = soak.put("SM", f"0003{soak.dice.getrandbits(96):024X}", 0)  # TP-MTI 3 is reserved
    yield
    return int(there)


def another_sim(soak: Soak) -> Fault:
    """Swapped under power, and back a minute later."""
    own = soak.dongle.sim
    soak.dongle.insert(soak.other_sim, soak.now)
    yield
    soak.dongle.insert(own, soak.now)
    return 1


AT_CTRL_Z: dict[str, Callable[[Soak], Fault]] = {
    "pulled out at Ctrl-Z": trapped("ctrl-z", Soak.pull),
    "started anew at Ctrl-Z": trapped("ctrl-z", Soak.restart),
}
"""The driver says Ctrl-Z, and no stick is there that hears it: the driver cannot know."""

MEANINGLESS = ("submit_error_bare", "submit_error_cme")
"""ERROR, and +CME ERROR: 100 (unknown), after Ctrl-Z: an answer that does not say whether it went out."""

NOT_BY_CHANCE = {"slot_moved": 0, "storage_filled": 0, "junk_stored": 0, "reset_idle": 0}
"""Played by the soak itself: it must know what was laid where, and when."""

OTHERS: dict[str, Callable[[Soak], Fault]] = {
    "pulled out after it went": trapped("ctrl-z", lambda soak: soak.soon(soak.pull), late_cmgs=0.2),
    "pulled out on the air": trapped("ctrl-z", lambda soak: soak.soon(soak.pull), radio=0.2),
    "started anew after it went": trapped("ctrl-z", lambda soak: soak.soon(soak.restart), late_cmgs=0.2),
    "pulled out at AT+CMGS": trapped("cmgs", Soak.pull),
    "pulled out at the PDU": trapped("pdu", Soak.pull),
    "pulled out before a removal": trapped("cmgd", Soak.pull),
    "started anew at AT+CMGS": trapped("cmgs", Soak.restart),
    "started anew before a removal": trapped("cmgd", Soak.restart),
    "+CMGS late, in time": for_a_minute("ctrl-z", late_cmgs=IN_TIME),
    "time on the air": for_a_minute("ctrl-z", radio=0.05),
    "slow answers": for_a_minute(latency=0.01),
    "every hint lost": for_a_minute(lose_cmti=1.0),
    "every answer in pieces": for_a_minute(split=1.0),
    "noise before every answer": for_a_minute(noise=1.0),
    "chatter in every answer": for_a_minute(storm=1.0),
    "slow to start": for_a_minute("cmgs", boot=0.2, sim_after=0.2, next={"unplug_idle": 1}),
    "network searched": for_a_minute(registration=2),
    "network denied": for_a_minute(registration=3),
    "roaming, weak": for_a_minute(registration=5, signal=2),
    "reports of failure": for_a_minute("ctrl-z", report_status=0x46),
    "reports of trying": for_a_minute("ctrl-z", report_status=0x20),
    "no reports": for_a_minute("ctrl-z", report_status=None),
    "a bit of everything": for_a_minute(chaos=0.01, chances=NOT_BY_CHANCE, late_by=TOO_LATE, back_after=1.0),
    "storage_filled": store_full,
    "sim_changed": another_sim,
    "slot_moved": slot_moved,
    "junk_stored": unreadable,
    "reset_idle": started_anew,
    "a burst": burst,
    "parts out of order": parts_out_of_order,
    "the same twice": the_same_twice,
    "outgoing texts of others": outgoing_left_by_others,
    "a text in the stick": in_another_storage,
    "half of a text": half_of_a_text,
}

HIDE = faults.HIDING | {*AT_CTRL_Z, *MEANINGLESS, "reset_prompt"}
FAULTS: dict[str, Callable[[Soak], Fault]] = (
    {name: of_the_stick(name) for name in faults.FAULTS} | AT_CTRL_Z | OTHERS
)


# -- the whole --------------------------------------------------------------------------------------------------


@contextmanager
def soaking(folder: Path, seed: int) -> Iterator[Soak]:
    """A lane on a stick whose kind goes by the seed too."""
    results: list[Result] = []
    with staged(
        folder,
        looks={LANE: LaneLook()},
        services={BALANCE: SHORT, STATUS: SHORT},
        boot=False,
        kind=SoakedStage,
        clock=FlowingClock(),
        personality=NAMES[seed % len(NAMES)],
    ) as stage:
        soak = Soak(stage, Random(seed), results)
        stage.make_modem = lambda settings, observer: WatchedModem(settings, observer, results)
        stage.told = soak.told
        stage.boot()
        with ticking(stage):
            yield soak


@contextmanager
def ticking(stage: Stage) -> Iterator[None]:
    """Let the stick do what is due while the driver waits for it."""
    wake, stop = threading.Event(), threading.Event()

    def run() -> None:
        while not stop.is_set():
            wake.clear()
            due = stage.network.step(stage.clock.now)
            wait = 0.2 if due is None else (due - stage.clock.now).total_seconds()
            wake.wait(min(max(wait, 0.0005), 0.2))

    stage.network.on_work = wake.set
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stage.network.on_work = None
        stop.set()
        wake.set()
        thread.join()


def play(
    soak: Soak,
    minutes: int,
    names: Sequence[str] = (),
    *,
    rest: int = REST,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """So many minutes with these faults, or all, in turns that are shuffled anew each time; then a rest, in which all comes to its end."""
    turns: list[str] = []
    soak.stage.run(seconds=10)
    for minute in range(minutes):
        if not turns:
            turns = list(names or FAULTS)
            soak.dice.shuffle(turns)
        soak.minute(turns.pop())
        if (minute + 1) % 60 == 0:
            say(f"{(minute + 1) // 60} h: {len(soak.results)} submits, {soak.fired.total()} faults")
    soak.stage.run(minutes=rest)


def violations(soak: Soak) -> list[str]:
    """What the driver or the lane said or did that the ledger does not bear out."""
    found = []
    on_air = Counter(entry.text for entry in soak.stage.ledger("submitted"))
    said = {text: Counter[str]() for text in [*on_air, *(result.text for result in soak.results)]}
    for result in soak.results:
        said[result.text][result.said] += 1
    for text, counts in said.items():
        sure, unsure = counts["submitted"], counts["maybe"]
        if not sure <= on_air[text] <= sure + unsure:
            found.append(f"{text!r}: the driver said {dict(counts)}, on the air {on_air[text]} times")
        if on_air[text] > 1:
            found.append(f"{text!r}: sent {on_air[text]} times")
    doubts = sum(result.said == "maybe" for result in soak.results)
    if doubts > soak.hidden:
        found.append(f"{doubts} times maybe, but only {soak.hidden} faults hid a result: {codes(soak)}")
    received = Counter(entry.text for entry in soak.stage.ledger("received")) + soak.placed
    inbox = soak.stage.store.read(every_message)
    kept = Counter(m.text for m in inbox if m.state != "undecodable" and m.parts == m.parts_total and m.text)
    missing = received - kept
    # Parts are joined by sender and time: where a fault destroyed those of one, its text stays in parts.
    spoilt = sum(soak.fired[name] for name in ("sender_empty", "stamp_zero", "stamp_bad"))
    in_parts = [text for text in missing if not fits_one_part(text)][:spoilt]
    loose = Counter(m.parts_total - m.parts for m in inbox if m.parts < m.parts_total).total()
    for text in in_parts if loose else ():
        del missing[text]
    found += [f"received {n} times more than stored: {what!r}" for what, n in missing.items()]
    found += [f"stored {n} times more than received: {what!r}" for what, n in (kept - received).items()]
    junk, junk_kept = soak.fired["junk_stored"], sum(m.state == "undecodable" for m in inbox)
    if junk_kept != junk:
        found.append(f"{junk} PDUs that nobody can read came, {junk_kept} were kept")
    found += [
        f"{row.id} is still {row.state}"
        for row in soak.stage.rows(t.questions)
        if row.state in (State.QUEUED, State.SUBMITTING, State.UNCERTAIN, State.AWAITING_REPLY)
    ]
    return found


def every_message(tx: Tx) -> list[MessageView]:
    return list_messages(tx, limit=10**6)


def codes(soak: Soak) -> dict[str, int]:
    return dict(Counter(f"{result.said}: {result.code}" for result in soak.results))


def report(soak: Soak) -> dict[str, Any]:
    kinds = Counter(entry.kind for entry in soak.stage.network.ledger)
    return {
        "submits": dict(Counter(result.said for result in soak.results)),
        "codes": codes(soak),
        "hidden": soak.hidden,
        "fired": {name: soak.fired[name] for name in FAULTS},
        "ledger": dict(kinds),
        "questions": dict(Counter(str(row.state) for row in soak.stage.rows(t.questions))),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, soaking(Path(name), options.seed) as soak:
        play(soak, round(options.hours * 60), say=lambda line: print(line, file=sys.stderr))
        found, told = violations(soak), report(soak)
    for fault, count in told["fired"].items():
        print(f"{fault:<36}{count:>6}  {'hides the result' if fault in HIDE else ''}".rstrip())
    rare = [fault for fault, count in told["fired"].items() if count < 5]
    print(
        f"{options.hours:g} h of seed {options.seed} in {time.monotonic() - began:.0f} s: {told['submits']}, ledger {told['ledger']}"
    )
    print(json.dumps(told | {"violations": found}))
    for line in [*found, *(f"struck less than five times: {fault}" for fault in rare)]:
        print(line, file=sys.stderr)
    return 1 if found or rare else 0


if __name__ == "__main__":
    sys.exit(main())
