"""One lane: opens its modem, reads before it sends, sends at most one message a step, heals what hangs, and never lies about it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from app.domain.errors import GatewayError, Unavailable
from app.domain.services import Catalogue
from app.domain.states import LaneState
from app.exchange import answering
from app.exchange.health import Ladder, Rung
from app.exchange.opening import AWAY, SILENT, STUCK_SIM, LaneSetup, NotOpened, Opener
from app.exchange.receiving import Receiver
from app.exchange.reception import Desk, Place, Reception
from app.exchange.sending import IDLE, Sender, lies_ahead
from app.store import lanes, requests
from app.store.engine import Store, Tx
from modem import Modem, ModemError, ModemLost, PortSettings
from modem.port import Restart

STATUS_EVERY = timedelta(seconds=30)  # signal and registration, while registered
SEARCH_EVERY = timedelta(seconds=2)  # the same, while the network is searched
VERIFY_EVERY = timedelta(minutes=1)  # the SIM, and whether the modem reset itself
FIRST_RETRY = timedelta(seconds=1)  # back to work within 2 s after the stick returns (design, section 8)
LONGEST_RETRY = timedelta(seconds=30)  # for a port where something answers wrongly
LOOK_AGAIN = timedelta(milliseconds=500)  # for a port or stick that is away: a look costs next to nothing
BOOTS = timedelta(minutes=1)  # a stick may be silent so long after its port appeared …
BOOT_RETRY = timedelta(seconds=5)  # … and is tried at least so often meanwhile
UNREGISTERED = timedelta(minutes=10)  # a network is seldom away for longer: then the modem may be what hangs
REFUSALS = 2  # SMS in a row that the modem itself refused: one of them may be chance
CALM_AGAIN = timedelta(minutes=1)  # a session that lasted so long ends the growing pauses before the next
TALKED = timedelta(seconds=45)  # a USSD dialogue that nobody goes on with is ended, before most networks do

log = structlog.get_logger()


@dataclass(slots=True)
class _Session:
    """An open modem. full: storages that were full at the last look · talked_at: when a USSD dialogue was left open."""

    modem: Modem
    place: Place
    sender: Sender
    receiver: Receiver
    url: str
    usb_path: str | None
    opened_at: datetime
    verified_at: datetime
    state: LaneState = LaneState.INITIALIZING
    status_at: datetime | None = None
    full: frozenset[str] = frozenset()
    talked_at: datetime | None = None


class LaneWorker:
    """Everything of one lane; `step` is called by one thread, `nudge`, `wake` and `requested` by any."""

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
        self._opener = Opener(setup, store=store, process_id=process_id, open_modem=open_modem, clock=clock)
        self._may_send = may_send
        self._clock = clock
        self._desk = desk
        self._reception = Reception(store, catalogue, desk)
        self._session: _Session | None = None
        self._retry_at: datetime | None = None
        self._retry = FIRST_RETRY
        self._lost_pause = FIRST_RETRY
        self._there_since: datetime | None = None
        self._reason: str | None = None
        self._told: set[str] = set()
        self._ladder = Ladder()
        self._restart_next: Restart = "no"
        self._refusals = 0
        self._registered_at: datetime | None = None
        self._try_at: datetime | None = None
        self._hungry = threading.Event()
        self._bell = threading.Event()
        self._woken = threading.Event()
        self._asked = threading.Event()
        self._asked.set()

    # -- life -----------------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Step and wait until `stop`; then give the modem back."""
        while not stop.is_set():
            now = self._clock()
            try:
                due = self.step(now)
            except Exception:
                log.exception("a lane's step failed", lane=self.name)
                self._drop()
                due = self._retry_at = self._clock() + self._lost_pause
                self._lost_pause = min(self._lost_pause * 2, LONGEST_RETRY)
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

    def requested(self) -> None:
        """Something was asked of this lane in `lane_requests`: look now."""
        self._asked.set()
        self.wake()

    @property
    def ready(self) -> tuple[bool, str]:
        """Can it send, and a sentence why not."""
        session = self._session
        if session is None:
            return False, self._reason or "not opened yet"
        if session.sender.paused:
            return False, f"paused: `bpjs-sms lanes resume {self.name}`"
        return session.state is LaneState.REGISTERED, session.state.value

    def _drop(self) -> None:
        session, self._session = self._session, None
        self._hungry.clear()
        if session is not None:
            session.modem.close()
            self._opener.let_go(session.url)

    # -- one round ------------------------------------------------------------------------------------------------

    def step(self, now: datetime) -> datetime:
        """One round: requests, what came in, deadlines, then at most one submission. When to be called next."""
        try:
            if self._session is None:
                self._requests_while_down(now)
                if self._retry_at is not None and lies_ahead(self._retry_at, now, LONGEST_RETRY):
                    return self._retry_at
                if not self._open(now):
                    return self._retry_at or now
            assert self._session is not None
            return self._round(self._session, now)
        except lanes.LaneLost:
            self._closed(now, "lane_lost", self._why_lost(), show=False)
        except ModemLost as error:
            rung = self._ladder.trouble(now, Rung.SESSION) if error.code in SILENT else None
            self._closed(now, error.code, error.detail, rung)
        except ModemError as error:
            rung = self._ladder.trouble(now) if error.code in SILENT else None
            if rung is Rung.AT and self._session is not None:
                self._ask_again(self._session, error)
                return now + FIRST_RETRY
            self._closed(now, error.code, error.detail, rung)
        except Unavailable as error:
            self._say("the database cannot be written", error.detail)
            if self._session is not None:
                self._session.receiver.look_again()
            return now + FIRST_RETRY
        return self._retry_at or now

    def _why_lost(self) -> str:
        def another(tx: Tx) -> bool:
            return lanes.owned_by_another(tx, self.name, self._process_id, self._clock())

        try:
            if self._store.read(another):
                return "another process of this gateway took this lane"
        except GatewayError:
            return "this lane's row was given to somebody else"
        return (
            "this process was held up, or had no database, for longer than its lease of 10 s lasts, so the lane was freed; it is "
            "opened again. If that happens often, look at the database, the load of this machine and its disk"
        )

    def _ask_again(self, session: _Session, error: ModemError) -> None:
        """A modem that gave no answer, but is in step again, keeps its session once."""
        self._climbed(Rung.AT, error.detail)
        session.status_at = None
        session.receiver.look_again()  # a hint that was being followed is not lost

    def _closed(
        self, now: datetime, code: str, reason: str, rung: Rung | None = None, *, show: bool = True
    ) -> None:
        """The session is over, or was never begun. One that ends soon and often is opened ever less often."""
        session = self._session
        self._drop()
        self._say("lane is down", reason)
        self._reason = reason
        self._there_since = None  # it may be starting anew, also where its port stays
        if code == "port_lost":
            pause = LOOK_AGAIN  # the port may be back within the second that a stick needs to start again
        else:
            pause = self._lost_pause
            self._lost_pause = min(pause * 2, LONGEST_RETRY)
        self._retry_at, self._retry = self._clock() + pause, FIRST_RETRY
        if session is None:
            return
        if rung is Rung.MODEM:
            self._restart_next = "first"
        self._heal(rung, session.usb_path, reason)
        if show:
            try:
                self._show(session.place, now, state=LaneState.OFFLINE.value, reason=self._with_tried(reason))
            except (lanes.LaneLost, GatewayError):
                return

    def _open(self, now: datetime) -> bool:
        """Open the modem and begin a session. False: `_retry_at` says when again."""
        restart, self._restart_next = self._restart_next, "no"
        try:
            opened = self._opener.open(restart=restart)
        except NotOpened as why:
            if why.code == "restarting":
                self._climbed(Rung.MODEM, why.detail)
                self._retry_at = self._clock() + FIRST_RETRY
            else:
                self._unopened(now, why)
            return False
        now = self._clock()
        # It opened, so its model must not be restarted by a command.
        if restart == "first" and self._heal(
            self._ladder.instead(), opened.usb_path, "it fell silent again and again"
        ):
            opened.modem.close()
            self._opener.let_go(opened.url)
            self._retry_at = now + FIRST_RETRY
            return False
        place = Place(self.name, opened.fence, opened.sim_id)
        sender = Sender(
            place,
            opened.modem,
            store=self._store,
            catalogue=self._catalogue,
            may_send=self._may_send,
            clock=self._clock,
            status_reports=self._setup.status_reports,
            number_type=self._setup.number_type,
            desk=self._desk,
            verdict_within=self._opener.verdict_within(opened.identity),
            owes=opened.owes,
        )
        receiver = Receiver(
            place, opened.modem, store=self._store, reception=self._reception, foreign=opened.foreign
        )
        self._session = _Session(
            opened.modem, place, sender, receiver, opened.url, opened.usb_path, opened_at=now, verified_at=now
        )
        self._retry_at, self._retry, self._reason = None, FIRST_RETRY, None
        self._there_since = self._there_since or now
        self._try_at = None
        self._say("lane is open", opened.identity.model or "no model said", warn=False)
        return True

    def _unopened(self, now: datetime, why: NotOpened) -> None:
        at = self._clock()
        if why.code in AWAY:
            self._retry_at, self._retry, self._there_since = at + LOOK_AGAIN, FIRST_RETRY, None
        else:
            self._there_since = self._there_since or now
            boots = why.code in SILENT and lies_ahead(self._there_since + BOOTS, now, BOOTS)
            self._retry_at = at + (min(self._retry, BOOT_RETRY) if boots else self._retry)
            if why.code != "held_elsewhere":
                self._retry = min(self._retry * 2, LONGEST_RETRY)
        reason = why.detail
        if why.code in SILENT | STUCK_SIM:
            rung = self._ladder.trouble(now)
            if rung is Rung.MODEM and why.code == "not_a_modem":
                rung = self._ladder.instead()  # what hears no AT cannot be told to restart
            if rung is Rung.MODEM:
                self._restart_next = "stuck" if why.code in STUCK_SIM else "first"
            self._heal(rung, why.usb_path, why.detail)
            reason = self._with_tried(why.detail)
        if reason == self._reason:
            return
        self._reason = reason
        self._say("lane cannot be opened", why.detail)

        def show(tx: Tx) -> None:
            fence = lanes.take(tx, self.name, self._process_id, now)
            if fence is not None:
                lanes.show(tx, self.name, fence, now, state=why.state.value, reason=reason)
                lanes.give_back(tx, self.name, fence)  # who has the port owns the lane, and here nobody has

        self._store.write(show)

    def _say(self, what: str, reason: str, *, warn: bool = True) -> None:
        """Log it, once until the lane was well: a stick that flaps all night fills no disk."""
        known = f"{what}: {reason}"
        tell = log.debug if known in self._told else log.warning if warn else log.info
        self._told.add(known)
        tell(what, lane=self.name, reason=reason)

    # -- healing --------------------------------------------------------------------------------------------------

    def _heal(self, rung: Rung | None, usb_path: str | None, reason: str) -> bool:
        """Note a gentle rung, or take the power away; whether anything was done. A restart needs an open modem: `_restart`."""
        host = self._setup.host
        if rung is None or rung is Rung.MODEM:
            return False
        if rung is Rung.POWER and not (
            host and usb_path and self._was_a_modem() and host.power_cycle(usb_path)
        ):
            return False
        self._climbed(rung, reason)
        return True

    def _was_a_modem(self) -> bool:
        """A port that never answered as one may be anything: a wrong name in the settings, or another device altogether."""
        return self._store.read(lambda tx: lanes.ever_opened(tx, self.name))

    def _restart(self, modem: Modem, usb_path: str | None, reason: str) -> bool:
        """Restart an open modem, or its USB port where a quirk forbids that. True: the session is over."""
        if not modem.restart():
            return self._heal(self._ladder.instead(), usb_path, reason)
        self._climbed(Rung.MODEM, reason)
        return True

    def _watch_registration(self, session: _Session, now: datetime, registered: bool) -> None:
        """Ten minutes without a network that was there: heal. A SIM that was never let in is not helped by that."""
        if registered:
            self._registered_at = now
            self._ladder.well(now)
            if now - session.opened_at >= CALM_AGAIN:
                self._lost_pause = FIRST_RETRY
                self._told.clear()
        elif (
            self._registered_at is not None
            and now - max(self._registered_at, session.opened_at) >= UNREGISTERED
        ):
            self._registered_at = now  # counted anew from here
            self._climb(session, now, "unregistered", "no network for ten minutes, although there was one")

    def _climb(self, session: _Session, now: datetime, code: str, reason: str) -> None:
        """The next rung for a modem that answers and does not work; ModemLost of this code if the session is over by that."""
        rung = self._ladder.trouble(now, Rung.SESSION)
        if rung is Rung.MODEM:
            over = self._restart(session.modem, session.usb_path, reason)
        else:
            over = self._heal(rung, session.usb_path, reason)
        if over:
            raise ModemLost(code, reason)

    def _climbed(self, rung: Rung, reason: str) -> None:
        self._ladder.done(rung)
        self._say(f"lane is being healed: {rung.value}", reason)
        self._store.write(lambda tx: lanes.count_recovery(tx, self.name, rung.value))

    def _with_tried(self, reason: str) -> str:
        tried = self._ladder.tried
        return f"{reason} (tried: {tried})" if tried else reason

    def _round(self, session: _Session, now: datetime) -> datetime:
        self._requests(session, now)
        self._verify(session, now)
        self._status(session, now)
        if session.receiver.step(now):
            self._try_at = None
        self._watch_storages(session)
        session.sender.settle_orphans(now)
        session.receiver.deadlines(now)
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
        registered = session.state is LaneState.REGISTERED
        due = [session.receiver.due(now), session.receiver.deadline]
        due.append(self._try_at if registered else now + SEARCH_EVERY)
        return min(moment for moment in due if moment is not None)

    # -- requests -------------------------------------------------------------------------------------------------

    def _requests(self, session: _Session, now: datetime) -> None:
        """Take what was asked, and commit that before anything is done about it."""
        if session.talked_at is not None and not lies_ahead(session.talked_at + TALKED, now, TALKED):
            session.talked_at = None
            session.modem.ussd_cancel()
        if not self._asked.is_set():
            return
        self._asked.clear()
        for request in self._store.read(lambda tx: requests.open_requests(tx, self.name)):
            if self._store.write(lambda tx, r=request: requests.take(tx, r.id)):  # type: ignore[misc]
                self._serve(session, request, now)

    def _serve(self, session: _Session, request: requests.Request, now: datetime) -> None:
        if request.kind == "pause":
            self._pause(request, now)
            return
        if request.kind == "restart":
            self._restart_asked(session, request)
            return
        if request.kind == "loop":
            self._loop_asked(session, request)
            return
        pin_given = self._setup.port.pin is not None
        try:
            said = answering.answer(session.modem, request, session.url, pin_given=pin_given)
        except ModemError as error:
            self._refuse(request, error.detail)
            if isinstance(error, ModemLost):
                raise
            return
        except Exception:
            log.exception("a request failed", lane=self.name, kind=request.kind)
            self._refuse(request, "a fault of the gateway: its log says which")
            return
        self._done(request, said)
        if request.kind == "ussd":
            session.talked_at = now if said["more"] else None

    def _restart_asked(self, session: _Session, request: requests.Request) -> None:
        whole = request.arguments.get("modem") is True
        if whole and not session.modem.restart():
            self._refuse(request, "this model must not be restarted by a command: plug it out and in again")
            return
        self._done(request, {"restarted": "modem" if whole else "session"})
        raise ModemLost("restart", f"restarted because {request.asked_by} asked for it")

    def _loop_asked(self, session: _Session, request: requests.Request) -> None:
        """One SMS from the SIM to itself: whoever asked for it is answered when it comes back, or at once where nothing went out."""
        refusal: str | None = "the lane is in no network"
        if session.state is LaneState.REGISTERED:
            refusal = session.sender.to_itself(request.id, request.arguments)
        if refusal is not None:
            self._refuse(request, refusal)

    def _requests_while_down(self, now: datetime) -> None:
        """Without a modem: restarting is opening at once, a pause is noted, and anything else refused with the reason."""
        if not self._asked.is_set() or self._reason is None:
            return
        self._asked.clear()
        for request in self._store.read(lambda tx: requests.open_requests(tx, self.name)):
            if self._store.read(lambda tx: lanes.owned_by_another(tx, self.name, self._process_id, now)):
                return
            if not self._store.write(lambda tx, r=request: requests.take(tx, r.id)):  # type: ignore[misc]
                continue
            if request.kind == "pause":
                self._pause(request, now)
            elif request.kind == "restart":
                self._retry_at = None
                self._done(request, {"restarted": "session"})
            else:
                self._refuse(request, f"the lane is not open: {self._reason}")

    def _pause(self, request: requests.Request, now: datetime) -> None:
        paused = request.arguments.get("paused") is not False

        def both(tx: Tx) -> None:
            lanes.set_lane(tx, self.name, now=now, paused=paused)
            requests.answer(tx, request.id, "done", {"paused": paused})

        self._store.write(both)

    def _done(self, request: requests.Request, said: Mapping[str, Any]) -> None:
        self._store.write(lambda tx: requests.answer(tx, request.id, "done", said))

    def _refuse(self, request: requests.Request, detail: str) -> None:
        self._store.write(lambda tx: requests.answer(tx, request.id, "refused", {"detail": detail}))

    # -- how it is ------------------------------------------------------------------------------------------------

    def _verify(self, session: _Session, now: datetime) -> None:
        """Once a minute: the same SIM, and the modem as it was set up?"""
        if timedelta(0) <= now - session.verified_at < VERIFY_EVERY:
            return
        session.verified_at = now
        session.modem.verify()

    def _status(self, session: _Session, now: datetime) -> None:
        every = STATUS_EVERY if session.state is LaneState.REGISTERED else SEARCH_EVERY
        if session.status_at is not None and timedelta(0) <= now - session.status_at < every:
            return
        status = session.modem.status()
        session.status_at = now
        state = LaneState.REGISTERED if status.can_send else LaneState.SEARCHING
        reason = None if status.can_send else f"the network says: {status.registration}"
        if reason is None and session.full:
            reason = f"the storage {', '.join(sorted(session.full))} is full and cannot be freed, so no SMS comes in: see the log"
        session.state = state
        self._show(
            session.place,
            now,
            state=state.value,
            reason=reason,
            signal=status.signal,
            registration=status.registration,
        )
        self._watch_registration(session, now, status.can_send)

    def _watch_storages(self, session: _Session) -> None:
        full = session.receiver.full
        if full == session.full:
            return
        session.full, session.status_at = full, None
        if full:
            self._say("a storage is full", f"{', '.join(sorted(full))}: its messages cannot be removed")

    def _show(self, place: Place, now: datetime, **values: object) -> None:
        self._store.write(lambda tx: lanes.show(tx, place.lane, place.fence, now, **values))

    # -- sending --------------------------------------------------------------------------------------------------

    def _submit(self, session: _Session) -> bool:
        """Send one message if there is one that may go now; else False, with `_try_at` set."""
        self._hungry.set()
        sent = session.sender.step()
        if sent.wait_until is not None:
            self._try_at = sent.wait_until
            return False
        self._hungry.clear()
        if sent.no_network:
            session.status_at = None
        if sent.deadline is not None:
            session.receiver.expect(sent.deadline)
        self._watch_refusals(session, sent.refused)
        return True

    def _watch_refusals(self, session: _Session, refused: bool) -> None:
        """A modem that takes nothing to send, though all else works, is healed before many questions are spent on it."""
        self._refusals = self._refusals + 1 if refused else 0
        if self._refusals < REFUSALS:
            return
        self._climb(session, self._clock(), "refuses", "it refuses every SMS")
