"""The running gateway: builds everything from the settings, starts it in order and stops it in reverse."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TextIO, cast

import structlog
import uvicorn

from app.domain.errors import GatewayError, SettingsError
from app.domain.lint import lint
from app.domain.services import Catalogue
from app.exchange.batches import BatchWorker
from app.exchange.housekeeper import Housekeeper
from app.exchange.lane import LaneWorker
from app.exchange.opening import LaneSetup
from app.faces.http.application import create_app
from app.faces.phone import PhoneDesk
from app.settings import LaneSettings, ServiceOverride, Settings
from app.simulation import World, build_world
from app.store import lanes, submissions
from app.store.engine import Served, Store, Tx, database_path, new_id, open_store
from modem import Identity, PortSettings, SerialModem
from modem.discovery import Finder, power_cycle
from modem.simulated import Ticker, attach, detach
from modem.sticks import sticks

RENEW = timedelta(seconds=2)  # a lease of 10 s is renewed every 2 s (design, section 4.2)
MARGIN = timedelta(seconds=3)  # of the lease must be left before a byte goes out
UNWRITTEN = "the database could not be written for some seconds, so nothing is sent: see the log"
PROBE = timedelta(
    seconds=2
)  # for a port to answer when it is asked which SIM it has: one that is ready needs 0.1 s
STOP_SECONDS = 10.0  # for the threads to end; a +CMGS under way is left to the journal
SHORT = ServiceOverride(
    timeout=timedelta(seconds=20), late=timedelta(seconds=60), settle=timedelta(seconds=2)
)
"""What the simulated lanes use where the settings say nothing: so that every outcome can be seen within a minute."""
LAST_SECONDS = 30.0  # for everything to end, HTTP too; a database that hangs would keep the process for ever
REMIND = timedelta(
    minutes=10
)  # a trouble that lasts is logged again so often: a full disk is not filled with it
LOG_WAITS = 0.1  # seconds for standard error to take a line; a reader that stands still stops no lane
SIMULATED_CREDIT = 100_000_000  # rupiah on each simulated SIM: more than anybody's trials use up

log = structlog.get_logger()


def utc_now() -> datetime:
    return datetime.now(UTC)


def load_catalogue(settings: Settings) -> Catalogue:
    """The shipped services, the operator's own in front, the settings' overrides on top. SettingsError."""
    overrides = {name: o.model_dump(exclude_none=True) for name, o in settings.service.items()}
    return Catalogue.load(files("templates_sms"), settings.services, overrides)


def simulated_settings(settings: Settings, count: int) -> Settings:
    """The settings with `count` simulated lanes, without pace or caps, and short durations."""
    if settings.lanes:
        raise SettingsError(
            f"These settings have the lane {settings.lanes[0].name}, and simulated answers must not mix with real ones in one "
            "database: leave out --simulated, or simulate with other settings (--config FILE, or in another folder)."
        )
    added = tuple(
        LaneSettings(name=f"xl-{n}", port=f"simulated://xl-{n}", pace=timedelta(0), per_hour=0, per_day=0)
        for n in range(1, count + 1)
    )
    short = {
        service.name: SHORT.model_copy(
            update=settings.service.get(service.name, ServiceOverride()).model_dump(exclude_none=True)
        )
        for service in load_catalogue(settings)
    }
    return settings.model_copy(update={"lanes": added, "service": {**settings.service, **short}})


class _Worker(Protocol):
    def step(self, now: datetime) -> datetime: ...


class TraceFile:
    """Every line of the exchange with the modems, identifiers replaced, one a line with its time and lane."""

    def __init__(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise GatewayError(
                "unreachable", f"{path} cannot be written: {error.strerror}. Name another file with --trace."
            ) from None
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def of(self, lane: str) -> Callable[[str, str], None]:
        """What writes the lines of one lane."""

        def write(direction: str, line: str) -> None:
            moment = utc_now().isoformat(timespec="milliseconds")
            with self._lock, suppress(ValueError, OSError):  # closed, or a full disk: the exchange goes on
                self._file.write(f"{moment} {lane} {direction} {line}\n")

        return write

    def close(self) -> None:
        with self._lock:
            self._file.close()


class _UsbHost:
    """The host's USB sockets, as lanes ask of them. A `fixed` port is its lane's for good, also while that has it not open."""

    def __init__(self, finder: Finder, fixed: Sequence[str], root: Path) -> None:
        self._finder = finder
        self._root = root
        self._fixed = frozenset(fixed)
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}  # by name: a link may be gone when it is let go
        for device in fixed:
            finder.in_use(device)

    def in_use(self, device: str) -> bool:
        real = os.path.realpath(device)
        with self._lock:
            if real in self._held.values():
                return False
            self._held[device] = real
        if device not in self._fixed:
            self._finder.in_use(device)
        return True

    def released(self, device: str) -> None:
        with self._lock:
            self._held.pop(device, None)
        if device not in self._fixed:
            self._finder.released(device)

    def socket_of(self, device: str) -> str | None:
        real = os.path.realpath(device)
        return next(
            (stick.usb_path for stick in sticks(self._root) for port in stick.ports if os.path.realpath(port.device) == real),
            None,
        )  # fmt: skip

    def power_cycle(self, usb_path: str) -> bool:
        """Not where lanes have several ports of that device, as with a serial adapter of many: it would take the others' away too."""
        with self._lock:
            lanes_there = {*self._held.values(), *(os.path.realpath(device) for device in self._fixed)}
        there = {
            os.path.realpath(port.device)
            for stick in sticks(self._root)
            if stick.usb_path == usb_path
            for port in stick.ports
        }
        return len(there & lanes_there) <= 1 and power_cycle(usb_path, self._root)


def identify(url: str) -> Identity:
    """Who answers on a port, asked without any PIN. Raises ModemError."""
    modem = SerialModem(
        PortSettings(url, may_offer_pin=False, answer_timeout=PROBE, wake_timeout=PROBE, boot_timeout=PROBE)
    )
    try:
        return modem.open()
    finally:
        modem.close()


class Trouble:
    """What keeps going wrong in one place: logged when it begins or changes, then every REMIND, and once when it is over."""

    def __init__(self, what: str, **where: str) -> None:
        self._what = what
        self._where = where
        self._detail: str | None = None
        self._told_at = 0.0

    def again(self, detail: str) -> None:
        now = time.monotonic()
        if detail != self._detail or now - self._told_at >= REMIND.total_seconds():
            self._detail, self._told_at = detail, now
            log.error(self._what, **self._where, detail=detail)

    def over(self) -> None:
        if self._detail is not None:
            self._detail = None
            log.info("over: " + self._what, **self._where)


class Lease:
    """This process's row, renewed by a thread of its own; `ok` by the monotonic clock."""

    def __init__(self, store: Store, process_id: str) -> None:
        self._store = store
        self._process_id = process_id
        self._renewed = time.monotonic()

    def ok(self) -> bool:
        """Is there margin left to put something on the air?"""
        return time.monotonic() - self._renewed < (lanes.LEASE - MARGIN).total_seconds()

    def run(self, stop: threading.Event) -> None:
        trouble = Trouble("the lease could not be renewed")
        while not stop.wait(RENEW.total_seconds()):
            try:
                self.renew()
                trouble.over()
            except GatewayError as error:
                trouble.again(error.detail)
            except Exception:  # without this thread nothing would ever be sent again
                log.exception("the lease could not be renewed")

    def renew(self) -> None:
        """Once more for its span; a process that slept so long that it was struck off is entered again. GatewayError."""
        before = time.monotonic()

        def again(tx: Tx) -> None:
            now = utc_now()
            if not lanes.renew_lease(tx, self._process_id, now):
                lanes.begin_process(tx, self._process_id, socket.gethostname(), now)

        self._store.write(again)
        self._renewed = before


@dataclass(slots=True)
class _Simulation:
    """The simulated world of this process, its dongles plugged in."""

    world: World
    ticker: Ticker

    def close(self) -> None:
        for name in self.world.dongles:
            detach(name)
        self.ticker.stop()


class Runtime:
    """Everything that runs, but HTTP. `start` and `stop` once each. `root` is where sysfs and device files are."""

    def __init__(
        self,
        settings: Settings,
        *,
        world: World | None = None,
        trace: Path | None = None,
        root: Path = Path("/"),
        observe: Callable[[str], None] | None = None,
        observe_modem: Callable[[str, str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.catalogue = load_catalogue(settings)
        if problems := lint(self.catalogue):
            raise SettingsError("The services do not fit together: " + "; ".join(map(str, problems)))
        self._trace = None if trace is None else TraceFile(trace)
        self.finder = Finder(identify, root=root, listed=settings.ports, clock=time.monotonic)
        host = _UsbHost(self.finder, [lane.port for lane in settings.lanes if lane.port != "auto"], root)
        self._setups = [lane_setup(lane, self.finder, host, self._trace) for lane in settings.lanes]
        self._world = world
        self._simulation: _Simulation | None = None
        path = database_path(settings.database)
        self._served = Served(path) if path is not None else None
        try:
            self.store = open_store(
                settings.database, settings.sealing.keys_file, serving=True, observer=observe
            )
            self._begin()
        except BaseException:
            if self._served is not None:
                self._served.release()
            raise
        self.lease = Lease(self.store, self.process_id)
        desk = None
        if settings.phone.enabled:
            desk = PhoneDesk(self.catalogue, open_to_all=settings.phone.open, per_day=settings.phone.per_day)
        self.workers = [
            LaneWorker(
                setup,
                store=self.store,
                catalogue=self.catalogue,
                process_id=self.process_id,
                open_modem=lambda port: SerialModem(port, observe_modem),
                may_send=self.lease.ok,
                clock=utc_now,
                desk=desk,
            )
            for setup in self._setups
        ]
        self._by_name = {worker.name: worker for worker in self.workers}
        self._housekeeper = Housekeeper(self.store, time.monotonic, self._requested)
        self._batches = BatchWorker(self.store, self.catalogue)
        self._stop = threading.Event()
        self._chores = threading.Event()
        self._threads: list[threading.Thread] = []

    def _begin(self) -> None:
        """Enter this process; refuse to leave questions behind whose service is gone."""
        now = utc_now()
        self.process_id = new_id("prc", now)
        owed = [name for name in self.store.read(submissions.owed) if name not in self.catalogue]
        if owed:
            self.store.close()
            raise SettingsError(
                f"The service {owed[0]} is still owed answers, but its file is gone. Put the file back, and write "
                f"enabled = false under [service.{owed[0]}] until its questions have ended."
            )

        def begin(tx: Tx) -> None:
            if self.store.sqlite:
                lanes.strike_off(tx)
            lanes.begin_process(tx, self.process_id, socket.gethostname(), now)
            lanes.recover_orphans(tx, now)
            lanes.register(tx, [setup.spec for setup in self._setups], now)

        self.store.write(begin)

    def start(self) -> None:
        """Start the simulated world if there is one, then every thread."""
        if self._world is not None:
            ticker = Ticker(self._world.network)
            for name, dongle in self._world.dongles.items():
                attach(name, dongle)
            ticker.__enter__()
            self._simulation = _Simulation(self._world, ticker)
        self._batches.recover(utc_now())
        self.store.listen(self._committed)
        self._thread("lease", self.lease.run)
        for worker in self.workers:
            self._thread(f"lane-{worker.name}", worker.run)
        self._thread("housekeeper", lambda stop: self._steps(self._housekeeper, stop, threading.Event()))
        self._thread("batches", lambda stop: self._steps(self._batches, stop, self._chores))

    def _thread(self, name: str, run: Callable[[threading.Event], None]) -> None:
        thread = threading.Thread(target=run, args=(self._stop,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _steps(self, worker: _Worker, stop: threading.Event, bell: threading.Event) -> None:
        trouble = Trouble("a step failed", worker=type(worker).__name__)
        while not stop.is_set():
            now = utc_now()
            try:
                due = worker.step(now)
                trouble.over()
            except GatewayError as error:
                trouble.again(error.detail)
                due = now + timedelta(seconds=1)
            except Exception:
                log.exception("a step failed", worker=type(worker).__name__)
                due = now + timedelta(seconds=1)
            bell.clear()
            bell.wait(max(0.0, (due - utc_now()).total_seconds()))

    def _requested(self, lane: str) -> None:
        """Something is asked of it; the lane may also be another process's."""
        if (worker := self._by_name.get(lane)) is not None:
            worker.requested()

    def _committed(self, done: Sequence[Tx]) -> None:
        for lane in {lane for tx in done for lane in tx.asked}:
            self._requested(lane)
        if any(tx.queued or tx.phone_due for tx in done):
            for worker in self.workers:
                worker.nudge()

    def nudge(self) -> None:
        """New work may be there: rows to make checks of, or something to send."""
        self._chores.set()
        for worker in self.workers:
            worker.nudge()

    def ready(self) -> list[tuple[str, bool, str]]:
        """Each lane: its name, whether it can send, a sentence."""
        if not self.lease.ok():
            return [(worker.name, False, UNWRITTEN) for worker in self.workers]
        return [(worker.name, *worker.ready) for worker in self.workers]

    def stop(self) -> None:
        """End the threads, give the lanes back, close the database."""
        self._stop.set()
        self._chores.set()
        for worker in self.workers:
            worker.wake()
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.1, until - time.monotonic()))
        with suppress(GatewayError):
            self.store.write(lambda tx: lanes.end_process(tx, self.process_id, utc_now()))
        self.store.close()
        if self._simulation is not None:
            self._simulation.close()
        if self._served is not None:
            self._served.release()
        if self._trace is not None:
            self._trace.close()


def lane_setup(
    lane: LaneSettings, finder: Finder, host: _UsbHost, trace: TraceFile | None = None
) -> LaneSetup:
    """What the settings say of a lane, for its worker."""
    simulated = lane.port.startswith("simulated:")
    return LaneSetup(
        lanes.LaneSpec(lane.name, lane.port, lane.pace, lane.per_hour, lane.per_day),
        PortSettings(
            url=lane.port,
            baud=lane.baud,
            pin=lane.read_pin(),
            flow_control=lane.flow_control,
            network_mode=lane.network_mode,
            sms_over=lane.sms_over,
            bar_calls=lane.bar_calls,
            trace=None if trace is None else trace.of(lane.name),
            urcs=lane.urcs,
            boot_timeout=lane.boot_timeout,
            cmgs_timeout=lane.cmgs_timeout,
        ),
        lane.status_reports,
        iccid=lane.iccid,
        number_type=lane.number_type,
        locate=partial(finder.port_for, iccid=lane.iccid, usb=lane.usb) if lane.port == "auto" else None,
        host=None if simulated else host,
    )


def late_after(catalogue: Catalogue) -> timedelta:
    """When a simulated late answer comes: after every timeout, within every `late` where that leaves room."""
    return max(service.timing.timeout for service in catalogue) + timedelta(seconds=2)


def build(settings: Settings, simulated: int = 0, trace: Path | None = None) -> Runtime:
    """A runtime on these settings, with `simulated` dongles more; `trace` is a file for the exchange with the modems."""
    if not simulated:
        return Runtime(settings, trace=trace)
    settings = simulated_settings(settings, simulated)
    late = late_after(load_catalogue(settings))
    world = build_world(simulated, late=late, reply_after=timedelta(seconds=1), credit=SIMULATED_CREDIT)
    return Runtime(settings, world=world, trace=trace)


def _cut_off() -> None:
    log.error("it does not end, as where the database hangs: cut off. What was under way is in the journal")
    os._exit(1)


class HttpServer(uvicorn.Server):
    """uvicorn that lets those who wait for answers go before it waits for their requests to end. Told to end, the process does so
    within `last` seconds."""

    def __init__(self, config: uvicorn.Config, last: float = LAST_SECONDS) -> None:
        super().__init__(config)
        self._last = last

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            last = threading.Timer(self._last, _cut_off)
            last.daemon = True
            last.start()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.face.waits.close()  # type: ignore[union-attr]
        await super().shutdown(sockets)


def application(runtime: Runtime) -> Any:
    """The HTTP application over a runtime."""
    return create_app(
        runtime.store,
        runtime.catalogue,
        runtime.settings,
        ready=runtime.ready,
        clock=utc_now,
        nudge=runtime.nudge,
    )


def listen_on(settings: Settings) -> socket.socket:
    """The HTTP socket, bound and listening; GatewayError `unreachable` if the address is taken."""
    host, port = settings.server.host, settings.server.port
    try:
        return socket.create_server(
            (host, port), backlog=1024, family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise GatewayError(
            "unreachable",
            f"HTTP cannot be served at {host}:{port}: {error.strerror or error}. "
            "Stop what uses that port, or set another: [server] port, or BPJS_SMS_SERVER__PORT.",
        ) from error


class LogLines:
    """Where log lines go. One that cannot be written, or is not taken within LOG_WAITS, is left out: whoever logs goes on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)

    def write(self, text: str) -> None:
        with self._lock, suppress(OSError):
            left = text.encode()
            while left and self._ready.poll(LOG_WAITS * 1000):
                # A pipe that is ready takes so much at once (POSIX, PIPE_BUF).
                left = left[os.write(self._descriptor, left[: select.PIPE_BUF]) :]

    def flush(self) -> None:
        """Nothing is kept back."""


def set_up_logs(settings: Settings) -> None:
    """Lines on standard error: for people, or JSON."""
    level = logging.getLevelNamesMapping()[settings.log.level.upper()]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log.as_json
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, LogLines(os.dup(2)))),
        cache_logger_on_first_use=True,
    )


def serve(
    settings: Settings,
    *,
    simulated: int = 0,
    trace: Path | None = None,
    started: Callable[[Runtime, str], None] | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or SIGHUP (unless that is ignored, as under nohup). `started` is called once everything runs, with the URL it is served at."""
    set_up_logs(settings)
    listener = listen_on(settings)
    try:
        runtime = build(settings, simulated, trace)
    except BaseException:
        listener.close()
        raise
    server = HttpServer(
        uvicorn.Config(
            application(runtime),
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=5,
        )
    )

    # uvicorn raises the signal that ended it once more: without these handlers the lanes would never be stopped.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, server.handle_exit)
    runtime.start()
    try:
        host, port = settings.server.host, listener.getsockname()[1]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if started is not None:
            started(runtime, url)
        log.info("serving", url=url, lanes=len(runtime.workers))
        server.run(sockets=[listener])
    finally:
        runtime.stop()
