"""One lane: opens its modem, reads before it sends, sends at most one message a step, and never lies about it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from app.domain.errors import GatewayError, Unavailable
from app.domain.services import Catalogue
from app.domain.states import LaneState
from app.exchange.reception import Desk, Place, Reception
from app.exchange.sending import IDLE, Sender, lies_ahead
from app.store import inbox, lanes, replies, requests
from app.store.engine import Store, Tx
from modem import (
    Identity,
    Modem,
    ModemError,
    ModemLost,
    PortSettings,
    SimLocked,
    Stored,
)

COUNTS_EVERY = timedelta(seconds=5)  # a lost +CMTI costs so long (design, section 4)
WHOLE_EVERY = timedelta(minutes=5)  # a listing of everything: more often hangs weak firmware
STATUS_EVERY = timedelta(seconds=30)  # signal and registration, while registered
SEARCH_EVERY = timedelta(seconds=2)  # the same, while the network is searched
FIRST_RETRY = timedelta(seconds=1)  # back to work within 2 s after the stick returns (design, section 8)
LONGEST_RETRY = timedelta(seconds=30)  # for a port where something answers wrongly
DIRECT = "+"  # a storage name that begins so was delivered directly and lies in no slot

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LaneSetup:
    """What a lane is made of: its row's values, its port, and whether status reports are asked for."""

    spec: lanes.LaneSpec
    port: PortSettings
    status_reports: bool


@dataclass(slots=True)
class _Session:
    """An open modem and what this lane knows of its inbox."""

    modem: Modem
    place: Place
    sender: Sender
    foreign: bool
    state: LaneState = LaneState.INITIALIZING
    counts_at: datetime | None = None
    whole_at: datetime | None = None
    status_at: datetime | None = None
    deadline: datetime | None = None
    left: dict[str, int] = field(default_factory=dict)


class LaneWorker:
    """Everything of one lane; `step` is called by one thread, `nudge` by any."""

    def __init__(
        self,
        setup: LaneSetup,
        *,
        store: Store,
        catalogue: Catalogue,
        process_id: str,
        open_modem: Callable[[PortSettings], Modem],
        may_send: Callable[[], bool],
        clock: Callable[[], datetime],
        desk: Desk | None = None,
    ) -> None:
        self.name = setup.spec.name
        self._setup = setup
        self._store = store
        self._catalogue = catalogue
        self._process_id = process_id
        self._open_modem = open_modem
        self._may_send = may_send
        self._clock = clock
        self._desk = desk
        self._reception = Reception(store, catalogue, desk)
        self._session: _Session | None = None
        self._retry_at: datetime | None = None
        self._retry = FIRST_RETRY
        self._reason: str | None = None
        self._removed: list[str] = []
        self._try_at: datetime | None = None
        self._hungry = threading.Event()
        self._bell = threading.Event()
        self._woken = threading.Event()

    # -- life -----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Step and wait until `stop`; then give the modem back."""
        while not stop.is_set():
            now = self._clock()
            try:
                due = self.step(now)
            except Exception:
                log.exception("a lane's step failed", lane=self.name)
                due = now + FIRST_RETRY
                self._drop()
            self._wait(due - self._clock(), stop)
        self._drop()

    def _wait(self, span: timedelta, stop: threading.Event) -> None:
        if span <= timedelta(0) or stop.is_set():
            return
        session = self._session
        if session is None:
            self._bell.wait(span.total_seconds())
            self._bell.clear()
            return
        try:
            session.modem.wait(span)
        except ModemLost:
            return  # the next step says so

    def nudge(self) -> None:
        """Something may be there to send: end the wait of a lane that has nothing to do."""
        if self._hungry.is_set():
            self.wake()

    def wake(self) -> None:
        """End the wait now."""
        self._woken.set()
        session = self._session
        self._bell.set()
        if session is not None:
            session.modem.interrupt()

    @property
    def ready(self) -> tuple[bool, str]:
        """Can it send, and a sentence why not."""
        session = self._session
        if session is None:
            return False, self._reason or "not opened yet"
        return session.state is LaneState.REGISTERED, session.state.value

    def _drop(self) -> None:
        session, self._session = self._session, None
        self._hungry.clear()
        if session is not None:
            session.modem.close()

    # -- one round ------------------------------------------------------------------------------------------------

    def step(self, now: datetime) -> datetime:
        """One round: requests, what came in, deadlines, then at most one submission. When to be called next."""
        try:
            if self._session is None:
                if self._retry_at is not None and lies_ahead(self._retry_at, now, LONGEST_RETRY):
                    return self._retry_at
                if not self._open(now):
                    return self._retry_at or now
            assert self._session is not None
            return self._round(self._session, now)
        except lanes.LaneLost:
            self._closed(now, "another process took this lane", show=False)
        except ModemError as error:
            self._closed(now, error.detail)
        except Unavailable as error:
            log.error("the database cannot be written", lane=self.name, detail=error.detail)
            if self._session is not None:
                self._session.whole_at = (
                    None  # what was hinted or delivered and could not be kept is read again
                )
            return now + FIRST_RETRY
        return self._retry_at or now

    def _closed(
        self, now: datetime, reason: str, *, show: bool = True, state: LaneState = LaneState.OFFLINE
    ) -> None:
        session = self._session
        self._drop()
        self._retry_at = self._clock() + self._retry
        self._retry = min(self._retry * 2, LONGEST_RETRY)
        if reason != self._reason:
            log.warning("lane is down", lane=self.name, reason=reason)
        self._reason = reason
        if session is not None:
            # The port may be back within the second that a stick needs to start again.
            self._retry_at, self._retry = self._clock() + FIRST_RETRY, FIRST_RETRY
        if show and session is not None:
            try:
                self._show(session.place, now, state=state.value, reason=reason)
            except (lanes.LaneLost, GatewayError):
                return

    def _open(self, now: datetime) -> bool:
        """Open the port, then take the lane: who has the port owns the row. False: `_retry_at` says when again."""
        settings = self._setup.port
        pin = settings.pin
        marked = pin is not None and self._store.write(lambda tx: lanes.offered_pin(tx, self.name, pin))
        settings.may_offer_pin = marked
        modem = self._open_modem(settings)
        try:
            identity = modem.open()
            if pin is not None:
                self._store.write(lambda tx: lanes.pin_was_right(tx, self.name))
            status = modem.status()
            now = self._clock()
            fence = self._store.write(lambda tx: lanes.take(tx, self.name, self._process_id, now))
            if fence is None:
                modem.close()
                self._unopened(now, "another process of this gateway holds this lane", grow=False)
                return False
            sim_id, changed = self._store.write(
                lambda tx: self._connect(tx, fence, identity, status.operator, now)
            )
        except SimLocked as error:
            modem.close()
            if marked and not error.pin_was_offered:
                self._store.write(lambda tx: lanes.pin_was_right(tx, self.name))
            self._unopened(now, error.detail, state=LaneState.LOCKED)
            return False
        except ModemError as error:
            modem.close()
            if marked:  # it was not offered, or it was taken and something else failed
                self._store.write(lambda tx: lanes.pin_was_right(tx, self.name))
            self._unopened(now, error.detail, grow=error.code not in ("port_missing", "port_busy"))
            return False
        except BaseException:
            modem.close()
            raise
        place = Place(self.name, fence, sim_id)
        sender = Sender(
            place,
            modem,
            store=self._store,
            catalogue=self._catalogue,
            may_send=self._may_send,
            clock=self._clock,
            status_reports=self._setup.status_reports,
            desk=self._desk,
        )
        self._session = _Session(modem, place, sender, changed)
        self._retry_at, self._retry, self._reason = None, FIRST_RETRY, None
        self._removed.clear()
        self._unsure = self._try_at = None
        log.info("lane is open", lane=self.name, model=identity.model)
        return True

    def _unopened(
        self, now: datetime, reason: str, *, grow: bool = True, state: LaneState = LaneState.OFFLINE
    ) -> None:
        self._retry_at = self._clock() + self._retry
        if grow:
            self._retry = min(self._retry * 2, LONGEST_RETRY)
        if reason == self._reason:
            return
        self._reason = reason
        log.warning("lane cannot be opened", lane=self.name, reason=reason)

        def show(tx: Tx) -> None:
            fence = lanes.take(tx, self.name, self._process_id, now)
            if fence is not None:
                lanes.show(tx, self.name, fence, now, state=state.value, reason=reason)

        self._store.write(show)

    def _connect(
        self, tx: Tx, fence: int, identity: Identity, operator: str | None, now: datetime
    ) -> tuple[str, bool]:
        # A stick that tells no ICCID is known by its IMSI, else by its port: worse, but never mixed with another.
        iccid = identity.iccid or (
            f"imsi {identity.imsi}" if identity.imsi else f"port {self._setup.port.url}"
        )
        return lanes.connect(
            tx,
            self.name,
            fence,
            now,
            iccid=iccid,
            imsi=identity.imsi,
            own_number=identity.own_number,
            operator=operator,
            imei=identity.imei,
            maker=identity.maker,
            model=identity.model,
            firmware=identity.firmware,
        )

    def _round(self, session: _Session, now: datetime) -> datetime:
        self._requests(session, now)
        self._status(session, now)
        self._receive(session, now)
        session.sender.settle_orphans(now)
        if session.deadline is not None and session.whole_at is not None:
            read_at = max(session.whole_at, session.counts_at or session.whole_at)
            if session.deadline <= read_at:
                self._reception.deadlines(session.place, read_at, now)
                session.deadline = self._store.read(
                    lambda tx: replies.next_deadline(tx, session.place.sim_id)
                )
        if self._try_at is not None and self._try_at - now > IDLE:
            self._try_at = None  # the clock was set back
        if self._woken.is_set():
            # Cleared before the claim looks: a wake during it leads to another look.
            self._woken.clear()
            self._try_at = None
        if session.state is LaneState.REGISTERED and (self._try_at is None or self._try_at <= now):
            self._hungry.clear()
            if self._submit(session):
                return self._clock()
        due = [(session.counts_at or now) + COUNTS_EVERY, session.deadline, self._try_at]
        if session.state is not LaneState.REGISTERED:
            due.append(now + SEARCH_EVERY)
        return min(moment for moment in due if moment is not None)

    def _requests(self, session: _Session, now: datetime) -> None:
        if session.counts_at is not None and now - session.counts_at < COUNTS_EVERY:
            return
        for request in self._store.read(lambda tx: requests.open_requests(tx, self.name)):
            if request.kind == "restart":
                self._store.write(lambda tx, r=request: requests.answer(tx, r.id, "done", {}))  # type: ignore[misc]
                raise ModemLost("restart", f"restarted because {request.asked_by} asked for it")
            detail = f"this lane knows no request {request.kind!r}"
            self._store.write(
                lambda tx, r=request, d=detail: requests.answer(tx, r.id, "refused", {"detail": d})  # type: ignore[misc]
            )

    def _status(self, session: _Session, now: datetime) -> None:
        every = STATUS_EVERY if session.state is LaneState.REGISTERED else SEARCH_EVERY
        if session.status_at is not None and timedelta(0) <= now - session.status_at < every:
            return
        status = session.modem.status()
        session.status_at = now
        state = LaneState.REGISTERED if status.can_send else LaneState.SEARCHING
        reason = None if status.can_send else f"the network says: {status.registration}"
        session.state = state
        self._show(
            session.place,
            now,
            state=state.value,
            reason=reason,
            signal=status.signal,
            registration=status.registration,
        )

    def _show(self, place: Place, now: datetime, **values: object) -> None:
        self._store.write(lambda tx: lanes.show(tx, place.lane, place.fence, now, **values))

    # -- receiving ------------------------------------------------------------------------------------------------

    def _receive(self, session: _Session, now: datetime) -> None:
        """Read what hints or counts say, keep it, decide it, and only then remove it from the SIM."""
        hints, found = session.modem.hinted(), list[Stored]()
        whole = session.whole_at is None or not timedelta(0) <= now - session.whole_at < WHOLE_EVERY
        whole = whole or ("", 0) in hints
        counted = False
        if not whole:
            for storage, index in sorted(hints):
                stored = session.modem.read(storage, index)
                if stored is not None:
                    found.append(stored)
            if self._counts_due(session, now):
                counted = True
                for usage in session.modem.usage():
                    if usage.used != session.left.get(usage.storage, 0) + sum(
                        s.storage == usage.storage for s in found
                    ):
                        whole = True
        if whole:
            found = session.modem.inbox()
        elif not found and not counted:
            return
        self._take_in(session, found, whole, whole or counted, now)

    def _counts_due(self, session: _Session, now: datetime) -> bool:
        """Every few seconds, and at a deadline, which ends nothing before the inbox was read after it."""
        at = session.counts_at
        if at is None or not timedelta(0) <= now - at < COUNTS_EVERY:
            return True
        return session.deadline is not None and at < session.deadline <= now

    def _take_in(
        self, session: _Session, found: Sequence[Stored], whole: bool, counted: bool, now: datetime
    ) -> None:
        place, removed = session.place, list(self._removed)
        pairs = [(None if s.storage.startswith(DIRECT) else f"{s.storage}:{s.index}", s.pdu) for s in found]
        foreign = session.foreign

        def keep(tx: Tx) -> list[inbox.Kept]:
            lanes.lock(tx, place.lane, place.fence)
            kept = inbox.keep(tx, sim_id=place.sim_id, lane=place.lane, found=pairs, removed=removed, now=now)
            if whole:
                inbox.only_in(tx, place.sim_id, [slot for slot, _ in pairs if slot])
            if counted:
                lanes.inbox_read(tx, place.sim_id, now)
            if foreign:
                for n, (row, stored) in enumerate(zip(kept, found, strict=True)):
                    if stored.storage == "ME" and inbox.is_undecided(tx, row.id):
                        inbox.add_foreign(tx, row.id, sim_id=place.sim_id, lane=place.lane, now=now)
                        kept[n] = replace(row, new=False)  # it is decided with this
            return kept

        kept = self._reception.take_in(place, keep, now)
        self._removed = self._removed[len(removed) :]
        if whole:
            session.whole_at, session.foreign = (
                now,
                False,
            )  # from here on, what comes into the stick is its own
        if counted:
            session.counts_at = now
            session.deadline = self._store.read(lambda tx: replies.next_deadline(tx, place.sim_id))
        if whole:
            self._reception.decide_left(place, now)
        if found:
            self._try_at = None
        if whole:
            session.left = {}
        for row, stored in zip(kept, found, strict=True):
            try:
                gone = session.modem.forget(stored)
            except ModemLost:
                raise
            except ModemError as error:
                # What is stored already may stay: it must not keep the lane from working.
                session.left[stored.storage] = session.left.get(stored.storage, 0) + 1
                log.warning("a stored message cannot be removed", lane=self.name, reason=error.detail)
                continue
            if gone:
                self._removed.append(row.id)
            elif row.slot is not None:
                session.whole_at = None  # the slot holds something else by now: read everything again

    # -- sending --------------------------------------------------------------------------------------------------

    def _submit(self, session: _Session) -> bool:
        """Send one message if there is one that may go now; else False, with `_try_at` set."""
        self._hungry.set()
        sent = session.sender.step()
        if sent.wait_until is not None:
            self._try_at = sent.wait_until
            return False
        self._hungry.clear()
        if sent.deadline is not None:
            session.deadline = min(session.deadline or sent.deadline, sent.deadline)
        return True
