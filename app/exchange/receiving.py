"""The receiving side of one open session: read what hints and counts say, keep it, decide it, and only then remove it from the SIM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from app.exchange.reception import Place, Reception
from app.store import inbox, lanes, replies
from app.store.engine import Store, Tx
from modem import Modem, ModemError, ModemLost, Stored, Usage

COUNTS_EVERY = timedelta(seconds=5)  # a lost +CMTI costs so long (design, section 4)
WHOLE_EVERY = timedelta(minutes=5)  # a listing of everything: more often hangs weak firmware
DIRECT = "+"  # a storage name that begins so was delivered directly and lies in no slot

log = structlog.get_logger()


class Receiver:
    """Reads one lane's inbox while its session lasts. `deadline` is when the next question of this SIM may end."""

    def __init__(
        self, place: Place, modem: Modem, *, store: Store, reception: Reception, foreign: bool
    ) -> None:
        self._place = place
        self._modem = modem
        self._store = store
        self._reception = reception
        self._foreign = foreign
        self._counts_at: datetime | None = None
        self._whole_at: datetime | None = None
        self._removed: list[str] = []
        self._left: dict[str, int] = {}  # kept, and could not be removed, by storage
        self._again: set[str] = set()  # of these, which were looked for once more
        self._storages: dict[str, list[int]] = {}
        self._empty: set[str] = set()  # storages that a count of this step found empty
        self._noted = True
        self._calls = 0
        self.deadline: datetime | None = None
        self.full: frozenset[str] = frozenset()
        """Storages that hold nothing but what could not be removed: no SMS comes in any more."""

    def look_again(self) -> None:
        """What was hinted or delivered may not have been kept: everything is read at the next step."""
        self._whole_at = None

    def expect(self, deadline: datetime) -> None:
        """A question was asked whose time ends then."""
        self.deadline = min(self.deadline or deadline, deadline)

    def due(self, now: datetime) -> datetime:
        """When the storages are to be counted again."""
        return (self._counts_at or now) + COUNTS_EVERY

    def step(self, now: datetime) -> bool:
        """Take in what came; True if anything did."""
        found = list[Stored]()
        try:
            whole, counted = self._read(found, now)
        except ModemError:
            if found:  # what a hint led to is kept, for some remove what they give out
                with suppress(ModemError):
                    self._take_in(found, False, False, now)
            raise
        if not whole and not counted and not found:
            return False
        self._take_in(found, whole, whole or counted, now)
        return bool(found)

    def _read(self, found: list[Stored], now: datetime) -> tuple[bool, bool]:
        """Add to `found` what came; whether that is all there is, and whether it was counted."""
        hints = self._modem.hinted()
        whole = self._whole_at is None or not timedelta(0) <= now - self._whole_at < WHOLE_EVERY
        whole = whole or ("", 0) in hints
        counted = False
        self._empty = set()
        if not whole:
            for storage, index in sorted(hints):
                stored = self._modem.read(storage, index)
                if stored is not None:
                    found.append(stored)
            if self._counts_due(now):
                counted = True
                for usage in self._count():
                    here = sum(s.storage == usage.storage for s in found)
                    whole = whole or usage.used != self._left.get(usage.storage, 0) + here
        if whole:
            # What a hint led to stays, though it be gone: some remove what they give out.
            listing = self._modem.inbox()
            listed = {stored.pdu for stored in listing}
            found[:] = [stored for stored in found if stored.pdu not in listed] + listing
        return whole, counted

    def deadlines(self, now: datetime) -> None:
        """End what was waited for until the inbox was last read."""
        if self.deadline is None or self._whole_at is None:
            return
        read_at = max(self._whole_at, self._counts_at or self._whole_at)
        if self.deadline <= read_at:
            self._reception.deadlines(self._place, read_at, now)
            self.deadline = self._next_deadline()

    def _next_deadline(self) -> datetime | None:
        return self._store.read(lambda tx: replies.next_deadline(tx, self._place.sim_id))

    def _count(self) -> list[Usage]:
        """How full each storage is, and calls that came meanwhile: written down with what is kept."""
        counts = self._modem.usage()
        self._empty = {usage.storage for usage in counts if usage.used == 0}
        shown = {usage.storage: [usage.used, usage.total] for usage in counts}
        calls = self._modem.calls()
        if calls or shown != self._storages:
            self._calls, self._storages, self._noted = self._calls + calls, shown, False
        self.full = frozenset(
            u.storage for u in counts if 0 < u.total <= u.used == self._left.get(u.storage, 0)
        )
        return counts

    def _counts_due(self, now: datetime) -> bool:
        """Every few seconds, and at a deadline, which ends nothing before the inbox was read after it."""
        at = self._counts_at
        if at is None or not timedelta(0) <= now - at < COUNTS_EVERY:
            return True
        return self.deadline is not None and at < self.deadline <= now

    def _take_in(self, found: Sequence[Stored], whole: bool, counted: bool, now: datetime) -> None:
        kept = self._reception.take_in(self._place, self._keeping(found, whole, counted, now), now)
        self._removed.clear()
        self._noted, self._calls = True, 0
        if whole:
            self._whole_at, self._foreign = now, False  # from here on, what comes into the stick is its own
            self._left.clear()
            self._again &= {row.id for row in kept}
        if counted:
            self._counts_at = now
            self.deadline = self._next_deadline()
        if whole:
            self._reception.decide_left(self._place, now)
        for row, stored in zip(kept, found, strict=True):
            self._remove(row, stored)

    def _keeping(
        self, found: Sequence[Stored], whole: bool, counted: bool, now: datetime
    ) -> Callable[[Tx], list[inbox.Kept]]:
        place, removed, foreign = self._place, list(self._removed), self._foreign
        pairs = [(None if s.storage.startswith(DIRECT) else f"{s.storage}:{s.index}", s.pdu) for s in found]
        counts = None if self._noted else (self._storages, self._calls)
        # A storage where nothing was found was read if its count says so; else it may have been passed over.
        read = {s.storage for s in found if not s.storage.startswith(DIRECT)} | self._empty

        def keep(tx: Tx) -> list[inbox.Kept]:
            lanes.lock(tx, place.lane, place.fence)
            kept = inbox.keep(tx, sim_id=place.sim_id, lane=place.lane, found=pairs, removed=removed, now=now)
            if whole:
                inbox.only_in(tx, place.sim_id, read, [slot for slot, _ in pairs if slot])
            if counted:
                lanes.inbox_read(tx, place.sim_id, now)
            if counts is not None:
                lanes.note_counts(tx, place.lane, *counts)
            if foreign:
                for n, (row, stored) in enumerate(zip(kept, found, strict=True)):
                    if stored.storage == "ME" and inbox.is_undecided(tx, row.id):
                        inbox.add_foreign(tx, row.id, sim_id=place.sim_id, lane=place.lane, now=now)
                        kept[n] = replace(row, new=False)  # it is decided with this
            return kept

        return keep

    def _remove(self, row: inbox.Kept, stored: Stored) -> None:
        """What is stored already may stay: it must not keep the lane from working. It is looked for once more at once, then with every whole reading."""
        try:
            if self._modem.forget(stored):
                self._removed.append(row.id)
                return
            if row.slot is None:
                return
            if row.id not in self._again:  # the slot may hold something else by now
                self._again.add(row.id)
                self._whole_at = None
                return
        except ModemLost:
            raise
        except ModemError as error:
            if row.id not in self._again:
                self._again.add(row.id)
                log.warning("a stored message cannot be removed", lane=self._place.lane, reason=error.detail)
        self._left[stored.storage] = self._left.get(stored.storage, 0) + 1
