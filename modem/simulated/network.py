"""The simulated network: subscribers, a service centre that keeps what cannot be delivered, and a ledger of what happened.

Time is passed in. Whatever lies in the future waits in one heap until `step(now)`.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random

from modem.pdu import Concat, StoredSubmit, encode_deliver, encode_status_report, join, split
from modem.simulated.menus import Menu
from modem.simulated.odd import as_flash, class_of
from modem.simulated.sim import Sim
from modem.simulated.traffic import (
    NOW,
    Delivery,
    Entry,
    Kind,
    Person,
    Phone,
    Reply,
    Taken,
    Talker,
    Text,
    canonical,
)

WIB = timezone(timedelta(hours=7))  # western Indonesian time, which the centre stamps

DELIVERED = 0x00  # TP-ST, 3GPP TS 23.040 §9.2.3.15
EXPIRED = 0x46
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

Handler = Callable[[str, str, datetime], Sequence[Reply]]
Interference = Callable[[Delivery], Sequence[Delivery]]
Action = Callable[[datetime], None]


@dataclass(slots=True)
class _Waiting:
    """A TPDU that the centre keeps for a SIM."""

    pdu: str
    left: list[int]
    entry: Callable[[datetime], None]
    report: bool = False
    expired: Callable[[datetime], None] | None = None
    expires: datetime | None = None


@dataclass(slots=True)
class _Box:
    sim: Sim
    phone: Phone | None = None
    waiting: deque[_Waiting] = field(default_factory=deque)


@dataclass(slots=True)
class _Submitted:
    submit_id: int
    sim: Sim
    address: str
    text: str
    references: list[int]
    reports: list[int]
    at: datetime
    expires: datetime | None
    flash: bool = False
    done: bool = False


class Network:
    """The network, its subscribers and its ledger; the same for the same seed and the same calls.

    Every public call takes `lock`, so threads may share it. `on_work` is called when something was planned for later.
    `ussd`: what the network says to each code · `price`: rupiah that a part costs a SIM with credit · `operators`: others
    that +COPS=? finds, with their codes.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.lock = threading.RLock()
        self.ledger: list[Entry] = []
        self.transit = NOW
        self.ussd: dict[str, str | Menu] = {}
        self.price = 0
        self.operators: dict[str, str] = {"TELKOMSEL": "51010", "INDOSAT": "51001"}
        self.on_work: Callable[[], None] | None = None
        self.on_entry: Callable[[Entry], None] | None = None
        self._now = BEGINNING
        self._heap: list[tuple[datetime, int, Action]] = []
        self._planned = 0
        self._stepping = False
        self._boxes: dict[str, _Box] = {}
        self._handlers: dict[str, Handler] = {}
        self._persons: dict[str, Person] = {}
        self._held: dict[str, list[_Submitted]] = {}
        self._partial: dict[tuple[str, str, int, int, int], dict[int, tuple[StoredSubmit, int]]] = {}
        self._between_sims: dict[int, _Submitted] = {}
        self._interference: Interference | None = None
        self._submit_id = 0
        self._delivery_id = 0
        self._seen: set[int] = set()
        self._concat = 0
        self._talking: dict[Talker, None] = {}

    # -- building it --------------------------------------------------------------------------------

    def random(self, name: str) -> Random:
        """A generator of its own for each name, so that one stick's dice do not move another's."""
        return Random(f"{self.seed}/{name}")

    def subscriber(self, number: str, handler: Handler) -> None:
        """Let `handler(sender, text, now)` answer what is texted to a number."""
        with self.lock:
            self._handlers[canonical(number)] = handler

    def person(self, number: str) -> Person:
        """The person with this number; made on first use."""
        with self.lock:
            return self._persons.setdefault(canonical(number), Person(number))

    def switch(self, number: str, on: bool, now: datetime) -> None:
        """Switch a person's phone or a service off or on; what waited is delivered, what expired is not."""
        with self.lock:
            self.person(number).on = on
            if on:
                for message in self._held.pop(canonical(number), []):
                    self._arrive(message, now)
            self.step(now)

    def interfere(self, change: Interference | None) -> None:
        """Let `change(delivery)` say what really goes to the SIM in place of each text: none, others, or several.

        A delivery that is kept back may be returned later in place of another one.
        """
        with self.lock:
            self._interference = change

    def plug(self, sim: Sim, phone: Phone | None, now: datetime) -> None:
        """Say which stick the SIM is in, or none."""
        with self.lock:
            box = self._boxes.setdefault(canonical(sim.own_number), _Box(sim))
            box.phone = phone
            self._push(box, now)

    # -- time ---------------------------------------------------------------------------------------

    def plan(self, due: datetime, action: Action) -> None:
        """Call `action(now)` in the first step at or after `due`."""
        self._planned += 1
        heapq.heappush(self._heap, (due, self._planned, action))
        # Also when it is not the first: what is before it may be done by a step that nobody else waits for.
        if due > self._now and self.on_work is not None:
            self.on_work()

    @property
    def now(self) -> datetime:
        """The latest time that anybody told."""
        return self._now

    @property
    def due(self) -> datetime | None:
        """When `step` has something to do next."""
        return self._heap[0][0] if self._heap else None

    def step(self, now: datetime) -> datetime | None:
        """Do what is due, and say when to come again (None: nothing waits)."""
        with self.lock:
            if self._stepping:
                return self.due
            self._now = max(self._now, now)
            self._stepping = True
            try:
                heap = self._heap
                while heap and heap[0][0] <= now:
                    heapq.heappop(heap)[2](now)
            finally:
                self._stepping = False
            self._tell()
            return self.due

    def talking(self, port: Talker) -> None:
        """A port has bytes to say; its `on_output` is called at the end of this step."""
        self._talking[port] = None

    def _tell(self) -> None:
        while self._talking:
            port, _ = self._talking.popitem()
            if port.on_output is not None:
                port.on_output()

    # -- from a SIM ---------------------------------------------------------------------------------

    def dial(self, sim: Sim, code: str, menu: Menu | None, now: datetime) -> Menu | None:
        """What the network says to a USSD code, or to an answer to its menu; None where it knows neither."""
        found: str | Menu | None
        found = menu.choices[code] if menu is not None and code in menu.choices else self.ussd.get(code)
        if isinstance(found, str):
            found = Menu(found)
        if found is not None:
            text = found.text.replace("{credit}", str(sim.credit or 0)).replace("{number}", sim.own_number)
            found = Menu(text, found.choices)
        self._write("ussd", sim.own_number, code, "" if found is None else found.text, now)
        return found

    def submit(self, sim: Sim, part: StoredSubmit, reference: int, now: datetime) -> None:
        """Take one SMS-SUBMIT over the air under its TP-MR; a long text goes on when all its parts are there."""
        concat = part.concat
        if concat is None or concat.total == 1:
            self._accept(sim, [(part, reference)], now)
            return
        self._write(
            "part", sim.own_number, part.address, part.text, now, reference=reference, parts=concat.total
        )
        key = (sim.own_number, canonical(part.address), concat.reference, concat.width, concat.total)
        parts = self._partial.setdefault(key, {})
        parts[concat.part] = (part, reference)
        if len(parts) == concat.total:
            del self._partial[key]
            self._accept(sim, [parts[number] for number in sorted(parts)], now)

    def _accept(self, sim: Sim, parts: list[tuple[StoredSubmit, int]], now: datetime) -> None:
        self._submit_id += 1
        first = parts[0][0]
        message = _Submitted(
            self._submit_id,
            sim,
            first.address,
            first.text if len(parts) == 1 else join([part for part, _ in parts]),
            [reference for _, reference in parts],
            [reference for part, reference in parts if part.report_requested],
            now,
            None if first.validity is None else now + first.validity,
            class_of(first.dcs) == 0,
        )
        self._about("submitted", message, now)
        self.plan(now + self.transit, lambda at: self._arrive(message, at))

    def _arrive(self, message: _Submitted, now: datetime) -> None:
        number = canonical(message.address)
        if message.expires is not None and message.expires <= now:
            self._expire(message, now)
            return
        person = self._persons.get(number)
        if person is not None and not person.on:
            self._held.setdefault(number, []).append(message)
            if message.expires is not None:
                self.plan(message.expires, lambda at: self._give_up(number, message, at))
            return
        message.done = True
        sender = message.sim.own_number
        if number in self._boxes:
            one = Delivery(
                self._next_delivery(),
                number,
                sender,
                message.text,
                message.submit_id,
                expires=message.expires,
                flash=message.flash,
            )
            self._between_sims[one.delivery_id] = message
            self._send(one, now)
            return
        self._about("delivered", message, now)
        self._report(message, DELIVERED, now)
        handler = self._handlers.get(number)
        if handler is None:
            self.person(message.address).inbox.append(Text(now, sender, message.text))
            return
        for reply in handler(sender, message.text, now):
            self._reply(message, reply, now)

    def _give_up(self, number: str, message: _Submitted, now: datetime) -> None:
        if not message.done:
            self._held[number].remove(message)
            self._expire(message, now)

    def _expire(self, message: _Submitted, now: datetime) -> None:
        message.done = True
        self._about("expired", message, now)
        self._report(message, EXPIRED, now)

    def _report(self, message: _Submitted, status: int, now: datetime) -> None:
        box = self._boxes[canonical(message.sim.own_number)]
        wanted = DELIVERED if box.phone is None else box.phone.report_status
        if wanted is None:
            return
        for reference in message.reports:
            pdu = encode_status_report(
                reference,
                message.address,
                message.at.astimezone(WIB),
                now.astimezone(WIB),
                status if status else wanted,
                centre=message.sim.centre,
            )

            def entry(at: datetime, reference: int = reference) -> None:
                self._about("report", message, at, reference)

            box.waiting.append(_Waiting(pdu, [1], entry, report=True))
        if message.reports:
            self.plan(now, lambda at: self._push(box, at))

    # -- towards a SIM ------------------------------------------------------------------------------

    def text(
        self,
        sender: str,
        to: str,
        text: str,
        *,
        now: datetime,
        after: timedelta = NOW,
        copies: int = 1,
        part_order: Sequence[int] | None = None,
        part_gap: timedelta = NOW,
        flash: bool = False,
    ) -> list[int]:
        """Text one of the SIMs, as a person, a service or an advertiser; the delivery ids.

        Raises KeyError where no SIM has the number, PduError for a sender that no TPDU can carry.
        """
        with self.lock:
            number = canonical(to)
            if number not in self._boxes:
                raise KeyError(f"no SIM has the number {to}")
            encode_deliver(sender, "", now)
            ids = []
            for _ in range(copies):
                one = Delivery(
                    self._next_delivery(), number, sender, text, None, part_order, part_gap, flash=flash
                )
                ids.append(one.delivery_id)
                self._later(one, now + after)
            self.step(now)
            return ids

    def _reply(self, message: _Submitted, reply: Reply, now: datetime) -> None:
        number = canonical(message.sim.own_number)
        for _ in range(reply.copies):
            one = Delivery(
                self._next_delivery(),
                number,
                reply.sender or message.address,
                reply.text,
                message.submit_id,
                reply.part_order,
                reply.part_gap,
            )
            self._later(one, now + reply.after)

    def _later(self, one: Delivery, due: datetime) -> None:
        self.plan(due, lambda at: self._send(one, at))

    def _next_delivery(self) -> int:
        self._delivery_id += 1
        return self._delivery_id

    def _send(self, one: Delivery, now: datetime) -> None:
        if self._interference is None:
            self._dispatch(one, now)
            return
        instead = list(self._interference(one))
        if all(other.delivery_id != one.delivery_id for other in instead):
            box = self._boxes[one.sim]
            self._write(
                "dropped",
                box.sim.own_number,
                one.sender,
                one.text,
                now,
                delivery_id=one.delivery_id,
                submit_id=one.submit_id,
            )
        for other in instead:
            if other.delivery_id in self._seen:
                other = replace(other, delivery_id=self._next_delivery())
            self._seen.add(other.delivery_id)
            self._dispatch(other, now)

    def _dispatch(self, one: Delivery, now: datetime) -> None:
        box = self._boxes[canonical(one.sim)]
        texts = split(one.text)
        left = [len(texts)]

        def entry(at: datetime) -> None:
            self._write(
                "received",
                box.sim.own_number,
                one.sender,
                one.text,
                at,
                delivery_id=one.delivery_id,
                submit_id=one.submit_id,
                parts=len(texts),
            )
            message = self._between_sims.pop(one.delivery_id, None)
            if message is not None:
                self._about("delivered", message, at)
                self._report(message, DELIVERED, at)

        def expired(at: datetime) -> None:
            message = self._between_sims.pop(one.delivery_id, None)
            if message is not None:
                self._expire(message, at)

        stamp = now.astimezone(WIB)
        if len(texts) == 1:
            pdus = [encode_deliver(one.sender, one.text, stamp, centre=box.sim.centre)]
        else:
            self._concat = (self._concat + 1) % 256
            pdus = [
                encode_deliver(
                    one.sender,
                    text,
                    stamp,
                    concat=Concat(self._concat, 8, len(texts), number),
                    centre=box.sim.centre,
                )
                for number, text in enumerate(texts, 1)
            ]
        if one.flash:
            pdus = [as_flash(pdu) for pdu in pdus]
        order = one.part_order or range(1, len(pdus) + 1)
        for place, number in enumerate(n for n in order if 1 <= n <= len(pdus)):
            item = _Waiting(pdus[number - 1], left, entry, expired=expired, expires=one.expires)
            if place and one.part_gap:
                self.plan(now + one.part_gap * place, lambda at, item=item: self._queue(box, item, at))  # type: ignore[misc]
            else:
                self._queue(box, item, now)

    def _queue(self, box: _Box, item: _Waiting, now: datetime) -> None:
        box.waiting.append(item)
        self._push(box, now)
        if item.expires is not None and box.waiting:
            self.plan(item.expires, lambda at: self._push(box, at))

    def available(self, sim: Sim, now: datetime) -> None:
        """A slot was freed, or the stick can be reached again: deliver what waits (3GPP TS 23.040 §3.2.7)."""
        box = self._boxes[canonical(sim.own_number)]
        if box.waiting:
            self.plan(now, lambda at: self._push(box, at))

    def acknowledged(self, sim: Sim, good: bool, now: datetime) -> None:
        """The TPDU that was handed over last was acknowledged, or refused and will be offered again."""
        box = self._boxes[canonical(sim.own_number)]
        if good and box.waiting:
            self._done(box.waiting.popleft(), now)
        self.available(sim, now)

    def waiting(self, own_number: str) -> int:
        """How many TPDUs the centre keeps for a SIM."""
        with self.lock:
            return len(self._boxes[canonical(own_number)].waiting)

    def _push(self, box: _Box, now: datetime) -> None:
        kept: deque[_Waiting] = deque()
        queue, box.waiting = box.waiting, deque()
        full = {True: False, False: False}
        while queue:
            item = queue.popleft()
            if item.expires is not None and item.expires <= now:
                if item.expired is not None:
                    item.expired(now)
                continue
            if box.phone is None or not box.phone.reachable or full[item.report]:
                kept.append(item)
                continue
            taken = box.phone.receive(item.pdu, item.report, now)
            if taken is Taken.YES:
                self._done(item, now)
            elif taken is Taken.FULL:
                full[item.report] = True
                kept.append(item)
            else:
                kept.appendleft(item)
        kept.extend(box.waiting)
        box.waiting = kept

    def _done(self, item: _Waiting, now: datetime) -> None:
        item.left[0] -= 1
        if item.left[0] == 0:
            item.entry(now)

    # -- the ledger ---------------------------------------------------------------------------------

    def _about(self, kind: Kind, message: _Submitted, now: datetime, reference: int | None = None) -> None:
        self._write(
            kind,
            message.sim.own_number,
            message.address,
            message.text,
            now,
            reference=message.references[-1] if reference is None else reference,
            submit_id=message.submit_id,
            parts=len(message.references),
        )

    def _write(
        self,
        kind: Kind,
        sim: str,
        address: str,
        text: str,
        now: datetime,
        *,
        reference: int | None = None,
        delivery_id: int | None = None,
        submit_id: int | None = None,
        parts: int = 1,
    ) -> None:
        entry = Entry(
            len(self.ledger) + 1, now, kind, sim, address, text, reference, delivery_id, submit_id, parts
        )
        self.ledger.append(entry)
        if self.on_entry is not None:
            self.on_entry(entry)
